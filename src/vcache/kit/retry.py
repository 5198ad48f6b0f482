"""Trying again: how long to wait before each further try, and a loop that does it.

Own lines rather than a library: tenacity and stamina take 60 to 70 ms to import (they load asyncio)
where this takes none, and the build runner needs the waits alone, as it has no thread to sleep in.
It must not know what is tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from vcache.errors import UsageError
from vcache.kit.clock import Deadline, Sleep
from vcache.kit.data import dataclass
from vcache.kit.random import Seeded

__all__ = ["Backoff", "Draw", "is_retryable", "retrying"]

T = TypeVar("T")

Draw = Callable[[], float]
"""Gives a number in [0, 1): where in its range a wait falls."""

_process: Final = Seeded()


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double, up to a bound, each drawn at random from a part of its range.

    Many that failed together must not come back together: "equal jitter" (M. Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015) keeps at least half of each wait.

    Attributes:
        times: further tries after the first; 0 for none.
        base_s: the longest wait before the first further try.
        most_s: the longest wait of all.
        factor: by how much each wait is longer than the one before.
        jitter: the part of a wait that is drawn; 0 for none, 1 for "full jitter".

    Raises:
        UsageError: a number that makes no sense.
    """

    times: int = 3
    base_s: float = 0.1
    most_s: float = 60.0
    factor: float = 2.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        for name, is_right, wanted in (
            ("times", self.times >= 0, "0 or more"),
            ("base_s", self.base_s >= 0, "0 or more"),
            ("most_s", self.most_s >= 0, "0 or more"),
            ("factor", self.factor >= 1, "1 or more"),
            ("jitter", 0 <= self.jitter <= 1, "0 to 1"),
        ):
            if not is_right:
                raise UsageError(f"backoff: {name}={getattr(self, name)!r}: give {wanted}")

    def wait_s(self, number: int, draw: Draw = _process.share) -> float | None:
        """The wait before a further try; None when there is none.

        Args:
            number: 1 for the first further try.
        """
        if not 1 <= number <= self.times:
            return None
        try:
            longest = min(self.base_s * self.factor ** (number - 1), self.most_s)
        except OverflowError:
            longest = self.most_s
        return longest * (1 - self.jitter * (1 - draw()))

    def waits(self, draw: Draw = _process.share) -> Iterator[float]:
        """Every wait, in order."""
        number = 1
        while (wait_s := self.wait_s(number, draw)) is not None:
            yield wait_s
            number += 1


def is_retryable(error: Exception) -> bool:
    """Whether an error says of itself that trying again may help, as every `StoreError` does."""
    return getattr(error, "retryable", False) is True


def retrying(
    work: Callable[[], T],
    backoff: Backoff = Backoff(),  # noqa: B008 - it is frozen
    *,
    is_worth: Callable[[Exception], bool] = is_retryable,
    deadline: Deadline | None = None,
    on_retry: Callable[[int, float, Exception], object] | None = None,
    draw: Draw = _process.share,
    sleep: Sleep = time.sleep,
) -> T:
    """What `work` gives, as soon as a try succeeds.

    Args:
        is_worth: whether a failure is worth another try.
        deadline: no try starts after it: a wait that would end later is not begun.
        on_retry: told of each wait before it: which further try it leads to, seconds, the failure.

    Raises:
        Exception: what the last try raised.
    """
    waits = backoff.waits(draw)
    number = 0
    while True:
        try:
            return work()
        except Exception as error:
            number += 1
            wait_s = next(waits, None) if is_worth(error) else None
            if wait_s is None or (deadline is not None and deadline.remaining_s(wait_s) < wait_s):
                raise
            if on_retry is not None:
                on_retry(number, wait_s, error)
        sleep(wait_s)  # outside the handler: what failed, and all that its frames hold, is let go


# Children of one process must not wait in step.
os.register_at_fork(after_in_child=lambda: Seeded.__init__(_process))
