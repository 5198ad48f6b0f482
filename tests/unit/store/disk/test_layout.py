"""The directory of a store: made, recognised, left alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vcache.errors import FormatError, StoreUnavailable
from vcache.hash import digest
from vcache.store.disk import layout
from vcache.store.disk.blobs import Blobs
from vcache.store.disk.index import Table, Word
from vcache.store.disk.lock import WriterLock


def prepare(directory: Path, *, read_only: bool = False) -> bool:
    lock = WriterLock(directory / "lock", deadline_s=5)
    try:
        return layout.prepare(directory, lock, read_only=read_only)
    finally:
        lock.close()


def test_a_new_directory_is_made_whole(tmp_path: Path) -> None:
    """What is made can be recognised, is tagged as a cache, and is made only once."""
    directory = tmp_path / "a" / "b"
    assert prepare(directory)
    assert (directory / "format").read_text() == "vcache-disk 1\n"
    assert (
        (directory / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    )
    inode = (directory / "index").stat().st_ino
    assert prepare(directory)
    assert (directory / "index").stat().st_ino == inode


@pytest.mark.parametrize("missing", ["format", "index", "CACHEDIR.TAG", "segments", "tmp"])
def test_a_directory_that_was_made_in_part_is_completed(tmp_path: Path, missing: str) -> None:
    """Whoever was killed in the middle of making it left nothing that hinders the next one."""
    prepare(tmp_path / "cache")
    (tmp_path / "cache" / "format").unlink()
    for name in ("index.new", "janitor.lock"):
        (tmp_path / "cache" / name).write_text("left over")
    (tmp_path / "cache" / "locks").mkdir()
    path = tmp_path / "cache" / missing
    if path.is_dir():
        path.rmdir()
    elif path.exists():
        path.unlink()
    assert prepare(tmp_path / "cache")
    Table.open(tmp_path / "cache" / "index", read_only=True).close()
    assert (tmp_path / "cache" / "format").exists()


def test_a_good_index_survives_a_lost_format_file(tmp_path: Path) -> None:
    """Completing a directory does not replace an index that can be used."""
    prepare(tmp_path / "cache")
    inode = (tmp_path / "cache" / "index").stat().st_ino
    (tmp_path / "cache" / "format").write_text("")
    prepare(tmp_path / "cache")
    assert (tmp_path / "cache" / "index").stat().st_ino == inode


def test_a_directory_that_is_made_by_another_meanwhile_is_no_stranger(tmp_path: Path) -> None:
    """Between the looks of two first openings, the other's `format` file is not foreign."""
    prepare(tmp_path / "cache")
    lock = WriterLock(tmp_path / "cache" / "lock", deadline_s=5)
    layout._create(tmp_path / "cache", lock)
    lock.close()


def test_to_read_only_makes_nothing(tmp_path: Path) -> None:
    """A directory that is not there is not made for reading; one that is there is not written to."""
    with pytest.raises(StoreUnavailable, match="read_only"):
        prepare(tmp_path / "cache", read_only=True)
    assert not (tmp_path / "cache").exists()
    prepare(tmp_path / "cache")
    assert not prepare(tmp_path / "cache", read_only=True)


@pytest.mark.parametrize(
    "text", ["vcache-disk", "vcache-disk x", "vcache-disk 1.5", "other 1", "vcache-disk 2"]
)
def test_another_format_is_refused(tmp_path: Path, text: str) -> None:
    """A format file with anything but this format and version is an error that shows the text."""
    (tmp_path / "format").write_text(text)
    with pytest.raises(FormatError, match=text.rsplit(" ", maxsplit=1)[-1]):
        prepare(tmp_path)
    assert os.listdir(tmp_path) == ["format"]


def test_those_who_have_a_damaged_index_open_are_sent_to_the_new_one(tmp_path: Path) -> None:
    """A replaced index says of itself, in the file that is still mapped, that it is superseded."""
    prepare(tmp_path / "cache")
    table = Table.open(tmp_path / "cache" / "index", read_only=False)
    table.words[Word.MAGIC] = 7
    layout.replace_index(tmp_path / "cache")
    assert table.words[Word.STATE] == 1
    assert Table.open(tmp_path / "cache" / "index", read_only=False).words[Word.STATE] == 0


def test_a_sound_index_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That an index cannot be opened for lack of descriptors does not make it a damaged one."""
    prepare(tmp_path / "cache")
    inode = (tmp_path / "cache" / "index").stat().st_ino

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(Table, "open", refuse)
    with pytest.raises(OSError, match="too many"):
        layout.replace_index(tmp_path / "cache")
    assert (tmp_path / "cache" / "index").stat().st_ino == inode


def evidence(tmp_path: Path, count: int, size_bytes: int) -> list[Path]:
    aside = tmp_path / "quarantine"
    aside.mkdir()
    for number in range(count):
        (aside / f"{number:03}").write_bytes(bytes(size_bytes))
        os.utime(aside / f"{number:03}", (0, time.time() - count + number))
    return sorted(aside.iterdir())


@pytest.mark.parametrize(("target_bytes", "kept"), [(None, 64), (32 * 4096 * 10, 10), (0, 0)])
def test_evidence_is_kept_within_bounds(tmp_path: Path, target_bytes: int | None, kept: int) -> None:
    """Of what was put aside the latest stay: so many files, and a small share of a budget."""
    files = evidence(tmp_path, 100, 4096)
    layout.sweep_evidence(tmp_path, target_bytes)
    assert sorted((tmp_path / "quarantine").iterdir()) == files[100 - kept :]


def test_old_evidence_goes(tmp_path: Path) -> None:
    """What was put aside more than a week ago is removed; nothing there is no error."""
    layout.sweep_evidence(tmp_path, None)
    files = evidence(tmp_path, 3, 10)
    os.utime(files[1], (0, time.time() - 8 * 86400))
    layout.sweep_evidence(tmp_path, None)
    assert sorted((tmp_path / "quarantine").iterdir()) == [files[0], files[2]]


def test_a_damaged_record_is_kept_aside_in_part(tmp_path: Path) -> None:
    """Evidence is the record's bytes, never more than 1 MiB, and never beyond the segment."""
    view = memoryview(bytes(16) + (1 << 30).to_bytes(4, "little") + bytes(3 << 20))
    layout.keep_aside(tmp_path, 7, view, 0)
    layout.keep_aside(tmp_path, 8, view, len(view) - 5)
    layout.keep_aside(tmp_path, 9, view, len(view) + 5)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "quarantine").iterdir()}
    assert sizes == {f"{7:016x}": 1 << 20, f"{8:016x}": 0, f"{9:016x}": 0}


def test_a_lost_index_takes_with_it_what_nobody_holds(tmp_path: Path) -> None:
    """When an index is replaced, segments and blobs go at once, but for a file that somebody holds."""
    prepare(tmp_path)
    blobs = Blobs(tmp_path)
    bodies = [bytes([number]) * 5000 for number in range(3)]
    seals = [blobs.write(digest(body), 0, body) for body in bodies]
    (tmp_path / "segments" / "00000001").write_bytes(bytes(5000))
    held = blobs.hold(digest(bodies[1]), 0, seals[1])
    assert held is not None
    (tmp_path / "index").unlink()
    layout.replace_index(tmp_path)
    assert held.path.read_bytes() == bodies[1]
    assert [name for name, _, _ in blobs.walk()] == [digest(bodies[1])]
    assert list((tmp_path / "segments").iterdir()) == []
