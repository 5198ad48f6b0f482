"""Segments: records in files that only grow."""

from __future__ import annotations

import contextlib
import os
import resource
import struct
from pathlib import Path

import pytest

from tests.faults.crew import Child, in_threads
from vcache.store.disk import segments as module
from vcache.store.disk.segments import PREFIX_BYTES, Segments, frame, parse

SIZE = 64 << 10


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    (tmp_path / "segments").mkdir()
    return Segments(tmp_path / "segments", segment_bytes=SIZE)


def written(segments: Segments, head: bytes, body: bytes, number: int = 1, offset: int = 0) -> int:
    length, parts = frame(head, 3, body)
    return segments.append(number, offset, parts, length)


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 16 << 10, 40 << 10])
def test_a_record_is_read_as_it_was_written(segments: Segments, size_bytes: int) -> None:
    """Head, key length and body come back; the next record starts at a multiple of 8."""
    segments.create(1, least_bytes=0)
    body = os.urandom(size_bytes)
    behind = written(segments, b"key and more", body)
    assert behind % 8 == 0
    assert 0 <= behind - PREFIX_BYTES - 12 - size_bytes < 8
    view = segments.view(1)
    assert view is not None
    raw = parse(view, 0)
    assert raw is not None
    assert (raw.head, raw.key_bytes, bytes(raw.body)) == (b"key and more", 3, body)


def test_nothing_but_a_sound_record_is_parsed() -> None:
    """No flipped bit, no other offset and no cut of a record gives a record."""
    _, (record,) = frame(b"key and more", 3, b"the body")
    whole = bytearray(bytes(record))
    assert parse(memoryview(whole), 0) is not None
    for bit in range(len(whole) * 8):
        whole[bit // 8] ^= 1 << bit % 8
        assert parse(memoryview(whole), 0) is None, bit
        whole[bit // 8] ^= 1 << bit % 8
    for at in range(1, len(whole) + 40):
        assert parse(memoryview(whole), at) is None
        assert parse(memoryview(whole)[: len(whole) - at], 0) is None
    assert parse(memoryview(bytes(200)), 0) is None


@pytest.mark.parametrize(
    "lengths", [(0, 0, 0), (1 << 32) - 1, (20, 0, 0), (28, 1 << 31, 3), (1 << 31, 12, 3)]
)
def test_lengths_of_garbage_are_no_record(lengths: object) -> None:
    """Lengths that leave the file, or contradict each other, are refused before anything is read."""
    three = lengths if isinstance(lengths, tuple) else (lengths,) * 3
    assert parse(memoryview(bytes(16) + struct.pack("<III", *three) + bytes(100)), 0) is None


def test_a_number_is_never_taken_twice(segments: Segments) -> None:
    """A segment that is there is left as it is: the next one gets the next free number."""
    assert segments.create(1, least_bytes=0) == 1
    written(segments, b"key", b"precious")
    assert segments.create(1, least_bytes=0) == 2
    segments.path(7).write_bytes(b"")
    assert segments.create(2, least_bytes=0) == 8
    assert segments.numbers() == [1, 2, 7, 8]
    view = segments.view(1)
    assert view is not None
    assert parse(view, 0) is not None


def test_an_oversized_record_gets_a_segment_that_holds_it(segments: Segments) -> None:
    """A segment is as large as asked for, and takes no space before it is written to."""
    segments.create(1, least_bytes=1 << 20)
    assert segments.room(1) == 1 << 20
    assert segments.room(2) == 0
    assert segments.disk_bytes(1) < 8192
    assert segments.disk_bytes(2) == 0


def test_a_missing_or_empty_segment_has_no_view(segments: Segments) -> None:
    """What is not there, or was created and not sized yet, is not mapped and not remembered."""
    assert segments.view(1) is None
    segments.path(1).write_bytes(b"")
    assert segments.view(1) is None
    segments.path(1).write_bytes(b"now there")
    assert segments.view(1) is not None


def test_a_cut_segment_is_forgotten_and_mapped_anew(segments: Segments) -> None:
    """A segment that lost its end is dropped from sight; once it grew again, all of it is seen."""
    segments.create(1, least_bytes=0)
    written(segments, b"key", b"x" * 9000)
    assert segments.view(1) is not None
    os.truncate(segments.path(1), 4096)
    segments.forget_shrunk()
    assert 1 not in segments.mapped
    view = segments.view(1)
    assert view is not None
    assert len(view) == 4096
    assert segments.view_again(1) is None
    written(segments, b"key", b"again", offset=40_000)
    again = segments.view_again(1)
    assert again is not None
    assert parse(again, 40_000) is not None


def test_a_removed_segment_stays_readable_for_who_has_it(segments: Segments) -> None:
    """Removal gives the space back and drops the mapping, not the bytes that somebody still reads."""
    segments.create(1, least_bytes=0)
    written(segments, b"key", b"body")
    view = segments.view(1)
    assert view is not None
    assert segments.remove(1) > 0
    assert segments.remove(1) == 0
    assert segments.view(1) is None
    assert parse(view, 0) is not None


def test_threads_map_and_forget_at_once(segments: Segments, tmp_path: Path) -> None:
    """Mapping in some threads while others forget what was removed raises nothing."""
    for number in range(1, 80):
        segments.create(number, least_bytes=0)

    def work(worker: int) -> None:
        for round_number in range(60):
            if worker % 2:
                segments.forget_removed()
                segments.forget_shrunk()
            for number in range(1 + worker, 80):
                segments.view(number)
                if round_number % 7 == worker:
                    segments.mapped.pop(number, None)

    in_threads(4, work)


def test_mappings_are_limited(segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many segments are read, no more than a bounded number keeps a descriptor."""
    monkeypatch.setattr(module, "_MOST_MAPPED", 10)
    for number in range(1, 41):
        segments.create(number, least_bytes=0)
        assert segments.view(number) is not None
    assert len(segments.mapped) == 10
    assert 40 in segments.mapped


def test_without_descriptors_other_mappings_give_way(segments: Segments) -> None:
    """When no descriptor is left, mappings are given back and the wanted segment is mapped."""
    for number in range(1, 6):
        segments.create(number, least_bytes=0)

    def work(_: int) -> None:
        for number in range(1, 5):
            segments.view(number)
        most = max(map(int, os.listdir("/proc/self/fd"))) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        with contextlib.suppress(OSError):
            while True:
                os.open("/", os.O_RDONLY)
        assert segments.view(5) is not None
        assert list(segments.mapped) == [5]

    Child(work).finish(10)


def test_closing_releases_every_descriptor(segments: Segments) -> None:
    """Neither the tail nor mappings keep a descriptor after closing, which may be done twice."""
    before = len(os.listdir("/proc/self/fd"))
    for number in (1, 2):
        segments.create(number, least_bytes=0)
        written(segments, b"key", b"body", number)
        segments.view(number)
    segments.close()
    segments.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_tail_that_points_into_records_is_not_blank(segments: Segments) -> None:
    """Behind the last record nothing was written; before it something was."""
    segments.create(1, least_bytes=0)
    behind = written(segments, b"key", os.urandom(9000))
    assert segments.is_blank(1, behind)
    assert not segments.is_blank(1, behind - 8)
    assert not segments.is_blank(1, 0)
    assert segments.is_blank(1, SIZE + 8)
