"""Spans: named stretches of time with attributes, and where they go: a JSONL file, or OpenTelemetry.

Contexts are those of W3C Trace Context, so that a build is a part of the trace of what started it, and
what it starts can be a part of its own. It must not know what is traced.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from vcache.errors import ConfigError, UsageError
from vcache.kit.data import dataclass, field
from vcache.kit.ids import system_bits

if TYPE_CHECKING:
    from typing import TextIO

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext as OtelContext

    from vcache.kit.ids import RandomBits

__all__ = ["Attribute", "JsonlSpans", "OtelSpans", "Span", "SpanContext", "SpanSink"]

Attribute: TypeAlias = str | bool | int | float | tuple[str, ...]

# https://www.w3.org/TR/trace-context/#traceparent-header: a later version may append fields.
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 0x01
_BATCH: Final = 512
_EXPORTERS: Final = "opentelemetry_traces_exporter"  # the entry points that the SDK's own set-up reads
_EXPORTER_VARIABLE: Final = "OTEL_TRACES_EXPORTER"


@dataclass(frozen=True, slots=True)
class SpanContext:
    """Which span of which trace.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        is_sampled: whether who began the trace keeps it.
    """

    trace_id: str
    span_id: str
    is_sampled: bool = True

    @classmethod
    def parse(cls, traceparent: str) -> SpanContext | None:
        """The context that a `traceparent` names; None where it is not valid, as the standard asks."""
        match = _TRACEPARENT.fullmatch(traceparent.strip())
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        is_valid = (
            version != "ff" and (more is None or version != "00") and int(trace_id, 16) and int(span_id, 16)
        )
        return cls(trace_id, span_id, bool(int(flags, 16) & _SAMPLED)) if is_valid else None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> SpanContext | None:
        """The context that whoever started this process handed on, in TRACEPARENT."""
        return cls.parse(environ.get("TRACEPARENT", ""))

    @classmethod
    def below(cls, parent: SpanContext | None, random_bits: RandomBits = system_bits) -> SpanContext:
        """A new one: in the trace of its parent, or the first of a trace."""
        span_id = f"{random_bits(64) or 1:016x}"
        if parent is not None:
            return cls(parent.trace_id, span_id, parent.is_sampled)
        return cls(f"{random_bits(128) or 1:032x}", span_id)

    @property
    def traceparent(self) -> str:
        """What is handed on to a process that is started."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.is_sampled else 0:02x}"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time that is over.

    Attributes:
        name: of few different ones; what is special stands in attributes.
        parent: the span it is a part of, maybe of another process.
        status: "unset" where nobody judges it.
        message: what the error was.
    """

    name: str
    context: SpanContext
    parent: SpanContext | None
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    status: Literal["unset", "ok", "error"] = "unset"
    message: str = ""


class SpanSink(Protocol):
    """Where spans go."""

    def add(self, span: Span) -> None:
        """Take a span. It may be kept back until `flush` or `close`."""
        ...

    def flush(self) -> None:
        """Deliver what was kept back so far: for who runs for long, and says little."""
        ...

    def close(self) -> None:
        """Deliver what was kept back."""
        ...


class JsonlSpans:
    """Spans as one JSON object a line, appended to a file.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file: TextIO = open(path, "a", encoding="ascii")  # noqa: SIM115 - closed by close()

    def add(self, span: Span) -> None:
        """Write a span. Raises OSError where that fails."""
        record: dict[str, object] = {
            "name": span.name,
            "trace_id": span.context.trace_id,
            "span_id": span.context.span_id,
            "parent_id": None if span.parent is None else span.parent.span_id,
            "started_ns": span.started_ns,
            "ended_ns": span.ended_ns,
            "status": span.status,
            "attributes": dict(span.attributes),
        }
        if span.message:
            record["message"] = span.message
        self._file.write(json.dumps(record, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        """Write what is buffered. Raises OSError where that fails."""
        self._file.flush()

    def close(self) -> None:
        """Write what is buffered. Raises OSError where that fails."""
        self._file.close()


class OtelSpans:
    """Spans to an OpenTelemetry exporter, in batches (the extra `otel`).

    Spans are built as the SDK's `ReadableSpan` rather than through a tracer: their ids are known
    before, as commands may be told of them. Of a trace that its beginner does not sample nothing is
    exported.

    Args:
        exporter: where they go; None for the one that OTEL_TRACES_EXPORTER names ("otlp" when it
            does not say), as the SDK's own set-up has it; "none" exports nothing.
        service: the service's name, unless OTEL_SERVICE_NAME says it.

    Raises:
        UsageError: the SDK is not installed.
        ConfigError: no such exporter is installed, or it cannot be loaded.
    """

    def __init__(self, exporter: SpanExporter | None = None, *, service: str = "vcache") -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError:
            raise UsageError("spans need opentelemetry-sdk: python -m pip install 'vcache[otel]'") from None
        # Create() reads OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME; what is given here comes last.
        name = os.environ.get("OTEL_SERVICE_NAME") or service
        self._resource = Resource.create({"service.name": name})
        self._scope = InstrumentationScope("vcache")
        self._exporter = _exporter_of_environment() if exporter is None else exporter
        self._batch: list[ReadableSpan] = []

    def add(self, span: Span) -> None:
        """Keep a span for the next batch."""
        if self._exporter is None or not span.context.is_sampled:
            return
        self._batch.append(self._readable(span))
        if len(self._batch) >= _BATCH:
            self._export()

    def flush(self) -> None:
        """Export what was kept back."""
        self._export()

    def close(self) -> None:
        """Export what is left."""
        self._export()
        if self._exporter is not None:
            self._exporter.shutdown()

    def _export(self) -> None:
        batch, self._batch = self._batch, []
        if batch and self._exporter is not None:
            self._exporter.export(batch)  # its own retries and warnings: a span lost is no fault of ours

    def _readable(self, span: Span) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Status, StatusCode

        return ReadableSpan(
            span.name,
            context=_foreign(span.context, is_remote=False),
            parent=None if span.parent is None else _foreign(span.parent, is_remote=True),
            resource=self._resource,
            attributes=dict(span.attributes),
            status=Status(StatusCode[span.status.upper()], span.message or None),
            start_time=span.started_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self._scope,
        )


def _foreign(context: SpanContext, *, is_remote: bool) -> OtelContext:
    from opentelemetry import trace

    flags = trace.TraceFlags(_SAMPLED if context.is_sampled else 0)
    return trace.SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote, flags)


def _exporter_of_environment() -> SpanExporter | None:
    from vcache.kit import plugin

    name = os.environ.get(_EXPORTER_VARIABLE, "").strip() or "otlp"
    if name == "none":
        return None
    found = plugin.find(_EXPORTERS, name)
    if found is None:
        raise ConfigError(
            f"{_EXPORTER_VARIABLE}={name!r}: no such exporter is installed, there is "
            f"{', '.join(plugin.names(_EXPORTERS)) or 'none'}; for OTLP: "
            "python -m pip install opentelemetry-exporter-otlp"
        )
    if not callable(found):
        raise ConfigError(
            f"{_EXPORTER_VARIABLE}={name!r}: its plug-in gives {found!r:.80}, which makes no exporter"
        )
    exporter: SpanExporter = found()
    return exporter
