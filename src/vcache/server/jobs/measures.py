"""What a server's metrics say of jobs: what its queues count, and what it saw of workers that came over HTTP.

No walk through jobs: queues keep counts. It must not know HTTP.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import VcacheError
from vcache.jobs.facts import priority_word
from vcache.jobs.states import State
from vcache.kit.logs import logger
from vcache.metrics import METRICS, Family

if TYPE_CHECKING:
    from vcache.jobs.base import Claimed, Finished, QueueStats
    from vcache.server.jobs.queues import Queues

__all__ = ["Measures"]

_NS: Final = 1e9
_TOTALS: Final = {
    "vcache_jobs_completed": "completed",
    "vcache_jobs_failed": "failed",
    "vcache_jobs_retried": "retried",
    "vcache_jobs_dlq": "dead",
}
_MOST_RUNNING: Final = 100_000  # of those that are timed
_MOST_KINDS: Final = 1000  # anybody who may write may think of more
_OTHERS: Final = "(others)"


class _Times:
    """A histogram of one kind."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self, n_bounds: int) -> None:
        self.buckets = [0] * (n_bounds + 1)
        self.sum_s = 0.0


class Measures:
    """Counts of jobs.

    Threads: any.
    """

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._lock = threading.Lock()  # guards all below
        self._kinds: set[str] = set()
        self._begun_s: dict[tuple[str, int], float] = {}
        self._times: dict[tuple[str, str, str], _Times] = {}

    def claimed(self, namespace: str, jobs: Sequence[Claimed], now_ns: int) -> None:
        """A worker took jobs."""
        now_s = time.monotonic()
        with self._lock:
            for spec, token, *_ in jobs:
                if len(self._begun_s) < _MOST_RUNNING:
                    self._begun_s[spec.id, token] = now_s
                ready_ns = max(spec.created_ns, spec.not_before_ns)
                self._observe(
                    "vcache_job_wait_seconds", namespace, spec.kind, max(0, now_ns - ready_ns) / _NS
                )

    def finished(self, namespace: str, ended: Iterable[Finished]) -> None:
        """A worker said what became of some."""
        now_s = time.monotonic()
        with self._lock:
            for each in ended:
                spec, token, *_ = each.claimed
                begun_s = self._begun_s.pop((spec.id, token), None)
                if begun_s is not None:
                    self._observe("vcache_job_duration_seconds", namespace, spec.kind, now_s - begun_s)

    def lost(self, ids: Iterable[str]) -> None:
        """A session was ended: what it held is not heard of any more."""
        gone = set(ids)
        with self._lock:
            for key in [key for key in self._begun_s if key[0] in gone]:
                del self._begun_s[key]

    def families(self, namespace: str | None) -> Iterator[Family]:
        """All that is counted, as it is now. Blocks.

        Args:
            namespace: whose; None for all.
        """
        stats: list[QueueStats] = []
        for name, queue in self._queues.opened().items():
            if namespace in (None, name):
                try:
                    stats.append(queue.stats())
                except (VcacheError, OSError) as error:
                    logger("vcache.server").warning("the queue of %r cannot be measured: %s", name, error)
        yield _family("vcache_jobs_submitted", _by_priority(each.submitted for each in stats))
        for metric, field in _TOTALS.items():
            yield _family(metric, _summed(stats, field))
        yield _family("vcache_queue_depth", _by_priority(each.waiting for each in stats))
        for metric, state in (("vcache_dlq_depth", State.DEAD), ("vcache_active_jobs", State.RUNNING)):
            yield Family(METRICS[metric], [((), sum(each.by_state.get(state, 0) for each in stats))])
        yield from self._histograms(namespace)

    def _histograms(self, namespace: str | None) -> Iterator[Family]:
        with self._lock:
            times = [
                (key, tuple(kept.buckets), kept.sum_s)
                for key, kept in self._times.items()
                if namespace in (None, key[1])
            ]
        for metric in ("vcache_job_duration_seconds", "vcache_job_wait_seconds"):
            bounds = METRICS[metric].bounds
            sums: dict[str, tuple[list[int], float]] = {}
            for (name, _, kind), buckets, sum_s in times:
                if name == metric:
                    before, before_s = sums.get(kind, ([0] * len(buckets), 0.0))
                    sums[kind] = [a + b for a, b in zip(before, buckets, strict=True)], before_s + sum_s
            yield Family(
                METRICS[metric],
                histograms=[
                    ((kind,), bounds, buckets, sum_s) for kind, (buckets, sum_s) in sorted(sums.items())
                ],
            )

    def _observe(self, metric: str, namespace: str, kind: str, value_s: float) -> None:
        bounds, kind = METRICS[metric].bounds, self._known(kind)
        kept = self._times.get((metric, namespace, kind))
        if kept is None:
            kept = self._times[metric, namespace, kind] = _Times(len(bounds))
        kept.buckets[bisect_left(bounds, value_s)] += 1
        kept.sum_s += value_s

    def _known(self, kind: str) -> str:
        if kind not in self._kinds:
            if len(self._kinds) >= _MOST_KINDS:
                return _OTHERS
            self._kinds.add(kind)
        return kind


def _summed(stats: Iterable[QueueStats], field: str) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for each in stats:
        for kind, totals in each.totals.items():
            found[(kind,)] += getattr(totals, field)
    return found


def _by_priority(counts: Iterable[Mapping[tuple[str, int], int]]) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for each in counts:
        for (kind, priority), count in each.items():
            found[kind, priority_word(priority)] += count
    return found


def _family(name: str, rows: Counter[tuple[str, ...]]) -> Family:
    return Family(METRICS[name], sorted(rows.items()))
