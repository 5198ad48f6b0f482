"""A worker: takes jobs out of a queue and runs their handlers, in this process, until it is told to stop.

It must not know which queue it is, nor who watches over the process (`vcache.jobs.worker.fleet`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Final

from vcache.errors import SessionLost, StoreError, UsageError
from vcache.jobs.handlers.registry import Registry
from vcache.jobs.models import Limits
from vcache.jobs.worker.clerk import Clerk
from vcache.jobs.worker.in_threads import InPlace, ThreadsExecutor
from vcache.jobs.worker.judge import Judge
from vcache.jobs.worker.keeper import Keeper
from vcache.jobs.worker.names import worker_name
from vcache.jobs.worker.pump import Pump
from vcache.jobs.worker.run import Executor, Line, Run, resident_bytes
from vcache.jobs.worker.tally import Tally
from vcache.jobs.worker.tenure import Tenure
from vcache.jobs.worker.tray import Tray
from vcache.jobs.worker.waiter import Waiter
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from types import FrameType

    from vcache.jobs.base import Queue
    from vcache.jobs.handlers.current import Attempt
    from vcache.jobs.models import Progress
    from vcache.logs import Logger, Sink
    from vcache.logs.base import LogStore
    from vcache.metrics import Metrics
    from vcache.tracing import SpanSink

__all__ = ["MODES", "Ended", "Worker"]

MODES: Final = ("auto", "async", "threads", "processes")
_CONCURRENCY: Final = {"async": 100, "threads": 32}
_SWITCH_S: Final = 0.0005  # the default, 5 ms, is how long a thread that waits for the interpreter may wait
_CLOSE_S: Final = 1.0
_MOST_LOST: Final = 8


class Ended(StrEnum):
    """Why a worker's `run` returned."""

    DRAINED = "drained"
    """It was told to."""
    RECYCLE = "recycle"
    """It ran as many jobs, or took as much memory, as it may, or cannot get rid of threads: another is to take over."""


class Worker:
    """Runs jobs of a queue.

    Args:
        handlers: what it can run.
        kinds: what it asks for, such as "email.send" or "email.*"; all that it has handlers for by default.
        concurrency: how many attempts run at the same time; 0 for what suits the mode.
        mode: "auto" and "async": coroutine functions on an event loop, plain functions in threads;
            "threads": all in threads; "processes": each in a child process of its own.
        lease_s: after how much silence others take its jobs.
        grace_s: how long running attempts may go on after `drain`.
        name: who it says it is.
        takes_unknown: `kinds` may name some that there is no handler for: their jobs are dead at once ("unknown").
        most_jobs: after so many it ends, to be replaced; in processes: each child. 0 for any number.
        most_bytes: as `most_jobs`, for resident memory.
        log: a store in which attempts are records, and to which `current_job().log` goes.
        spans: where a span of each attempt goes.
        metrics: where counts go.
        address: of the queue: in processes `current_job().jobs` opens it by that.

    Raises:
        UsageError: a value that makes no sense, a kind without a handler.
    """

    def __init__(
        self,
        queue: Queue,
        handlers: Registry,
        *,
        kinds: Sequence[str] | None = None,
        concurrency: int = 0,
        mode: str = "auto",
        lease_s: float = 10.0,
        grace_s: float = 30.0,
        name: str = "",
        takes_unknown: bool = False,
        most_jobs: int = 0,
        most_bytes: int = 0,
        log: LogStore | None = None,
        spans: SpanSink | None = None,
        metrics: Metrics | None = None,
        address: str = "",
    ) -> None:
        _check(mode=mode, concurrency=concurrency, lease_s=lease_s, grace_s=grace_s, most_jobs=most_jobs)
        self.queue: Final = queue
        self.name: Final = name or worker_name()
        strangers = [each for each in kinds or () if takes_unknown and not handlers.match(each)]
        known = (
            handlers.kinds
            if kinds is None
            else handlers.matching(each for each in kinds if each not in strangers)
        )
        if not known and not strangers:
            raise UsageError(
                "a worker without handlers has nothing to do: decorate functions with @job('kind')"
            )
        self._handlers = [each for each in handlers if each.kind in known]
        for each in self._handlers:
            each.prepare()
        asked = (*known, *strangers)
        self._log, self._spans, self._grace_s, self._address = log, spans, grace_s, address
        self._tray = Tray()
        self._tenure = Tenure(queue, self.name, kinds=asked, lease_s=lease_s)
        self._judge = Judge(self.name, self._tenure.now_ns)
        executors, slots = self._executors(mode, concurrency, most_jobs, most_bytes)
        lines = {each.kind: Line(each, executors[each.is_async], Tally(each.kind)) for each in self._handlers}
        self._executor_set = set(executors.values())
        self._clerk = Clerk(
            queue,
            self._tenure,
            tallies=[each.tally for each in lines.values()],
            log=log,
            spans=spans,
            metrics=metrics,
            on_tick=self._look_at_itself,
        )
        self._most_bytes = 0 if mode == "processes" else most_bytes
        self._waiter = Waiter(queue, asked, self._tray)
        self._pump = Pump(
            queue,
            self._tenure,
            self._tray,
            self._judge,
            self,
            self._waiter,
            lines=lines,
            kinds=asked,
            slots=slots,
            on_end=self._clerk.ended if self._clerk.takes_ended else None,
            most_jobs=0 if mode == "processes" else most_jobs,
        )
        self._n_signals = 0

    def run(self, *, signals: bool = True) -> Ended:
        """Run jobs until `drain`, or until it is to be replaced.

        Args:
            signals: in the main thread, SIGTERM and SIGINT drain; the second gives back at once what runs.

        Raises:
            StoreError: the queue cannot be had at the beginning. Later faults are waited out.
        """
        for each in self._handlers:
            if each.limits != Limits():
                self.queue.limit(each.kind, each.limits)
        self._tenure.renew()
        before_s = sys.getswitchinterval()
        sys.setswitchinterval(min(before_s, _SWITCH_S))
        handlers = self._take_signals() if signals else {}
        keeper = Keeper(self.queue, self._tenure, self._pump)
        for thread in (self._waiter, keeper, self._clerk):
            thread.start()
        try:
            self._pump.run()
        finally:
            keeper.close(_CLOSE_S)
            self._clerk.close(_CLOSE_S)
            self._waiter.close()
            for executor in self._executor_set:
                executor.close(_CLOSE_S)
            self._end_session()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            sys.setswitchinterval(before_s)
        return Ended.RECYCLE if self._pump.is_to_be_replaced else Ended.DRAINED

    def drain(self, grace_s: float | None = None) -> None:
        """Claim nothing more, let what runs end, and return from `run`. From any thread; again to hurry."""
        self._pump.drain(self._grace_s if grace_s is None else grace_s)

    @property
    def session(self) -> str:
        """The id of its session; "" before it runs."""
        return self._tenure.session

    @property
    def n_running(self) -> int:
        """How many attempts run."""
        return len(self._pump.running)

    # -- what stands behind `current_job()`

    def report(self, attempt: Attempt, progress: Progress) -> None:
        """Keep how far an attempt is."""
        assert isinstance(attempt, Run)
        self._clerk.report(attempt, progress._replace(at_ns=self._tenure.now_ns()))

    def logger(self, attempt: Attempt) -> Logger:
        """What an attempt says things with."""
        from vcache.logs import Logger

        sinks = None if self._log is None else [self._log_sink]
        return Logger(f"job/{attempt.kind}", sinks=sinks, **attempt.fields)

    def jobs(self) -> object:
        """The front of the queue."""
        from vcache.jobs.front import Jobs

        return Jobs(self.queue)

    @cached_property
    def _log_sink(self) -> Sink:
        from vcache.logs import StoreSink

        assert self._log is not None
        return StoreSink(self._log)

    def _enter(self, run: Run) -> None:
        """In the context of an attempt, before it starts."""
        if self._log is not None:
            from vcache.logs.front.context import CURRENT

            CURRENT.set(run)  # type: ignore[arg-type]  # it has what `Fields` has
        if self._spans is not None:
            from vcache.jobs.worker.records import context_of

            run.trace = context_of(run.spec.trace).traceparent

    def _look_at_itself(self) -> None:
        """Whether this process had better be replaced."""
        why = ""
        if self._most_bytes and (resident := resident_bytes()) > self._most_bytes:
            why = f"it takes {resident:,} bytes of memory, and may take {self._most_bytes:,}"
        lost = sum(each.n_written_off for each in self._executor_set if isinstance(each, ThreadsExecutor))
        if lost > _MOST_LOST:
            why = f"{lost} of its threads do not end, although their jobs ran out of time or were cancelled"
        if why and not self._pump.is_draining:
            logger(__name__).warning("this worker ends, to be replaced: %s", why)
            self._pump.is_to_be_replaced = True
            self.drain()

    # -- parts

    def _executors(
        self, mode: str, concurrency: int, most_jobs: int, most_bytes: int
    ) -> tuple[dict[bool, Executor], int]:
        """What runs coroutine functions (True) and plain ones (False), and how many at the same time."""
        enter = None if self._log is None and self._spans is None else self._enter
        if mode == "processes":
            return self._in_processes(concurrency or os.cpu_count() or 1, most_jobs, most_bytes)
        has_async = mode != "threads" and any(each.is_async for each in self._handlers)
        slots = concurrency or _CONCURRENCY["async" if has_async else "threads"]
        threads: Executor = ThreadsExecutor(
            self._tray, slots, lambda: InPlace(self._judge, enter), self._judge
        )
        if not has_async:
            return {True: threads, False: threads}, slots
        from vcache.jobs.worker.in_loop import LoopExecutor

        return {True: LoopExecutor(self._tray, self._judge, enter), False: threads}, slots

    def _in_processes(self, size: int, most_jobs: int, most_bytes: int) -> tuple[dict[bool, Executor], int]:
        from vcache.jobs.worker.in_processes import ChildSetup, ProcessHand, modules_of

        setup = ChildSetup(
            modules_of(self._handlers), self.name, self._address, self.queue.info.namespace, most_bytes,
            self._log is not None,
        )  # fmt: skip

        def hand() -> ProcessHand:
            return ProcessHand(setup, self._judge, most_jobs=most_jobs, tell_record=self._clerk.record)

        threads: Executor = ThreadsExecutor(self._tray, size, hand, self._judge)
        return {True: threads, False: threads}, size

    def _take_signals(self) -> dict[int, signal.Handlers]:
        if threading.current_thread() is not threading.main_thread():
            return {}

        def heard(number: int, frame: FrameType | None) -> None:
            self._n_signals += 1
            self._pump.drain(self._grace_s if self._n_signals == 1 else 0)

        return {number: signal.signal(number, heard) for number in (signal.SIGTERM, signal.SIGINT)}  # type: ignore[misc]

    def _end_session(self) -> None:
        try:
            self.queue.end_session(self._tenure.session)
        except (StoreError, SessionLost) as error:
            logger(__name__).warning("the session could not be ended, and ends by its lease: %s", error)


def _check(*, mode: str, **numbers: float) -> None:
    if mode not in MODES:
        raise UsageError(f"mode={mode!r}: give one of {', '.join(MODES)}")
    for name, value in numbers.items():
        if value < 0 or (name == "lease_s" and value < 0.1):
            raise UsageError(f"{name}={value!r}: give {'0.1' if name == 'lease_s' else '0'} or more")
