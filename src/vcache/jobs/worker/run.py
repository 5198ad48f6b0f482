"""An attempt as the worker has it, and what the worker knows of its kind.

It must not know how it is run.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from vcache.jobs.handlers.current import Attempt, Desk

if TYPE_CHECKING:
    from asyncio import Task

    from vcache.jobs.base import Claimed, Finished
    from vcache.jobs.handlers.handler import Handler
    from vcache.jobs.models import Progress
    from vcache.jobs.worker.tally import Tally

__all__ = ["Executor", "Line", "Run", "Stop", "resident_bytes"]

_NEVER: Final = float("inf")


class Stop(Enum):
    """Why an attempt is ended before it ends."""

    TIMEOUT = "timeout"
    """It takes longer than it may."""
    REVOKED = "revoked"
    """Its job was cancelled."""
    LOST = "lost"
    """The session under which it was claimed is gone: another worker has it."""
    RELEASE = "release"
    """The worker goes away, and gives the job back."""


class Executor(Protocol):
    """What runs attempts, and puts them on the tray."""

    def start(self, runs: list[Run]) -> None:
        """Start them all, now."""

    def stop(self, run: Run) -> bool:
        """End an attempt whose `stop` says why; False where it can only be told, and may look."""

    def write_off(self, run: Run) -> None:
        """An attempt that was to be stopped is not waited for any more: what runs it is to be replaced."""

    def close(self, timeout_s: float) -> None:
        """End, with what still runs."""


class Line:
    """What a worker has for one kind."""

    __slots__ = ("executor", "handler", "tally")

    def __init__(self, handler: Handler, executor: Executor, tally: Tally) -> None:
        self.handler = handler
        self.executor = executor
        self.tally = tally


class Run(Attempt):
    """An attempt that a worker runs.

    Attributes:
        deadline_s: when it has run out of time, by `time.perf_counter`.
        started_s, ended_s: when it did, by the same.
        finished: what the queue is told; None for nothing.
        stop: why it is being ended; None while it is not.
        task: of the event loop.
        unsent: progress that the queue has not been told of.
    """

    __slots__ = ("deadline_s", "ended_s", "finished", "line", "started_s", "stop", "task", "unsent")

    def __init__(self, claimed: Claimed, desk: Desk, line: Line, deadline_s: float = _NEVER) -> None:
        # As the base's, without the call: this runs once a job.
        self.claimed = claimed
        self.is_cancelled = False
        self.trace = ""
        self._desk = desk
        self._log = None
        self._packed = None
        self.line = line
        self.deadline_s = deadline_s
        self.started_s = 0.0
        self.ended_s = 0.0
        self.finished: Finished | None = None
        self.stop: Stop | None = None
        self.task: Task[None] | None = None
        self.unsent: Progress | None = None


def resident_bytes() -> int:
    """The memory that this process takes; where the system does not say, the most that it ever took."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
