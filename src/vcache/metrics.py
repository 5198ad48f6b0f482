"""Every metric of vcache by name, kept by prometheus-client (the extra `metrics`).

Without that library everything counts into nothing: who counts need not ask. Loading it takes 60 ms,
so it is loaded when metrics are opened and never before. It must not know what is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal

from vcache.errors import UsageError
from vcache.kit.data import dataclass
from vcache.kit.names import did_you_mean

if TYPE_CHECKING:
    import os

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics import MetricWrapperBase

__all__ = ["METRICS", "Described", "Family", "Metrics", "exposition"]

_TIMES: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_SHORT_TIMES: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)

_REQUEST_TIMES: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Described:
    """A metric.

    Attributes:
        name: without the ending that a counter has in the text form, `_total`.
        labels: names of its labels. Their values are of small sets: each pair is a time series.
        bounds: of a histogram's buckets, in its unit.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


METRICS: Final = {
    described.name: described
    for described in (
        Described("counter", "vcache_nodes", "Nodes of builds, by what became of them.", ("outcome",)),
        Described("counter", "vcache_node_tries", "Commands that were started again after a failure."),
        Described(
            "histogram", "vcache_node_duration_seconds", "How long nodes ran.", ("rule",), bounds=_TIMES
        ),
        Described(
            "histogram", "vcache_restore_duration_seconds", "How long it took to find and restore a result.",
            bounds=_SHORT_TIMES,
        ),
        Described("counter", "vcache_saved_seconds", "What results from the cache had once taken to make."),
        Described("counter", "vcache_output_bytes", "What nodes wrote to their standard streams.", ("source",)),
        Described("counter", "vcache_notes", "Things worth a line that failed nothing, such as cache faults."),
        Described("gauge", "vcache_nodes_running", "Nodes that run."),
        Described("gauge", "vcache_nodes_planned", "Nodes that are wanted."),
        Described("gauge", "vcache_run_start_timestamp_seconds", "When the last run began."),
        Described("gauge", "vcache_run_duration_seconds", "How long the last run took."),
        Described("gauge", "vcache_run_status", "The exit status of the last run."),
        Described(
            "counter", "vcache_server_requests", "Requests to a server, by what they came to.",
            ("dialect", "outcome"),
        ),
        Described(
            "counter", "vcache_server_refused", "Requests that were not done, by plain HTTP status.",
            ("dialect", "status"),
        ),
        Described("counter", "vcache_server_received_bytes", "Bodies of requests.", ("dialect",)),
        Described("counter", "vcache_server_sent_bytes", "Bodies of answers.", ("dialect",)),
        Described(
            "counter", "vcache_server_saved_seconds", "What hits had once taken to make, where that is known.",
            ("dialect",),
        ),
        Described("gauge", "vcache_server_running", "Requests under way.", ("dialect",)),
        Described(
            "histogram", "vcache_server_duration_seconds", "How long a request took.", ("dialect",),
            bounds=_REQUEST_TIMES,
        ),
        Described(
            "counter", "vcache_server_told", "What clients told of what they found, here or on their own disk.",
            ("dialect", "source", "event"),
        ),
        Described("gauge", "vcache_server_connections", "Open connections."),
        Described("gauge", "vcache_tier_entries", "Entries of a tier.", ("tier",)),
        Described("gauge", "vcache_tier_bytes", "Content of a tier.", ("tier",)),
        Described("counter", "vcache_tier_corrupt", "Damaged records that a tier found.", ("tier",)),
        Described("counter", "vcache_tier_evicted", "Records that a tier dropped.", ("tier",)),
        Described("counter", "vcache_tier_faults", "Operations that a tier failed.", ("tier",)),
        Described("counter", "vcache_remote_lookups", "Keys asked of a remote, by what became of them.",
                  ("remote", "outcome")),
        Described("counter", "vcache_remote_bytes", "Records that came from and went to a remote.",
                  ("remote", "direction")),
        Described("counter", "vcache_remote_writes", "Records and deletions for a remote, by what became of them.",
                  ("remote", "outcome")),
        Described("counter", "vcache_remote_refused", "Records of a remote that were not used.", ("remote", "why")),
        Described("counter", "vcache_remote_faults", "Operations that a remote failed.", ("remote",)),
        Described("counter", "vcache_remote_opens", "How often a remote was left alone for a while.", ("remote",)),
        Described("counter", "vcache_remote_waited_seconds", "Time spent waiting for a remote.", ("remote",)),
        Described("gauge", "vcache_store_disk_bytes", "What the directory takes on the disk."),
        Described("counter", "vcache_jobs_submitted", "Jobs that were asked for.", ("kind", "priority")),
        Described("counter", "vcache_jobs_completed", "Jobs that ended well.", ("kind",)),
        Described("counter", "vcache_jobs_failed", "Attempts that failed.", ("kind",)),
        Described("counter", "vcache_jobs_retried", "Failed attempts that were followed by another.", ("kind",)),
        Described("counter", "vcache_jobs_dlq", "Jobs that went to the dead-letter queue.", ("kind",)),
        Described("gauge", "vcache_queue_depth", "Jobs that may start and wait for a worker.",
                  ("kind", "priority")),
        Described("gauge", "vcache_dlq_depth", "Jobs in the dead-letter queue."),
        Described("gauge", "vcache_active_jobs", "Jobs that run."),
        Described("histogram", "vcache_job_duration_seconds", "How long attempts took.", ("kind",),
                  bounds=_TIMES),
        Described("histogram", "vcache_job_wait_seconds", "From when a job might start until it did.", ("kind",),
                  bounds=_TIMES),
    )
}  # fmt: skip


class Metrics:
    """Counts of one registry.

    Args:
        registry: where they are kept; None for one of their own.
        is_required: refuse to count into nothing.

    Threads: may be used from any thread.

    Raises:
        UsageError: prometheus-client is required and not installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, is_required: bool = False) -> None:
        self._metrics: dict[str, MetricWrapperBase] = {}
        self._registry = registry
        try:
            import prometheus_client
        except ImportError:
            if is_required:
                raise UsageError(
                    "metrics need prometheus-client: python -m pip install 'vcache[metrics]'"
                ) from None
            return
        kinds = {
            "counter": prometheus_client.Counter,
            "gauge": prometheus_client.Gauge,
            "histogram": prometheus_client.Histogram,
        }
        if registry is None:
            self._registry = registry = prometheus_client.CollectorRegistry()
        for name, described in METRICS.items():
            bounds = {"buckets": described.bounds} if described.bounds else {}
            self._metrics[name] = kinds[described.kind](
                name, described.meaning, described.labels, registry=registry, **bounds
            )

    @property
    def is_counting(self) -> bool:
        """Whether anything is kept."""
        return bool(self._metrics)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter, or to a gauge.

        Raises:
            UsageError: no metric has this name or these labels, or it does not count.
        """
        self._do(name, "inc", amount, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Take a value into a histogram; raises as `count` does."""
        self._do(name, "observe", value, labels)

    def merge(self, name: str, counts: Sequence[float], total: float, **labels: str) -> None:
        """Take into a histogram what was observed elsewhere; raises as `count` does.

        Args:
            counts: how many values fell into each of its buckets, and beyond the last.
            total: their sum.
        """
        self._check(name, "observe", labels)
        metric = self._metrics.get(name)
        if metric is None:
            return
        mine: Any = metric.labels(**labels) if labels else metric
        # The library observes one value at a time, at 1.5 µs, and has no public way to add many.
        for bucket, count in zip(mine._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        mine._sum.inc(total)

    def put(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge; raises as `count` does."""
        self._do(name, "set", value, labels)

    def text(self) -> bytes:
        """All metrics in the text format (https://prometheus.io/docs/instrumenting/exposition_formats)."""
        if self._registry is None:
            return b""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Put the text into a file for node-exporter's textfile collector: whole, or not at all.

        Raises:
            OSError: it cannot be written.
        """
        from vcache.kit.fs_atomic import write_atomic

        write_atomic(path, self.text())

    def _do(self, name: str, verb: str, value: float, labels: dict[str, str]) -> None:
        self._check(name, verb, labels)
        metric = self._metrics.get(name)
        if metric is not None:
            getattr(metric.labels(**labels) if labels else metric, verb)(value)

    def _check(self, name: str, verb: str, labels: dict[str, str]) -> None:
        described = METRICS.get(name)
        if described is None:
            raise UsageError(f"there is no metric {name!r}{did_you_mean(name, METRICS)}")
        if verb not in _VERBS[described.kind] or labels.keys() != set(described.labels):
            raise UsageError(
                f"{verb}({name!r}, {labels}): it is a {described.kind} with labels {described.labels}"
            )


@dataclass(frozen=True, slots=True)
class Family:
    """A metric that is counted elsewhere, as it is now.

    Attributes:
        rows: values by the values of its labels.
        histograms: by the values of its labels: upper ends of buckets in its unit, how many fell into
            each and beyond the last, and the sum.
    """

    described: Described
    rows: Sequence[tuple[tuple[str, ...], float]] = ()
    histograms: Sequence[tuple[tuple[str, ...], Sequence[float], Sequence[int], float]] = ()


def exposition(families: Iterable[Family], *, is_process: bool = False) -> bytes:
    """Families in the text format: read when they are asked for, so that to count them costs an addition.

    Args:
        is_process: with the memory, time and descriptors of this process.

    Raises:
        UsageError: prometheus-client is not installed.
    """
    try:
        import prometheus_client
        from prometheus_client import core
    except ImportError:
        raise UsageError("metrics need prometheus-client: python -m pip install 'vcache[metrics]'") from None
    registry = prometheus_client.CollectorRegistry()
    kinds = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}

    class Collector:
        def collect(self) -> Iterator[core.Metric]:
            for family in families:
                described = family.described
                if described.kind == "histogram":
                    found = core.HistogramMetricFamily(
                        described.name, described.meaning, labels=described.labels
                    )
                    for labels, bounds, counts, total in family.histograms:
                        names = [*(repr(float(end)) for end in bounds), "+Inf"]
                        found.add_metric(labels, list(zip(names, accumulate(counts), strict=True)), total)
                    yield found
                else:
                    plain = kinds[described.kind](described.name, described.meaning, labels=described.labels)
                    for labels, value in family.rows:
                        plain.add_metric(labels, value)
                    yield plain

    registry.register(Collector())
    if is_process:
        prometheus_client.ProcessCollector(registry=registry)
    return prometheus_client.generate_latest(registry)


_VERBS: Final = {"counter": ("inc",), "gauge": ("inc", "set"), "histogram": ("observe",)}
