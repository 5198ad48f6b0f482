"""Settings of a server: layers, places, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcache.errors import ConfigError
from vcache.server.settings import (
    KEYS,
    Address,
    NamespaceRule,
    ServeSettings,
    describe,
    load_serve,
    without_live,
)


def _load(tmp_path: Path, text: str, name: str = "serve.toml", **given: object) -> ServeSettings:
    file = tmp_path / name
    file.write_text(text)
    return load_serve(file, given, environ={}, cwd=tmp_path)


def test_flags_decide_over_variables_over_the_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('limit = "1MB"\nthreads = 1\ngrace = "1s"\n')
    environ = {"VCACHE_SERVE_THREADS": "2", "VCACHE_SERVE_GRACE": "2s"}
    found = load_serve(file, {"grace": "3s", "idle": None}, environ=environ, cwd=tmp_path)
    assert (found.limit_bytes, found.threads, found.grace_s, found.idle_s) == (1_000_000, 2, 3, 120)


def test_a_variable_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text('{"threads": 3}')
    found = load_serve(None, environ={"VCACHE_SERVE_CONFIG": "a.json"}, cwd=tmp_path)
    assert found.threads == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.toml", 'dir = "d"\n[namespaces.ci]\nquota = "5GB"\nresults = "builder"\n'),
        ("s.json", '{"dir": "d", "namespaces": {"ci": {"quota": "5GB", "results": "builder"}}}'),
        ("s.yaml", "dir: d\nnamespaces:\n  ci: {quota: 5GB, results: builder}\n"),
        ("s.ini", "[serve]\ndir = d\n[namespaces.ci]\nquota = 5GB\nresults = builder\n"),
    ],
)
def test_every_format_says_the_same(tmp_path, name, text):
    found = _load(tmp_path, text, name)
    assert found.dir == tmp_path / "d"
    assert found.namespaces == {"ci": NamespaceRule(5_000_000_000, results_by_builders=True)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("thread = 1", "threads"),
        ("\nthreads = 0", "line 2"),
        ('listen = "8080"', "HOST:PORT"),
        ('listen = "a:99999"', "HOST:PORT"),
        ('open = "perhaps"', "true or false"),
        ('access_log = "some"', "off, sampled, all"),
        ('limit = "much"', "limit"),
        ("[namespaces.CI]", "'CI'"),
        ("[namespaces.ci]\nquotas = 1", "quotas"),
        ('[namespaces.ci]\nresults = "reader"', "builder"),
        ("namespaces = 5", "table"),
        ("dir = 5", "path"),
        ("listen", "TOML"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert words in str(caught.value)
    assert "serve.toml" in str(caught.value)


def test_a_wrong_variable_is_named(tmp_path):
    with pytest.raises(ConfigError, match="VCACHE_SERVE_THREADS"):
        load_serve(None, environ={"VCACHE_SERVE_THREADS": "many"}, cwd=tmp_path)
    with pytest.raises(ConfigError, match="did you mean"):
        load_serve(None, environ={"VCACHE_SERVE_THREDS": "2"}, cwd=tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_serve(tmp_path / "nowhere.toml", environ={})


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("[::1]:80", "[::1]:80", True),
        ("localhost:80", "localhost:80", True),
        ("0.0.0.0:80", "0.0.0.0:80", False),
        ("[::]:80", "[::]:80", False),
        ("example.org:80", "example.org:80", False),
        ("localhost.example.org:80", "localhost.example.org:80", False),
        ("127.example.org:80", "127.example.org:80", False),
        ("::10:80", "[::10]:80", False),
    ],
)
def test_loopback_is_known_from_the_address(text, address, is_loopback):
    found = load_serve(None, {"listen": text}, environ={}).listen
    assert (str(found), found.is_loopback) == (address, is_loopback)


FAR = Address("0.0.0.0", 80)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ServeSettings(listen=FAR), "tls_cert"),
        (ServeSettings(grpc=FAR), "tls_cert"),
        (ServeSettings(listen=FAR, is_insecure=True, dir=Path("no")), "--open"),
        (ServeSettings(listen=FAR, tls_cert=Path("c"), tls_key=Path("k"), dir=Path("no")), "token"),
        (ServeSettings(tls_cert=Path("c")), "tls_key"),
        (ServeSettings(tls_key=Path("k")), "tls_cert"),
        (ServeSettings(tokens=Path("t"), is_open=True), "nobody"),
    ],
)
def test_what_would_be_open_to_more_than_was_meant_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        settings.check()


@pytest.mark.parametrize(
    "settings",
    [
        ServeSettings(),
        ServeSettings(listen=FAR, is_insecure=True, is_open=True),
        ServeSettings(listen=FAR, is_insecure=True, tokens=Path("t")),
        ServeSettings(listen=FAR, tls_cert=Path("c"), tls_key=Path("k"), tokens=Path("t")),
    ],
)
def test_what_was_said_is_allowed(settings):
    settings.check()


def test_every_key_is_described_and_has_a_default():
    assert {key for key, _, _ in describe()} == set(KEYS)


def test_what_can_change_is_left_out_of_the_comparison(tmp_path):
    one, two = ServeSettings(dir=tmp_path), ServeSettings(dir=tmp_path, limit_bytes=5, access_log="all")
    assert without_live(one) == without_live(two)
    assert without_live(one) != without_live(ServeSettings(dir=tmp_path, threads=99))


def test_the_tokens_of_the_directory_hold_unless_it_is_open(tmp_path):
    usual = tmp_path / "server" / "tokens.json"
    assert ServeSettings(dir=tmp_path).token_file() is None
    usual.parent.mkdir()
    usual.write_text("{}")
    assert ServeSettings(dir=tmp_path).token_file() == usual
    assert ServeSettings(dir=tmp_path, is_open=True).token_file() is None
    assert ServeSettings(dir=tmp_path, tokens=tmp_path / "t").token_file() == tmp_path / "t"
    ServeSettings(dir=tmp_path, listen=FAR, is_insecure=True).check()


def test_what_is_kept_of_logs(tmp_path):
    """By source, age and size; what is no bound is refused where it was written."""
    path = tmp_path / "s.toml"
    path.write_text('logs_max_bytes = "1GB"\nlogs_max_age = "30d"\n[logs_keep]\n"gcc*" = "7d,1MB"\n')
    found = load_serve(path, environ={"VCACHE_SERVE_LOGS_MAX_AGE": "1d"})
    assert (found.logs_max_bytes, found.logs_max_age_s, dict(found.logs_keep)) == (
        10**9,
        86400.0,
        {"gcc*": "7d,1MB"},
    )
    path.write_text('logs_keep = "gcc=7x"\n')
    with pytest.raises(ConfigError, match="no bound"):
        load_serve(path, environ={})
