"""Outputs stay below their root, whatever an entry says and whoever swaps directories meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vcache.errors import UnsafePath
from vcache.fingerprint import outputs
from vcache.fingerprint.outputs import open_below, restore, safe_target


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    made = tmp_path / "root"
    made.mkdir()
    return made


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


UNSAFE = (
    "",
    "/etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "a//b",
    "./a",
    "a/",
    "/",
    "a\0b",
    ".",
    "a/./b",
)


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names_are_refused(root: Path, name: str) -> None:
    """A name that is not plainly below a directory is refused, shown, and nothing is written."""
    for attempt in (
        lambda: safe_target(root, name),
        lambda: restore(root, name, b"x", mode=0o644, link=False),
        lambda: open_below(root, name),
    ):
        with pytest.raises(UnsafePath, match="output"):
            attempt()
    assert names(root) == []


@pytest.mark.parametrize("name", ["a.o", "deep/er/a.o", "...", "a..b", " ", "é\n", os.fsdecode(b"\xff")])
@pytest.mark.parametrize("from_file", [True, False])
def test_an_output_is_restored(root: Path, tmp_path: Path, name: str, from_file: bool) -> None:
    """Content and mode arrive whatever the umask, directories are made, nothing else is left."""
    source: Path | bytes = b"content"
    if from_file:
        source = tmp_path / "blob"
        source.write_bytes(b"content")
    before = os.umask(0o077)
    try:
        restore(root, name, source, mode=0o755, link=True)
    finally:
        os.umask(before)
    target = safe_target(root, name)
    assert target == root / name
    assert target.read_bytes() == b"content"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert [path.name for path in root.rglob("*") if path.is_file()] == [target.name]
    with open_below(root, name) as file:
        assert file.read() == b"content"


def test_an_output_never_gains_set_uid(root: Path) -> None:
    """An entry decides on reading, writing and running only."""
    restore(root, "a", b"", mode=0o6755, link=False)
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o755


def test_the_source_is_not_shared(root: Path, tmp_path: Path) -> None:
    """Writing to a restored output leaves the cache's copy alone."""
    blob = tmp_path / "blob"
    blob.write_bytes(b"content")
    restore(root, "a", blob, mode=0o644, link=True)
    with (root / "a").open("r+b") as file:
        file.write(b"XX")
    assert blob.read_bytes() == b"content"


def test_an_old_output_is_replaced_whole(root: Path) -> None:
    """Who has the old file open keeps it; a link in its place is replaced, not written through."""
    restore(root, "a", b"old", mode=0o644, link=False)
    with (root / "a").open("rb") as old:
        restore(root, "a", b"new", mode=0o644, link=False)
        assert old.read() == b"old"
    assert (root / "a").read_bytes() == b"new"
    (root / "l").symlink_to("../outside/secret")
    restore(root, "l", b"new", mode=0o644, link=False)
    assert not (root / "l").is_symlink()
    assert (root.parent / "outside" / "secret").read_text() == "secret"


@pytest.mark.parametrize(
    "target", ["../outside", "/etc", "..", "in/../../outside", "deep/up", "../root2", "neighbour", "/"]
)
def test_a_link_out_of_the_root_is_refused(root: Path, target: str) -> None:
    """Relative, absolute, in two hops, or to a neighbour whose name begins alike."""
    (root / "in").mkdir()
    (root / "deep").mkdir()
    (root / "deep" / "up").symlink_to("../..")
    (root.parent / "root2").mkdir()
    (root / "way").symlink_to(str(root) + "2" if target == "neighbour" else target)
    for attempt in (
        lambda: safe_target(root, "way/x"),
        lambda: restore(root, "way/x", b"x", mode=0o644, link=False),
        lambda: open_below(root, "way/secret"),
        lambda: safe_target(root, "way"),
        lambda: open_below(root, "way"),
    ):
        with pytest.raises(UnsafePath, match=r"'way.*link"):
            attempt()
    assert names(root.parent / "outside") == ["secret"]


@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_that_stays_below_is_followed(root: Path, absolute: bool) -> None:
    """A project may link its output directory within itself."""
    (root / "real" / "sub").mkdir(parents=True)
    (root / "a").mkdir()
    (root / "a" / "way").symlink_to(root / "real" if absolute else "../real/./sub/..")
    restore(root, "a/way/new/x", b"x", mode=0o644, link=False)
    assert (root / "real" / "new" / "x").read_bytes() == b"x"
    (root / "last").symlink_to("a/way/new/x")
    with open_below(root, "last") as file:
        assert file.read() == b"x"
    assert safe_target(root, "last") == root / "last"


def test_a_root_may_be_a_link(root: Path) -> None:
    """The root is the caller's: only what is below it is checked."""
    link = root.parent / "alias"
    link.symlink_to(root)
    restore(link, "a/x", b"x", mode=0o644, link=False)
    assert (root / "a" / "x").read_bytes() == b"x"


def test_links_in_a_circle_end(root: Path) -> None:
    """A loop is refused instead of walked."""
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(UnsafePath, match="too many links"):
        restore(root, "a/x", b"x", mode=0o644, link=False)
    with pytest.raises(UnsafePath, match="too many links"):
        open_below(root, "a")


def test_what_is_in_the_way_is_named(root: Path) -> None:
    """A file where a directory should be, a directory where the output should be; nothing is left behind."""
    (root / "file").write_text("")
    with pytest.raises(UnsafePath, match="'file' is a file"):
        restore(root, "file/x", b"x", mode=0o644, link=False)
    (root / "dir").mkdir()
    with pytest.raises(UnsafePath, match="a directory is in the way"):
        restore(root, "dir", b"x", mode=0o644, link=False)
    assert names(root) == ["dir", "file"]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(".")])
def test_only_a_file_is_taken(root: Path, make: Callable[[Path], object]) -> None:
    """A FIFO in the place of an output does not hang, a directory is no file."""
    make(root / "odd")
    with pytest.raises(UnsafePath, match="not a regular file"):
        open_below(root, "odd")


def test_a_missing_output_is_an_os_error(root: Path) -> None:
    """Reading what is not there says so; a target that does not exist yet is safe."""
    for name in ("nope", "no/pe"):
        with pytest.raises(FileNotFoundError):
            open_below(root, name)
    assert safe_target(root, "no/pe") == root / "no" / "pe"


def test_a_swapped_directory_leads_nowhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory replaced by a link after it was checked does not move the output outside."""
    (root / "a").mkdir()
    real = outputs._fill

    def swapped(fd: int, source: Path | bytes | memoryview, *, link: bool) -> None:
        (root / "a").rename(root / "moved")
        (root / "a").symlink_to("../outside")
        real(fd, source, link=link)

    monkeypatch.setattr(outputs, "_fill", swapped)
    restore(root, "a/x", b"x", mode=0o644, link=False)
    assert names(root.parent / "outside") == ["secret"]
    assert (root / "moved" / "x").read_bytes() == b"x"


def test_a_failed_write_leaves_the_old_output(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an OSError, the old file is intact and no temporary file stays."""
    restore(root, "a", b"old", mode=0o644, link=False)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        restore(root, "a", b"new", mode=0o644, link=False)
    monkeypatch.undo()
    assert (root / "a").read_bytes() == b"old"
    assert names(root) == ["a"]


@pytest.mark.parametrize("code", [None, errno.EXDEV, errno.ENOSYS, "zero", "half"])
def test_every_way_of_copying_copies(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | str | None
) -> None:
    """In the kernel, not at all there, or only half: the content is whole."""
    blob = tmp_path / "blob"
    content = os.urandom(3 << 20)
    blob.write_bytes(content)
    real, calls = os.copy_file_range, []

    def faulty(source: int, target: int, count: int) -> int:
        calls.append(count)
        if code == "zero":
            return 0
        if code == "half" and len(calls) == 1:
            return real(source, target, 1000)
        raise OSError(errno.EINVAL if code == "half" else code, "cannot")

    if code is not None:
        monkeypatch.setattr(os, "copy_file_range", faulty)
    restore(root, "a", blob, mode=0o644, link=False)
    assert (root / "a").read_bytes() == content


def test_no_descriptor_is_left_open(root: Path) -> None:
    """Neither after success nor after a refusal."""
    (root / "way").symlink_to("..")
    before = len(os.listdir("/proc/self/fd"))
    restore(root, "a/b/c", b"x", mode=0o644, link=False)
    for attempt in (lambda: safe_target(root, "way/x"), lambda: open_below(root, "a")):
        with pytest.raises(UnsafePath):
            attempt()
    open_below(root, "a/b/c").close()
    assert len(os.listdir("/proc/self/fd")) == before
