"""The deadline of the operation that this thread is in, for whoever waits somewhere below.

A guard says how long an operation may take; the client of a network, some calls below it and
through libraries that pass nothing along, asks what is left, and says what an answer is going to
bring. It must not know either.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from vcache.errors import StoreError

__all__ = ["Within", "expect", "left_s"]


class _Local(threading.local):
    current: Within | None = None


_local: Final = _Local()


class Within:
    """What is done in this context has to end after so many seconds; an earlier end around it holds on.

    Args:
        seconds: from when the context is entered.
        rate_bytes: the slowest transfer that is waited for, per second: each that many bytes of an
            answer lengthen the time by a second.
        limit_bytes: the longest answer that is waited for.

    Attributes:
        at_s: when it ends, as `time.monotonic` has it. Another thread may look.
    """

    __slots__ = ("_before", "_limit_bytes", "_rate_bytes", "_seconds", "at_s")

    def __init__(
        self,
        seconds: float,
        *,
        rate_bytes: float | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        self._seconds = seconds
        self._rate_bytes = rate_bytes
        self._limit_bytes = limit_bytes
        self._before: Within | None = None
        self.at_s = time.monotonic() + seconds

    def __enter__(self) -> None:
        self._before = before = _local.current
        at_s = time.monotonic() + self._seconds
        self.at_s = at_s if before is None else min(before.at_s, at_s)
        _local.current = self

    def __exit__(self, *_: object) -> None:
        _local.current = self._before

    def expect(self, size_bytes: int) -> None:
        """So many bytes of an answer come, or have come."""
        if self._limit_bytes is not None and size_bytes > self._limit_bytes:
            raise StoreError(
                f"an answer of {size_bytes} bytes is above the limit of {self._limit_bytes}: raise `limit`"
            )
        if self._rate_bytes:
            self.at_s += size_bytes / self._rate_bytes
        if self._before is not None:
            self._before.expect(size_bytes)
            self.at_s = min(self.at_s, self._before.at_s)


def left_s(default_s: float) -> float:
    """Seconds until the deadline of this thread's operation, never below a millisecond.

    Args:
        default_s: where there is no deadline, and the most in any case.
    """
    current = _local.current
    return default_s if current is None else max(0.001, min(default_s, current.at_s - time.monotonic()))


def expect(size_bytes: int) -> None:
    """Say how many bytes of an answer come, or have come: `left_s` may be more from then on.

    Raises:
        StoreError: it is longer than what the operation takes.
    """
    current = _local.current
    if current is not None:
        current.expect(size_bytes)
