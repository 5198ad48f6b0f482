"""What followers hear of: records of tails as they are read, and of segments that were written directly.

It must not know files, and does not look for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from vcache.errors import DecodeError
from vcache.logs.ids import parse_id
from vcache.logs.record import Record
from vcache.logs.tail.follower import BUFFERED, Followers

if TYPE_CHECKING:
    from vcache.logs.segment import Segment

__all__ = ["News"]


class News:
    """Tells followers of each record once, in the order of arrival. Threads: any.

    What is read of tails waits until the segments were looked at: what was sealed since the look before
    came earlier than what is in a tail.
    """

    def __init__(self, followers: Followers) -> None:
        self._followers = followers
        self._lock = threading.Lock()  # guards what follows, and the order in which it is told
        self._told: dict[int, int] = {}  # of streams of tails: the sequence below which all was read
        self._streams: set[int] = set()  # that are in segments which were looked at
        self._segments: set[bytes] = set()
        self._waiting: list[tuple[int, Sequence[Record]]] = []

    def of_tail(self, stream: int, records: Sequence[Record]) -> None:
        """Records that were read of a tail, the next ones of their stream."""
        with self._lock:
            if stream in self._streams:
                return  # it was sealed meanwhile, and is told from there
            self._told[stream] = parse_id(records[-1].id)[1] + 1
            if self._followers:
                self._waiting.append((stream, records))

    def of_segments(self, segments: Sequence[Segment]) -> None:
        """All segments that count: what is new in them was written directly, or sealed before we saw it."""
        with self._lock:
            for segment in segments:
                if segment.info.digest not in self._segments:
                    self._of_segment(segment)
            self._segments = {segment.info.digest for segment in segments}
            waiting, self._waiting = self._waiting, []
            self._followers.tell(_in_order(waiting))

    def _of_segment(self, segment: Segment) -> None:
        for stream, first_seq, last_seq in segment.info.streams:
            if stream in self._streams:
                continue  # it was in another segment, which this one replaces
            begin = max(first_seq, self._told.pop(stream, 0))
            self._streams.add(stream)
            if begin > last_seq or not self._followers:
                continue
            if last_seq - begin >= BUFFERED:
                # The first would go at once: nobody has to decode them for that.
                self._followers.miss(last_seq - BUFFERED + 1 - begin)
                begin = last_seq - BUFFERED + 1
            found = sorted(_records(segment, stream, begin), key=attrgetter("id"))
            self._waiting.append((stream, found))


def _in_order(batches: list[tuple[int, Sequence[Record]]]) -> Sequence[Record]:
    """The records of all batches; those of one stream are in order, whatever their clock said."""
    if len(batches) == 1:
        return batches[0][1]
    batches.sort(key=itemgetter(0))  # within a process, streams rise
    found = [record for _, records in batches for record in records]
    if len({stream for stream, _ in batches}) > 1:
        found.sort(key=attrgetter("seen_ns"))
    return found


def _records(segment: Segment, stream: int, first_seq: int) -> Iterator[Record]:
    import numpy as np

    for block in segment.blocks:
        if any(run.stream == stream and run.last_seq >= first_seq for run in block.about.runs):
            try:
                records = block.records(np.arange(block.about.rows))
            except DecodeError:
                continue  # damaged: a gap, of which whoever asks is told
            for record in records:
                of, seq = parse_id(record.id)
                if of == stream and seq >= first_seq:
                    yield record
            block.forget()
