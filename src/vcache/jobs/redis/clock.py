"""The queue's clock in a Redis server: its `TIME` and an offset, which is moved when the former jumps.

Who talks to the server compares what it says with a monotonic clock of its own. It must not know jobs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from vcache.kit.clock import Monotonic

__all__ = ["ServerClock", "awake_s"]

_JUMP_US: Final = 5_000_000  # a slow answer is no jump


def awake_s() -> float:
    """Seconds that never go back, and go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


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
        self._lock = threading.Lock()  # guards the one below
        self._heard: tuple[float, int, bytes] | None = None

    def hear(self, now_us: int, epoch: bytes) -> None:
        """The server has just said that."""
        at_s = self._monotonic()
        heard = self._heard
        if heard is not None and heard[2] == epoch:
            away_us = now_us - heard[1] - round((at_s - heard[0]) * 1e6)
            if not -_JUMP_US < away_us < _JUMP_US:
                now_us, epoch = self._move(epoch, -away_us)
                at_s = self._monotonic()
        with self._lock:
            self._heard = at_s, now_us, epoch

    def now_us(self) -> int | None:
        """What time it is there, as far as was heard; None for never."""
        heard = self._heard
        return None if heard is None else heard[1] + round((self._monotonic() - heard[0]) * 1e6)
