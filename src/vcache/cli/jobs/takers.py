"""Who waits for a job is told, once, when there is no worker that takes it. It must not know what else is shown."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from vcache.cli.jobs.showing import shown
from vcache.errors import StoreError
from vcache.jobs.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vcache.jobs.base import Queue, Session
    from vcache.jobs.models import Job

__all__ = ["Takers"]

_PATIENCE_S: Final = 2.0  # a worker may be on its way
_MOST_KINDS: Final = 12


class Takers:
    """Looks whether anybody takes a job that stays queued.

    Args:
        say: told, at most once, that nobody does.
    """

    def __init__(self, queue: Queue, say: Callable[[str], object]) -> None:
        self._queue, self._say = queue, say
        self._since_s: float | None = None
        self._is_done = False

    def look(self, job: Job) -> None:
        """Look, when it has been queued for long enough."""
        if self._is_done:
            return
        if job.state is not State.QUEUED or job.spec.not_before_ns > self._queue.now_ns():
            self._since_s = None
            return
        now_s = time.monotonic()
        self._since_s = self._since_s or now_s
        if now_s - self._since_s < _PATIENCE_S:
            return
        self._is_done = True
        try:
            sessions = self._queue.sessions()
        except StoreError:
            return  # who waits hears of it by itself
        if not any(fnmatchcase(job.kind, kind) for each in sessions for kind in each.kinds):
            self._say(_words(job.kind, sessions))


def _words(kind: str, sessions: Sequence[Session]) -> str:
    start = f"start one with vcache worker --kinds {shown(kind)}"
    if not sessions:
        return f"no worker takes jobs of kind {shown(kind)}: there is none; {start}"
    kinds = sorted({each for session in sessions for each in session.kinds})
    named = ", ".join(shown(each) for each in kinds[:_MOST_KINDS]) + (
        ", …" if len(kinds) > _MOST_KINDS else ""
    )
    many = "worker" if len(sessions) == 1 else "workers"
    return f"no worker takes jobs of kind {shown(kind)} ({len(sessions):,} {many}: kinds {named}); {start}"
