"""What a log store and a span sink are told of an attempt. Pure; must not know where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcache.jobs.states import Event
from vcache.logs.record import Record
from vcache.query.levels import ERROR, INFO, WARNING
from vcache.tracing import Span, SpanContext

if TYPE_CHECKING:
    from vcache.jobs.worker.run import Run
    from vcache.query.syntax import Value

__all__ = ["context_of", "records_of", "span_of"]

_LEVELS = {Event.COMPLETE: INFO, Event.TRY_AGAIN: WARNING, Event.RELEASE: INFO}
_WORDS = {
    Event.COMPLETE: "completed",
    Event.TRY_AGAIN: "failed, and is tried again",
    Event.GIVE_UP: "failed for the last time",
    Event.RELEASE: "given back unfinished",
    Event.LOSE: "lost: its process died",
}


def records_of(run: Run, offset_ns: int) -> tuple[Record, Record]:
    """The begin and the end of an attempt.

    Args:
        offset_ns: of UTC to the clock of attempts.
    """
    source = f"job/{run.kind}"
    began_ns, ended_ns = (int(each * 1e9) + offset_ns for each in (run.started_s, run.ended_s))
    fields: dict[str, Value] = dict(run.fields)
    begun = Record(began_ns, INFO, source, "started", fields)
    finished = run.finished
    ended: dict[str, Value] = {**fields, "duration_s": round(run.ended_s - run.started_s, 6)}
    if finished is None:
        return begun, Record(
            ended_ns, WARNING, source, "ended in vain: its job is no more this worker's", ended
        )
    failure = finished.failure
    if failure is not None:
        ended |= {"reason": failure.reason, "error.message": failure.message}
        if failure.traceback:
            ended["error.stack"] = failure.traceback
    level = _LEVELS.get(finished.event, ERROR)
    return begun, Record(ended_ns, level, source, _WORDS[finished.event], ended)


def context_of(traceparent: str) -> SpanContext:
    """A new span's context, in the trace of who submitted the job."""
    return SpanContext.below(SpanContext.parse(traceparent) if traceparent else None)


def span_of(run: Run, offset_ns: int) -> Span:
    """The span of an attempt; `offset_ns` as above."""
    finished = run.finished
    is_good = finished is not None and finished.event is Event.COMPLETE
    failure = None if finished is None else finished.failure
    parent = SpanContext.parse(run.spec.trace) if run.spec.trace else None
    own = SpanContext.parse(run.trace) if run.trace else None
    return Span(
        f"job {run.kind}",
        own or SpanContext.below(parent),
        parent,
        int(run.started_s * 1e9) + offset_ns,
        int(run.ended_s * 1e9) + offset_ns,
        {"vcache.job.id": run.id, "vcache.job.kind": run.kind, "vcache.job.attempt": run.attempt},
        "ok" if is_good else "error",
        "" if failure is None else f"{failure.reason}: {failure.message}",
    )
