"""The states of a job and what leads from one to another. Pure, and the only place that says it.

A queue applies `after` within one transaction of its own; docs/design/jobs.md has the drawing. It must
not know where jobs are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from vcache.errors import UsageError

__all__ = ["ENDED", "TRANSITIONS", "Event", "State", "after"]


class State(StrEnum):
    """Where a job stands."""

    BLOCKED = "blocked"
    """It waits for other jobs to complete."""
    QUEUED = "queued"
    """It waits for a worker, and perhaps for a time before which it may not start."""
    RUNNING = "running"
    """A worker holds it under a lease."""
    FAILED = "failed"
    """Its attempt has failed. No job stays here: the same transaction leads on to retry or dead."""
    RETRY = "retry"
    """It waits for the time of its next attempt."""
    COMPLETED = "completed"
    """It ended well, and its result is recorded, once."""
    DEAD = "dead"
    """It is in the dead-letter queue, with the evidence: no worker takes it until somebody says so."""
    CANCELLED = "cancelled"
    """Somebody said that it need not run, or a job that it waits for cannot complete any more."""


class Event(StrEnum):
    """What happens to a job."""

    UNBLOCK = "unblock"
    """The last job that it waits for has completed."""
    CLAIM = "claim"
    """A worker takes it."""
    COMPLETE = "complete"
    """Its handler returned."""
    FAIL = "fail"
    """Its handler raised, ran out of time, or could not be called."""
    TRY_AGAIN = "try-again"
    """There are attempts left."""
    GIVE_UP = "give-up"
    """There are none left, or a further one cannot help."""
    DUE = "due"
    """The time of its next attempt has come."""
    RELEASE = "release"
    """Its worker gives it back unfinished, since it is going away in peace: no attempt is counted."""
    LOSE = "lose"
    """Its worker's lease ran out, or the worker is known to have died."""
    QUARANTINE = "quarantine"
    """Its worker was lost once too often."""
    EXPIRE = "expire"
    """Its deadline has passed before it started."""
    CANCEL = "cancel"
    """Somebody wants it no more."""
    REQUEUE = "requeue"
    """Somebody wants it to run after all, or again, now."""


ENDED: Final = frozenset((State.COMPLETED, State.DEAD, State.CANCELLED))
"""A job in one of these is done with, unless somebody requeues it."""

_WAITING: Final = (State.BLOCKED, State.QUEUED, State.RETRY)

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.BLOCKED, Event.UNBLOCK): State.QUEUED,
        (State.QUEUED, Event.CLAIM): State.RUNNING,
        (State.RETRY, Event.DUE): State.QUEUED,
        (State.RUNNING, Event.COMPLETE): State.COMPLETED,
        (State.RUNNING, Event.FAIL): State.FAILED,
        (State.FAILED, Event.TRY_AGAIN): State.RETRY,
        (State.FAILED, Event.GIVE_UP): State.DEAD,
        (State.RUNNING, Event.RELEASE): State.QUEUED,
        (State.RUNNING, Event.LOSE): State.QUEUED,
        (State.RUNNING, Event.QUARANTINE): State.DEAD,
        (State.RUNNING, Event.CANCEL): State.CANCELLED,
        **{(state, Event.EXPIRE): State.DEAD for state in _WAITING},
        **{(state, Event.CANCEL): State.CANCELLED for state in _WAITING},
        **{(state, Event.REQUEUE): State.QUEUED for state in (State.RETRY, State.DEAD, State.CANCELLED)},
    }
)


def after(state: State, event: Event) -> State:
    """The state that an event leads to.

    Raises:
        UsageError: in that state no such thing can happen.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        possible = ", ".join(sorted(each for come, each in TRANSITIONS if come is state)) or "nothing"
        raise UsageError(f"a job that is {state} cannot {event}: possible are {possible}") from None
