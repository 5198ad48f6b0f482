"""The queue's clock in a Redis server: its `TIME` and an offset, which is moved when the former jumps.

Who talks to the server compares what it says with a monotonic clock of its own. It must not know jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from vcache.kit.clock import Monotonic
from vcache.kit.data import NamedTuple

__all__ = ["Expected", "ServerClock", "awake_s"]

_FAST_US: Final = 100_000
JUMP_US: Final = 5_000_000
"""By how much the two may differ: clocks run at slightly different speeds."""


def awake_s() -> float:
    """Seconds that never go back, and go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Expected(NamedTuple):
    """What a server should say at a moment of the monotonic clock, give or take so much, while that epoch lasts."""

    at_s: float
    now_us: int
    epoch: bytes
    most_us: int


class Heard(NamedTuple):
    """What it said at a moment of the monotonic clock, or so much before."""

    at_s: float
    now_us: int
    epoch: bytes
    slack_us: int


class ServerClock:
    """Hears what time the server has, and says when that has jumped.

    Args:
        move: moves the clock by so many microseconds if it still has that epoch; gives now and the epoch.
    """

    def __init__(
        self, move: Callable[[bytes, int], tuple[int, bytes]], *, monotonic: Monotonic = awake_s
    ) -> None:
        self._move = move
        self._monotonic = monotonic
        self._heard: Heard | None = None

    def expected(self) -> Expected:
        """What the server should say next; to be asked for before the server is."""
        at_s = self._monotonic()
        heard = self._heard
        if heard is None:
            return Expected(at_s, 0, b"", JUMP_US)
        return Expected(at_s, heard.now_us + _us(at_s - heard.at_s), heard.epoch, JUMP_US + heard.slack_us)

    def hear(self, now_us: int, epoch: bytes, expected: Expected) -> None:
        """The server has said that.

        Args:
            expected: of before it was asked. What it says may be as old as the question, or as new as its
                answer, however long that took: beyond both it has jumped.
        """
        at_s = self._monotonic()
        took_us = _us(at_s - expected.at_s)
        heard = self._heard
        if heard is not None and epoch == expected.epoch == heard.epoch:
            least_us = expected.now_us - expected.most_us
            most_us = expected.now_us + took_us + expected.most_us
            if not least_us <= now_us <= most_us:
                now_us, epoch = self._move(epoch, expected.now_us + took_us - now_us)
                at_s = self._monotonic()
        # What came fast is known best; where the epoch is another one, all that was known is over.
        if heard is None or epoch != heard.epoch or took_us <= max(heard.slack_us, _FAST_US):
            self._heard = Heard(at_s, now_us, epoch, took_us)

    def now_us(self) -> int | None:
        """What time it is there, as far as was heard; None for never."""
        heard = self._heard
        return None if heard is None else heard.now_us + _us(self._monotonic() - heard.at_s)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
