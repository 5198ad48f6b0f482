"""Damage to tail files: every record that is shown is right, and what is not shown is a gap."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.log_yard import everything, is_right, make_records, read_tail
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.logs.tail import frames
from vcache.logs.tail.writer import TailWriter

APPENDS = (1, 3, 2, 5, 1, 2)


def tail_of(directory: Path) -> tuple[Path, list[Record]]:
    """A tail file of several appends, one of which is of several frames."""
    for place in ("tail", "tmp"):
        (directory / place).mkdir(parents=True)
    writer = TailWriter(directory)
    first = 0
    for count in APPENDS:
        writer.append(make_records("make", first, count))
        first += count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "PAYLOAD_BYTES", 400)
        writer.append(make_records("make", first, 6))
    writer.append(make_records("make", first + 6, 2))
    writer.close()
    (path,) = (directory / "tail").iterdir()
    records, reader = read_tail(path)
    assert len(records) == sum(APPENDS) + 8
    assert reader.gaps == []
    assert all(map(is_right, records))
    return path, list(records)


def examine(path: Path, whole: list[Record], at: int) -> int:
    """How many records are lost; each that is left is right, and the lost ones are said."""
    found, reader = read_tail(path)
    expected = {record.id: record for record in whole}
    for record in found:
        assert record == expected[record.id], f"byte {at}: {record}"
    ids = [record.id for record in found]
    assert ids == sorted(set(ids)), f"byte {at}: out of order, or twice"
    lost = len(whole) - len(found)
    said = [gap.records for gap in reader.gaps]
    if lost:
        assert said, f"byte {at}: {lost} records vanished silently"
        assert -1 in said or sum(said) == lost, f"byte {at}: {lost} records are lost, {said} are said"
    # One frame, or the append whose last frame it was.
    assert lost <= 6, f"byte {at}: {lost} records are lost to one bit"
    return lost


def flip_each(path: Path, whole: list[Record], bits: tuple[int, ...]) -> int:
    """Flip bits of every byte, one at a time; how often something was lost."""
    sound = path.read_bytes()
    losses = 0
    for at in range(len(sound)):
        for bit in bits:
            damaged = bytearray(sound)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            losses += bool(examine(path, whole, at))
    path.write_bytes(sound)
    assert examine(path, whole, -1) == 0
    return losses


def test_a_flipped_bit_in_any_byte_is_a_gap(tmp_path: Path) -> None:
    """One bit in any byte costs one frame at most, which is said; all others are read."""
    path, whole = tail_of(tmp_path)
    assert flip_each(path, whole, (3,)) > path.stat().st_size // 2


@pytest.mark.slow
def test_each_flipped_bit_is_a_gap(tmp_path: Path) -> None:
    """The same, for every bit."""
    path, whole = tail_of(tmp_path)
    flip_each(path, whole, tuple(range(8)))


def test_zeroed_and_random_stretches_are_gaps(tmp_path: Path) -> None:
    """A stretch of zeros or of anything, anywhere: what is shown is right, what is lost is said."""
    path, whole = tail_of(tmp_path)
    sound = path.read_bytes()
    draw = random.Random(5)
    for _ in range(150):
        damaged = bytearray(sound)
        length = draw.randrange(1, 700)
        at = draw.randrange(len(sound) - length)
        damaged[at : at + length] = bytes(length) if draw.random() < 0.5 else draw.randbytes(length)
        path.write_bytes(damaged)
        found, reader = read_tail(path)
        expected = {record.id: record for record in whole}
        assert all(record == expected[record.id] for record in found)
        lost, said = len(whole) - len(found), [gap.records for gap in reader.gaps]
        assert not lost or -1 in said or sum(said) == lost, (at, length, lost, said)


def test_a_torn_end_is_cut_and_no_damage(tmp_path: Path) -> None:
    """Cut anywhere, a tail is read up to its last whole append, and nothing is said to be damaged."""
    path, whole = tail_of(tmp_path)
    sound = path.read_bytes()
    counts = []
    for length in range(len(sound), -1, -1):
        path.write_bytes(sound[:length])
        found, reader = read_tail(path)
        assert list(found) == whole[: len(found)]
        assert reader.gaps == [], length
        counts.append(len(found))
    boundaries = {sum(APPENDS[:number]) for number in range(len(APPENDS) + 1)}
    assert set(counts) == boundaries | {sum(APPENDS) + 6, len(whole)}


def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    """A file that grows under a reader, in any steps, gives the same as one that is read at once."""
    path, whole = tail_of(tmp_path)
    sound = path.read_bytes()
    draw = random.Random(1)
    for _ in range(40):
        path.write_bytes(b"")
        _, reader = read_tail(path)
        found: list[Record] = []
        length = 0
        while length < len(sound):
            length = min(len(sound), length + draw.randrange(1, 500))
            path.write_bytes(sound[:length])
            found += [record for run in reader.read() for record in run.records]
            assert not reader.is_reset
        assert found == whole
        assert reader.gaps == []


def test_damage_stays_said_when_the_rest_is_sealed(tmp_path: Path) -> None:
    """What could not be read of a tail is a gap after sealing as before, and so it is for who comes later."""
    with DiskLogs(tmp_path / "logs", seals=False) as logs:
        for number in range(5):
            logs.append(make_records("make", number, 1))
        (path,) = (tmp_path / "logs" / "tail").iterdir()
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
        before = logs.gaps()
        assert [gap.records for gap in before] == [1]
        assert len(everything(logs)) == 4
        assert logs.seal().records == 4
        assert [gap.records for gap in logs.gaps()] == [1]
        assert len(everything(logs)) == 4
    with DiskLogs(tmp_path / "logs") as logs:
        assert [gap.records for gap in logs.stats().gaps] == [1]
        assert len(everything(logs)) == 4
