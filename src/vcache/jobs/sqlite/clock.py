"""The queue's clock: UTC when it is first looked at in a boot of the machine, and steady from there on.

It is CLOCK_BOOTTIME, which also counts sleep and which nobody can set, plus an offset that the queue's
file keeps for each boot, so that all processes read the same. It must not know what is timed.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from vcache.kit.clock import Clock

__all__ = ["boot_name", "offset_for", "steady_ns"]

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MOST_BACK_NS: Final = 366 * 86_400 * 10**9


def steady_ns() -> int:
    """Nanoseconds since the machine was booted."""
    return time.clock_gettime_ns(_CLOCK)


def boot_name() -> str:
    """A name for what `steady_ns` counts from: this boot, and this container's offset to it."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        # Elsewhere the moment of the boot says it, to the minute: a clock is set by less, or it is another boot.
        boot = f"at {round((time.time_ns() - steady_ns()) / 60e9)}"
    try:
        return f"{boot} {os.readlink('/proc/self/ns/time')}"
    except OSError:
        return boot


def offset_for(last_ns: int, *, clock: Clock = time.time_ns, steady: Callable[[], int] = steady_ns) -> int:
    """What to add to `steady` in this boot.

    Args:
        last_ns: the latest time that the queue has noted; 0 for none. The clock does not go back behind it,
            unless that is so far ahead that it must have been wrong.
    """
    now_ns = clock()
    if now_ns < last_ns <= now_ns + _MOST_BACK_NS:
        now_ns = last_ns
    return now_ns - steady()
