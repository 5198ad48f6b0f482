from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import platformdirs
import pytest

from vcache.config import KEYS, Settings, _user_dir, default_dir, load, state_dir
from vcache.errors import ConfigError
from vcache.kit.flags import Flags


@pytest.fixture(autouse=True)
def user_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration directory in place of the user's own."""
    found = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(found))
    return found / "vcache"


def at(directory: Path, name: str, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    return directory


def origin(settings: Settings, key: str) -> str:
    return next(row.origin for row in settings.describe() if row.key == key)


# --- layers ----------------------------------------------------------------------------------


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    """with no file and no variable every setting is its default, and says so"""
    settings = load(cwd=tmp_path, environ={})
    assert settings.dir == Path(platformdirs.user_cache_dir("vcache", appauthor=False))
    assert settings.memory_bytes == 64_000_000
    assert not settings.is_disabled
    assert {row.origin for row in settings.describe()} == {"default"}
    assert [row.key for row in settings.describe()] == list(KEYS)


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "XDG_CONFIG_HOME"])
@pytest.mark.parametrize("value", [None, "", "relative", "/srv/moved"])
def test_the_users_directories_are_those_of_platformdirs(
    variable: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wherever the user has moved them, or has not"""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    assert str(_user_dir("cache")) == platformdirs.user_cache_dir("vcache", appauthor=False)
    assert str(_user_dir("config")) == platformdirs.user_config_dir("vcache", appauthor=False)


def test_each_layer_wins_over_the_one_before(tmp_path: Path, user_dir: Path) -> None:
    """user file, project file, environment and overrides decide in that order"""
    at(user_dir, "config.toml", 'namespace = "user"\nmax_age = "1d"\nmax_entries = 5\nmax_bytes = 5\n')
    at(tmp_path, "vcache.toml", 'max_age = "2d"\nmax_entries = 6\nmax_bytes = 6\n')
    settings = load(
        {"max_bytes": 8, "compress": None},
        cwd=tmp_path,
        environ={"VCACHE_MAX_ENTRIES": "7", "VCACHE_MAX_BYTES": "7"},
    )
    assert settings.namespace == "user"
    assert settings.max_age_s == 2 * 86_400
    assert settings.max_entries == 7
    assert settings.max_bytes == 8
    assert settings.compress == "auto"
    assert origin(settings, "namespace") == str(user_dir / "config.toml")
    assert origin(settings, "max_age") == str(tmp_path / "vcache.toml")
    assert origin(settings, "max_entries") == "VCACHE_MAX_ENTRIES"
    assert origin(settings, "max_bytes") == "override"
    assert origin(settings, "compress") == "default"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vcache.toml", 'dir = "c"\nmax_age = "1h"\nread_only = true\ntiers = ["mem:1MB", "disk:c"]\n[flags]\nx = 100\n'),
        ("vcache.json", '{"dir": "c", "max_age": 3600, "read_only": true, "tiers": ["mem:1MB", "disk:c"], "flags": {"x": 100}}'),
        ("vcache.yaml", "dir: c\nmax_age: 1h\nread_only: yes\ntiers: [mem:1MB, disk:c]\nflags: {x: true}\n"),
        ("vcache.ini", "[vcache]\ndir = c\nmax_age = 1h\nread_only = on\ntiers = mem:1MB disk:c\n[flags]\nx = 100%\n"),
        ("pyproject.toml", '[tool.vcache]\ndir = "c"\nmax_age = "1h"\nread_only = true\ntiers = ["mem:1MB", "disk:c"]\nflags.x = 100\n'),
    ],
)  # fmt: skip
def test_every_file_format_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    """TOML, JSON, YAML, INI and pyproject.toml set the same settings, found from below"""
    at(tmp_path, name, text)
    (tmp_path / "src" / "deep").mkdir(parents=True)
    settings = load(cwd=tmp_path / "src" / "deep", environ={})
    assert settings.dir == tmp_path / "c"
    assert settings.max_age_s == 3600
    assert settings.is_read_only
    assert settings.tiers == ("mem:1MB", f"disk:{tmp_path}/c")
    assert settings.flags.is_on("x")
    assert origin(settings, "flags") == str(tmp_path / name)


def test_the_nearest_file_with_settings_is_taken(tmp_path: Path) -> None:
    """a pyproject.toml without [tool.vcache] is passed by, a nearer file hides a farther"""
    at(tmp_path, "vcache.toml", "max_entries = 1\n")
    at(tmp_path / "a", "pyproject.toml", '[project]\nname = "vcache-user"\n')
    assert load(cwd=tmp_path / "a", environ={}).max_entries == 1
    at(tmp_path / "a" / "b", "pyproject.toml", "[tool.vcache]\nmax_entries = 2\n")
    assert load(cwd=tmp_path / "a" / "b", environ={}).max_entries == 2


@pytest.mark.parametrize(
    "text", ["tool.vcache.max_entries = 3\n", "[ tool . 'vcache' ]\nmax_entries = 3\n", "[tool]\nvcache = {max_entries = 3}\n",
             'tool = {"vcache" = {max_entries = 3}}\n', '["tool"]\nvcache.max_entries = 3\n']
)  # fmt: skip
def test_every_way_to_write_the_table_is_found(tmp_path: Path, text: str) -> None:
    """[tool.vcache] is found in whichever way TOML lets it be written"""
    at(tmp_path, "pyproject.toml", text)
    assert load(cwd=tmp_path, environ={}).max_entries == 3


def test_one_file_may_be_named(tmp_path: Path, user_dir: Path) -> None:
    """VCACHE_CONFIG names the only file that is read"""
    at(user_dir, "config.toml", "max_entries = 1\n")
    at(tmp_path, "vcache.toml", "max_entries = 2\n")
    at(tmp_path, "ci.json", '{"namespace": "ci"}')
    settings = load(cwd=tmp_path, environ={"VCACHE_CONFIG": "ci.json"})
    assert (settings.namespace, settings.max_entries) == ("ci", None)
    with pytest.raises(ConfigError, match=r"VCACHE_CONFIG='no\.toml'"):
        load(cwd=tmp_path, environ={"VCACHE_CONFIG": "no.toml"})


def test_every_setting_can_come_from_the_environment(tmp_path: Path) -> None:
    """each key has a variable, in upper case behind VCACHE_"""
    texts = {
        "dir": "c", "disable": "1", "namespace": "n", "memory_bytes": "1MB", "max_bytes": "20GB", "max_age": "30d",
        "max_entries": "10", "compress": "zstd", "read_only": "true",
        "tiers": "mem:1MB, disk:c", "flags": "a=100 b=0", "logs": "l",
        "logs_max_bytes": "2GB", "logs_max_age": "7d", "logs_keep": "gcc=30d", "remote": "https://h/b?x=1, ci=s3://b/p",
        "queue": "redis://h:6379/2",
    }  # fmt: skip
    assert set(texts) == set(KEYS)
    settings = load(cwd=tmp_path, environ={f"VCACHE_{key.upper()}": text for key, text in texts.items()})
    assert settings == Settings(
        dir=tmp_path / "c", is_disabled=True, namespace="n", memory_bytes=10**6, max_bytes=20 * 10**9,
        max_age_s=30 * 86_400, max_entries=10, compress="zstd", is_read_only=True,
        tiers=("mem:1MB", "disk:c"), flags=settings.flags, logs=str(tmp_path / "l"), logs_max_bytes=2 * 10**9, logs_max_age_s=7 * 86_400,
        logs_keep={"gcc": "30d"}, remotes={"https://h/b?x=1": "https://h/b?x=1", "ci": "s3://b/p"},
        queue="redis://h:6379/2",
    )  # fmt: skip
    assert settings.flags.states() == {"a": True, "b": False}
    assert {row.origin for row in settings.describe()} == {f"VCACHE_{key.upper()}" for key in KEYS}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("jobs", "sqlite:{here}/jobs"),
        ("sqlite:a b", "sqlite:{here}/a b"),
        ("/a%?b", "sqlite:/a%25%3Fb"),
        ("sqlite:/jobs?x=1", "sqlite:/jobs?x=1"),
        ("rediss://u:p@h/1", "rediss://u:p@h/1"),
    ],
)
def test_the_queue_is_an_address_or_a_directory(tmp_path: Path, text: str, address: str) -> None:
    """a path in a file is relative to it; without the setting the queue is in the cache's directory"""
    assert load(cwd=tmp_path, environ={"VCACHE_DIR": "/c"}).queue_address == "sqlite:/c/jobs"
    at(tmp_path, "vcache.toml", f'queue = "{text}"')
    assert load(cwd=tmp_path / "below", environ={}).queue_address == address.format(here=tmp_path)


@pytest.mark.parametrize(
    "text", ['remote = ["ci=https://h/b"]', 'remote = "ci=https://h/b"', '[remote]\nci = "https://h/b"']
)
def test_remotes_may_have_names(tmp_path: Path, text: str) -> None:
    """a list, a text or a table gives addresses, by name where there is one"""
    at(tmp_path, "vcache.toml", text)
    assert load(cwd=tmp_path, environ={}).remotes == {"ci": "https://h/b"}


@pytest.mark.parametrize(
    "text",
    ["host/path", "=https://h", "a=b=https://h", "https:", "mem:1 mem:1", "a=mem:1 a=mem:2", "1=mem:1"],
)
def test_what_is_no_remote_is_refused(tmp_path: Path, text: str) -> None:
    """the message names the variable"""
    with pytest.raises(ConfigError, match="VCACHE_REMOTE"):
        load(cwd=tmp_path, environ={"VCACHE_REMOTE": text})


def test_secrets_of_addresses_are_not_shown(tmp_path: Path) -> None:
    """who looks at the settings sees where remotes are, not how to get in"""
    text = "ci=https://user:pass@h/b?token=abc&retries=1 redis://:pw@h/0 https://h/a@b?a_password=x"
    rows = load(cwd=tmp_path, environ={"VCACHE_REMOTE": text}).describe()
    assert {row.key: row.value for row in rows}["remote"] == (
        "ci=https://user:…@h/b?token=…&retries=1", "redis://:…@h/0", "https://h/a@b?a_password=…",
    )  # fmt: skip


def test_paths_are_relative_to_who_says_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """a file's dir is relative to the file, a variable's to the working directory, ~ is home"""
    monkeypatch.setenv("HOME", "/home/someone")
    at(tmp_path, "vcache.toml", 'dir = "../shared/.vcache"\n')
    below = at(tmp_path / "below", "x", "")
    assert load(cwd=below, environ={}).dir == tmp_path.parent / "shared" / ".vcache"
    assert load(cwd=below, environ={"VCACHE_DIR": "here"}).dir == below / "here"
    assert load({"dir": "~/c"}, cwd=below, environ={}).dir == Path("/home/someone/c")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("disk:cache?max=2GB", "disk:{base}/cache?max=2GB"),
        ("a/b", "disk:{base}/a/b"),
        ("disk:/srv/cache", "disk:/srv/cache"),
        ("disk:~/cache", "disk:~/cache"),
        ("mem:64MB", "mem:64MB"),
        ("http://host/x?trust=policy.toml&read_only=1", "http://host/x?trust={base}/policy.toml&read_only=1"),
        ("redis://host?encrypt=a.key&encrypt_old=b.key,/c.key", "redis://host?encrypt={base}/a.key&encrypt_old={base}/b.key,/c.key"),
        ("https://host?ca=ca.pem&cert=~/c.pem&key=k.pem", "https://host?ca={base}/ca.pem&cert=~/c.pem&key={base}/k.pem"),
        ("fs+s3://bucket?key=id&state=st", "fs+s3://bucket?key=id&state={base}/st"),
        ("own:x?key=id&trust=it", "own:x?key=id&trust=it"),
    ],
)  # fmt: skip
def test_paths_in_addresses_are_relative_to_their_file(tmp_path: Path, address: str, found: str) -> None:
    """a policy beside a project's settings is found from every directory of the project; strangers' options stay"""
    project = tmp_path / "my project"
    at(
        project,
        "vcache.toml",
        f'tiers = ["{address}"]\nremote = {{ ci = "{address if ":" in address else "disk:" + address}" }}\n',
    )
    below = at(project / "below", "x", "")
    settings = load(cwd=below, environ={})
    wanted = found.replace("{base}", str(project).replace(" ", "%20"))
    assert settings.tiers == (wanted,)
    assert settings.remotes == {"ci": wanted}
    if ":" in address:
        given = load(
            cwd=below, environ={"VCACHE_REMOTE": f" ci={address} , mem:1MB,x=mem:2MB ,mem:3MB\tmem:4MB,"}
        )
        addresses = [address, "mem:1MB", "mem:2MB", "mem:3MB", "mem:4MB"]
        assert list(given.remotes.values()) == addresses, "a variable's are the business of who opens them"


def test_an_empty_variable_is_not_given(tmp_path: Path) -> None:
    """a variable set to nothing changes nothing"""
    settings = load(cwd=tmp_path, environ={"VCACHE_MAX_BYTES": "", "VCACHE_DISABLE": "", "VCACHE_CONFIG": ""})
    assert settings == load(cwd=tmp_path, environ={})


def test_a_budget_can_be_taken_away(tmp_path: Path) -> None:
    """the word none means no budget"""
    assert load(cwd=tmp_path, environ={"VCACHE_MAX_BYTES": "none"}).max_bytes is None


def test_the_process_s_own_environment_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """without arguments, working directory and environment are the process's"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VCACHE_DIR", "c")
    assert load().dir == tmp_path / "c"


# --- what is wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nmax_byte = 5\n", r"unknown setting 'max_byte' \(.*vcache\.toml:2\); did you mean 'max_bytes'"),
        ("a = 1\n", r"unknown setting 'a'.*there is 'compress', 'dir'"),
        ('# x\n\nmax_bytes = "lots"\n', r"setting max_bytes = 'lots' \(.*vcache\.toml:3\): not a size"),
        ("max_age = -1\n", r"setting max_age = -1 .*not a duration"),
        ('compress = "lz5"\n', r"compress = 'lz5'.*did you mean 'lz4'"),
        ("max_entries = 1.5\n", r"max_entries = 1\.5.*whole number"),
        ('disable = "maybe"\n', r"disable = 'maybe'.*true or false"),
        ("tiers = [1]\n", r"tiers = \[1\].*mem:64MB"),
        ("dir = 5\n", r"dir = 5.*give a path"),
        ('namespace = "a\\u0000b"\n', r"namespace = 'a\\x00b'.*give text"),
        ("flags = 5\n", r"flags = 5.*percentages"),
        ("[flags]\nx = 101\n", r"flag 'x' is 101"),
        ('[flags]\nx = "much"\n', r"flag 'x' is 'much'"),
        ("max_age = \n", r"vcache\.toml: not TOML: .*line 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_shown_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """a wrong setting raises with key, value, file and line, and what to give instead"""
    at(tmp_path, "vcache.toml", text)
    with pytest.raises(ConfigError, match=message):
        load(cwd=tmp_path, environ={})


def test_what_is_wrong_in_the_environment_is_shown_with_its_variable(tmp_path: Path) -> None:
    """a wrong value names its variable, a misspelt variable names the right one"""
    with pytest.raises(ConfigError, match=r"'lots' \(variable VCACHE_MAX_BYTES\)"):
        load(cwd=tmp_path, environ={"VCACHE_MAX_BYTES": "lots"})
    with pytest.raises(ConfigError, match=r"VCACHE_MAX_BYTE='5'; did you mean VCACHE_MAX_BYTES"):
        load(cwd=tmp_path, environ={"VCACHE_MAX_BYTE": "5"})


def test_a_variable_of_another_program_is_ignored_and_told(tmp_path: Path) -> None:
    """a variable that is like no setting is left alone and listed"""
    settings = load(cwd=tmp_path, environ={"VCACHE_TOKEN": "x", "OTHER": "y"})
    assert settings.ignored == ("VCACHE_TOKEN",)


def test_what_is_wrong_in_an_override_says_override(tmp_path: Path) -> None:
    """a wrong override says that it is one"""
    with pytest.raises(ConfigError, match=r"unknown setting 'max_sise' \(override\)"):
        load({"max_sise": 1}, cwd=tmp_path, environ={})


def test_two_files_side_by_side_are_refused(tmp_path: Path) -> None:
    """two settings files in one directory raise with both names"""
    at(tmp_path, "vcache.toml", "")
    at(tmp_path, "vcache.json", "{}")
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'vcache.toml'} and vcache.json")):
        load(cwd=tmp_path, environ={})


def test_an_unknown_ini_section_is_refused(tmp_path: Path) -> None:
    """a section that is none of ours raises with its name"""
    at(tmp_path, "vcache.ini", "[vcahce]\ndir = x\n")
    with pytest.raises(ConfigError, match="'vcahce'"):
        load(cwd=tmp_path, environ={})


@pytest.mark.parametrize(("name", "text"), [("pyproject.toml", 'tool.vcache = "x"\n'), ("vcache.json", "[]")])
def test_settings_that_are_no_table_are_refused(tmp_path: Path, name: str, text: str) -> None:
    """settings that are a word or a list raise with the file"""
    at(tmp_path, name, text)
    with pytest.raises(ConfigError, match=re.escape(name)):
        load(cwd=tmp_path, environ={})


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """a settings file that cannot be read raises with its path"""
    (tmp_path / "vcache.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"vcache\.toml: cannot be read"):
        load(cwd=tmp_path, environ={})


def test_settings_do_not_change() -> None:
    """settings are frozen, and made by hand they are their defaults"""
    settings = Settings(dir=Path("x"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.namespace = "y"  # type: ignore[misc]
    assert isinstance(settings.flags, Flags)
    assert {row.key: row.value for row in settings.describe()}["dir"] == "x"


def test_state_lies_where_the_cache_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """the directory of VCACHE_DIR, also a relative one, or the user's; no settings file is read"""
    monkeypatch.chdir(tmp_path)
    at(tmp_path, "vcache.toml", "this is = no TOML")
    monkeypatch.setenv("VCACHE_DIR", "cache")
    assert state_dir() == tmp_path / "cache"
    monkeypatch.setenv("VCACHE_DIR", "")
    assert state_dir() == default_dir()


def test_the_variables_of_a_server_are_none_of_a_cache(tmp_path: Path) -> None:
    """VCACHE_SERVE_… is passed over, without a guess at what was meant"""
    found = load({}, cwd=tmp_path, environ={"VCACHE_SERVE_DIR": "x", "HOME": str(tmp_path)})
    assert found.ignored == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [("on", "c/logs/default"), ("TRUE", "c/logs/default"), ("off", ""), ("0", ""), ("l", "l")],
)  # fmt: skip
def test_logs_are_on_off_or_somewhere(tmp_path: Path, text: str, place: str) -> None:
    """where builds have what they say kept: in the cache's directory unless something else is said"""
    found = load(cwd=tmp_path, environ={"VCACHE_DIR": "c", "VCACHE_LOGS": text}).logs_place
    assert found == (str(tmp_path / place) if place else "")


def test_without_a_cache_there_are_no_logs_unless_they_have_a_place(tmp_path: Path) -> None:
    """who switches caching off, or may not write, has nothing written"""
    for variable in ("VCACHE_DISABLE", "VCACHE_READ_ONLY"):
        assert load(cwd=tmp_path, environ={variable: "1"}).logs_place == ""
        assert load(cwd=tmp_path, environ={variable: "1", "VCACHE_LOGS": "/l"}).logs_place == "/l"


def test_what_is_no_place_for_logs_is_refused(tmp_path: Path) -> None:
    """with what may be given"""
    with pytest.raises(ConfigError, match="on, off, the directory"):
        load({"logs": 7}, cwd=tmp_path, environ={})
    with pytest.raises(ConfigError, match="a log store is a directory"):
        load({"logs": "s3://h/b"}, cwd=tmp_path, environ={})


def test_logs_may_be_at_a_server(tmp_path: Path) -> None:
    """by its address, as it stands; what shows settings hides its password"""
    found = load({"logs": "https://me:geheim@h:1?user=x"}, cwd=tmp_path, environ={})
    assert found.logs_place == "https://me:geheim@h:1?user=x"
    (shown,) = [each.value for each in found.describe() if each.key == "logs"]
    assert "geheim" not in str(shown)
