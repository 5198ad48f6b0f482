from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from vcache.errors import ConfigError
from vcache.kit.random import Seeded
from vcache.tracing import JsonlSpans, OtelSpans, Span, SpanContext

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = SpanContext(TRACE, SPAN)


def span(number: int = 1, *, parent: SpanContext | None = PARENT, is_sampled: bool = True, **fields) -> Span:
    context = SpanContext(TRACE, f"{number:016x}", is_sampled)
    return Span("cc", context, parent, 10, 20, {"vcache.node": "a.o", "goals": ("a", "b")}, **fields)


@pytest.mark.parametrize(
    ("traceparent", "context"),
    [
        (f"00-{TRACE}-{SPAN}-01", PARENT),
        (f" 00-{TRACE}-{SPAN}-00\n", SpanContext(TRACE, SPAN, is_sampled=False)),
        (f"00-{TRACE}-{SPAN}-03", PARENT),
        (f"cc-{TRACE}-{SPAN}-01-what-comes", PARENT),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        ("", None),
    ],
)
def test_what_is_a_traceparent(traceparent, context) -> None:
    """the header's rules of W3C Trace Context decide; what is not valid is as if not there"""
    assert SpanContext.parse(traceparent) == context
    assert SpanContext.from_environ({"TRACEPARENT": traceparent}) == context


@given(st.text(alphabet="0123456789abcdefF-", max_size=60) | st.just(f"00-{TRACE}-{SPAN}-01"))
def test_another_reader_agrees(traceparent) -> None:
    """OpenTelemetry's own propagator takes what we take"""
    from opentelemetry import trace

    found = trace.get_current_span(
        TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    ).get_span_context()
    ours = SpanContext.parse(traceparent)
    assert (ours is not None) == found.is_valid
    if ours is not None:
        assert (int(ours.trace_id, 16), int(ours.span_id, 16)) == (found.trace_id, found.span_id)


def test_a_context_below_another() -> None:
    """a child is in its parent's trace and sampled as it is; without a parent a trace begins"""
    quiet = SpanContext(TRACE, SPAN, is_sampled=False)
    child = SpanContext.below(quiet, Seeded(1).bits)
    assert (child.trace_id, child.is_sampled) == (TRACE, False)
    assert child.span_id != SPAN
    first, other = SpanContext.below(None), SpanContext.below(None)
    assert first.trace_id != other.trace_id
    assert SpanContext.parse(first.traceparent) == first
    assert SpanContext.below(None, lambda count: 0).traceparent == f"00-{1:032x}-{1:016x}-01"


def test_a_span_is_a_line(tmp_path) -> None:
    """each span is one JSON object, and a file is added to"""
    path = tmp_path / "spans.jsonl"
    for number in (1, 2):
        sink = JsonlSpans(path)
        sink.add(span(number, parent=None if number == 1 else PARENT, status="error", message="é"))
        sink.close()
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "name": "cc", "trace_id": TRACE, "span_id": f"{1:016x}", "parent_id": None, "started_ns": 10, "ended_ns": 20,
        "status": "error", "attributes": {"vcache.node": "a.o", "goals": ["a", "b"]}, "message": "é",
    }  # fmt: skip
    assert second["parent_id"] == SPAN


def test_opentelemetry_gets_our_spans(monkeypatch) -> None:
    """ids, times, attributes, status and the service's name come out as they went in"""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    exporter = InMemorySpanExporter()
    sink = OtelSpans(exporter)
    sink.add(span(1, status="error", message="exit status 1"))
    sink.add(span(2, parent=None, status="ok"))
    sink.add(span(3, is_sampled=False))
    assert not exporter.get_finished_spans(), "spans are kept for a batch"
    sink.close()
    first, second = exporter.get_finished_spans()
    assert first.context is not None and first.parent is not None and second.context is not None
    assert (f"{first.context.trace_id:032x}", first.context.span_id) == (TRACE, 1)
    assert f"{first.parent.span_id:016x}" == SPAN
    assert (first.start_time, first.end_time) == (10, 20)
    assert dict(first.attributes or {}) == {"vcache.node": "a.o", "goals": ("a", "b")}
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "exit status 1")
    assert first.resource.attributes["service.name"] == "vcache"
    assert (second.parent, second.status.status_code) == (None, StatusCode.OK)
    assert json.loads(first.to_json())["name"] == "cc"


def test_a_full_batch_is_exported() -> None:
    """spans do not pile up until the end"""
    exporter = InMemorySpanExporter()
    sink = OtelSpans(exporter)
    for number in range(1, 1100):
        sink.add(span(number))
    assert len(exporter.get_finished_spans()) == 1024
    sink.close()
    assert len(exporter.get_finished_spans()) == 1099


@pytest.mark.parametrize(("name", "service"), [("console", "nightly"), ("console", ""), ("none", "")])
def test_the_environment_names_the_exporter(name, service) -> None:
    """OTEL_TRACES_EXPORTER picks one by its entry point, as the SDK does, OTEL_SERVICE_NAME its name"""
    # In a process of its own: the console exporter takes the standard output that there was at its import.
    code = """
from tests.unit.test_tracing import span
from vcache.tracing import OtelSpans
sink = OtelSpans()
sink.add(span())
sink.close()
"""
    environ = {**os.environ, "OTEL_TRACES_EXPORTER": name, "OTEL_SERVICE_NAME": service}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=root, capture_output=True, check=True, text=True
    )
    assert (f'"service.name": "{service or "vcache"}"' in done.stdout) == (name == "console")
    assert done.stderr == ""


def test_an_exporter_that_is_not_there(monkeypatch) -> None:
    """the error names the variable, its value and what there is"""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nowhere")
    with pytest.raises(ConfigError, match=r"OTEL_TRACES_EXPORTER='nowhere': no such exporter .*console"):
        OtelSpans()


def test_without_the_library() -> None:
    """contexts and JSONL need nothing; who wants OpenTelemetry is told what to install"""
    code = """
import sys
sys.modules["opentelemetry.sdk.resources"] = None
from vcache.errors import UsageError
from vcache.tracing import OtelSpans
try:
    OtelSpans()
except UsageError as error:
    print(error)
print("opentelemetry.sdk" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert "python -m pip install 'vcache[otel]'" in done.stdout
