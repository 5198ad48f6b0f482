"""Whose lease is over: sessions whose beats stood still for too long of the watcher's own time. Pure.

No wall clock takes part, so setting one neither ends nor prolongs a lease.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from vcache.jobs.base import Session
from vcache.kit.clock import Monotonic

__all__ = ["STILL", "LeaseWatch"]

STILL: Final = 0.75  # of a lease: beats come each quarter, so two are missing, and there is time left to look
_LOOKS: Final = 8  # in the shortest lease
_LEAST_S: Final = 0.01


class LeaseWatch:
    """What a watcher remembers of sessions from look to look.

    Example:
        for session in watch.seen(queue.sessions()):
            queue.end_session(session.id, beats=session.beats)

    Args:
        monotonic: what measures leases. It should not go on while the machine sleeps, as sessions do not.

    Threads: one at a time.
    """

    __slots__ = ("_first", "_look_s", "_monotonic", "_over_s")

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._first: dict[str, tuple[int, float]] = {}  # by session: its beats, and when they were first seen
        self._look_s = self._over_s = float("inf")

    def seen(self, sessions: Iterable[Session]) -> list[Session]:
        """Those of all present sessions whose lease is over, as they are in this look."""
        now_s = self._monotonic()
        first = {}
        over = []
        self._look_s = self._over_s = float("inf")
        for session in sessions:
            beats, since_s = self._first.get(session.id, (session.beats, now_s))
            if beats != session.beats:
                beats, since_s = session.beats, now_s
            first[session.id] = (beats, since_s)
            self._look_s = min(self._look_s, session.lease_s / _LOOKS)
            left_s = since_s + session.lease_s * STILL - now_s
            if left_s <= 0:
                over.append(session)
            else:
                self._over_s = min(self._over_s, left_s)
        self._first = first  # who is gone is forgotten
        return over

    def look_in_s(self, most_s: float) -> float:
        """When to look again, so that what dies comes back within its lease: at the latest after `most_s`."""
        return max(_LEAST_S, min(most_s, self._look_s, self._over_s))

    def pause(self, late_s: float) -> None:
        """Not to count a time in which the watcher was stopped itself, and maybe all others with it."""
        self._first = {name: (beats, since_s + late_s) for name, (beats, since_s) in self._first.items()}
