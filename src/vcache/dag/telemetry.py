"""Listeners that feed metrics and traces with what happens in a run.

What they are fed to is `vcache.metrics` and `vcache.tracing`, which know nothing of builds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.dag.events import (
    Finished,
    Hit,
    Missed,
    Noted,
    Output,
    Planned,
    RunEnded,
    RunStarted,
    Skipped,
    Started,
    UpToDate,
)
from vcache.dag.profile import placed
from vcache.tracing import JsonlSpans, OtelSpans, Span, SpanContext

if TYPE_CHECKING:
    from vcache.dag.events import Event
    from vcache.dag.node import Node
    from vcache.kit.ids import RandomBits
    from vcache.metrics import Metrics
    from vcache.tracing import Attribute, SpanSink

__all__ = ["Metered", "Traced", "span_sink"]

_MOST_RULES: Final = 50  # a generator may make a rule for each target; a time series each is too much
_OTHER: Final = "other"
OTEL: Final = "otel"
"""In place of a file: the exporter that OTEL_TRACES_EXPORTER names."""


def span_sink(where: str) -> SpanSink:
    """Where spans go: "otel" for OpenTelemetry, else a file of JSON lines, which is appended to.

    Raises:
        UsageError: the extra `otel` is not installed, or the file's directory does not exist.
        ConfigError: no such exporter is installed.
        OSError: the file cannot be opened.
    """
    return OtelSpans() if where == OTEL else JsonlSpans(placed(where))


class Metered:
    """A listener that counts into metrics.

    Args:
        path: where their text is written when the run ends, for node-exporter; None for nowhere.

    Raises:
        UsageError: the file's directory does not exist.
        OSError: from `on_event` at the run's end: the file cannot be written.
    """

    def __init__(self, metrics: Metrics, path: str | None = None) -> None:
        self._metrics = metrics
        self._path = None if path is None else placed(path)
        self._rules: set[str] = set()
        self._started_ns = 0
        # Counted here and handed on in one sum: a build that is up to date has nothing but these.
        self._n_fresh = 0
        self._running: set[Node] = set()

    def on_event(self, event: Event) -> None:
        """Count an event."""
        metrics = self._metrics
        if isinstance(event, UpToDate):
            self._n_fresh += 1
        elif isinstance(event, Hit):
            metrics.count("vcache_nodes", outcome="hit")
            metrics.observe("vcache_restore_duration_seconds", event.took_ns / 1e9)
            metrics.count("vcache_saved_seconds", event.saved_ns / 1e9)
        elif isinstance(event, Started):
            self._running.add(event.node)
            metrics.put("vcache_nodes_running", len(self._running))
        elif isinstance(event, Finished):
            self._finished(event)
        elif isinstance(event, Output):
            n_bytes = sum(len(data) for _, _, data in event.chunks)
            metrics.count("vcache_output_bytes", n_bytes, source="cache" if event.is_replayed else "run")
        elif isinstance(event, Skipped):
            metrics.count("vcache_nodes", outcome="skipped")
        elif isinstance(event, Noted):
            metrics.count("vcache_notes")
        elif isinstance(event, Planned):
            metrics.put("vcache_nodes_planned", event.count)
        elif isinstance(event, RunStarted):
            self._started_ns = event.at_ns
            metrics.put("vcache_run_start_timestamp_seconds", event.at_ns / 1e9)
        elif isinstance(event, RunEnded):
            self._ended(event)

    def close(self) -> None:
        """Hand on what was not handed on yet."""
        if self._n_fresh:
            self._metrics.count("vcache_nodes", self._n_fresh, outcome="up_to_date")
            self._n_fresh = 0

    def _finished(self, event: Finished) -> None:
        self._running.discard(event.node)
        self._metrics.put("vcache_nodes_running", len(self._running))
        if event.will_retry:
            self._metrics.count("vcache_node_tries")
            return
        self._metrics.count("vcache_nodes", outcome="failed" if event.status else "ran")
        self._metrics.observe(
            "vcache_node_duration_seconds", event.took_ns / 1e9, rule=self._rule(event.node)
        )

    def _rule(self, node: Node) -> str:
        if node.rule not in self._rules:
            if len(self._rules) >= _MOST_RULES:
                return _OTHER
            self._rules.add(node.rule)
        return node.rule or _OTHER

    def _ended(self, event: RunEnded) -> None:
        self.close()
        self._metrics.put("vcache_nodes_running", 0)  # what an interrupt cut off never finishes
        self._metrics.put("vcache_run_duration_seconds", max(0, event.at_ns - self._started_ns) / 1e9)
        self._metrics.put("vcache_run_status", event.status)
        if self._path is not None:
            self._metrics.write(self._path)


class Traced:
    """A listener that makes a span of the run, and one below it of each node that ran or was restored.

    The run's span is below the one that TRACEPARENT names (W3C Trace Context), if it names one.

    Args:
        sinks: where spans go; they are closed with this.
    """

    def __init__(
        self, sinks: Sequence[SpanSink], *, environ: Mapping[str, str] = os.environ,
        random_bits: RandomBits | None = None,
    ) -> None:  # fmt: skip
        self._sinks = tuple(sinks)
        self._bits: tuple[RandomBits, ...] = () if random_bits is None else (random_bits,)
        self._parent = SpanContext.from_environ(environ)
        self._context = SpanContext.below(self._parent, *self._bits)
        self._begun: RunStarted | None = None
        self._running: dict[Node, Started] = {}
        self._reasons: dict[Node, str] = {}
        self._of: dict[Node, SpanContext] = {}

    def span_of(self, node: Node | None) -> SpanContext:
        """The span of a node's last try, once it has ended; the run's for none, and for any other."""
        return self._context if node is None else self._of.get(node, self._context)

    @property
    def traceparent(self) -> str:
        """What a command may be told, as TRACEPARENT, to make its own spans a part of the run's."""
        return self._context.traceparent

    def on_event(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, UpToDate):
            return
        if isinstance(event, Missed):
            self._reasons[event.node] = event.reason
        elif isinstance(event, Started):
            self._running[event.node] = event
        elif isinstance(event, Finished):
            self._finished(event)
        elif isinstance(event, Hit):
            self._hit(event)
        elif isinstance(event, RunStarted):
            self._begun = event
        elif isinstance(event, RunEnded):
            self._ended(event)

    def close(self) -> None:
        """Close the sinks."""
        sinks, self._sinks = self._sinks, ()
        for sink in sinks:
            sink.close()

    def _hit(self, event: Hit) -> None:
        attributes: dict[str, Attribute] = {
            "vcache.result": event.result,
            "vcache.saved_s": event.saved_ns / 1e9,
        }
        self._add_node(event.node, "hit", event.at_ns - event.took_ns, event.at_ns, attributes)

    def _finished(self, event: Finished) -> None:
        begun = self._running.pop(event.node, None)
        attributes: dict[str, Attribute] = {"process.exit.code": event.status, "vcache.lane": event.lane}
        if begun is not None:
            attributes["process.command_line"] = begun.words
            attributes["vcache.attempt"] = begun.attempt
        if reason := self._reasons.get(event.node):
            attributes["vcache.reason"] = reason
        if event.result:
            attributes["vcache.result"] = event.result
        since_ns = event.at_ns - event.took_ns if begun is None else begun.at_ns
        outcome = "retried" if event.will_retry else "failed" if event.status else "ran"
        message = (event.remark or f"exit status {event.status}") if event.status else ""
        self._add_node(event.node, outcome, since_ns, event.at_ns, attributes, message=message)

    def _add_node(
        self, node: Node, outcome: str, since_ns: int, until_ns: int, attributes: Mapping[str, Attribute], *,
        message: str = "",
    ) -> None:  # fmt: skip
        self._of[node] = context = SpanContext.below(self._context, *self._bits)
        named: dict[str, Attribute] = {"vcache.node": node.name, "vcache.outcome": outcome}
        self._add(
            Span(
                node.rule or "node",
                context,
                self._context,
                since_ns,
                max(since_ns, until_ns),
                {**named, **attributes},
                "error" if message else "ok",
                message,
            )
        )

    def _ended(self, event: RunEnded) -> None:
        begun = self._begun
        for node, started in self._running.items():
            self._add_node(node, "cut off", started.at_ns, event.at_ns, {}, message="the run ended first")
        self._running.clear()
        attributes: dict[str, Attribute] = {
            "vcache.ran": event.n_run, "vcache.hits": event.n_hit, "vcache.up_to_date": event.n_up_to_date,
            "vcache.failed": event.n_failed, "vcache.saved_s": event.saved_ns / 1e9, "vcache.status": event.status,
        }  # fmt: skip
        if begun is not None:
            attributes |= {"vcache.run": begun.run, "vcache.goals": begun.goals, "vcache.slots": begun.slots}
        message = (event.error or f"status {event.status}") if event.status else ""
        self._add(
            Span(
                "vcache build",
                self._context,
                self._parent,
                event.at_ns if begun is None else begun.at_ns,
                event.at_ns,
                attributes,
                "error" if message else "ok",
                message,
            )
        )

    def _add(self, span: Span) -> None:
        for sink in self._sinks:
            sink.add(span)
