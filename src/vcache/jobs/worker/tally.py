"""What a worker counts of one kind: additions only, since each job passes here.

It must not know who reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from vcache.jobs.states import Event
from vcache.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vcache.jobs.base import Finished
    from vcache.metrics import Metrics

__all__ = ["Tally"]

_DURATION: Final = "vcache_job_duration_seconds"
_WAIT: Final = "vcache_job_wait_seconds"
_BOUNDS: Final = METRICS[_DURATION].bounds
assert METRICS[_WAIT].bounds == _BOUNDS
_NAMES: Final = {
    "completed": "vcache_jobs_completed",
    "failed": "vcache_jobs_failed",
    "retried": "vcache_jobs_retried",
    "dead": "vcache_jobs_dlq",
}


class Tally:
    """Counts of one kind, ever. Threads: one adds; another may flush."""

    __slots__ = (
        "_told", "completed", "dead", "durations", "durations_s", "failed", "kind", "retried", "waits", "waits_s",
    )  # fmt: skip

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.completed = self.failed = self.retried = self.dead = 0
        self.durations, self.waits = [0] * (len(_BOUNDS) + 1), [0] * (len(_BOUNDS) + 1)
        self.durations_s = self.waits_s = 0.0
        self._told: dict[str, tuple[Sequence[float], float]] = {}

    def waited(self, wait_s: float) -> None:
        """A job was started so long after it might have been."""
        self.waits[bisect_left(_BOUNDS, wait_s)] += 1
        self.waits_s += wait_s

    def ended(self, finished: Finished | None, duration_s: float) -> None:
        """An attempt came to an end."""
        self.durations[bisect_left(_BOUNDS, duration_s)] += 1
        self.durations_s += duration_s
        if finished is None:
            return
        event = finished.event
        if event is Event.COMPLETE:
            self.completed += 1
        elif event is not Event.RELEASE:
            self.failed += 1
            if event is Event.TRY_AGAIN:
                self.retried += 1
            elif event is Event.GIVE_UP:
                self.dead += 1

    def flush(self, metrics: Metrics) -> None:
        """Add to a registry what came since the last time."""
        for name, metric in _NAMES.items():
            (fell,), _ = self._since(metric, [getattr(self, name)], 0.0)
            if fell:
                metrics.count(metric, fell, kind=self.kind)
        for metric, counts, total_s in (
            (_DURATION, self.durations, self.durations_s),
            (_WAIT, self.waits, self.waits_s),
        ):
            more, more_s = self._since(metric, list(counts), total_s)
            if any(more):
                metrics.merge(metric, more, more_s, kind=self.kind)

    def _since(self, metric: str, now: Sequence[float], total: float) -> tuple[Sequence[float], float]:
        before, before_total = self._told.get(metric, ([0] * len(now), 0.0))
        self._told[metric] = now, total
        return [new - old for new, old in zip(now, before, strict=True)], total - before_total
