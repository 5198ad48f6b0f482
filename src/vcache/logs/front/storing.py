"""The sink whose records survive the process: a ring that a thread empties into a store.

It must not know which store.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from weakref import WeakSet

from vcache.errors import StoreError, UsageError
from vcache.logs.front.drain import Drain
from vcache.logs.front.frames import decode, encode
from vcache.logs.front.lanes import complain
from vcache.logs.front.leveling import number_of
from vcache.logs.front.ring import Ring
from vcache.logs.record import Record
from vcache.query.levels import WARNING

__all__ = ["Appends", "StoreSink"]

_PAUSE_S: Final = 0.0005


class Appends(Protocol):
    """What of a `LogStore` is needed here."""

    def append(self, records: Sequence[Record], *, sync: bool = True) -> object: ...


@runtime_checkable
class Syncs(Protocol):
    """A store that can make durable what was appended without a sync."""

    def sync(self) -> None: ...


class StoreSink:
    """Records into a log store.

    A call returns when its record stands in the ring: it survives a kill of the process when that is a file.
    A thread empties it every 5 ms; what was said survives a power loss within a second, errors at once.

    Args:
        store: what the records are appended to. It stays open.
        rings: the directory of the ring: `rings/` in that of the store, when left out. A store without a
            directory has a ring in memory, which ends with the process.
        level: what is below is left out.
        ring_bytes: a power of two.
        keep_from: when the ring is full, records from this level on wait for room, and those below are
            dropped, counted, and the count is said.
        patience_s: how long they wait at most; a store that takes nothing must not stop a program.

    Threads: all operations. A forked process has its own ring.

    Raises:
        StoreError: no ring can be made there.
        UsageError: a level or size that is none.
    """

    folds: Final = False  # the drain folds

    def __init__(
        self,
        store: Appends,
        *,
        rings: str | os.PathLike[str] | None = None,
        level: int | str = 0,
        ring_bytes: int = 4 << 20,
        keep_from: int | str = WARNING,
        patience_s: float = 5.0,
    ) -> None:
        if not patience_s >= 0:
            raise UsageError(f"patience_s={patience_s!r}: give 0 or more")
        self.level: Final = number_of(level)
        self.keep_from: Final = number_of(keep_from)
        self._store = store
        at = getattr(store, "directory", None)
        self._directory = Path(rings) if rings is not None else None if at is None else Path(at) / "rings"
        self._ring_bytes = ring_bytes
        self._patience_s = patience_s
        self._is_closed = False
        self._said = False
        self._lock = threading.Lock()  # guards the making of another ring
        self._start()
        _live.add(self)

    @property
    def ring(self) -> Ring:
        """What is written to. A fork makes its own when it says something first: most run another program."""
        if self._is_left:
            with self._lock:
                if self._is_left:
                    self._restart()
        return self._ring

    @property
    def failures(self) -> str:
        """What the store said when it last refused records that are still in the ring; "" when all is well."""
        return self._drain.error if self._drain.is_failing else ""

    def write(self, record: Record) -> None:
        """Hand a record on, of any length."""
        self.put(encode(record), record.level)

    def put(self, payload: bytes, level: int) -> None:
        """Hand a payload on: into the ring, and past it when it is too long."""
        if self._is_closed:  # what a program says in the last of its breaths
            self._append([decode(payload)], is_sync=True)
        elif len(payload) > self.ring.most_bytes:
            self._drain.hand_on(decode(payload))
        elif not self._ring.put(payload):
            self._wait(payload, level)

    def flush(self) -> None:
        """Hand all that was said to the store, synced."""
        if not self._is_left:
            self._drain.run_once(is_last=True)

    def close(self) -> None:
        """Hand on what is there, and remove the ring. What the store does not take stays in the file."""
        if self._is_closed:
            return
        self._is_closed = True
        _live.discard(self)
        if self._is_left:
            return
        self._ring.seal()
        if self._drain.close():
            self._ring.close()
        else:
            self._ring.leave_to_parent()
            where = "is lost" if self._ring.path is None else f"stays in {self._ring.path}"
            complain(
                f"vcache: the log store took not all; the rest {where}: {self._drain.error or 'it hangs'}"
            )

    def after_fork_in_child(self) -> None:
        """Leave the ring to the parent."""
        self._ring.leave_to_parent()
        self._lock = threading.Lock()
        self._is_left = True

    def _restart(self) -> None:
        try:
            self._start()
        except StoreError as error:
            complain(f"vcache: {error}: the records of this process do not survive a kill")
            self._directory = None
            self._start()

    def _start(self) -> None:
        self._ring = Ring(self._directory, size_bytes=self._ring_bytes)
        self._drain = Drain(self._ring, self._append)
        self._drain.start()
        self._is_left = False

    def _append(self, records: Sequence[Record], is_sync: bool) -> None:
        try:
            if records:
                self._store.append(records, sync=is_sync)
            elif is_sync and isinstance(self._store, Syncs):
                self._store.sync()
        except Exception as error:
            if not self._said:
                self._said = True
                complain(f"vcache: the log store failed, and is tried again: {error!r}")
            raise

    def _wait(self, payload: bytes, level: int) -> None:
        """The ring is full: wait for room, or drop."""
        ring, drain = self._ring, self._drain
        if level >= self.keep_from and not drain.is_self:
            end_s = time.monotonic() + self._patience_s
            while not drain.is_failing and not self._is_closed and time.monotonic() < end_s:
                drain.wake()
                time.sleep(_PAUSE_S)
                if ring.put(payload):
                    return
        drain.wake()
        ring.drop()


_live: Final[WeakSet[StoreSink]] = WeakSet()


def _after_fork_in_child() -> None:
    for each in list(_live):
        each.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
