"""Time as a parameter: what a clock is, and the deadline of one operation.

It must not know who asks. The fake clock for tests is in `vcache.testing.clock`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "Deadline", "Monotonic", "Sleep", "system_clock"]

Clock = Callable[[], int]
"""Gives UTC epoch nanoseconds. It may jump: nothing but what is stored is measured with it."""

Monotonic = Callable[[], float]
"""Gives seconds that never go back, from an arbitrary start: what waiting is measured with."""

Sleep = Callable[[float], object]
"""Lets that many seconds pass."""

system_clock: Clock = time.time_ns


class Deadline:
    """The moment after which an operation gives up.

    Args:
        timeout_s: seconds from the present; None for never.
        monotonic: what measures them.
    """

    __slots__ = ("_at_s", "_monotonic")

    def __init__(self, timeout_s: float | None, *, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at_s = None if timeout_s is None else monotonic() + timeout_s

    @property
    def is_never(self) -> bool:
        """Whether it has no end."""
        return self._at_s is None

    @property
    def is_past(self) -> bool:
        """Whether the moment has come."""
        return self._at_s is not None and self._monotonic() >= self._at_s

    def remaining_s(self, at_most_s: float = float("inf")) -> float:
        """Seconds left, never below zero nor above the given bound."""
        if self._at_s is None:
            return at_most_s
        return max(0.0, min(at_most_s, self._at_s - self._monotonic()))
