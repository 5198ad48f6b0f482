"""The one thread that gives records to the store: all that waits in one append, again until it is kept.

It must not know where they come from.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from vcache.errors import EncodeError, StoreClosed, StoreUnavailable
from vcache.kit.clock import Clock, system_clock
from vcache.kit.logs import logger
from vcache.kit.retry import Backoff
from vcache.logs.base import LogStore
from vcache.logs.collect.counts import Counts
from vcache.logs.collect.limits import Limits
from vcache.logs.collect.parcels import Parcel
from vcache.logs.collect.queue import ParcelQueue
from vcache.logs.record import Record
from vcache.query.levels import WARNING

__all__ = ["Committer"]

_TICK_S: Final = 0.25
_BASE_S: Final = 0.05


class Committer:
    """Groups commit by themselves: while an append is under way, what comes waits for the next.

    A store that fails is tried again until it takes the batch, which is never given up: only the end does
    that, after its deadline.
    """

    def __init__(
        self,
        store: LogStore,
        queue: ParcelQueue,
        counts: Counts,
        *,
        limits: Limits,
        clock: Clock = system_clock,
    ) -> None:
        self._store, self._queue, self._counts, self._limits, self._clock = (
            store,
            queue,
            counts,
            limits,
            clock,
        )
        self._is_ending = threading.Event()
        self._give_up_at_s = float("inf")
        self._said_at_s = time.monotonic()
        self.failing_since_ns = 0
        self._thread = threading.Thread(target=self._run, name="vcache-log-commit", daemon=True)
        self._thread.start()

    def close(self, deadline_s: float) -> None:
        """Commit what is there, for so long at most; the rest is dropped, counted, and its tickets say so."""
        self._give_up_at_s = time.monotonic() + deadline_s
        self._queue.close()
        self._is_ending.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            batch = self._queue.take(_TICK_S)
            if not batch and self._is_ending.is_set():
                break
            try:
                self._commit(batch)
            except Exception as error:  # a defect of ours must not end the thread that all wait for
                logger(__name__).exception("a batch of %d parcels was not kept", len(batch))
                self._fail(batch, [parcel.count for parcel in batch], error)
            self._queue.release(batch)
        unsaid = self._counts.take_unsaid(self._clock())
        if unsaid:
            self._append(unsaid)

    def _commit(self, batch: list[Parcel]) -> None:
        records: list[Record] = []
        counts: list[int] = []
        now_ns = self._clock()
        for parcel in batch:
            found = self._decoded(parcel, now_ns)
            counts.append(len(found))
            records.extend(found)
        self._counts.add("accepted", len(records))
        own = self._own_words(now_ns)
        if (records or own) and (error := self._append([*records, *own] if own else records)) is not None:
            self._fail(batch, counts, error)
            return
        self._counts.add("kept", len(records))
        for parcel, count in zip(batch, counts, strict=True):
            if parcel.ticket is not None:
                parcel.ticket.end(count)

    def _decoded(self, parcel: Parcel, now_ns: int) -> Sequence[Record]:
        if parcel.decode is None:
            return parcel.items  # type: ignore[return-value]  # they are records then
        try:
            return parcel.decode(parcel.items, now_ns, parcel.fields)  # type: ignore[arg-type]
        except Exception:  # a defect of a parser: the lines of others are kept, and it is said
            logger(__name__).exception("%d lines of %s could not be read", parcel.count, parcel.origin)
            self._counts.drop(parcel.origin, "a reader failed", parcel.count)
            return ()

    def _own_words(self, now_ns: int) -> list[Record]:
        now_s = time.monotonic()
        if not self._counts.has_unsaid or now_s - self._said_at_s < self._limits.say_every_s:
            return []
        self._said_at_s = now_s
        return self._counts.take_unsaid(now_ns)

    def _append(self, records: list[Record]) -> Exception | None:
        """Until they are kept; an error when they never will be."""
        backoff = Backoff(times=1 << 30, base_s=_BASE_S, most_s=self._limits.retry_most_s)
        number = 0
        while True:
            try:
                self._store.append(records)
            except EncodeError:
                return self._one_by_one(records)
            except StoreClosed as error:
                return error
            except Exception as error:  # each of a store's errors, and defects: nothing is let go of
                number += 1
                self._begin_failing(error)
                wait_s = backoff.wait_s(number) or self._limits.retry_most_s
                if not self._may_wait(wait_s):
                    return error
            else:
                self._counts.add("appends")
                self._end_failing()
                return None

    def _may_wait(self, wait_s: float) -> bool:
        """Wait before another try; False when the end comes first."""
        if self._is_ending.wait(wait_s):
            left_s = self._give_up_at_s - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(wait_s, left_s))
        return True

    def _one_by_one(self, records: list[Record]) -> Exception | None:
        """A record that no store can hold must not keep the others out."""
        if len(records) == 1:
            self._counts.drop("the store", "a record that cannot be kept")
            self._counts.add("kept", -1)
            return None
        middle = len(records) // 2
        return self._append(records[:middle]) or self._append(records[middle:])

    def _begin_failing(self, error: Exception) -> None:
        if not self.failing_since_ns:
            self.failing_since_ns = self._clock()
            logger(__name__).warning("the log store takes no records, they wait: %s", error)

    def _end_failing(self) -> None:
        if self.failing_since_ns:
            now_ns = self._clock()
            took_s = max(0.0, (now_ns - self.failing_since_ns) / 1e9)
            self.failing_since_ns = 0
            message = f"the log store takes records again after {took_s:.1f} s"
            self._counts.note(message, now_ns, {"failed_s": took_s}, level=WARNING)
            logger(__name__).warning("%s", message)

    def _fail(self, batch: list[Parcel], counts: list[int], error: Exception) -> None:
        reason = "the collector ended" if self._is_ending.is_set() else "the store does not take it"
        for parcel, count in zip(batch, counts, strict=True):
            if count:
                self._counts.drop(parcel.origin, reason, count)
            if parcel.ticket is not None and not parcel.ticket.is_done:
                parcel.ticket.end(0, StoreUnavailable(f"{count} records were not kept: {error}"))
