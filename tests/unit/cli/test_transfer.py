"""`vcache push`, `pull`, `export` and `import`, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.dag import runs as some
from vcache.cache import Cache
from vcache.dag.events import Hit


@pytest.fixture
def far(tmp_path: Path) -> str:
    """The address of another cache."""
    return f"disk:{tmp_path / 'far'}"


def put(vcache, *names: str) -> None:
    for name in names:
        assert vcache("put", name, "-", stdin=f"value of {name}").exit_code == 0


def test_a_remote_that_is_down_is_called_that(vcache):
    """Not one that cannot list what it holds: nobody knows."""
    from tests.servers import free_port

    done = vcache("pull", f"http://127.0.0.1:{free_port()}")
    assert done.exit_code == 1
    assert "connect" in done.stderr
    assert "--since" not in done.stderr


def names(place: str) -> list[str]:
    with Cache(place) as cache:
        return sorted(str(name) for name in cache)


def test_push_moves_what_is_missing(vcache, far):
    """The first time all, the second time nothing; what came since after that"""
    put(vcache, "a", "b")
    result = vcache("push", far)
    assert (result.exit_code, result.stdout.startswith("pushed 2 entries (")) == (0, True)
    assert vcache("push", far).stdout == "pushed 0 entries (0 B), 2 were there\n"
    put(vcache, "c")
    assert vcache("push", far).stdout.endswith(", 2 were there\n")
    assert names(far) == ["a", "b", "c"]


def test_pull_fetches_what_is_missing(vcache, far, tmp_path):
    """Another directory comes to hold the same"""
    put(vcache, "a", "b")
    vcache("push", far)
    result = vcache("--dir", str(tmp_path / "third"), "pull", far)
    assert (result.exit_code, result.stdout.startswith("fetched 2 entries (")) == (0, True)
    assert names(f"disk:{tmp_path / 'third'}") == ["a", "b"]


def test_a_dry_run_moves_nothing(vcache, far):
    """It says what would be moved"""
    put(vcache, "a")
    assert vcache("push", "--dry-run", far).stdout.startswith("would push 1 entry (")
    assert names(far) == []


def test_json_says_what_was_moved(vcache, far):
    """The keys are those of the reference"""
    put(vcache, "a")
    found = json.loads(vcache("push", "--json", far).stdout)
    assert list(found) == ["moved", "moved_bytes", "skipped", "kept", "lost", "stopped"]
    assert (found["moved"], found["skipped"], found["lost"], found["stopped"]) == (1, 0, [], "")


def test_only_a_label_or_a_namespace(vcache, far):
    """Everything else stays"""
    vcache("put", "a", "-", "--tag", "red", stdin="a")
    put(vcache, "b")
    vcache("put", "c", "-", "--namespace", "ns", stdin="c")
    vcache("push", "--tag", "red", far)
    assert names(far) == ["a"]
    vcache("push", "--namespace", "ns", far)
    with Cache(far, namespace="ns") as cache:
        assert list(cache) == ["c"]
    assert names(far) == ["a"]


def test_a_remote_has_a_name(vcache, far, monkeypatch):
    """The one that is configured is meant if none is named; a slip is told"""
    put(vcache, "a")
    monkeypatch.setenv("VCACHE_REMOTE", f"office={far}")
    assert vcache("push").stdout.startswith(("pushed 1", "pushed 0"))
    assert vcache("push", "office").exit_code == 0
    result = vcache("push", "offise")
    assert (result.exit_code, "did you mean 'office'" in result.stderr) == (2, True)
    monkeypatch.setenv("VCACHE_REMOTE", "")
    result = vcache("push")
    assert (result.exit_code, "which REMOTE" in result.stderr) == (2, True)


def test_a_remote_may_be_behind_a_flag(vcache, far, monkeypatch):
    """One that is on is used, one that is off is named"""
    put(vcache, "a")
    monkeypatch.setenv("VCACHE_FLAGS", "on=100 off=0")
    monkeypatch.setenv("VCACHE_REMOTE", f"one={far}?flag=off two={far}?flag=on")
    assert "flag that is off" in vcache("push", "one").stderr
    assert vcache("push", "two").exit_code == 0
    assert names(far) == ["a"]


def test_a_remote_that_takes_nothing_is_refused(vcache, far):
    """A read-only address is no place to bring things to"""
    put(vcache, "a")
    vcache("push", far)
    assert "read-only" in vcache("push", f"{far}?read_only=1").stderr


def test_nothing_is_fetched_into_a_read_only_cache(vcache, far, monkeypatch):
    """It says so and the exit code is not 0"""
    put(vcache, "a")
    vcache("push", far)
    monkeypatch.setenv("VCACHE_READ_ONLY", "1")
    result = vcache("pull", far)
    assert result.exit_code
    assert "read-only" in result.stderr


def test_only_what_runs_used(vcache, far, record, cache):
    """--since takes what that run and later ones took from the cache"""
    for number in (1, 2, 3):
        cache.put(f"dag:o{number}:{number:064}", {"value": [], "files": []})
        record(number, [Hit(some.at(1), some.node(f"o{number}"), f"dag:o{number}:{number:064}", 1, 1)])
    assert vcache("push", "--since=-2", far).exit_code == 0
    assert [name[:6] for name in names(far)] == ["dag:o2", "dag:o3"]
    assert vcache("push", "--since", "nonsense", far).exit_code == 2


def test_since_needs_runs(vcache, far):
    """Where nothing was built, that is said"""
    result = vcache("push", "--since", "1", far)
    assert (result.exit_code, "no run of" in result.stderr) == (2, True)


def test_export_and_import(vcache, tmp_path):
    """A file, or a pipe, holds what another directory takes"""
    put(vcache, "a", "b")
    assert vcache("export", "all.vcx").stdout.startswith("wrote 2 entries (")
    other = str(tmp_path / "other")
    assert vcache("--dir", other, "import", "all.vcx").stdout.startswith("took 2 entries (")
    assert names(f"disk:{other}") == ["a", "b"]
    assert vcache("--dir", other, "import", "all.vcx").stdout == "took 0 entries (0 B), 2 were there\n"
    result = vcache("export", "-")
    assert result.stderr.startswith("wrote 2 entries (")
    third = str(tmp_path / "third")
    assert vcache("--dir", third, "import", "-", stdin=result.stdout_bytes).exit_code == 0
    assert names(f"disk:{third}") == ["a", "b"]


def test_what_differs_stays_unless_it_is_replaced(vcache, tmp_path):
    """Import says how many there are, and takes them where it is told to"""
    put(vcache, "a")
    vcache("export", "all.vcx")
    vcache("put", "a", "-", stdin="mine")
    assert "1 differ" in vcache("import", "all.vcx").stdout
    assert vcache("get", "a").stdout == "mine"
    assert vcache("import", "--replace", "all.vcx").stdout.startswith("took 1 entry")
    assert vcache("get", "a").stdout == "value of a"


def test_a_damaged_file_is_told(vcache, tmp_path):
    """The exit code is 1; what is whole was taken; what is no such file is an error"""
    put(vcache, "a", "b")
    vcache("export", "all.vcx")
    data = Path("all.vcx").read_bytes()
    Path("cut.vcx").write_bytes(data[:-60])
    result = vcache("--dir", str(tmp_path / "other"), "import", "cut.vcx")
    assert result.exit_code == 1
    assert "cut off" in result.stderr
    assert "took 1 entry" in result.stdout
    Path("bad.vcx").write_bytes(data.replace(b"value of a", b"value of x"))
    result = vcache("--dir", str(tmp_path / "third"), "import", "bad.vcx")
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert names(f"disk:{tmp_path / 'third'}") == ["b"]
    Path("none.vcx").write_bytes(b"PK")
    assert vcache("import", "none.vcx").exit_code not in (0, 1)


def test_what_is_lost_is_named_and_counted(vcache, far, cache):
    """Ten are named, the rest is counted"""
    for number in range(12):
        cache.put(f"r{number:02}", {"value": None, "files": [[f"o{number}", 0o644, bytes([number]) * 32]]})
    result = vcache("push", far)
    assert result.exit_code == 1
    assert result.stderr.count("an output that it stands for is not there") == 10
    assert "… and 2 more" in result.stderr
    assert result.stdout == "pushed 0 entries (0 B), 12 could not be moved\n"
