"""Rings, emptied into a store: by a thread of the process that writes one, and, when that process is gone, by
whoever opens the store next.

It must not know what a store does with records.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from vcache.errors import DecodeError
from vcache.kit.data import NamedTuple
from vcache.logs.front.fold import folded
from vcache.logs.front.frames import FRAME_BYTES, decode, run_at, salvage
from vcache.logs.front.ring import DATA_AT, DRAINED_AT, DROPPED_AT, SUFFIX, Ring, head_says
from vcache.logs.record import Record
from vcache.query.levels import ERROR, WARNING

__all__ = ["SOURCE", "Abandoned", "Append", "Drain", "drain_abandoned"]

SOURCE: Final = "vcache.logs"
_BATCH: Final = 4096
_PAUSE_S: Final = 0.005
_IDLE_PAUSE_S: Final = 0.025
_IDLE_AFTER: Final = 40  # rounds without a record
_STUCK_AFTER: Final = 400  # rounds: a thread that was interrupted between keeping a place and filling it
_SYNC_EVERY_S: Final = 1.0
_RETRY_S: Final = 0.5
_OLD_S: Final = 60.0

Append = Callable[[Sequence[Record], bool], object]
"""Keeps records, so that they survive a power loss when the second argument says so. Raises when it did not."""


class Abandoned(NamedTuple):
    """What was found in the rings of programs that are gone.

    Attributes:
        rings: how many were emptied.
        records: how many came of them.
        unreadable: files that are no rings, left where they are.
    """

    rings: int = 0
    records: int = 0
    unreadable: tuple[str, ...] = ()


class Drain:
    """Empties one ring of this process.

    Threads: `run_once` by one at a time, which its lock sees to; the rest from any.
    """

    def __init__(self, ring: Ring, append: Append) -> None:
        self.ring: Final = ring
        self.is_failing = False
        self.error = ""
        self._append = append
        self._at = 0
        self._stuck = 0
        self._synced_s = time.monotonic()
        self._is_unsynced = False
        self._retry_s = 0.0
        self._wake: Final = threading.Event()
        self._is_over = False
        self._lock: Final = threading.RLock()  # held while the ring is emptied; a store that logs comes again
        self._is_within = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Empty it from now on, every few milliseconds. Without another thread, when it is full and at the end."""
        thread = threading.Thread(target=self._run, name="vcache-log-drain", daemon=True)
        with suppress(RuntimeError):  # no more threads, or the interpreter ends
            thread.start()
            self._thread = thread

    @property
    def is_self(self) -> bool:
        """Whether the thread that asks is the one that empties: it must not wait for itself."""
        return self._thread is threading.current_thread() or (self._is_within and self._lock_is_mine())

    def wake(self) -> None:
        """Empty it now."""
        if self._thread is None:
            self.run_once()
        self._wake.set()

    def run_once(self, *, is_last: bool = False) -> int:
        """Hand on what is there; how many records. With `is_last`, synced, and past what is in the way."""
        with self._lock:
            if self._is_within:
                return 0
            self._is_within = True
            try:
                return self._drain(is_last=is_last)
            finally:
                self._is_within = False

    def hand_on(self, record: Record) -> None:
        """Hand a record on behind all that the ring has: one that is too long for it."""
        with self._lock:
            self.run_once(is_last=True)
            self._try_append([record], is_sync=False)

    def close(self) -> bool:
        """Stop, with everything handed on; whether all of it was."""
        self._is_over = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5.0)
        if not self._lock.acquire(timeout=5.0):
            return False  # a store that hangs; the ring stays, for whoever opens the store next
        try:
            self._retry_s = 0.0
            self.run_once(is_last=True)
            return self._at >= self.ring.cursor.at
        finally:
            self._lock.release()

    def _run(self) -> None:
        idle = 0
        while not self._is_over:
            try:
                count = self.run_once()
            except Exception as error:  # the thread must live on: records would stay where they are for ever
                self.error, self.is_failing, count = repr(error), True, 0
            idle = 0 if count else idle + 1
            if self._wake.wait(_PAUSE_S if idle < _IDLE_AFTER else _IDLE_PAUSE_S):
                self._wake.clear()

    def _drain(self, *, is_last: bool) -> int:
        if time.monotonic() < self._retry_s:
            return 0
        total = 0
        while True:
            records, end = self._batch(is_last=is_last)
            if dropped := self.ring.dropped and self.ring.take_dropped():
                records.append(_dropped(dropped))
            must_sync = is_last or any(each.level >= ERROR for each in records)
            if not records:
                if self._is_unsynced and (is_last or self._is_time_to_sync()):
                    self._try_append([], is_sync=True)
                self._release(end)
                return total
            if not self._try_append(folded(records), is_sync=must_sync or self._is_time_to_sync()):
                if dropped:
                    self.ring.drop(dropped)
                return total
            self._release(end)
            total += len(records)

    def _batch(self, *, is_last: bool) -> tuple[list[Record], int]:
        ring, at = self.ring, self._at
        records: list[Record] = []
        # A quarter of the ring: no frame is longer.
        for payload in run_at(ring.data, at, min(ring.cursor.at, at + ring.size_bytes // 4)):
            records.append(_decoded(payload))
            at += FRAME_BYTES + len(payload)
            if len(records) >= _BATCH:
                break
        if records or ring.cursor.at == at:
            self._stuck = 0
            return records, at
        self._stuck += 1
        if not is_last and self._stuck < _STUCK_AFTER:
            return [], at
        self._stuck, end = 0, ring.cursor.at
        return [_decoded(payload) for _, payload in salvage(ring.data, at, end)], end

    def _release(self, end: int) -> None:
        if end != self._at:
            self._at = end
            self.ring.release(end)

    def _is_time_to_sync(self) -> bool:
        return time.monotonic() - self._synced_s > _SYNC_EVERY_S

    def _try_append(self, records: Sequence[Record], *, is_sync: bool) -> bool:
        try:
            self._append(records, is_sync)
        except Exception as error:  # whatever store it is, a program must not fail for its logs
            self.error, self.is_failing = f"{type(error).__name__}: {error}", True
            self._retry_s = time.monotonic() + _RETRY_S
            return False
        self.is_failing = False
        self._is_unsynced = not is_sync
        if is_sync:
            self._synced_s = time.monotonic()
        return True

    def _lock_is_mine(self) -> bool:
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]  # as threading.Condition asks


def drain_abandoned(directory: Path, append: Append) -> Abandoned:
    """Hand on what programs that are gone left in a directory of rings, and remove these.

    A ring is emptied by one process at a time, and never while its own lives. A kill between the last two
    steps, append and remove, says its records once more: they are kept at least once.

    Raises:
        VcacheError: what `append` raises; the ring stays.
    """
    rings, records, unreadable = 0, 0, []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return Abandoned()
    for name in names:
        path = directory / name
        if name.endswith(".new"):
            _sweep(path)
        if not name.endswith(SUFFIX):
            continue
        found = _drain_file(path, append)
        if found is None:
            continue
        if found < 0:
            unreadable.append(str(path))
        else:
            rings, records = rings + 1, records + found
    return Abandoned(rings, records, tuple(unreadable))


def _drain_file(path: Path, append: Append) -> int | None:
    """How many records came of it; None where it is in use or gone, -1 where it is no ring."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if not _is_ours(descriptor, path):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read()
        return _empty(data, path, append)
    finally:
        os.close(descriptor)


def _is_ours(descriptor: int, path: Path) -> bool:
    """Whether nobody writes or empties it, and it was not removed meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _empty(data: bytes, path: Path, append: Append) -> int:
    size_bytes = head_says(data)
    if size_bytes is None or len(data) < DATA_AT + size_bytes:
        return -1
    ring = memoryview(data)[DATA_AT : DATA_AT + size_bytes]
    start, records, gap = _start(data, ring), [], 0
    at = start
    for place, payload in salvage(ring, start, start + size_bytes):
        gap += place - at
        at = place + FRAME_BYTES + len(payload)
        records.append(_decoded(payload))
    if gap:
        records.append(_said(f"{gap} bytes of {path.name} cannot be read", {"bytes": gap}))
    if dropped := int.from_bytes(data[DROPPED_AT : DROPPED_AT + 8], "little"):
        records.append(_dropped(dropped))
    for first in range(0, len(records), _BATCH):
        append(folded(records[first : first + _BATCH]), True)
    os.unlink(path)
    return len(records)


def _start(data: bytes, ring: memoryview) -> int:
    """From where on nothing was handed on."""
    drained = int.from_bytes(data[DRAINED_AT : DRAINED_AT + 8], "little")
    check = int.from_bytes(data[DRAINED_AT + 8 : DRAINED_AT + 16], "little")
    return drained if drained ^ check == (1 << 64) - 1 else 0


def _sweep(path: Path) -> None:
    """Remove what a kill left of the making of a ring."""
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > _OLD_S:
            path.unlink()


def _decoded(payload: bytes) -> Record:
    try:
        return decode(payload)
    except DecodeError as error:
        return _said(f"a record that cannot be read: {error}", {})


def _dropped(count: int) -> Record:
    return _said(f"{count} records dropped: the ring was full", {"dropped": count})


def _said(message: str, fields: dict[str, str | int | float | bool | None]) -> Record:
    return Record(time.time_ns(), WARNING, SOURCE, message, fields)
