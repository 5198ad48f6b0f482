"""Rate limits per call site: a line of a program that says too much is held back, and what was is counted.

It must not know what is said.
"""

from __future__ import annotations

import time
from typing import Final

from vcache.kit.clock import Monotonic
from vcache.kit.ratelimit import TokenBucket

__all__ = ["Limits"]

_MOST_SITES: Final = 10_000


class Limits:
    """A bucket for each place that logs.

    Args:
        per_s: records per second of one place, on average.
        burst: how many at once; what a second brings when left out.

    Threads: all operations. A count may be one off where two threads pass at the same moment.

    Raises:
        UsageError: a rate or burst that is not above zero.
    """

    def __init__(
        self, per_s: float, burst: float | None = None, *, monotonic: Monotonic = time.monotonic
    ) -> None:
        TokenBucket(per_s, burst, monotonic=monotonic)  # misuse is said here, not by the first record
        self._given: Final = (per_s, burst)
        self._monotonic = monotonic
        self._buckets: dict[tuple[str, int], TokenBucket] = {}
        self._held: dict[tuple[str, int], int] = {}

    def take(self, file: str, line: int) -> int | None:
        """How many of that place were held back since one passed; None when this one is to be, too."""
        site = (file, line)
        bucket = self._buckets.get(site)
        if bucket is None:
            if len(self._buckets) >= _MOST_SITES:  # code that is made at run time
                self._buckets.clear()
            per_s, burst = self._given
            bucket = self._buckets.setdefault(site, TokenBucket(per_s, burst, monotonic=self._monotonic))
        if not bucket.try_take():
            self._held[site] = self._held.get(site, 0) + 1
            return None
        return self._held.pop(site, 0)

    @property
    def held_back(self) -> int:
        """How many were held back and not yet said."""
        return sum(self._held.copy().values())

    def after_fork_in_child(self) -> None:
        """Forget locks that threads may hold that are not here."""
        for each in self._buckets.values():
            each.after_fork_in_child()
