"""Looks after a server's queues: ends sessions whose lease is over, does what time brings, fires schedules.

One thread for all namespaces, which sleeps as long as nobody asked for a queue. It must not know HTTP.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreClosed, VcacheError
from vcache.jobs.leases import STILL, LeaseWatch
from vcache.kit.clock import Monotonic

if TYPE_CHECKING:
    from vcache.jobs.base import Queue
    from vcache.jobs.schedules import Scheduler
    from vcache.server.jobs.queues import Queues

__all__ = ["Keeper"]

_log: Final = logging.getLogger("vcache.server")

_LOOK_S: Final = 0.5  # or more often, where leases are short
_LATE_S: Final = 1.0  # who looks so late was stopped
_UPKEEP_S: Final = 5.0
_FIRE_S: Final = 1.0  # at the latest, since schedules are changed by others too
_NS: Final = 1e9


class Keeper:
    """See the module.

    Args:
        lost: told of the jobs that lost sessions held.
        fires: whether schedules do.
        monotonic: what measures leases.
    """

    def __init__(
        self,
        queues: Queues,
        *,
        lost: Callable[[Sequence[str]], object],
        fires: bool = True,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._queues, self._lost, self._fires, self._monotonic = queues, lost, fires, monotonic
        self._kept: dict[str, _Kept] = {}
        self._wanted: Sequence[str] = ()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self.troubles: Mapping[str, str] = {}
        """Why queues do not answer, by namespace, as it was last seen. Replaced as a whole."""

    def start(self, namespaces: Iterable[str] = ()) -> None:
        """Look from here on.

        Args:
            namespaces: whose queues are opened if they have jobs, since their schedules and leases are to be seen to.
        """
        self._wanted = tuple(namespaces)
        self._thread = threading.Thread(target=self._run, name="vcache-jobs-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more, and return when what was begun is done."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Look at every queue that somebody asked for, once."""
        troubles: dict[str, str] = {}
        for namespace, queue in self._queues.opened().items():
            kept = self._kept.get(namespace)
            if kept is None or kept.queue is not queue:
                kept = self._kept[namespace] = _Kept(queue, self._lost, self._monotonic, fires=self._fires)
            try:
                kept.look()
            except StoreClosed:
                continue
            except (VcacheError, OSError) as error:
                troubles[namespace] = str(error)
                if namespace not in self.troubles:
                    _log.warning("the queue of %r does not answer: %s", namespace, error)
            except Exception as error:  # one namespace's fault is not the others'
                troubles[namespace] = f"{type(error).__name__}: {error}"
                if namespace not in self.troubles:
                    _log.exception("the queue of %r cannot be looked after", namespace)
        self.troubles = troubles

    def _run(self) -> None:
        for namespace in self._wanted:
            try:
                if self._queues.are_kept(namespace):
                    self._queues.of(namespace)
            except (VcacheError, OSError) as error:
                _log.warning("the queue of %r cannot be opened: %s", namespace, error)
        look_at_s = self._monotonic()
        while not self._is_over.wait(max(0.0, look_at_s - self._monotonic())):
            if (late_s := self._monotonic() - look_at_s) > _LATE_S:
                for (
                    kept
                ) in self._kept.values():  # workers that come through this server could not beat meanwhile
                    kept.watch.pause(late_s)
            self.look()
            look_at_s = self._monotonic() + min(
                (kept.watch.look_in_s(_LOOK_S) for kept in self._kept.values()), default=_LOOK_S
            )


class _Kept:
    """One queue, and when it was seen to."""

    def __init__(
        self, queue: Queue, lost: Callable[[Sequence[str]], object], monotonic: Monotonic, *, fires: bool
    ) -> None:
        self.queue = queue
        self._lost = lost
        self._monotonic = monotonic
        self.watch = LeaseWatch(monotonic)
        self._scheduler: Scheduler | None = None
        self._fires = fires
        self._upkeep_s = self._fire_s = monotonic()

    def look(self) -> None:
        """Do what is due."""
        for session in self.watch.seen(self.queue.sessions()):
            lost = self.queue.end_session(session.id, beats=session.beats)
            self._lost(lost)
            _log.warning(
                "worker %r was not heard of for %g s: its %d jobs are given to others",
                session.worker, session.lease_s * STILL, len(lost),
            )  # fmt: skip
        now_s = self._monotonic()
        if now_s >= self._upkeep_s:
            self._upkeep_s = now_s + _UPKEEP_S
            self.queue.upkeep()
        if self._fires and now_s >= self._fire_s:
            self._fire_s = now_s + self._fire()

    def _fire(self) -> float:
        """Fire what is due, and in how many seconds to look again."""
        if self._scheduler is None:
            from vcache.jobs.schedules import Scheduler

            if not self.queue.cells("schedule/"):
                return _FIRE_S  # most queues have none, and need not load what knows calendars
            self._scheduler = Scheduler(self.queue)
        next_ns = self._scheduler.tick().next_ns
        if next_ns is None:
            return _FIRE_S
        return max(0.0, min(_FIRE_S, (next_ns - time.time_ns()) / _NS))
