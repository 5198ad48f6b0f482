"""Who hears of records as they come: a bounded buffer for each, filled by one reader for all.

It must not know where records come from.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from vcache.errors import StoreClosed
from vcache.logs.record import Record

__all__ = ["BUFFERED", "Buffer", "Followers"]

BUFFERED: Final = 65_536
"""Records that wait for a follower who does not ask; the oldest go first."""


class Buffer:
    """A `Follower`. Filled by any thread, emptied by one at a time."""

    def __init__(self, most: int, on_close: Callable[[Buffer], object]) -> None:
        self._most = most
        self._on_close = on_close
        self._came = threading.Condition()  # guards what follows
        self._batches: deque[Sequence[Record]] = deque()
        self._records = 0
        self._dropped = 0
        self._is_closed = False

    @property
    def dropped(self) -> int:
        """How many it was not told of since it did not ask in time."""
        return self._dropped

    def wait(self, timeout_s: float) -> Sequence[Record]:
        """What came since the last call, in order of arrival; waits so long for the first of it.

        Raises:
            StoreClosed: it, or the store, was closed, and all that came before was had.
        """
        with self._came:
            if not self._batches and not self._is_closed:
                self._came.wait(timeout_s)
            if not self._batches and self._is_closed:
                raise StoreClosed("nothing is followed any more: it was closed")
            batches, self._batches, self._records = self._batches, deque(), 0
        if len(batches) == 1:
            return batches[0]
        return [record for batch in batches for record in batch]

    def tell(self, records: Sequence[Record]) -> None:
        """Let it hear of records, which nobody changes."""
        with self._came:
            if self._is_closed:
                return
            self._batches.append(records)
            self._records += len(records)
            while self._records > self._most:
                self._drop(self._records - self._most)
            self._came.notify_all()

    def miss(self, count: int) -> None:
        """Note that it will not hear of so many."""
        with self._came:
            self._dropped += count

    def close(self) -> None:
        """Hear of nothing more. May be called again."""
        self.end()
        self._on_close(self)

    def end(self) -> None:
        """Nothing more comes."""
        with self._came:
            self._is_closed = True
            self._came.notify_all()

    def lose(self) -> None:
        """In a fork's child: the same, without a lock that somebody holds who is gone."""
        self._came = threading.Condition()
        self._is_closed = True

    def _drop(self, count: int) -> None:
        batch = self._batches.popleft()
        if len(batch) > count:
            self._batches.appendleft(batch[count:])
        gone = min(count, len(batch))
        self._records -= gone
        self._dropped += gone


class Followers:
    """The buffers of a store. Threads: any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the list, which is replaced and never changed
        self._buffers: tuple[Buffer, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._buffers)

    def add(self, most: int = BUFFERED) -> Buffer:
        """One more."""
        made = Buffer(most, self._remove)
        with self._lock:
            self._buffers = (*self._buffers, made)
        return made

    def tell(self, records: Sequence[Record]) -> None:
        """Let all hear of records."""
        if records:
            for buffer in self._buffers:
                buffer.tell(records)

    def miss(self, count: int) -> None:
        """All will not hear of so many."""
        for buffer in self._buffers:
            buffer.miss(count)

    def end(self) -> None:
        """Nothing more comes, to any."""
        with self._lock:
            buffers, self._buffers = self._buffers, ()
        for buffer in buffers:
            buffer.end()

    def lose(self) -> None:
        """In a fork's child: nobody is left to tell them anything."""
        for buffer in self._buffers:
            buffer.lose()
        self.__init__()  # type: ignore[misc]  # the lock may be held by a thread that is gone here

    def _remove(self, buffer: Buffer) -> None:
        with self._lock:
            self._buffers = tuple(each for each in self._buffers if each is not buffer)
