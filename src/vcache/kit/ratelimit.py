"""A token bucket: so many per second on average, so many at once.

What is taken may be more than there is: the bucket goes into debt, and whoever comes next waits.
So a transfer whose size is known only afterwards can be accounted for. It must not know what is
counted.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from vcache.errors import UsageError
from vcache.kit.clock import Monotonic, Sleep

__all__ = ["TokenBucket"]


class TokenBucket:
    """Fills at a steady rate up to a bound; full at first.

    Args:
        rate: tokens per second.
        burst: the most it holds; what a second brings when left out.
        monotonic: what measures the seconds.

    Threads: all operations; none is held up by another's wait.

    Raises:
        UsageError: a rate or burst that is not above zero.
    """

    __slots__ = ("_at_s", "_burst", "_lock", "_monotonic", "_rate", "_tokens")

    def __init__(
        self, rate: float, burst: float | None = None, *, monotonic: Monotonic = time.monotonic
    ) -> None:
        for name, value in (("rate", rate), ("burst", burst)):
            if value is not None and not value > 0:
                raise UsageError(f"a token bucket's {name}={value!r}: give a number above zero")
        self._rate: Final = rate
        self._burst: Final = rate if burst is None else burst
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards the two below
        self._tokens = self._burst
        self._at_s = monotonic()

    def try_take(self, count: float = 1) -> bool:
        """Take so many if they are there; whether they were."""
        with self._lock:
            if self._fill() < count:
                return False
            self._tokens -= count
            return True

    def spend(self, count: float) -> None:
        """Take so many, there or not."""
        with self._lock:
            self._fill()
            self._tokens -= count

    def wait_s(self, count: float = 0) -> float:
        """Seconds until so many are there; more than the bucket holds counts as all that it holds."""
        with self._lock:
            lacking = min(count, self._burst) - self._fill()
        return max(0.0, lacking / self._rate)

    def take(self, count: float = 1, *, timeout_s: float | None = None, sleep: Sleep = time.sleep) -> bool:
        """Take so many as soon as they are there; more than the bucket holds when it is full.

        Args:
            timeout_s: when they would come later than that, nothing is taken nor waited for.
        """
        end_s = None if timeout_s is None else self._monotonic() + timeout_s
        while True:
            with self._lock:
                lacking = min(count, self._burst) - self._fill()
                # A hundredth of a token's time: rounding must not make a waiter come twice.
                if lacking <= 1e-9 * self._burst:
                    self._tokens -= count
                    return True
            wait_s = lacking / self._rate
            if end_s is not None and self._monotonic() + wait_s > end_s:
                return False
            sleep(wait_s)

    def after_fork_in_child(self) -> None:
        """In a forked child: forget the lock, which a thread that is not there may have held."""
        self._lock = threading.Lock()

    def _fill(self) -> float:
        """What is there at this moment. The lock is held."""
        now_s = self._monotonic()
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = now_s
        return self._tokens
