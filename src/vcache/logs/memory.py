"""A log store in memory: bounded, the oldest records go first. For tests, and for servers without a disk.

It must not know files.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Self

from vcache.errors import StoreClosed
from vcache.kit.clock import Clock
from vcache.logs.base import Appended, Follower, LogStats, Result
from vcache.logs.census import Census
from vcache.logs.ids import MOST_SEQUENCES, id_of, ids_from, next_stream, parse_id
from vcache.logs.record import Record, marked
from vcache.logs.scan import scan
from vcache.logs.tail.follower import Followers
from vcache.query.syntax import Query

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["MOST_RECORDS", "MemoryLogs"]

MOST_RECORDS: Final = 100_000


class MemoryLogs:
    """A `LogStore` that ends with the process.

    Args:
        most_records: so many are kept.
        clock: what records are seen by.

    Threads: any.
    """

    def __init__(self, *, most_records: int = MOST_RECORDS, clock: Clock = time.time_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._records: deque[Record] = deque(maxlen=most_records)
        self._stream = next_stream(clock)
        self._next_seq = 0
        self._is_closed = False
        self._followers = Followers()

    def append(self, records: Sequence[Record], *, sync: bool = True) -> Appended:
        """See `LogStore`."""
        now_ns = self._clock()
        taken = [marked(record._replace(seen_ns=now_ns), now_ns=now_ns) for record in records]
        with self._lock:
            self._require_open()
            if not taken:
                return Appended("", 0)
            if self._next_seq + len(taken) > MOST_SEQUENCES:
                self._stream, self._next_seq = next_stream(self._clock), 0
            stream, first_seq = self._stream, self._next_seq
            self._next_seq += len(taken)
            named = zip(taken, ids_from(stream, first_seq, len(taken)), strict=True)
            taken = [record._replace(id=id_) for record, id_ in named]
            self._records += taken
            # Within the lock: followers hear in the order of arrival.
            self._followers.tell(taken)
        return Appended(id_of(stream, first_seq), len(taken))

    def append_bulk(self, records: Iterable[Record]) -> Appended:
        """The same for records that are made as they are taken."""
        return self.append(list(records))

    def search(self, query: Query) -> Result:
        """See `LogStore`."""
        return scan(query, self._all())

    def find(self, record_id: str) -> Record | None:
        """See `LogStore`.

        Raises:
            UsageError: that is no id.
        """
        wanted = id_of(*parse_id(record_id))
        return next((record for record in self._all() if record.id == wanted), None)

    def follow(self) -> Follower:
        """See `LogStore`."""
        with self._lock:
            self._require_open()
            return self._followers.add()

    def stats(self) -> LogStats:
        """See `LogStore`."""
        census = Census()
        census.count(self._all())
        return census.stats(tail_records=census.records)

    def close(self) -> None:
        """See `LogStore`."""
        with self._lock:
            self._is_closed = True
        self._followers.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _all(self) -> list[Record]:
        with self._lock:
            self._require_open()
            return list(self._records)

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed("the log store is closed")
