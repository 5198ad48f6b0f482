"""Many outputs below one root, with directories kept open between them."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from pathlib import Path

import pytest

from vcache.errors import UnsafePath
from vcache.fingerprint import restoring
from vcache.fingerprint.outputs import write_at
from vcache.fingerprint.restoring import Restorer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "root"


def put(restorer: Restorer, name: str, content: bytes = b"x") -> None:
    restorer.write(restorer.make(name), content, mode=0o644, link=False)


def held() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_directories_are_made_and_reused(root: Path) -> None:
    """However many files go into one directory, it is opened once."""
    restorer = Restorer(root)
    assert restorer.find("a/b/0") is None
    for n in range(5):
        put(restorer, f"a/b/{n}", b"%d" % n)
    before = held()
    put(restorer, "a/b/5")
    assert held() == before
    assert sorted(os.listdir(root / "a/b")) == ["0", "1", "2", "3", "4", "5"]
    found = restorer.find("a/b/0")
    assert found is not None
    assert found.directory is restorer.make("a/b/1").directory


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a/..", "a//b", "a/./b", "a/", "a/b\0c", "a/../../x"]
)
def test_unsafe_names_are_refused(root: Path, name: str) -> None:
    """Also where their directory is open already."""
    restorer = Restorer(root)
    put(restorer, "a/ok")
    put(restorer, "ok")
    for look in (restorer.find, restorer.make):
        with pytest.raises(UnsafePath):
            look(name)
    assert sorted(os.listdir(root)) == ["a", "ok"]


def moved(root: Path) -> None:
    os.rename(root / "a", root / "b")


def swapped(root: Path) -> None:
    os.rename(root / "a", root / "b")
    (root / "a").mkdir()


def linked(root: Path) -> None:
    os.rename(root / "a", root / "b")
    (root / "c").mkdir()
    (root / "a").symlink_to("c")


@pytest.mark.parametrize("change", [moved, swapped, linked, lambda root: shutil.rmtree(root / "a")])
def test_a_directory_that_changed_is_walked_to_again(root: Path, change) -> None:
    """What was renamed, replaced or removed since is not written to any more."""
    restorer = Restorer(root)
    put(restorer, "a/one")
    change(root)
    put(restorer, "a/two", b"two")
    assert (root / "a/two").read_bytes() == b"two"
    assert not (root / "b/two").exists()


def test_a_directory_that_became_a_link_out_is_refused(root: Path) -> None:
    """An open directory is no way around the check."""
    restorer = Restorer(root)
    put(restorer, "a/one")
    os.rename(root / "a", root / "b")
    (root / "a").symlink_to(root.parent / "outside")
    for look in (restorer.find, restorer.make):
        with pytest.raises(UnsafePath, match="out of"):
            look("a/two")
    assert os.listdir(root.parent / "outside") == []


def test_descriptors_are_given_back(root: Path) -> None:
    """A run of many directories holds a bounded number of them; the end gives all back."""
    gc.collect()
    before = held()
    restorer = Restorer(root)
    for n in range(restoring._OPEN_MOST * 2):
        put(restorer, f"d{n}/x")
        assert held() <= before + restoring._OPEN_MOST + 1
    del restorer
    gc.collect()
    assert held() == before


def test_a_tree_holds_what_it_should(root: Path) -> None:
    """Directories are made, what is not wanted goes, files are left to the caller, who learns of changes."""
    restorer = Restorer(root)
    branch: restoring.Branch = {"a": {"b": {}, "x": None}, "y": None}
    seen = []
    for fd, name, leaves, is_changed in restorer.tree("t", branch):
        seen.append((name, sorted(leaves), is_changed))
        for leaf in leaves:
            write_at(fd, leaf, b"", mode=0o644, link=False)
    assert seen == [("t", ["y"], True), ("t/a", ["x"], True), ("t/a/b", [], True)]
    (root / "t/a/b/odd").touch()
    (root / "t/y").unlink()
    (root / "t/y").mkdir()
    again = [(name, is_changed) for _, name, _, is_changed in restorer.tree("t", branch)]
    assert again == [("t", True), ("t/a", False), ("t/a/b", True)]
    assert sorted(path.name for path in (root / "t").rglob("*")) == ["a", "b", "x"]


def test_a_tree_is_never_entered_through_a_link(root: Path) -> None:
    """A link in the place of a directory is replaced; what it led to stays."""
    (root.parent / "outside/precious").touch()
    (root / "t").mkdir()
    (root / "t/a").symlink_to(root.parent / "outside")
    list(Restorer(root).tree("t", {"a": {}}))
    assert not (root / "t/a").is_symlink()
    assert (root.parent / "outside/precious").exists()
    shutil.rmtree(root / "t")
    (root / "t").symlink_to(root.parent / "outside")
    list(Restorer(root).tree("t", {}))
    assert not (root / "t").is_symlink()
    assert (root.parent / "outside/precious").exists()


def test_many_threads_restore_at_once(root: Path) -> None:
    """While the set of open directories turns over, none is closed under another thread's hands."""
    restorer = Restorer(root)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for n in range(100):
                put(restorer, f"d{n}/{number}", b"%d" % number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(
        (root / f"d{n}/{number}").read_bytes() == b"%d" % number for n in range(100) for number in range(4)
    )


def test_hard_links_are_made_only_when_asked(tmp_path: Path):
    """A file that nobody runs shares the store's; a program keeps its mode in a copy."""
    (tmp_path / "root").mkdir()
    source = tmp_path / "blob"
    source.write_bytes(b"x")
    source.chmod(0o444)
    target = tmp_path / "root" / "a"
    for asked in (False, True):
        restorer = Restorer(tmp_path / "root", hard_links=asked)
        restorer.write(restorer.make("a"), source, mode=0o644, link=True)
        assert target.samefile(source) == asked
        restorer.write(restorer.make("a"), source, mode=0o644, link=True)  # over itself
        restorer.write(restorer.make("run"), source, mode=0o755, link=True)
        assert not (tmp_path / "root" / "run").samefile(source)
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["a", "run"]
