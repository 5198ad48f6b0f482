"""Whose lease is over: sessions whose beats stood still for too long of the watcher's own time. Pure.

No wall clock takes part, so setting one neither ends nor prolongs a lease.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from vcache.jobs.base import Session
from vcache.kit.clock import Monotonic

__all__ = ["LeaseWatch"]


class LeaseWatch:
    """What a watcher remembers of sessions from look to look.

    Example:
        for session in watch.seen(queue.sessions()):
            queue.end_session(session.id, beats=session.beats)

    Args:
        monotonic: what measures leases. It should not go on while the machine sleeps, as sessions do not.

    Threads: one at a time.
    """

    __slots__ = ("_first", "_monotonic")

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._first: dict[str, tuple[int, float]] = {}  # by session: its beats, and when they were first seen

    def seen(self, sessions: Iterable[Session]) -> list[Session]:
        """Those of all present sessions whose lease is over, as they are in this look."""
        now_s = self._monotonic()
        first = {}
        over = []
        for session in sessions:
            beats, since_s = self._first.get(session.id, (session.beats, now_s))
            if beats != session.beats:
                beats, since_s = session.beats, now_s
            first[session.id] = (beats, since_s)
            if now_s - since_s >= session.lease_s:
                over.append(session)
        self._first = first  # who is gone is forgotten
        return over
