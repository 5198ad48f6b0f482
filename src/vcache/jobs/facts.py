"""What is said of jobs in JSON, by the server and the command alike. Pure; it must not know who asks."""

from __future__ import annotations

from vcache.jobs.base import QueueStats, Session
from vcache.jobs.models import Failure, Job, Limits, Priority, Progress
from vcache.jobs.plainjson import jsonable

__all__ = ["job_facts", "limits_facts", "priority_word", "progress_facts", "session_facts", "stats_facts"]


def priority_word(priority: int) -> str:
    """A priority's name, such as "high"."""
    return Priority(priority).name.lower()


def job_facts(job: Job, *, is_whole: bool = True) -> dict[str, object]:
    """All that is known of a job.

    Args:
        is_whole: with payload and result, which may be long.
    """
    spec = job.spec
    facts: dict[str, object] = {
        "id": spec.id,
        "kind": spec.kind,
        "state": str(job.state),
        "priority": priority_word(spec.priority),
        "attempts": job.attempts,
        "kills": job.kills,
        "created_ns": spec.created_ns,
        "not_before_ns": spec.not_before_ns,
        "deadline_ns": spec.deadline_ns,
        "due_ns": job.due_ns,
        "started_ns": job.started_ns,
        "finished_ns": job.finished_ns,
        "timeout_s": spec.timeout_s,
        "retries": spec.retries,
        "unique": spec.unique,
        "unique_s": spec.unique_s,
        "after": list(spec.after),
        "parent": spec.parent,
        "tags": list(spec.tags),
        "trace": spec.trace,
        "worker": job.worker,
        "progress": None if job.progress is None else progress_facts(job.progress),
        "failures": [_failure_facts(failure) for failure in job.failures],
        "why": job.why,
        "log": job.log,
    }
    if is_whole:
        facts["payload"] = jsonable(spec.payload)
        facts["result"] = jsonable(job.result)
    return facts


def progress_facts(progress: Progress) -> dict[str, object]:
    """How far a job says it is."""
    return progress._asdict()


def session_facts(session: Session) -> dict[str, object]:
    """A worker's process."""
    return {
        "id": session.id,
        "worker": session.worker,
        "kinds": list(session.kinds),
        "n_held": session.n_held,
        "lease_s": session.lease_s,
        "beats": session.beats,
    }


def limits_facts(limits: Limits) -> dict[str, object]:
    """What workers together may do of a kind."""
    return limits._asdict()


def stats_facts(stats: QueueStats) -> dict[str, object]:
    """What a queue holds."""
    waiting: dict[str, dict[str, int]] = {}
    for (kind, priority), count in sorted(stats.waiting.items()):
        waiting.setdefault(kind, {})[priority_word(priority)] = count
    return {
        "states": {str(state): count for state, count in sorted(stats.by_state.items())},
        "waiting": waiting,
        "delayed": stats.delayed,
        "oldest_ns": stats.oldest_ns,
        "totals": {kind: totals._asdict() for kind, totals in sorted(stats.totals.items())},
        "workers": len(stats.sessions),
    }


def _failure_facts(failure: Failure) -> dict[str, object]:
    return failure._asdict()
