"""Blob files: named by content, held by lock."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.faults.crew import Child
from vcache.entry import Encoding
from vcache.hash import digest
from vcache.store.disk.blobs import Blobs, Seal, blob_key, split_blob_key

BODY = os.urandom(300_000)
NAME = digest(BODY)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    for name in ("blobs", "tmp"):
        (tmp_path / name).mkdir()
    return Blobs(tmp_path)


def scratch(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "tmp").iterdir())


def test_keys_of_bodies_give_their_parts_back() -> None:
    """Digest and encoding come back from a body's key; nothing else is taken for one."""
    for encoding in Encoding:
        assert split_blob_key(blob_key(NAME, encoding)) == (NAME, encoding)
    for other in (b"", b"\0B", b"\0sname", blob_key(NAME, 3), blob_key(NAME, 0) + b"x", b"\0b" + bytes(33)):
        assert split_blob_key(other) is None


def test_a_seal_is_known_by_its_length() -> None:
    """24 bytes are a seal; a body of any other length is the shared body itself."""
    seal = Seal(5, bytes(range(16)))
    read = Seal.of(memoryview(seal.to_bytes()))
    assert read is not None
    assert (read.size_bytes, read.check) == (5, bytes(range(16)))
    for size in (0, 23, 25, 4097):
        assert Seal.of(memoryview(bytes(size))) is None


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("size_bytes", [0, 1, 300_000, 1_200_000])
def test_a_body_is_read_as_it_was_written(
    blobs: Blobs, tmp_path: Path, size_bytes: int, mapped: bool
) -> None:
    """A written body comes back, from a read-only file, and leaves nothing in the scratch folder."""
    body = os.urandom(size_bytes)
    seal = blobs.write(digest(body), Encoding.ZSTD, body)
    read = blobs.read(digest(body), Encoding.ZSTD, seal, mapped=mapped)
    assert read is not None
    assert bytes(read) == body
    assert blobs.path(digest(body), Encoding.ZSTD).stat().st_mode & 0o777 == 0o444
    assert blobs.read(digest(body), Encoding.IDENTITY, seal, mapped=mapped) is None
    assert scratch(tmp_path) == []


def test_a_damaged_file_is_no_body(blobs: Blobs) -> None:
    """A file of another length or content is neither read nor held nor sound."""
    seal = blobs.write(NAME, 0, BODY)
    path = blobs.path(NAME, 0)
    path.chmod(0o644)
    for content in (BODY[:-1], BODY + b"x", b"x" + BODY[1:], b""):
        path.write_bytes(content)
        assert blobs.read(NAME, 0, seal, mapped=False) is None
        assert blobs.hold(NAME, 0, seal) is None
        assert not blobs.is_sound(NAME, 0, seal)
    path.write_bytes(BODY)
    assert blobs.is_sound(NAME, 0, seal)


def test_a_damaged_file_is_replaced_and_a_sound_one_kept(blobs: Blobs) -> None:
    """Publishing takes a damaged file's name, and leaves a sound one alone."""
    seal = blobs.write(NAME, 0, BODY)
    path = blobs.path(NAME, 0)
    inode = path.stat().st_ino
    blobs.write(NAME, 0, BODY)
    assert path.stat().st_ino == inode
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    blobs.write(NAME, 0, BODY)
    assert blobs.is_sound(NAME, 0, seal)


def test_without_links_a_file_is_renamed(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without hard links a body gets its name all the same."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    seal = blobs.write(NAME, 0, BODY)
    assert blobs.is_sound(NAME, 0, seal)
    assert scratch(tmp_path) == []


def test_a_held_file_is_not_removed(blobs: Blobs) -> None:
    """While somebody holds a file, here or in another process, it cannot be removed."""
    seal = blobs.write(NAME, 0, BODY)
    held = blobs.hold(NAME, 0, seal)
    assert held is not None

    def remove(fd: int) -> None:
        held.release()  # what a child inherits is a copy: letting go of it changes nothing
        os.write(fd, repr(blobs.remove(NAME, 0)).encode())

    assert blobs.remove(NAME, 0) is None
    assert Child(remove).finish(10) == b"None"
    assert held.path.read_bytes() == BODY
    held.release()
    held.release()
    assert blobs.remove(NAME, 0) == -(-300_000 // 4096) * 4096
    assert blobs.remove(NAME, 0) == 0


def test_a_stream_holds_its_file_until_it_is_dropped(blobs: Blobs) -> None:
    """A stream over a held file keeps it in place; when it goes, the file may go."""
    seal = blobs.write(NAME, 0, BODY)
    held = blobs.hold(NAME, 0, seal)
    assert held is not None
    stream = blobs.open(held)
    del held
    assert stream.read() == BODY
    assert blobs.remove(NAME, 0) is None
    stream.close()
    del stream
    assert blobs.remove(NAME, 0)


def test_a_file_about_to_be_removed_is_not_waited_for(blobs: Blobs) -> None:
    """Holding a file under somebody's exclusive lock fails at once: it is about to go."""
    import fcntl

    seal = blobs.write(NAME, 0, BODY)
    fd = os.open(blobs.path(NAME, 0), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert blobs.hold(NAME, 0, seal) is None
    os.close(fd)
    assert blobs.hold(NAME, 0, seal) is not None


def test_a_staged_body_that_is_dropped_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    """Without a name, a staged body disappears with the last reference, and only in its own process."""
    held = [blobs.stage(BODY)]
    assert len(scratch(tmp_path)) == 1
    assert blobs.is_staged(held[0])
    assert not Blobs(tmp_path / "other").is_staged(held[0])
    assert not blobs.is_staged(None)

    def drop(_: int) -> None:
        held[0].discard()

    Child(drop).finish(10)
    assert len(scratch(tmp_path)) == 1
    held.clear()
    assert scratch(tmp_path) == []


def test_a_published_body_is_staged_no_more(blobs: Blobs) -> None:
    """What has its name cannot be named again by another put."""
    staged = blobs.stage(BODY)
    blobs.publish(staged, NAME, 0)
    assert not blobs.is_staged(staged)


@pytest.mark.parametrize("move", [True, False])
def test_an_adopted_file_is_a_copy(blobs: Blobs, tmp_path: Path, move: bool) -> None:
    """A source's content is kept under its digest; the source stays unless it may be consumed."""
    source = tmp_path / "source"
    source.write_bytes(BODY)
    named, seal = blobs.adopt(source, move=move)
    assert named == NAME
    assert source.exists() != move
    if not move:
        source.write_bytes(b"changed")
    assert blobs.is_sound(NAME, 0, seal)
    assert scratch(tmp_path) == []


def test_only_files_of_dead_writers_are_swept(blobs: Blobs, tmp_path: Path) -> None:
    """An old temporary file goes if its writer is dead; a young one, or one being written, stays."""
    staged = blobs.stage(BODY)
    young, old = tmp_path / "tmp" / "young", tmp_path / "tmp" / "old"
    young.write_bytes(bytes(5000))
    old.write_bytes(bytes(5000))
    for path in (old, Path(staged.path)):
        os.utime(path, (0, time.time() - 3600))
    assert blobs.sweep_scratch() == 8192
    assert sorted(scratch(tmp_path)) == sorted([young, Path(staged.path)])


def test_files_that_are_no_blobs_are_passed_over(blobs: Blobs, tmp_path: Path) -> None:
    """A walk gives blob files only, whatever else lies among them."""
    blobs.write(NAME, Encoding.LZ4, BODY)
    folder = blobs.path(NAME, 0).parent
    for stranger in ("README", "zz", NAME.hex()[2:] + ".gz", "." + NAME.hex()):
        (folder / stranger).write_text("")
    (tmp_path / "blobs" / "stray").write_text("")
    assert [(name, encoding) for name, encoding, _ in blobs.walk()] == [(NAME, Encoding.LZ4)]
