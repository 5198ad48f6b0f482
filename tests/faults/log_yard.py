"""What fault tests of the log store share: records that prove themselves, and a look at all that is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

import vcache.logs.segment  # noqa: F401 - before forks, not in each of them
from vcache.hash import checksum
from vcache.logs.disk import DiskLogs
from vcache.logs.ids import parse_id
from vcache.logs.record import Record
from vcache.logs.tail.reader import TailReader

__all__ = ["T0_NS", "everything", "is_right", "make_records", "read_tail"]

T0_NS: Final = 1_700_000_000_000_000_000


def make_records(who: str, first: int, count: int, *, chars: int = 40) -> list[Record]:
    """Records that tell by themselves whether they are what was appended."""
    made = []
    for number in range(first, first + count):
        text = f"{who} {number} " + "x" * (number * 7 % chars)
        proof = checksum(text.encode()).hex()
        made.append(Record(T0_NS + number, number % 25, who, text, {"number": number, "proof": proof}))
    return made


def is_right(record: Record) -> bool:
    """Whether a record says what was appended, all of it."""
    number = record.fields.get("number")
    return (
        record.fields.get("proof") == checksum(record.message.encode()).hex()
        and record.message.startswith(f"{record.source} {number} ")
        and isinstance(number, int)
        and (record.at_ns, record.level) == (T0_NS + number, number % 25)
    )


def everything(logs: DiskLogs) -> dict[str, Record]:
    """All that a store shows, by id; each is right, and there once."""
    found: dict[str, Record] = {}
    for record in _rows(logs):
        assert is_right(record), record
        assert record.id not in found, f"{record.id} is shown twice"
        found[record.id] = record
    return found


def _rows(logs: DiskLogs) -> Iterator[Record]:
    tails, segments, _ = logs.contents()
    for tail in tails:
        yield from tail.records
    for segment in segments:
        for block in segment.blocks:
            yield from block.records(np.arange(block.about.rows))


def read_tail(path: Path) -> tuple[Sequence[Record], TailReader]:
    """What a tail file holds by itself."""
    stream, _ = parse_id(_dashed(path.name.partition(".")[0]))
    reader = TailReader(path, stream)
    return [record for run in reader.read() for record in run.records], reader


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
