"""The one who watches the clock: submits the jobs of schedules when their ticks come.

Any number of schedulers may watch one queue, in threads, processes and on machines: of each tick there is
one job, since it is submitted together with the change of the schedule that says so. It must not run jobs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Self

from vcache.errors import VcacheError
from vcache.jobs.base import Cell, Queue
from vcache.jobs.schedules.book import PREFIX, spec_of
from vcache.jobs.schedules.decide import Decision, decide
from vcache.jobs.schedules.models import Overlap, Schedule, next_tick, pack_schedule, unpack_schedule
from vcache.jobs.schedules.when import When, parse_when
from vcache.jobs.states import ENDED
from vcache.kit.clock import Clock
from vcache.kit.data import NamedTuple
from vcache.kit.logs import logger
from vcache.kit.retry import Backoff

__all__ = ["Fired", "Scheduler", "Ticked"]

_NS: Final = 1_000_000_000
_LOG: Final = "vcache.jobs.schedules"


class Fired(NamedTuple):
    """A job that was submitted: of which schedule, its id, and the tick it is of."""

    name: str
    job_id: str
    tick_ns: int


class Ticked(NamedTuple):
    """What a look at all schedules brought: jobs, and when the next tick comes; None for not foreseeable."""

    fired: list[Fired]
    next_ns: int | None


class _Known(NamedTuple):
    """A schedule as it was read, spared from being read again."""

    cell: Cell
    schedule: Schedule | None
    when: When | None
    next_ns: int | None


class Scheduler:
    """Fires the schedules of a queue, from a thread of its own between `start` and `stop`, or step by step.

    Args:
        clock: the wall clock, which ticks follow.
        look_s: how long a change of a schedule, or of the clock, may go unseen.
        on_fired: told of each job that this one submitted, in the thread that watches.

    Threads: `start` and `stop` from any; `tick` from one at a time.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        clock: Clock = time.time_ns,
        look_s: float = 2.0,
        on_fired: Callable[[Fired], object] = lambda fired: None,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._look_s = look_s
        self._on_fired = on_fired
        self._known: dict[str, _Known] = {}
        self._is_stopped = False
        # Not an Event: a handler of a signal that sets one deadlocks with the thread which it interrupts.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Watch from here on. May be called again."""
        if self._thread is None:
            self._is_stopped, self._bell = False, SimpleQueue()
            self._thread = threading.Thread(target=self.run, name="vcache-scheduler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Fire nothing more, and return when what was begun is done. May be called again."""
        self._is_stopped = True
        self._bell.put(None)
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def run(self) -> None:
        """Watch in this thread, until `stop` is called from another one, or a signal's handler."""
        waits = Backoff(times=1 << 30, base_s=0.2, most_s=max(self._look_s, 0.2))
        n_failures = 0
        while not self._is_stopped:
            try:
                ticked = self.tick()
            except (
                Exception
            ) as error:  # a queue that is away for a while: ticks wait, their policy says how long
                n_failures += 1
                if n_failures == 1:
                    logger(_LOG).warning("schedules do not fire, for now: %s", error)
                self._pause(waits.wait_s(n_failures) or self._look_s)
                continue
            if n_failures:
                logger(_LOG).warning("schedules fire again")
            n_failures = 0
            self._pause(self._pause_s(ticked.next_ns))

    def tick(self, now_ns: int | None = None) -> Ticked:
        """Submit what is due at a moment, now if none is given.

        Raises:
            StoreError: the queue does not answer; what is due is due at the next call.
        """
        now = self._clock() if now_ns is None else now_ns
        cells = self._queue.cells(PREFIX)
        self._known = {name: self._read(name, cell) for name, cell in cells.items()}
        queue_ns = self._queue.now_ns()
        fired: list[Fired] = []
        for name, known in self._known.items():
            fired += self._fire(name, known, now, queue_ns)
        coming = [known.next_ns for known in self._known.values() if known.next_ns is not None]
        return Ticked(fired, min(coming, default=None))

    def _fire(self, name: str, known: _Known, now_ns: int, queue_ns: int) -> list[Fired]:
        schedule, when = known.schedule, known.when
        if schedule is None or when is None:
            return []
        decision = decide(
            schedule, when, now_ns=now_ns, queue_ns=queue_ns, namespace=self._queue.info.namespace,
            is_last_alive=self._is_last_alive(known, now_ns),
        )  # fmt: skip
        if decision is None:
            return []
        packed = pack_schedule(decision.schedule)
        specs = [
            spec_of(decision.schedule, tick.job_id, self._queue, delay_ns=tick.delay_ns)
            for tick in decision.ticks
        ]
        if not self._queue.swap(name, known.cell.version, packed, specs):
            # Somebody else was first, here or with a change of the schedule: look again at once.
            self._known[name] = known._replace(next_ns=now_ns)
            return []
        self._known[name] = self._read(name, Cell(0, packed))  # its version is seen at the next look
        return self._said(decision)

    def _said(self, decision: Decision) -> list[Fired]:
        schedule = decision.schedule
        if decision.remark:
            logger(_LOG).warning("schedule %r: %s", schedule.name, decision.remark)
        fired = [Fired(schedule.name, tick.job_id, tick.at_ns) for tick in decision.ticks]
        for each in fired:
            try:
                self._on_fired(each)
            except Exception:  # what was fired was fired: who is told of it ends nothing
                logger(_LOG).exception(
                    "schedule %r fired job %s, and that could not be told", each.name, each.job_id
                )
        return fired

    def _is_last_alive(self, known: _Known, now_ns: int) -> bool:
        """Asked only when it matters: most looks find nothing due."""
        schedule = known.schedule
        if schedule is None or schedule.overlap is not Overlap.SKIP or not schedule.last_job:
            return False
        if known.next_ns is None or known.next_ns > now_ns:
            return False
        (job,) = self._queue.get([schedule.last_job])
        return job is not None and job.state not in ENDED

    def _read(self, name: str, cell: Cell) -> _Known:
        """A schedule and its next tick; one that cannot be read is said once, and fires nothing."""
        known = self._known.get(name)
        if known is not None and known.cell == cell:
            return known
        try:
            schedule = unpack_schedule(name[len(PREFIX) :], cell.value)
            return _Known(cell, schedule, parse_when(schedule.when, schedule.zone), next_tick(schedule))
        except (VcacheError, ValueError) as error:
            logger(_LOG).warning("schedule %r does not fire: %s", name[len(PREFIX) :], error)
            return _Known(cell, None, None, None)

    def _pause(self, pause_s: float) -> None:
        with contextlib.suppress(Empty):
            self._bell.get(timeout=pause_s)

    def _pause_s(self, next_ns: int | None) -> float:
        if next_ns is None:
            return self._look_s
        return min(self._look_s, max(0.0, (next_ns - self._clock()) / _NS))
