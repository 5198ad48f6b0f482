"""Entries that depend on files, names, variables and tools: on the real thing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vcache import Absent, Cache, Dir, Env, File, Glob, Hit, Miss, Reason, Tool, Value
from vcache.errors import FingerprintError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Cache("c") as cache:
        yield cache


def write(path: str, text: str, *, age_s: float = 0) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    if age_s:
        os.utime(path, (time.time() - age_s,) * 2)


def expect_stale(cache: Cache, *names: str) -> None:
    """The look-up misses, says which dependency, and `get` agrees."""
    found = cache.lookup("k")
    assert isinstance(found, Miss)
    assert found.reason is Reason.STALE
    assert found.dep is not None and found.dep.name in names
    assert found.dep.name in found.detail
    assert cache.get("k", "default") == "default"
    assert "k" not in cache
    assert cache.get_many(["k"]) == {}


@pytest.mark.parametrize("spec", [File("in"), "in", Path("in")], ids=repr)
def test_a_file_counts_by_content(cache, spec):
    """Another content is stale, the old content again is not, however the file got it; a touch is nothing."""
    write("in", "old")
    cache.put("k", 1, deps=[spec])
    assert cache.get("k") == 1
    os.utime("in", (1, 1))
    assert cache.get("k") == 1
    write("in", "new")  # of the same length
    expect_stale(cache, "in")
    write("other", "old")
    os.replace("other", "in")
    assert cache.get("k") == 1
    Path("in").unlink()
    expect_stale(cache, "in")
    assert "gone" in str(cache.lookup("k"))


def test_a_quick_change_is_seen(cache):
    """A file changed within the same tick, to the same length, with its time set back, is seen."""
    for n in range(20):
        write("in", f"{n:04}")
        times = os.stat("in").st_mtime_ns
        cache.put("k", n, deps=["in"])
        assert cache.get("k") == n
        with open("in", "r+") as file:
            file.write(f"{n + 1:04}")
        os.utime("in", ns=(times, times))
        assert cache.get("k") is None


def test_a_file_counts_by_mtime_if_told(cache):
    """By mtime a touch is a change, and a change of content behind an equal size and time is none."""
    write("in", "old", age_s=100)
    cache.put("k", 1, deps=[File("in", by="mtime")])
    stamp = os.stat("in").st_mtime_ns
    write("in", "new")
    os.utime("in", ns=(stamp, stamp))
    assert cache.get("k") == 1
    os.utime("in")
    expect_stale(cache, "in")


def test_an_unchanged_file_is_not_read_again(cache, monkeypatch):
    """While size, times, inode and device stand, a look costs a stat and no read, in new processes too."""
    write("in", "content", age_s=100)
    fine = os.stat("in").st_ctime_ns + 3_000_000_000
    wait = max(0.0, (fine - time.time_ns()) / 1e9)
    opened = []
    real_open = os.open

    def spy(path, *args, **kwargs):
        opened.append(os.fspath(path))
        return real_open(path, *args, **kwargs)

    # The racy window is a matter of the observer's clock: it is moved, nobody sleeps.
    digests = cache.digests
    digests.clock = lambda: time.time_ns() + int(wait * 1e9) + 10**9
    monkeypatch.setattr(os, "open", spy)
    cache.put("k", 1, deps=["in"])
    assert [path for path in opened if path.endswith("/in")]
    opened.clear()
    for _ in range(5):
        assert cache.get("k") == 1
    cache.put("k2", 1, deps=["in"])
    cache.close()
    with Cache("c") as other:
        assert other.get("k") == 1
        other.put("k3", 1, deps=["in"])
    assert [path for path in opened if path.endswith("/in")] == []


def test_a_pattern_counts_by_names_and_contents(cache):
    """A new, gone or changed match is stale; other files are nothing."""
    write("src/a.c", "a")
    write("src/sub/b.c", "b")
    cache.put("k", 1, deps=[Glob("src/**/*.c")])
    write("src/x.h", "h")
    assert cache.get("k") == 1
    write("src/sub/c.c", "c")
    expect_stale(cache, "src/**/*.c")
    Path("src/sub/c.c").unlink()
    assert cache.get("k") == 1
    write("src/sub/b.c", "changed")
    expect_stale(cache, "src/sub/b.c")
    write("src/sub/b.c", "b")
    assert cache.get("k") == 1
    Path("src/a.c").unlink()
    expect_stale(cache, "src/**/*.c", "src/a.c")


def test_a_directory_counts_with_all_below(cache):
    """Hidden files and deep ones count; a directory must be there."""
    write("d/a", "a")
    cache.put("k", 1, deps=[Dir("d")])
    write("d/x/.hidden", "h")
    expect_stale(cache, "d")
    Path("d/x/.hidden").unlink()
    assert cache.get("k") == 1
    with pytest.raises(FingerprintError, match="nosuch"):
        cache.put("k", 1, deps=[Dir("nosuch")])


def test_a_variable_counts_and_unset_is_not_empty(cache, monkeypatch):
    """Unset, empty and set are three states."""
    monkeypatch.delenv("MODE", raising=False)
    cache.put("k", 1, deps=[Env("MODE")])
    assert cache.get("k") == 1
    for value in ("", "x"):
        monkeypatch.setenv("MODE", value)
        expect_stale(cache, "MODE")
    monkeypatch.delenv("MODE")
    assert cache.get("k") == 1
    assert b"secret" not in b"".join(path.read_bytes() for path in Path("c").rglob("*") if path.is_file())


def test_a_tool_is_what_would_run(cache, monkeypatch):
    """Another content, another link, or another one earlier in PATH is a change."""
    for place in ("one", "two"):
        write(f"{place}/cc", f"#!/bin/sh\necho {place}\n")
        Path(place, "cc").chmod(0o755)
    Path("bin").mkdir()
    Path("bin/cc").symlink_to("../one/cc")
    monkeypatch.setenv("PATH", os.path.abspath("bin"))
    cache.put("k", 1, deps=[Tool("cc")])
    assert cache.get("k") == 1
    Path("bin/cc").unlink()
    Path("bin/cc").symlink_to("../two/cc")
    expect_stale(cache, "cc")
    monkeypatch.setenv("PATH", f"{os.path.abspath('one')}:{os.path.abspath('bin')}")
    assert cache.get("k") == 1
    write("one/cc", "#!/bin/sh\necho other\n")
    Path("one/cc").chmod(0o755)
    expect_stale(cache, "cc")
    with pytest.raises(FingerprintError, match="nosuchtool"):
        cache.put("k", 1, deps=[Tool("nosuchtool")])


def test_an_absent_file_may_be_depended_on(cache):
    """Creating it is a change, and removing it again is back."""
    cache.put("k", 1, deps=[Absent("override")])
    assert cache.get("k") == 1
    write("override", "")
    expect_stale(cache, "override")
    Path("override").unlink()
    assert cache.get("k") == 1


def test_a_value_holds(cache):
    """A `Value` says what an entry was made with: it is shown, and cannot change by itself."""
    cache.put("k", 1, deps=[Value("level", 3)])
    found = cache.lookup("k")
    assert isinstance(found, Hit)
    assert [(dep.kind, dep.name) for dep in found.entry.deps] == [("value", "level")]


def test_one_dependency_needs_no_list(cache, monkeypatch):
    """A path or spec alone is one dependency, not its letters."""
    write("in", "1")
    cache.put("k", 1, deps="in")
    cache.put("k2", 1, deps=Env("MODE"))
    assert cache.get_or_compute("k3", lambda: 1, deps=File("in")) == 1
    write("in", "22")
    assert cache.get_many(["k", "k2", "k3"]) == {"k2": 1}


def test_a_missing_file_keeps_nothing(cache):
    """A dependency that is not there is a mistake with a remedy."""
    with pytest.raises(FingerprintError, match=r"Absent\('nosuch'\)"):
        cache.put("k", 1, deps=["nosuch"])
    assert len(cache) == 0


def test_names_are_the_projects(cache, tmp_path, monkeypatch):
    """A dependency holds from another directory, and in a copy of the project elsewhere."""
    write("src/in", "x")
    cache.put("k", 1, deps=["src/in"])
    monkeypatch.chdir("src")
    assert cache.get("k") == 1
    cache.close()
    copy = tmp_path / "copy"
    write(str(copy / "src/in"), "x")
    with Cache(tmp_path / "c", root=copy) as other:
        assert other.get("k") == 1
        write(str(copy / "src/in"), "y")
        assert other.get("k") is None


def test_get_or_compute_makes_what_is_stale_anew(cache):
    """A changed dependency makes it compute; one that changes meanwhile keeps nothing."""
    write("in", "1")
    calls = []

    def read():
        calls.append(1)
        return Path("in").read_text()

    assert cache.get_or_compute("k", read, deps=["in"]) == "1"
    assert cache.get_or_compute("k", read, deps=["in"]) == "1"
    write("in", "22")
    assert cache.get_or_compute("k", read, deps=["in"]) == "22"
    assert len(calls) == 2

    def change():
        calls.append(1)
        write("in", "333")
        return "of nobody knows what"

    write("in", "x")
    assert cache.get_or_compute("k", change, deps=["in"]) == "of nobody knows what"
    assert cache.get("k") is None


def test_an_exception_depends_on_what_its_value_would(cache):
    """A remembered exception is forgotten with its dependency and with its tags."""
    write("in", "bad")
    calls = []

    def parse():
        calls.append(1)
        raise ValueError(Path("in").read_text())

    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            cache.get_or_compute("k", parse, deps=["in"], errors="1h", tags=["t"])
    assert len(calls) == 1
    found = cache.lookup("k")
    assert isinstance(found, Hit) and isinstance(found.value, ValueError)
    with pytest.raises(ValueError, match="bad"):
        cache.get("k")
    write("in", "worse")
    with pytest.raises(ValueError, match="worse"):
        cache.get_or_compute("k", parse, deps=["in"], errors="1h", tags=["t"])
    assert cache.invalidate(tags=["t"]) == 1
