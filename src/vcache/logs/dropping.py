"""Drops sealed records: by the rules of retention, whole blocks; or by source and time, exactly.

It carries out what `vcache.logs.retention` plans, and must not know who asks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from vcache.errors import DecodeError
from vcache.kit.data import NamedTuple
from vcache.logs.record import Record
from vcache.logs.retention import Drop, Holding, Rules, cutoffs, drop_before
from vcache.logs.sealed import Sealed
from vcache.logs.sealing import Sealer, runs_of
from vcache.logs.tail.writer import DAMAGED

if TYPE_CHECKING:
    from vcache.logs.segment import Segment, SegmentInfo

__all__ = ["Condition", "Dropped", "condition", "planned", "purge", "retain"]

Condition = Callable[[str, int], bool]
"""Whether a record of a source and a time is to go."""


class Dropped(NamedTuple):
    """What is gone."""

    records: int
    size_bytes: int


def retain(sealer: Sealer, sealed: Sealed, rules: Rules, *, now_ns: int) -> Dropped:
    """Drop what the rules ask for. The lock of `sealer` is held.

    Raises:
        OSError: no space, no permission.
    """
    gone = Dropped(0, 0)
    segments = sealed.current()
    found = cutoffs([each for segment in segments for each in _holdings(segment)], rules, now_ns=now_ns)
    if found:
        drop = drop_before(found)
        for segment in segments:
            gone = _sum(gone, _thin_out(sealer, segment, drop))
    _forget_gaps(sealer.directory / "tail", sealed)
    return gone


def planned(segments: Sequence[Segment], rules: Rules, *, now_ns: int) -> Dropped:
    """What `retain` would drop of segments, its bytes by the number of records."""
    drop = drop_before(
        cutoffs([each for segment in segments for each in _holdings(segment)], rules, now_ns=now_ns)
    )
    records, size_bytes = 0, 0.0
    for segment in segments:
        row_bytes = segment.info.size_bytes / max(1, segment.info.records)
        going = sum(
            block.rows
            for group in segment.groups
            for block in group.blocks
            if all(drop(source, block.last_ns) for source in block.levels)
        )
        records, size_bytes = records + going, size_bytes + going * row_bytes
    return Dropped(records, round(size_bytes))


def condition(source: str | None, before_ns: int | None) -> Condition:
    """The condition of a purge: a pattern of sources, and a time before which; None for any."""

    def is_meant(of: str, at_ns: int) -> bool:
        fits = source is None or fnmatchcase(of, source)
        return fits and (before_ns is None or at_ns < before_ns)

    return is_meant


def purge(sealer: Sealer, sealed: Sealed, is_meant: Condition) -> Dropped:
    """Drop exactly the records that are meant. The lock of `sealer` is held.

    Raises:
        DecodeError: a segment that may have some of them is damaged; it is left as it is.
        OSError: no space, no permission.
    """
    gone = Dropped(0, 0)
    for segment in sealed.current():
        # Times of a source are those of its blocks: some may lie before its first record, none behind.
        if any(is_meant(source, stats.first_ns) for source, stats in segment.info.sources.items()):
            gone = _sum(gone, _purge_one(sealer, segment, is_meant))
    return gone


def _thin_out(sealer: Sealer, segment: Segment, drop: Drop) -> Dropped:
    going = [
        all(drop(source, block.last_ns) for source in block.levels)
        for group in segment.groups
        for block in group.blocks
    ]
    if not any(going):
        return Dropped(0, 0)
    if all(going):
        sealer.remove((segment,))
        return Dropped(segment.info.records, segment.info.size_bytes)
    from vcache.logs.segment import merge

    temporary = sealer.temporary()
    try:
        info = merge((segment,), temporary, drop=drop)
    except DecodeError:
        return Dropped(0, 0)  # a damaged segment stays whole, with its gaps, until all of it may go
    return _replace(sealer, segment, temporary, info)


def _purge_one(sealer: Sealer, segment: Segment, is_meant: Condition) -> Dropped:
    if segment.gaps:
        raise DecodeError(f"{segment.path} is damaged: {segment.gaps[0].reason}")
    from vcache.logs.segment import SegmentWriter

    temporary = sealer.temporary()
    with SegmentWriter(temporary, replaces=(segment.info.digest,)) as writer:
        count = 0
        for stream, first_seq, records in _left(segment, is_meant):
            writer.add(stream, first_seq, records)
            count += len(records)
        info = writer.finish() if 0 < count < segment.info.records else None
    if count == segment.info.records:
        return Dropped(0, 0)
    return _replace(sealer, segment, temporary, info)


def _left(segment: Segment, is_meant: Condition) -> Iterator[tuple[int, int, Sequence[Record]]]:
    """What is not meant, in runs of sequences that follow each other."""
    for stream, first_seq, records in runs_of(segment):
        at = 0
        for number, record in enumerate(records):
            if is_meant(record.source, record.at_ns):
                if at < number:
                    yield stream, first_seq + at, records[at:number]
                at = number + 1
        if at < len(records):
            yield stream, first_seq + at, records[at:]


def _replace(sealer: Sealer, segment: Segment, temporary: Path, info: SegmentInfo | None) -> Dropped:
    if info is not None:
        sealer.place(temporary, info)
    sealer.remove((segment,))
    left = (0, 0) if info is None else (info.records, info.size_bytes)
    return Dropped(segment.info.records - left[0], segment.info.size_bytes - left[1])


def _holdings(segment: Segment) -> Iterator[Holding]:
    """What a segment holds, by block and source; its bytes by the number of records."""
    row_bytes = segment.info.size_bytes / max(1, segment.info.records)
    for group in segment.groups:
        for block in group.blocks:
            for source, levels in block.levels.items():
                records = sum(levels.values())
                yield Holding(source, records, round(records * row_bytes), block.last_ns)


def _forget_gaps(tail: Path, sealed: Sealed) -> None:
    """Remove damaged remains of tails that are older than all that is kept."""
    oldest_ns = min((segment.info.first_ns for segment in sealed.current()), default=None)
    for name in os.listdir(tail):
        if name.endswith(DAMAGED):
            with contextlib.suppress(FileNotFoundError):
                if oldest_ns is None or os.stat(tail / name).st_mtime_ns < oldest_ns:
                    os.unlink(tail / name)


def _sum(one: Dropped, two: Dropped) -> Dropped:
    return Dropped(one.records + two.records, one.size_bytes + two.size_bytes)
