"""Output files as entries: taken in, put back, found missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from vcache import Cache, UsageError
from vcache.artifacts import can_put_back, collect, output_name, plan, put_back, put_in_place
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
    os.mkfifo("d")
    with pytest.raises(UsageError, match="not a file, link or directory"):
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


def tree(path: Path) -> dict[str, object]:
    """Everything below a path: what links lead to, what files hold, modes of files and empty directories."""
    found: dict[str, object] = {}
    for each in sorted(path.rglob("*")):
        mode = each.lstat().st_mode & 0o777
        name = str(each.relative_to(path))
        if each.is_symlink():
            found[name] = os.readlink(each)
        elif each.is_dir():
            found[name] = mode if not list(each.iterdir()) else "directory"
        else:
            found[name] = (mode, each.read_bytes())
    return found


@pytest.fixture
def grown(cache) -> dict[str, object]:
    """A directory with a bit of everything."""
    Path("gen/a/b").mkdir(parents=True)
    Path("gen/empty").mkdir(mode=0o750)
    Path("gen/a/x").write_bytes(b"x" * 300_000)
    Path("gen/a/b/y").write_text("y")
    Path("gen/a/b/y").chmod(0o555)
    Path("gen/link").symlink_to("a/b/y")
    Path("gen/dangling").symlink_to("/nowhere/at all")
    return tree(Path("gen"))


def a_file_for_a_directory() -> None:
    shutil.rmtree("gen/a")
    Path("gen/a").write_text("z")


def a_directory_for_a_file() -> None:
    Path("gen/a/x").unlink()
    Path("gen/a/x/z").mkdir(parents=True)


def a_link_for_a_directory() -> None:
    shutil.rmtree("gen/a")
    Path("gen/a").symlink_to("../src")


def a_link_for_a_file() -> None:
    Path("gen/a/x").unlink()
    Path("gen/a/x").symlink_to("../../src/s")


def a_file_for_a_link() -> None:
    Path("gen/link").unlink()
    Path("gen/link").write_text("y")


def another_link() -> None:
    Path("gen/link").unlink()
    Path("gen/link").symlink_to("a/x")


def a_file_for_all() -> None:
    shutil.rmtree("gen")
    Path("gen").write_text("z")


def a_link_for_all() -> None:
    shutil.rmtree("gen")
    Path("gen").symlink_to("src")


SPOILS: dict[str, Callable[[], object]] = {
    "gone": lambda: shutil.rmtree("gen"),
    "one is gone": lambda: Path("gen/a/x").unlink(),
    "one is different": lambda: Path("gen/a/x").write_text("z"),
    "extra file": lambda: Path("gen/a/extra").write_text("z"),
    "extra directory": lambda: Path("gen/more/deep").mkdir(parents=True),
    "extra link out": lambda: Path("gen/out").symlink_to(Path("src").absolute()),
    "another mode": lambda: Path("gen/a/b/y").chmod(0o644),
    "another mode of the empty one": lambda: Path("gen/empty").chmod(0o700),
    "no longer empty": lambda: Path("gen/empty/z").write_text("z"),
    "a file for a directory": a_file_for_a_directory,
    "a directory for a file": a_directory_for_a_file,
    "a link for a directory": a_link_for_a_directory,
    "a link for a file": a_link_for_a_file,
    "a file for a link": a_file_for_a_link,
    "another link": another_link,
    "a file for all": a_file_for_all,
    "a link for all": a_link_for_all,
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_directory_is_put_back_whole(cache, grown, spoil):
    """Whatever was done to it, it holds what it held and nothing else; nothing beside it is touched."""
    Path("src").mkdir()
    Path("src/s").write_text("source")
    before = tree(Path("src"))
    artifacts = collect(cache, ["gen"])
    assert artifacts is not None
    SPOILS[spoil]()
    assert can_put_back(cache, artifacts, ["gen/"])
    assert put_back(cache, artifacts, ["gen/"])
    assert not Path("gen").is_symlink()
    assert tree(Path("gen")) == grown
    assert tree(Path("src")) == before


def test_what_is_in_place_below_a_directory_stays(cache, grown):
    """Only what is different is written, and named."""
    artifacts = collect(cache, ["gen"])
    outputs = plan(artifacts, ["gen"])
    assert outputs is not None
    assert put_in_place(cache, outputs) == ()
    before = os.stat("gen/a/x")
    Path("gen/a/b/y").unlink()
    assert put_in_place(cache, outputs) == ("gen/a/b/y",)
    assert (os.stat("gen/a/x").st_ino, os.stat("gen/a/x").st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    Path("gen/more").touch()
    assert put_in_place(cache, outputs) == ("gen",)


def test_an_empty_directory_is_an_output(cache):
    """It comes back with its mode."""
    Path("d").mkdir(mode=0o710)
    artifacts = collect(cache, ["d/"])
    assert artifacts == [["d", 0o040710, b""]]
    Path("d").rmdir()
    assert put_back(cache, artifacts, ["d/"])
    assert Path("d").stat().st_mode & 0o777 == 0o710


@pytest.mark.parametrize("target", ["o", "nowhere", "/etc/passwd", "../outside", "d"])
def test_a_link_is_an_output(cache, target):
    """It is kept by what it says, wherever that leads, and takes the place of a file or link in one step."""
    Path("o").write_text("o")
    Path("d").mkdir()
    Path("l").symlink_to(target)
    artifacts = collect(cache, ["l"])
    assert artifacts == [["l", 0o120000, target.encode()]]
    for spoil in (lambda: None, Path("l").touch, lambda: Path("l").symlink_to("another")):
        if spoil is not None and os.path.lexists("l"):
            Path("l").unlink()
        spoil()
        assert put_back(cache, artifacts)
        assert os.readlink("l") == target
    inode = os.lstat("l").st_ino
    assert put_back(cache, artifacts)
    assert os.lstat("l").st_ino == inode
    assert Path("o").read_text() == "o"


def test_a_directory_is_no_file_s_to_replace(cache):
    """What a file output would cover is not removed: that is no hit."""
    Path("o").write_text("o")
    artifacts = collect(cache, ["o"])
    assert artifacts is not None
    Path("o").unlink()
    Path("o").mkdir()
    Path("o/precious").touch()
    with pytest.raises(UnsafePath, match="in the way"):
        put_back(cache, artifacts)
    assert Path("o/precious").exists()


def test_nothing_is_written_when_a_part_is_missing(cache, grown):
    """One file that no store has makes all of them stay as they are."""
    Path("o").write_text("o")
    artifacts = collect(cache, ["o", "gen"])
    assert artifacts is not None
    y = next(artifact for artifact in artifacts if artifact[0] == "gen/a/b/y")
    assert cache.store.delete(b".outputs\0b" + cast("bytes", y[2]))
    Path("o").unlink()
    Path("gen/a/b/y").unlink()
    assert not can_put_back(cache, artifacts, ["o", "gen"])
    assert not put_back(cache, artifacts, ["o", "gen"])
    assert not Path("o").exists()
    Path("gen/a/b/y").write_text("y")
    Path("gen/a/b/y").chmod(0o555)
    assert put_back(cache, artifacts, ["o", "gen"])  # in place, if nowhere else
    assert Path("o").exists()
    assert tree(Path("gen")) == grown
