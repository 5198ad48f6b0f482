"""Carries out what `vcache.policy` planned: once (`collect`), or in the background (`Janitor`).

It knows stores by the `Collectable` protocol only and decides nothing itself.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from vcache.errors import StoreBusy, StoreClosed
from vcache.kit.clock import Clock, Monotonic, system_clock
from vcache.kit.data import dataclass
from vcache.kit.logs import logger
from vcache.policy import Limits, Plan, plan
from vcache.store.base import Collectable, Survey

__all__ = ["GcReport", "Janitor", "Progress", "collect"]

Progress = Callable[[str, int, int], object]
"""Told (phase, done, total), with phases "survey", "evict" and "reclaim". What it raises ends the collection."""

_MAX_ROUNDS: Final = 4
# Rows dropped between two reports of progress, and so between two chances to stop.
_CHUNK_ROWS: Final = 2048
# The background may use this share of the time: a store that only pins fill cannot be helped.
_BUSY_SHARE: Final = 0.1

_log = logger("vcache.janitor")


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a collection did, or would do.

    Attributes:
        dropped_entries, kept_entries: entries, without the blobs they share.
        freed_bytes: what the medium got back; in a dry run, what the dropped rows take.
        expired, aged, over_budget: rows planned to be dropped, blobs included, by reason.
        disk_before_bytes, disk_after_bytes: what the store took; others may have written meanwhile.
        is_dry_run: nothing was changed.
    """

    dropped_entries: int
    kept_entries: int
    freed_bytes: int
    expired: int
    aged: int
    over_budget: int
    disk_before_bytes: int
    disk_after_bytes: int
    duration_s: float
    is_dry_run: bool = False


def collect(
    store: Collectable,
    limits: Limits,
    *,
    clock: Clock = system_clock,
    monotonic: Monotonic = time.monotonic,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> GcReport:
    """Drop what the limits say and give the space back, until the store takes no more than `max_bytes`.

    Readers and writers go on meanwhile; what they touch is left alone, and collected next time.

    Args:
        store: what to collect.
        limits: what it may hold.
        clock: tells what has expired.
        monotonic: measures the duration.
        dry_run: only plan and report.
        progress: see `Progress`.

    Raises:
        StoreError: the store cannot do it. What was dropped before stays dropped.
    """
    run = _Run(store, limits, progress or _silent)
    started_s = monotonic()
    before_bytes = store.disk_bytes()
    if dry_run:
        run.plan(clock(), is_first=True)
        run.pretend()
        after_bytes = max(0, before_bytes - run.freed_bytes)
    else:
        for number in range(_MAX_ROUNDS):
            run.plan(clock(), is_first=number == 0)
            if not run.act():
                break
        after_bytes = store.disk_bytes()
    return GcReport(
        dropped_entries=run.dropped_entries,
        kept_entries=run.kept_entries,
        freed_bytes=run.freed_bytes,
        expired=run.expired,
        aged=run.aged,
        over_budget=run.over_budget,
        disk_before_bytes=before_bytes,
        disk_after_bytes=after_bytes,
        duration_s=monotonic() - started_s,
        is_dry_run=dry_run,
    )


class _Run:
    """One collection: the rounds of plan and act, and their sums."""

    def __init__(self, store: Collectable, limits: Limits, progress: Progress) -> None:
        self._store, self._limits, self._progress = store, limits, progress
        self._survey: Survey
        self._plan: Plan
        self._is_first: bool
        self.dropped_entries = self.kept_entries = self.freed_bytes = 0
        self.expired = self.aged = self.over_budget = 0

    def plan(self, now_ns: int, *, is_first: bool) -> None:
        """Look at all rows and decide.

        The first round counts live rows only: what else the medium holds is dead and comes back by
        `reclaim`. If that was not enough, the next count what the medium holds.
        """
        self._progress("survey", 0, 1)
        self._is_first = is_first
        survey = self._survey = self._store.survey()
        used_bytes = sum(survey.size_bytes) if is_first else self._store.disk_bytes()
        self._plan = plan(survey, self._limits, now_ns=now_ns, used_bytes=used_bytes)
        self.kept_entries = sum(survey.is_entry)
        self.expired += self._plan.expired
        self.aged += self._plan.aged
        self.over_budget += self._plan.over_budget
        self._progress("survey", 1, 1)

    def pretend(self) -> None:
        """Count what would be dropped."""
        dropped = sum(map(self._survey.is_entry.__getitem__, self._plan.rows))
        self._count(dropped, self._plan.freed_bytes)

    def act(self) -> bool:
        """Drop and reclaim; whether another round may bring more."""
        before_bytes = self._store.disk_bytes()
        is_entry = self._survey.is_entry
        rows = self._plan.rows
        # Entries first: a blob whose entries are still there would leave them torn.
        entries = [row for row in rows if is_entry[row]]
        blobs = [row for row in rows if not is_entry[row]]
        self._count(self._evict(entries, 0, len(rows)), 0)
        self._evict(blobs, len(entries), len(rows))
        evicted_bytes = max(0, before_bytes - self._store.disk_bytes())

        self._progress("reclaim", 0, 1)
        reclaimed_bytes = self._store.reclaim(target_bytes=self._target_bytes())
        self._progress("reclaim", 1, 1)
        self._count(0, evicted_bytes + reclaimed_bytes)
        max_bytes = self._limits.max_bytes
        is_over = max_bytes is not None and self._store.disk_bytes() > max_bytes
        # Without dead or droppable rows all that is left is pinned, held or the store's own overhead.
        return is_over and bool(self._is_first or rows or reclaimed_bytes)

    def _evict(self, rows: Sequence[int], done: int, total: int) -> int:
        dropped = 0
        for start in range(0, len(rows), _CHUNK_ROWS):
            self._progress("evict", done + start, total)
            dropped += self._store.evict(self._survey, rows[start : start + _CHUNK_ROWS])
        self._progress("evict", done + len(rows), total)
        return dropped

    def _target_bytes(self) -> int | None:
        """Half way between the limit and its low water.

        At the limit the next put would pass it; down at low water every segment would have to be
        rewritten to its last dead byte.
        """
        max_bytes = self._limits.max_bytes
        return None if max_bytes is None else int(max_bytes * (1 + self._limits.low_water) / 2)

    def _count(self, dropped_entries: int, freed_bytes: int) -> None:
        self.dropped_entries += dropped_entries
        self.kept_entries -= dropped_entries
        self.freed_bytes += freed_bytes


class Janitor:
    """Collects a store in a daemon thread: every `interval_s`, and soon after each `nudge`.

    Whatever goes wrong is logged to `vcache.janitor` and tried again later. After a collection it
    rests nine times as long as it worked, and at least `pause_s`. The thread starts with `start`
    or the first nudge; in a forked child anew with the next one. It ends with `close`, or when
    nobody else refers to the janitor.

    Args:
        store: what to collect.
        limits: what it may hold.
        interval_s: seconds between collections that nobody asked for.
        pause_s: the least rest between two collections.
        clock: tells what has expired.
        exclusive: gives a context within which no other process collects the same directory, or
            raises StoreBusy on entering; such a collection is left to the other one.
        on_report: called in the thread after each collection.

    Threads: every method may be called from any thread.
    """

    def __init__(
        self,
        store: Collectable,
        limits: Limits,
        *,
        interval_s: float = 600.0,
        pause_s: float = 1.0,
        clock: Clock = system_clock,
        exclusive: Callable[[], AbstractContextManager[object]] = nullcontext,
        on_report: Callable[[GcReport], object] | None = None,
    ) -> None:
        self._store, self._limits = store, limits
        self._interval_s, self._pause_s = interval_s, pause_s
        self._clock, self._exclusive, self._on_report = clock, exclusive, on_report
        self._is_closed = False
        self._thread: threading.Thread | None
        self._reset()
        _janitors.add(self)

    def start(self) -> None:
        """Begin to collect at intervals. Does nothing when begun, or after `close`."""
        with self._lock:
            if self._is_closed or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(
                target=_serve,
                args=(weakref.ref(self), self._wake, self._stop, self._interval_s),
                name="vcache-janitor",
                daemon=True,
            )
            self._thread.start()

    def nudge(self) -> None:
        """Ask for a collection soon. Returns at once."""
        if not self._wake.is_set():
            self._wake.set()
            self.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread, between two steps of a collection. May be called again.

        Args:
            timeout_s: how long to wait for it; it ends by itself later if that is not enough.
        """
        self._is_closed = True
        self._stop.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def run_once(self) -> GcReport | None:
        """Collect in the calling thread; None if another process does, or if it failed (logged)."""
        try:
            with self._exclusive():
                report = collect(self._store, self._limits, clock=self._clock, progress=self._step)
        except _Stopped:
            return None
        except StoreBusy as error:
            _log.debug("left to another one: %s", error)
            return None
        except Exception as error:
            if not (self._is_closed and isinstance(error, StoreClosed)):
                _log.warning("collecting %s failed, will be tried again", _name(self._store), exc_info=True)
            return None
        _log.debug("collected %s: %s", _name(self._store), report)
        return report

    def _work(self) -> float:
        """Collect and report; how long to rest."""
        started_s = time.monotonic()
        report = self.run_once()
        if report is not None and self._on_report is not None:
            try:
                self._on_report(report)
            except Exception:
                _log.warning("a listener of %s failed", _name(self._store), exc_info=True)
        worked_s = time.monotonic() - started_s
        return max(self._pause_s, worked_s * (1 / _BUSY_SHARE - 1))

    def _step(self, phase: str, done: int, total: int) -> None:
        if self._is_closed:
            raise _Stopped

    def _reset(self) -> None:
        """Fresh locks and no thread: at first, and in a forked child, where the old may be held for ever."""
        self._lock = threading.Lock()  # guards the start of the thread
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = None
        # A janitor that nobody refers to any more has its thread look, and end.
        weakref.finalize(self, _end, self._wake, self._stop)


class _Stopped(BaseException):
    """Unwinds a collection whose janitor was closed. No `except Exception` on the way keeps it."""


def _serve(
    ref: weakref.ref[Janitor], wake: threading.Event, stop: threading.Event, interval_s: float
) -> None:
    """The thread: refers to its janitor only while collecting."""
    while True:
        wake.wait(interval_s)
        wake.clear()
        janitor = ref()
        if janitor is None or stop.is_set():
            return
        pause_s = janitor._work()
        del janitor
        stop.wait(pause_s)


def _end(wake: threading.Event, stop: threading.Event) -> None:
    stop.set()
    wake.set()


def _silent(phase: str, done: int, total: int) -> None:
    """No one listens."""


def _name(store: object) -> str:
    info = getattr(store, "info", None)
    return getattr(info, "url", None) or repr(store)


_janitors: weakref.WeakSet[Janitor] = weakref.WeakSet()


def _after_fork() -> None:
    for janitor in list(_janitors):
        janitor._reset()


os.register_at_fork(after_in_child=_after_fork)
