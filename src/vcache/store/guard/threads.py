"""Threads for operations that may hang: whoever waits for one waits until a deadline, not for its end.

It must not know what is done in them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, TypeVar, cast

from vcache.errors import StoreUnavailable
from vcache.kit.deadlines import Within
from vcache.kit.outcome import Outcome

__all__ = ["Late", "Threads", "is_over"]

T = TypeVar("T")

_IDLE_S: Final = 30.0
_CLOCK_S: Final = 0.01

_Outcomes = SimpleQueue[Outcome[object]]
_Job = tuple[Callable[[], object], Within, _Outcomes]


class Late(StoreUnavailable):
    """An operation missed its deadline."""


def is_over(within: Within) -> bool:
    """Whether a deadline is missed by who gives up at this moment: a client's timers are coarse."""
    return time.monotonic() >= within.at_s - _CLOCK_S


class Threads:
    """A bounded number of daemon threads. One whose operation hangs is lost until that ends.

    Args:
        most: how many there may be, lost ones included.

    Threads: all operations. After a fork the child makes another one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()  # guards the two counts
        self._count = 0
        self._idle = 0
        self._jobs: SimpleQueue[_Job] = SimpleQueue()

    def run(self, work: Callable[[], T], within: Callable[[], Within], *, hedge_s: float | None = None) -> T:
        """What the work gives, if it does in time.

        Args:
            within: makes the deadline of each try.
            hedge_s: when the first try has not ended for so long, a second one is begun beside it, and
                the first to succeed counts.

        Raises:
            Late: it does not. What it gives later is thrown away.
            StoreUnavailable: every thread is lost.
        """
        outcomes: _Outcomes = SimpleQueue()
        deadlines = [self._start(work, within(), outcomes)]
        hedge_at_s = None if hedge_s is None else time.monotonic() + hedge_s
        running = 1
        while True:
            end_s = max(deadline.at_s for deadline in deadlines)
            until_s = end_s if hedge_at_s is None else min(end_s, hedge_at_s)
            try:
                outcome = outcomes.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                if hedge_at_s is not None and time.monotonic() < end_s:
                    hedge_at_s = None
                    deadlines.append(self._start(work, within(), outcomes))
                    running += 1
                elif time.monotonic() >= max(deadline.at_s for deadline in deadlines):
                    raise Late("no answer before the deadline") from None
                continue
            running -= 1
            if outcome.error is None or not running:
                if isinstance(outcome.error, (StoreUnavailable, OSError)) and all(map(is_over, deadlines)):
                    raise Late(str(outcome.error)) from outcome.error
                return cast("T", outcome.get())

    def _start(self, work: Callable[[], object], within: Within, outcomes: _Outcomes) -> Within:
        job = (work, within, outcomes)
        with self._lock:
            if self._idle:
                self._idle -= 1
                is_new = False
            elif self._count < self._most:
                self._count += 1
                is_new = True
            else:
                raise StoreUnavailable(f"all {self._most} threads wait for answers that do not come")
        if is_new:
            threading.Thread(target=self._serve, args=(job,), name="vcache-guard", daemon=True).start()
        else:
            self._jobs.put(job)
        return within

    def _serve(self, job: _Job) -> None:
        while True:
            work, within, outcomes = job
            with within:
                outcome = Outcome.of(work)
            outcomes.put(outcome)
            del work, within, outcomes, outcome, job  # nothing large is kept while there is nothing to do
            with self._lock:
                self._idle += 1
            while True:
                try:
                    job = self._jobs.get(timeout=_IDLE_S)
                    break
                except Empty:
                    with self._lock:
                        if self._idle:
                            self._idle -= 1
                            self._count -= 1
                            return
                        # Somebody has counted on this thread: its job is on the way.
