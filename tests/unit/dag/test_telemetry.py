from __future__ import annotations

import pytest

from tests.unit.dag import runs as some
from tests.unit.dag.runs import APP, A, at, ended, node, ran, started
from tests.unit.test_metrics import samples
from vcache.dag.events import Noted, Skipped
from vcache.dag.telemetry import Metered, Traced, span_sink
from vcache.errors import UsageError
from vcache.kit.random import Seeded
from vcache.metrics import Metrics
from vcache.tracing import JsonlSpans, OtelSpans, Span, SpanContext

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def metered(events, path=None) -> dict[str, float]:
    metrics = Metrics()
    listener = Metered(metrics, path)
    for event in events:
        listener.on_event(event)
    listener.close()
    return samples(metrics)


class Kept:
    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.n_closed = 0

    def add(self, span: Span) -> None:
        self.spans.append(span)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.n_closed += 1


def traced(events, **environ: str) -> tuple[Traced, list[Span]]:
    kept = Kept()
    listener = Traced([kept], environ=environ, random_bits=Seeded(1).bits)
    for event in events:
        listener.on_event(event)
    listener.close()
    listener.close()
    assert kept.n_closed == 1
    return listener, kept.spans


def test_a_build_is_counted() -> None:
    """nodes by what became of them, times, bytes, and the run as a whole"""
    *events, end = some.a_build()
    found = metered([*events, Noted(at(1), "odd"), Skipped(at(1), APP, "x"), end])
    expected = {
        "vcache_nodes_total{outcome=ran}": 3, "vcache_nodes_total{outcome=hit}": 1,
        "vcache_nodes_total{outcome=up_to_date}": 1, "vcache_nodes_total{outcome=skipped}": 1,
        "vcache_saved_seconds_total": 0.9, "vcache_notes_total": 1,
        "vcache_node_duration_seconds_count{rule=cc}": 3, "vcache_node_duration_seconds_sum{rule=cc}": 0.996,
        "vcache_restore_duration_seconds_sum": 0.002, "vcache_output_bytes_total{source=run}": 20,
        "vcache_output_bytes_total{source=cache}": 15, "vcache_run_duration_seconds": 0.801,
        "vcache_run_start_timestamp_seconds": 1.7e9, "vcache_run_status": 0, "vcache_nodes_running": 0,
        "vcache_nodes_planned": 4,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_failures_and_retries_are_counted() -> None:
    """a failure that is tried again is no failed node"""
    *begun, failed = ran(A, 0, 1, status=1)
    found = metered([*begun, failed._replace(will_retry=True), *ran(A, 0, 2, status=1)[1:], ended(3, 1)])
    assert found["vcache_nodes_total{outcome=failed}"] == 1
    assert found["vcache_node_tries_total"] == 1
    assert found["vcache_run_status"] == 1


def test_an_interrupt_leaves_nothing_running() -> None:
    """what was cut off does not count as running for ever"""
    assert metered([*ran(A, 0, 1)[:2]])["vcache_nodes_running"] == 1
    assert metered([*ran(A, 0, 1)[:2], ended(3, 130)])["vcache_nodes_running"] == 0


def test_rules_are_not_without_bound() -> None:
    """of a generator that makes a rule for each target only the first fifty have their own times"""
    events = [event for number in range(80) for event in ran(node(str(number), rule=f"r{number}"), 0, 1)]
    found = metered([*events, *ran(node("x", rule=""), 0, 1)])
    counts = {
        name: value for name, value in found.items() if name.startswith("vcache_node_duration_seconds_count")
    }
    assert len(counts) == 51
    assert counts["vcache_node_duration_seconds_count{rule=other}"] == 31


def test_a_file_at_the_end(tmp_path) -> None:
    """the text is written when the run ends"""
    metered(some.a_build(), str(tmp_path / "vcache.prom"))
    assert 'vcache_nodes_total{outcome="ran"} 3.0' in (tmp_path / "vcache.prom").read_text()


def test_where_spans_go(tmp_path, monkeypatch) -> None:
    """a file, or the exporter of the environment; a place that is not there is refused before the run"""
    sink = span_sink(str(tmp_path / "spans"))
    assert isinstance(sink, JsonlSpans)
    sink.close()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert isinstance(span_sink("otel"), OtelSpans)
    for refused in (span_sink, lambda path: Metered(Metrics(), path)):
        with pytest.raises(UsageError, match="there is no such directory"):
            refused(str(tmp_path / "no" / "file"))


def test_a_build_is_a_trace() -> None:
    """a span for the run, below it one for each node that ran or was restored"""
    listener, spans = traced(some.a_build())
    *nodes, run = spans
    assert (run.name, run.parent, run.status) == ("vcache build", None, "ok")
    assert (run.started_ns, run.ended_ns) == (at(0), at(801))
    assert run.attributes["vcache.goals"] == ("app",)
    assert run.attributes["vcache.hits"] == 1
    assert [span.attributes["vcache.node"] for span in nodes] == ["c.o", "b.o", "a.o", "app"]
    assert {span.parent for span in nodes} == {run.context}
    assert len({span.context.span_id for span in spans}) == 5
    hit, *_, app = nodes
    assert (hit.attributes["vcache.outcome"], hit.started_ns) == ("hit", at(3))
    assert (app.started_ns, app.ended_ns) == (at(501), at(800))
    assert app.attributes == {
        "vcache.node": "app", "vcache.outcome": "ran", "process.exit.code": 0, "vcache.lane": 0,
        "process.command_line": "make app", "vcache.attempt": 1, "vcache.reason": "changed file a.o",
        "vcache.result": "dag:app:00",
    }  # fmt: skip
    assert SpanContext.parse(listener.traceparent) == run.context


def test_a_build_is_part_of_what_started_it() -> None:
    """TRACEPARENT's trace goes on; a broken one begins a new trace"""
    _, spans = traced(some.a_build(), TRACEPARENT=PARENT)
    assert spans[-1].parent == SpanContext.parse(PARENT)
    assert {span.context.trace_id for span in spans} == {PARENT[3:35]}
    listener, _ = traced([], TRACEPARENT=PARENT[:-3])
    assert PARENT[3:35] not in listener.traceparent


def test_failures_are_errors() -> None:
    """a failed node, a failed try, what was cut off, and a failed run say so"""
    *begun, failed = ran(A, 0, 1, status=1)
    events = [started(), *begun, failed._replace(will_retry=True), *begun[1:], failed._replace(remark="timed out"),
              *ran(APP, 1, 2)[:2], ended(3, 1, error="a.o failed")]  # fmt: skip
    _, spans = traced(events)
    assert [(span.attributes.get("vcache.outcome"), span.status, span.message) for span in spans] == [
        ("retried", "error", "exit status 1"),
        ("failed", "error", "timed out"),
        ("cut off", "error", "the run ended first"),
        (None, "error", "a.o failed"),
    ]


def test_what_is_said_can_be_told_to_be_a_part_of_a_span() -> None:
    """of its node's last try, once that has ended; before, and for the run, of the run's"""
    first = ran(A, 1, 2, status=3)
    first[-1] = first[-1]._replace(will_retry=True)
    listener, spans = traced([started(), *first, *ran(A, 3, 4), ended(5, n_run=1)])
    tries = [span for span in spans if span.attributes.get("vcache.node") == A.name]
    assert len(tries) == 2
    assert listener.span_of(A) == tries[1].context != tries[0].context
    assert listener.span_of(node("other.o")) == listener.span_of(None) == spans[-1].context
