"""The threads beside the pump: one waits for news, one keeps the lease and watches those of others.

They must not know what the pump does with what they say.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING, Final

from vcache.errors import SessionLost, VcacheError
from vcache.jobs.leases import LeaseWatch
from vcache.jobs.worker.tray import Bell
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vcache.jobs.base import Queue
    from vcache.jobs.worker.pump import Pump
    from vcache.jobs.worker.tenure import Tenure
    from vcache.jobs.worker.tray import Tray

__all__ = ["Keeper", "Waiter"]

_WAIT_S: Final = 1.0
_PAUSE_S: Final = 0.5  # after a fault


class Waiter:
    """Waits in `queue.wait` while somebody asked it to, and rings when that returns."""

    def __init__(self, queue: Queue, kinds: Sequence[str], tray: Tray) -> None:
        self._queue, self._kinds, self._tray = queue, kinds, tray
        self._bell = Bell()
        self._is_asked = False
        self._has_news = False
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vcache-wait", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask(self) -> None:
        """Wait, unless it does so."""
        if not self._is_asked:
            self._is_asked = True
            self._bell.ring()

    def takes_news(self) -> bool:
        """Whether something may have come since the last call."""
        found, self._has_news = self._has_news, False
        return found

    def close(self) -> None:
        """Let it end, as soon as it returns from the queue."""
        self._is_closed.set()
        self._bell.ring()

    def _work(self) -> None:
        while True:
            self._bell.wait()
            if self._is_closed.is_set():
                return
            try:
                self._queue.wait(self._kinds, _WAIT_S)
            except (
                Exception
            ):  # the pump meets the same fault, and says it; a closed queue is no concern of ours
                self._is_closed.wait(_PAUSE_S)
            self._is_asked = False
            self._has_news = True
            self._tray.ring()


class Keeper:
    """Beats when the pump is silent, and ends sessions whose beats stand still."""

    def __init__(self, queue: Queue, tenure: Tenure, pump: Pump) -> None:
        self._queue, self._tenure, self._pump = queue, tenure, pump
        self._watch = LeaseWatch()
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
        look_at_s = perf_counter()
        while not self._is_closed.wait(tick_s / 2):
            try:
                # A little late: the pump does it itself unless it hangs.
                if perf_counter() - self._tenure.last_beat_s > tick_s * 1.5:
                    self._beat()
                if perf_counter() >= look_at_s:
                    if perf_counter() > look_at_s + tick_s:
                        # We were stopped ourselves, and maybe all others with us: nothing is known of them.
                        self._watch = LeaseWatch()
                    look_at_s = perf_counter() + tick_s
                    self._look()
            except VcacheError:
                pass  # the pump meets the same fault, and says it
            except Exception:
                logger(__name__).exception("the watch over leases failed, and goes on")

    def _beat(self) -> None:
        session = self._tenure.session
        try:
            found = self._queue.exchange(session)
        except SessionLost:
            if session == self._tenure.session:
                self._pump.lost()
            return
        if found.revoked:
            self._pump.revoked(found.revoked)

    def _look(self) -> None:
        own = self._tenure.session
        others = [each for each in self._queue.sessions() if each.id != own]
        for session in self._watch.seen(others):
            ids = self._queue.end_session(session.id, beats=session.beats)
            logger(__name__).warning(
                "worker %s was not heard of for %g s: its %d jobs go to others",
                session.worker, session.lease_s, len(ids),
            )  # fmt: skip
        self._queue.upkeep()
        self._tenure.set_clock()
