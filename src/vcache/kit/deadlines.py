"""The deadline of the operation that this thread is in, for whoever waits somewhere below.

A guard says how long an operation may take; the client of a network, some calls below it and
through libraries that pass nothing along, asks what is left. It must not know either.
"""

from __future__ import annotations

import threading
import time
from typing import Final

__all__ = ["Within", "left_s"]


class _Local(threading.local):
    at_s: float | None = None


_local: Final = _Local()


class Within:
    """What is done in this context has to end after so many seconds; an earlier end holds on."""

    __slots__ = ("_before_s", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._before_s: float | None = None

    def __enter__(self) -> None:
        self._before_s = before_s = _local.at_s
        at_s = time.monotonic() + self._seconds
        _local.at_s = at_s if before_s is None else min(before_s, at_s)

    def __exit__(self, *_: object) -> None:
        _local.at_s = self._before_s


def left_s(default_s: float) -> float:
    """Seconds until the deadline of this thread's operation, never below a millisecond.

    Args:
        default_s: where there is no deadline, and the most in any case.
    """
    at_s = _local.at_s
    return default_s if at_s is None else max(0.001, min(default_s, at_s - time.monotonic()))
