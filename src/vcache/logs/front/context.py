"""Fields that belong to whatever is said while something is done: a run, a node, a request.

They follow the thread and the asyncio task that entered (contextvars). It must not know who logs.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError
from vcache.logs.front.given import given
from vcache.logs.front.process import redactor
from vcache.serialize.plain import pack_plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from vcache.query.syntax import Value
    from vcache.tracing import SpanContext

__all__ = ["CURRENT", "Context", "Fields", "context", "otel_fields"]

OTEL: Final = "opentelemetry.trace"


class Fields:
    """Fields and their bytes, made once and used by each record that is said within."""

    __slots__ = ("fields", "packed")

    def __init__(self, fields: Mapping[str, Value]) -> None:
        self.fields: Final = fields
        self.packed: Final = pack_plain(dict(fields))


CURRENT: Final[ContextVar[Fields | None]] = ContextVar("vcache_log_fields", default=None)


class Context:
    """See `context`. May be entered again, also by several threads, one after the other."""

    __slots__ = ("_fields", "_tokens")

    def __init__(self, fields: Mapping[str, Value]) -> None:
        self._fields = fields
        self._tokens: list[Token[Fields | None]] = []

    def __enter__(self) -> None:
        outer = CURRENT.get()
        fields = self._fields if outer is None else {**outer.fields, **self._fields}
        self._tokens.append(CURRENT.set(Fields(fields)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        CURRENT.reset(self._tokens.pop())


def context(span: SpanContext | None = None, /, **fields: object) -> Context:
    """Whatever is said within has these fields, as well as those of the context around.

    Args:
        span: a span of `vcache.tracing`: fields `trace_id` and `span_id`.

    Raises:
        UsageError: something else that is no span.

    A new thread starts without them; `contextvars.copy_context().run` hands them on.
    """
    known, _ = given(fields)
    if span is not None:
        if not hasattr(span, "trace_id"):
            raise UsageError(
                f"context({span!r:.80}): give a span of vcache.tracing, or fields by their names"
            )
        known = {**known, "trace_id": span.trace_id, "span_id": span.span_id}
    return Context(redactor().fields(known))


def otel_fields() -> dict[str, Value]:
    """The trace and span of OpenTelemetry that this is said in, when the program uses it."""
    trace = sys.modules.get(OTEL)
    if trace is None:
        return {}
    try:
        found = trace.get_current_span().get_span_context()
        if found.is_valid:
            return {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}
    except Exception:  # half imported, or another version: to log is no place to find out
        return {}
    return {}
