"""Who writes tail files: one file at a time, held; a new one when it is full."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.errors import EncodeError, StoreClosed
from vcache.logs.ids import stream_name
from vcache.logs.record import Record
from vcache.logs.tail import frames
from vcache.logs.tail.reader import TailReader
from vcache.logs.tail.writer import TailWriter
from vcache.testing.logs import numbered


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for place in ("tail", "tmp"):
        (tmp_path / place).mkdir()
    return tmp_path


@pytest.fixture
def writer(directory: Path) -> Iterator[TailWriter]:
    made = TailWriter(directory, file_records=10)
    yield made
    made.close()


def is_held(path: Path) -> bool:
    """Whether somebody has the lock of a file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def lines(directory: Path, stream: int) -> list[object]:
    reader = TailReader(directory / "tail" / f"{stream_name(stream)}.tail", stream)
    found: list[object] = [record.fields["line"] for run in reader.read() for record in run.records]
    assert reader.gaps == []
    return found


def test_a_full_file_is_left_for_another(directory: Path, writer: TailWriter) -> None:
    """Each with a stream of its own, whose sequences begin at 0; only the last one is held."""
    written = [writer.append(numbered(4, first=4 * number)) for number in range(5)]
    assert [each.first_seq for each in written] == [0, 4, 8, 0, 4]
    first, second = written[0].stream, written[3].stream
    assert lines(directory, first) == list(range(12))
    assert lines(directory, second) == list(range(12, 20))
    held = {path.name for path in (directory / "tail").iterdir() if is_held(path)}
    assert held == {f"{stream_name(second)}.tail"} == {writer.held()}
    assert list((directory / "tmp").iterdir()) == []


def test_a_file_that_nothing_was_written_to_goes(directory: Path, writer: TailWriter) -> None:
    """Closing leaves files with records only; an append that cannot be packed begins none."""
    with pytest.raises(EncodeError):
        writer.append([Record(0, fields={"odd": object()})])  # type: ignore[dict-item]
    assert list((directory / "tail").iterdir()) == []
    writer.append(numbered(1))
    writer.rotate()
    writer.close()
    assert len(list((directory / "tail").iterdir())) == 1
    with pytest.raises(StoreClosed):
        writer.append(numbered(1))


def test_a_long_append_is_several_frames_and_one_append(
    directory: Path, writer: TailWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read whole; cut before its last frame, nothing of it is shown."""
    monkeypatch.setattr(frames, "PAYLOAD_BYTES", 300)
    first = writer.append(numbered(2))
    writer.append(numbered(50, first=2))
    assert lines(directory, first.stream) == list(range(52))
    path = directory / "tail" / f"{stream_name(first.stream)}.tail"
    sound = path.read_bytes()
    found = list(frames.frames(sound[32:], 32, first.stream))
    assert len(found) > 5
    for each in found[1:]:
        path.write_bytes(sound[: each.at])
        assert lines(directory, first.stream) == [0, 1]


def test_a_sync_later_makes_all_durable(
    directory: Path, writer: TailWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sync for all that was appended without, and none where nothing is left to be synced."""
    synced: list[int] = []
    real = os.fdatasync

    def watched(fd: int) -> None:
        synced.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", watched)
    for number in range(5):
        writer.append(numbered(1, first=number), sync=False)
    assert synced == []
    writer.sync()
    writer.sync()
    assert len(synced) == 1
    assert directory.is_dir()
