"""How jobs look: to programs as JSON, to people in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from vcache.cli.show import ago, moment
from vcache.jobs.facts import priority_word
from vcache.jobs.plainjson import jsonable
from vcache.kit.ansi import safe_string
from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vcache.jobs.base import Queue
    from vcache.jobs.models import Failure, Job, Plain, Progress

__all__ = [
    "describe", "ended_words", "failure_lines", "plain_text", "progress_words", "refused", "say_unknown", "shown",
    "when_words",
]  # fmt: skip


def shown(text: str) -> str:
    """A text on one line that does nothing to a terminal."""
    return safe_string(text).replace("\n", "⏎")


def plain_text(value: Plain) -> str:
    """A payload or a result as JSON on a line."""
    import json

    return safe_string(json.dumps(jsonable(value), ensure_ascii=False))


def progress_words(progress: Progress) -> str:
    """How far a job is: "45% (450 of 1,000) thumbnails"."""
    if progress.total > 0:
        words = f"{min(progress.done / progress.total, 1):.0%} ({progress.done:,g} of {progress.total:,g})"
    else:
        words = f"{progress.done:,g}"
    return f"{words} {shown(progress.note)}".rstrip()


def when_words(time_ns: int, now_ns: int) -> str:
    """A time, and how far it is away; "" for none."""
    return f"{moment(time_ns)} ({ago(time_ns, now_ns)})" if time_ns else ""


def ended_words(job: Job) -> str:
    """How a job ended, or stands, in a few words."""
    if job.state in ("dead", "cancelled"):
        failure = job.failures[-1].message if job.failures else ""
        return shown(": ".join(filter(None, (job.why, failure))) if job.why != failure else failure)
    if job.state == "running" and job.progress is not None:
        return progress_words(job.progress)
    if job.failures and job.state != "completed":
        return shown(f"{job.failures[-1].reason}: {job.failures[-1].message}")
    return ""


def describe(job: Job, now_ns: int) -> Iterator[tuple[str, str]]:
    """What is known of a job, as names and words; what says nothing is left out."""
    spec = job.spec
    rows = [
        ("id", job.id),
        ("kind", shown(job.kind)),
        ("state", f"{job.state}: {shown(job.why)}" if job.why else str(job.state)),
        ("payload", plain_text(spec.payload)),
        ("priority", priority_word(spec.priority)),
        ("asked for", when_words(spec.created_ns, now_ns)),
        ("may start", when_words(job.due_ns or spec.not_before_ns, now_ns)),
        ("deadline", when_words(spec.deadline_ns, now_ns)),
        ("timeout", format_duration(spec.timeout_s) if spec.timeout_s else ""),
        ("unique", shown(spec.unique)),
        ("after", " ".join(spec.after)),
        ("part of", shown(spec.parent)),
        ("tags", shown(" ".join(spec.tags))),
        ("attempts", _attempts(job)),
        ("started", when_words(job.started_ns, now_ns)),
        ("ended", when_words(job.finished_ns, now_ns)),
        ("took", _took(job)),
        ("worker", shown(job.worker)),
        ("progress", "" if job.progress is None else progress_words(job.progress)),
        ("result", plain_text(job.result) if job.state == "completed" else ""),
        ("log", f"vcache jobs log {job.id}" if job.attempts or job.kills else ""),
    ]
    return (row for row in rows if row[1])


def _attempts(job: Job) -> str:
    words = str(job.attempts) if job.attempts else ""
    if words and job.spec.retries >= 0:
        words += f" of {job.spec.retries + 1 + job.kills}"
    return words + (f", {job.kills} of them lost their worker" if job.kills else "")


def _took(job: Job) -> str:
    if not (job.started_ns and job.finished_ns >= job.started_ns):
        return ""
    return format_duration((job.finished_ns - job.started_ns) / 1e9)


def failure_lines(failures: Iterable[Failure]) -> Iterator[str]:
    """The evidence: each failed attempt with its traceback."""
    for failure in failures:
        where = f" on {failure.worker}" if failure.worker else ""
        yield f"attempt {failure.attempt}, {moment(failure.at_ns)}{where}: {failure.reason}: {failure.message}"
        for line in failure.traceback.rstrip().splitlines():
            yield f"    {line}"


def say_unknown(queue: Queue, job_id: str) -> None:
    """Tell that a queue does not know a job."""
    place = f"{queue.info.name}{f' ({queue.info.namespace})' if queue.info.namespace else ''}"
    _error(f"there is no job {shown(job_id)!r} in {place}: it was never there, or has been forgotten")


def refused(queue: Queue, wanted: Sequence[str], done: Sequence[str], verb: str) -> int:
    """Say why some jobs could not be `verb`; the exit code."""
    missing = [job_id for job_id in dict.fromkeys(wanted) if job_id not in set(done)]
    for job_id, job in zip(missing, queue.get(missing), strict=True):
        if job is None:
            say_unknown(queue, job_id)
        else:
            _error(f"job {job.id} is {job.state}: it cannot be {verb}")
    return 1 if missing else 0


def _error(words: str) -> None:
    sys.stdout.flush()
    click.echo(f"vcache: error: {words}", err=True)
