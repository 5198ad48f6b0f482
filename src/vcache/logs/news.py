"""What followers hear of: records of tails as they are read, and of segments that were written directly.

It must not know files, and does not look for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from vcache.logs.ids import parse_id
from vcache.logs.record import Record
from vcache.logs.tail.follower import BUFFERED, Followers

if TYPE_CHECKING:
    from vcache.logs.segment import Segment

__all__ = ["News"]


class News:
    """Tells followers of each record once. Threads: any."""

    def __init__(self, followers: Followers) -> None:
        self._followers = followers
        self._lock = threading.Lock()  # guards what follows, and the order in which it is told
        self._told: dict[int, int] = {}  # of streams of tails: the sequence below which all was told
        self._streams: set[int] = set()  # that are in segments which were looked at
        self._segments: set[bytes] = set()

    def of_tail(self, stream: int, records: Sequence[Record]) -> None:
        """Records that were read of a tail, the next ones of their stream."""
        with self._lock:
            if stream not in self._streams:  # else it was sealed meanwhile, and told from there
                self._told[stream] = parse_id(records[-1].id)[1] + 1
                self._followers.tell(records)

    def of_segments(self, segments: Sequence[Segment]) -> None:
        """All segments that count: what is new in them was written directly, or sealed before we saw it."""
        with self._lock:
            new = [segment for segment in segments if segment.info.digest not in self._segments]
            # Streams rise in the order in which they were begun, whichever segments they are in by now.
            runs = [(*run, segment) for segment in new for run in segment.info.streams]
            for stream, first_seq, last_seq, segment in sorted(runs, key=itemgetter(0)):
                self._of_run(stream, first_seq, last_seq, segment)
            self._segments = {segment.info.digest for segment in segments}

    def _of_run(self, stream: int, first_seq: int, last_seq: int, segment: Segment) -> None:
        if stream in self._streams:
            return  # it was in another segment, which this one replaces
        begin = max(first_seq, self._told.pop(stream, 0))
        self._streams.add(stream)
        if begin <= last_seq and self._followers:
            self._tell(segment, stream, begin, last_seq)

    def _tell(self, segment: Segment, stream: int, first_seq: int, last_seq: int) -> None:
        if last_seq - first_seq >= BUFFERED:
            # They would go at once: nobody has to decode them for that.
            self._followers.miss(last_seq - BUFFERED + 1 - first_seq)
            first_seq = last_seq - BUFFERED + 1
        found = sorted(_records(segment, stream, first_seq), key=lambda record: record.id)
        self._followers.tell(found)


def _records(segment: Segment, stream: int, first_seq: int) -> Iterator[Record]:
    import numpy as np

    for block in segment.blocks:
        if any(run.stream == stream and run.last_seq >= first_seq for run in block.about.runs):
            for record in block.records(np.arange(block.about.rows)):
                of, seq = parse_id(record.id)
                if of == stream and seq >= first_seq:
                    yield record
            block.forget()
