"""What a job is: what was asked for, and how far it has come. Frozen data, no I/O.

It must not know where jobs are kept, nor who runs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from vcache.jobs.states import State
from vcache.kit.data import NamedTuple

__all__ = ["Failure", "Job", "Limits", "Payload", "Plain", "Priority", "Progress", "Spec"]

Plain = None | bool | int | float | str | bytes | Sequence["Plain"] | Mapping[str, "Plain"]
"""What payloads and results are made of: what msgpack and (but for bytes) JSON have of their own."""

Payload = Mapping[str, Plain]

_EMPTY: Final[Payload] = MappingProxyType({})


class Priority(IntEnum):
    """Which jobs come first. Of one kind and priority, the longest waiting one does."""

    CRITICAL = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3


class Spec(NamedTuple):
    """What was asked for. It never changes; its packed form is this list, without defaults at its end.

    Attributes:
        id: a UUIDv7 as text.
        kind: which handler runs it, such as "email.send".
        payload: the handler's arguments by name.
        priority: `Priority`, as a number.
        created_ns: when it was asked for: UTC epoch nanoseconds.
        not_before_ns: when it may start at the earliest; 0 for at once.
        deadline_ns: when it must have started; 0 for never.
        timeout_s: how long one attempt may take; 0 for what the handler says.
        retries: how many attempts may follow a failed first one; -1 for what the handler says.
        unique: while a job of this namespace with the same key lives, no second one is made; "" for none.
        unique_s: for so long after it was asked for a key is taken; 0: until its job has ended.
        after: ids of the jobs that must have completed before.
        parent: id of the job, build or batch that it belongs to.
        tags: what it can be found by.
        namespace: whose it is. Jobs of one namespace never meet those of another.
        trace: the W3C `traceparent` of who asked for it.
    """

    id: str
    kind: str
    payload: Payload = _EMPTY
    priority: int = Priority.MEDIUM
    created_ns: int = 0
    not_before_ns: int = 0
    deadline_ns: int = 0
    timeout_s: float = 0.0
    retries: int = -1
    unique: str = ""
    unique_s: float = 0.0
    after: Sequence[str] = ()
    parent: str = ""
    tags: Sequence[str] = ()
    namespace: str = ""
    trace: str = ""


class Failure(NamedTuple):
    """Why an attempt came to nothing.

    Attributes:
        reason: one word: "error" (the handler raised), "timeout", "killed" (its worker was lost),
            "invalid" (the payload does not fit the handler), "unknown" (no handler of that kind),
            "expired" (not started before its deadline).
        message: one line.
        traceback: as Python writes it; "" where there is none.
        worker: who ran it.
    """

    at_ns: int
    attempt: int
    reason: str
    message: str
    traceback: str = ""
    worker: str = ""


class Progress(NamedTuple):
    """How far a running job says it is. `total` is 0 where it does not know."""

    done: float
    total: float = 0.0
    note: str = ""
    at_ns: int = 0


class Job(NamedTuple):
    """A job as its queue has it.

    Attributes:
        attempts: how often a worker took it and did not give it back.
        kills: how often its worker was lost meanwhile.
        due_ns: when it may start, in retry and for a delayed one; 0 for at once.
        started_ns: when the attempt began that runs, or that ended it; 0 where there is none.
        finished_ns: when it completed, died or was cancelled. Before, a queue may say when its last attempt ended.
        worker: who holds it, or did last.
        token: the fencing token of its lease; 0 when none holds it.
        result: what its handler returned.
        failures: of its attempts, the oldest first, at most `MOST_FAILURES`.
        why: why it is dead or cancelled; "" otherwise.
    """

    spec: Spec
    state: State
    attempts: int = 0
    kills: int = 0
    due_ns: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    worker: str = ""
    token: int = 0
    progress: Progress | None = None
    result: Plain = None
    failures: Sequence[Failure] = ()
    why: str = ""

    @property
    def id(self) -> str:
        """See `Spec`."""
        return self.spec.id

    @property
    def kind(self) -> str:
        """See `Spec`."""
        return self.spec.kind

    @property
    def log(self) -> str:
        """The query of the log store that finds what it said, in all its attempts."""
        return f'job = "{self.spec.id}"'


class Limits(NamedTuple):
    """What workers together may do of one kind.

    Attributes:
        rate: starts per second; 0 for any number.
        burst: starts at once when none was for a while; 0 for what a second brings, at least one.
        running: at the same time; 0 for any number.
    """

    rate: float = 0.0
    burst: float = 0.0
    running: int = 0


MOST_FAILURES: Final = 10
