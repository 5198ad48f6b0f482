"""The attempt at a job that runs here: what its handler may ask, and say.

It must not know who runs it: that is behind `Desk`.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

from vcache.errors import UsageError
from vcache.jobs.models import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vcache.jobs.base import Claimed
    from vcache.jobs.models import Payload, Spec
    from vcache.logs import Logger

__all__ = ["CURRENT", "Attempt", "Desk", "current_job"]


class Desk(Protocol):
    """What stands behind a running attempt."""

    def report(self, attempt: Attempt, progress: Progress) -> None: ...

    def logger(self, attempt: Attempt) -> Logger: ...

    def jobs(self) -> object: ...


class Attempt:
    """An attempt at a job, as its handler sees it.

    Attributes:
        claimed: what the worker holds.
        is_cancelled: somebody wants it no more, or it has run out of time: what it returns is not kept.
            Handlers that run in a thread look at it now and then, and return.
        trace: the W3C `traceparent` that what it starts is below; "" without tracing.

    Threads: all operations.
    """

    __slots__ = ("__weakref__", "_desk", "_log", "_packed", "claimed", "is_cancelled", "trace")

    def __init__(self, claimed: Claimed, desk: Desk) -> None:
        self.claimed = claimed
        self.is_cancelled = False
        self.trace = ""
        self._desk = desk
        self._log: Logger | None = None
        self._packed: bytes | None = None

    @property
    def spec(self) -> Spec:
        """What was asked for."""
        return self.claimed.spec

    @property
    def id(self) -> str:
        """The job's."""
        return self.claimed.spec.id

    @property
    def kind(self) -> str:
        """The job's."""
        return self.claimed.spec.kind

    @property
    def payload(self) -> Payload:
        """As it was submitted."""
        return self.claimed.spec.payload

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return self.claimed.attempt

    @property
    def tags(self) -> Sequence[str]:
        """What the job can be found by."""
        return self.claimed.spec.tags

    @property
    def parent(self) -> str:
        """Id of the job, build or batch that it belongs to."""
        return self.claimed.spec.parent

    def progress(self, done: float, total: float = 0, note: str = "") -> None:
        """Say how far it is. It may be said as often as one likes: some a second are kept."""
        self._desk.report(self, Progress(done, total, note))

    @property
    def log(self) -> Logger:
        """Says things with the job's fields: source "job/KIND", `job`, `kind` and `attempt`."""
        if self._log is None:
            self._log = self._desk.logger(self)
        return self._log

    @property
    def jobs(self) -> object:
        """The front of the queue that the job came from, `vcache.jobs.Jobs`, to submit further ones."""
        return self._desk.jobs()

    # What `vcache.logs.front.context.Fields` has: an attempt stands in its place, made when somebody logs.

    @property
    def fields(self) -> Mapping[str, str | int]:
        """What every record says that is logged within."""
        spec = self.claimed.spec
        return {"job": spec.id, "kind": spec.kind, "attempt": self.claimed.attempt}

    @property
    def packed(self) -> bytes:
        """The fields as msgpack."""
        if self._packed is None:
            from vcache.serialize.plain import pack_plain

            self._packed = pack_plain(self.fields)
        return self._packed

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} at job {self.id} ({self.kind})>"


CURRENT: Final[ContextVar[Attempt]] = ContextVar("vcache_job")


def current_job() -> Attempt:
    """The attempt that the calling handler is.

    Raises:
        UsageError: nobody runs a job here. A thread that a handler starts knows of none, unless it runs
            within `contextvars.copy_context()`.
    """
    try:
        return CURRENT.get()
    except LookupError:
        raise UsageError(
            "current_job(): no job runs here: call it within a handler (in a thread of its own: within "
            "contextvars.copy_context())"
        ) from None
