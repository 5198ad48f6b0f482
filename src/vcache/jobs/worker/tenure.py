"""A worker's session: opened, kept alive, opened anew. It must not know what is done under it."""

from __future__ import annotations

from time import perf_counter, perf_counter_ns, time_ns
from typing import TYPE_CHECKING

from vcache.kit.logs import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vcache.errors import StoreError
    from vcache.jobs.base import Queue

__all__ = ["Tenure"]


class Tenure:
    """The session of now, and when it was last heard of. Threads: one uses it; others may look."""

    def __init__(self, queue: Queue, worker: str, *, kinds: Sequence[str], lease_s: float) -> None:
        self._queue, self._worker, self._kinds = queue, worker, kinds
        self.lease_s = lease_s
        self.session = ""
        self.last_beat_s = 0.0
        self._ahead_ns = time_ns() - perf_counter_ns()
        self.n_failures = 0

    def now_ns(self) -> int:
        """The queue's clock, which may be far away: read with each session, and now and then."""
        return self._ahead_ns + perf_counter_ns()

    def set_clock(self) -> None:
        """Read the queue's clock."""
        before_ns = perf_counter_ns()
        now_ns = self._queue.now_ns()
        self._ahead_ns = now_ns - (before_ns + perf_counter_ns()) // 2

    def renew(self) -> None:
        """Open a session; StoreError where that fails."""
        self.set_clock()
        self.session = self._queue.open_session(self._worker, kinds=self._kinds, lease_s=self.lease_s)
        self.beat()

    def beat(self) -> None:
        """The queue has answered."""
        self.last_beat_s = perf_counter()
        if self.n_failures:
            logger(__name__).warning("the queue answers again, after %d tries", self.n_failures)
            self.n_failures = 0

    def failed(self, error: StoreError) -> None:
        """The queue has not."""
        self.n_failures += 1
        if self.n_failures == 1:
            logger(__name__).warning("the queue fails, and is tried again until it does not: %s", error)

    def beat_in_s(self) -> float:
        """How long until another beat is due."""
        return max(0.0, self.last_beat_s + self.lease_s / 4 - perf_counter())

    def is_beat_due(self) -> bool:
        """Whether it is."""
        return perf_counter() - self.last_beat_s >= self.lease_s / 4
