"""The thread that keeps a worker's lease when the pump is silent, and watches those of others.

It must not know what the pump does.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING

from vcache.errors import SessionLost, VcacheError
from vcache.jobs.leases import STILL, LeaseWatch
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from vcache.jobs.base import Queue
    from vcache.jobs.worker.pump import Pump
    from vcache.jobs.worker.tenure import Tenure

__all__ = ["Keeper"]


class Keeper:
    """Beats when the pump is silent, and ends sessions whose beats stand still."""

    def __init__(self, queue: Queue, tenure: Tenure, pump: Pump) -> None:
        self._queue, self._tenure, self._pump = queue, tenure, pump
        self._watch = LeaseWatch()
        self._upkeep_at_s = 0.0
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vcache-beat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Let it end."""
        self._is_closed.set()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        tick_s = self._tenure.lease_s / 4
        look_at_s, most_s = perf_counter(), tick_s / 2
        while not self._is_closed.wait(max(0.0, min(most_s, look_at_s - perf_counter()))):
            try:
                # A little late: the pump does it itself unless it hangs.
                if perf_counter() - self._tenure.last_beat_s > tick_s * 1.5:
                    self._beat()
                if (late_s := perf_counter() - look_at_s) >= 0:
                    if late_s > tick_s:
                        self._watch.pause(late_s)
                    look_at_s = perf_counter() + most_s
                    self._look()
                    look_at_s = perf_counter() + self._watch.look_in_s(most_s)
            except VcacheError:
                pass  # the pump meets the same fault, and says it
            except Exception:
                logger(__name__).exception("the watch over leases failed, and goes on")

    def _beat(self) -> None:
        session = self._tenure.session
        try:
            found = self._queue.exchange(session)
        except SessionLost:
            self._pump.lost(session)
            return
        if found.revoked:
            self._pump.doubt()

    def _look(self) -> None:
        own = self._tenure.session
        others = [each for each in self._queue.sessions() if each.id != own]
        for session in self._watch.seen(others):
            ids = self._queue.end_session(session.id, beats=session.beats)
            logger(__name__).warning(
                "worker %s was not heard of for %g s: its %d jobs go to others",
                session.worker, session.lease_s * STILL, len(ids),
            )  # fmt: skip
        if perf_counter() >= self._upkeep_at_s:
            self._upkeep_at_s = perf_counter() + self._tenure.lease_s / 4
            self._queue.upkeep()
            self._tenure.set_clock()
