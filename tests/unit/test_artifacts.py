"""Output files as entries: taken in, put back, found missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vcache import Cache, UsageError
from vcache.artifacts import can_put_back, collect, output_name, put_back
from vcache.errors import StoreFull, UnsafePath
from vcache.hash import digest
from vcache.store.memory import MemoryStore
from vcache.testing import FaultyStore, flip_stored

SIZES = [0, 100, 5000, 300_000]


@pytest.fixture(params=["disk", "memory", "store without files"])
def cache(request, tmp_path, monkeypatch):
    """A cache on each kind of store, with a project of its own."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    where = {"disk": tmp_path / "c", "memory": "mem:10MB", "store without files": FaultyStore(MemoryStore())}
    with Cache(where[request.param], root=root) as cache:
        yield cache


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_file_comes_back_in_another_checkout(cache, tmp_path, size_bytes):
    """Content and mode are put back, with the directories between, from whatever store."""
    content = os.urandom(size_bytes)
    Path("out/deep").mkdir(parents=True)
    Path("out/deep/o").write_bytes(content)
    Path("out/deep/o").chmod(0o751)
    artifacts = collect(cache, ["out/deep/o"])
    assert artifacts == [["out/deep/o", 0o751, digest(content)]]
    cache.root = tmp_path / "checkout"
    cache.root.mkdir()
    assert can_put_back(cache, artifacts)
    assert put_back(cache, artifacts)
    target = cache.root / "out/deep/o"
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o751
    assert [path.name for path in target.parent.iterdir()] == ["o"]  # no temporary file is left


def test_a_large_output_is_a_file_of_its_own(tmp_path):
    """Writing to what was put back does not write to what is kept."""
    content = os.urandom(400_000)
    (tmp_path / "o").write_bytes(content)
    with Cache(tmp_path / "c", root=tmp_path) as cache:
        artifacts = collect(cache, ["o"])
        assert artifacts is not None
        (tmp_path / "o").unlink()
        for _ in range(2):
            assert put_back(cache, artifacts)
            with open(tmp_path / "o", "r+b") as file:
                file.write(b"overwritten")
        assert put_back(cache, artifacts)
        assert (tmp_path / "o").read_bytes() == content


def test_what_is_in_place_is_not_written(cache):
    """Equal content and mode: the very file stays. Another mode is set right."""
    Path("o").write_text("x")
    Path("o").chmod(0o644)
    artifacts = collect(cache, ["o"])
    assert artifacts is not None
    before = os.stat("o")
    assert put_back(cache, artifacts)
    assert (os.stat("o").st_ino, os.stat("o").st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    Path("o").chmod(0o600)
    assert put_back(cache, artifacts)
    assert os.stat("o").st_mode & 0o777 == 0o644


@pytest.mark.parametrize("size_bytes", SIZES)
def test_what_is_not_kept_cannot_be_put_back(cache, size_bytes):
    """A file that neither stands there nor is in a store makes the whole result none."""
    Path("a").write_bytes(b"a" * size_bytes)
    Path("b").write_bytes(b"b" * (size_bytes + 1))
    artifacts = collect(cache, ["a", "b"])
    assert artifacts is not None
    Path("b").unlink()
    for key in list(cache.store.scan(b".outputs\0")):
        cache.store.delete(key)
    assert not can_put_back(cache, artifacts)
    assert not put_back(cache, artifacts)
    assert not Path("b").exists()


@pytest.mark.parametrize("size_bytes", SIZES[1:])
def test_a_damaged_file_is_not_put_back(tmp_path, size_bytes):
    """A flipped bit in what is kept makes it a miss, never an output."""
    content = os.urandom(size_bytes)
    (tmp_path / "o").write_bytes(content)
    with Cache(f"disk:{tmp_path / 'c'}", root=tmp_path) as cache:
        artifacts = collect(cache, ["o"])
        assert artifacts is not None
        assert flip_stored(tmp_path / "c", content, bit=9)
        (tmp_path / "o").unlink()
        assert not put_back(cache, artifacts)
        assert not (tmp_path / "o").exists()


def test_what_is_no_output_is_said(cache, tmp_path):
    """Missing files, directories, and names that lead out of the root."""
    with pytest.raises(UsageError, match="'absent' was promised and not made"):
        collect(cache, ["absent"])
    Path("d").mkdir()
    with pytest.raises(UsageError, match="not a regular file"):
        collect(cache, ["d"])
    Path("link").symlink_to(tmp_path)
    for name in ("../o", "/etc/passwd", "link/o", "a//b", "a/./b", "", "a\0b"):
        with pytest.raises(UnsafePath):
            put_back(cache, [[name, 0o644, bytes(32)]])
        with pytest.raises(UnsafePath):
            can_put_back(cache, [[name, 0o644, bytes(32)]])


def test_a_store_that_does_not_take_a_file_keeps_no_result(tmp_path):
    """None says so; nothing is raised."""
    (tmp_path / "o").write_text("x")
    store = FaultyStore(MemoryStore())
    with Cache(store, root=tmp_path) as cache:
        store.fail("put", StoreFull("no space"))
        assert collect(cache, ["o"]) is None


def test_names_are_below_the_root(tmp_path, monkeypatch):
    """However a path is written, its name is one; outside of the root there is none."""
    monkeypatch.chdir(tmp_path)
    for path in ("a/b", "./a/b", "a/x/../b", tmp_path / "a/b", "a//b"):
        assert output_name(tmp_path, path) == "a/b"
    for path in ("../b", "/b", tmp_path.parent):
        with pytest.raises(UsageError, match="outside the project root"):
            output_name(tmp_path, path)
    assert output_name(tmp_path, "..b") == "..b"
    with pytest.raises(UsageError):
        output_name(tmp_path, ".")


@pytest.mark.parametrize("stored", [["x"], [["name", "0o644", b"d"]], [[1, 2, 3]], [["name", 0o644]], [None]])
def test_a_list_that_is_none_is_not_put_back(tmp_path, stored):
    """What another program stored in the place of a file list is a miss, never a crash."""
    with Cache(tmp_path / "c", root=tmp_path) as cache:
        assert not put_back(cache, stored)
        assert not can_put_back(cache, stored)
