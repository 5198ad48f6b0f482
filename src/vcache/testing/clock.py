"""A clock that stands still until it is told to move, for tests of anything that takes time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from vcache.kit.units import nanoseconds

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["FakeClock"]

_SECOND_NS: Final = 1_000_000_000


class FakeClock:
    """A `Clock`: calling it gives UTC epoch nanoseconds. It also stands in for sleep and monotonic.

    Args:
        start_ns: the first reading; 2024-01-01T00:00:00Z when left out.

    Threads: every method may be called from any thread.
    """

    def __init__(self, start_ns: int = 1_704_067_200 * _SECOND_NS) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._now_ns = start_ns
        self._passed_ns = 0

    def __call__(self) -> int:
        """The present, in UTC epoch nanoseconds."""
        with self._lock:
            return self._now_ns

    def monotonic(self) -> float:
        """Seconds that were let pass since the start; `jump_to` does not count."""
        with self._lock:
            return self._passed_ns / _SECOND_NS

    def advance(self, by: float | str | timedelta) -> None:
        """Let time pass: seconds, "10m", or a timedelta."""
        delta_ns = nanoseconds(by)
        with self._lock:
            self._now_ns += delta_ns
            self._passed_ns += delta_ns

    def sleep(self, for_s: float) -> None:
        """Return at once, that many seconds later."""
        self.advance(for_s)

    def jump_to(self, at_ns: int) -> None:
        """Set the wall clock, also back, as an administrator does."""
        with self._lock:
            self._now_ns = at_ns

    def __repr__(self) -> str:
        return f"FakeClock({self()})"
