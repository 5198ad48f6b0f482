"""Where attempts that ended are put, and a bell that wakes who takes them from there.

It must not know what is put there.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcache.jobs.worker.run import Run

__all__ = ["Bell", "Tray"]


class Bell:
    """One thread waits, any thread rings, also from a signal handler. Rings are not counted.

    A bare lock: `threading.Event` takes five times as long.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Let the one that waits, or waits next, go on."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it rings already

    def wait(self, timeout_s: float = -1) -> bool:
        """Until it rings; whether it did."""
        return self._lock.acquire(timeout=timeout_s)


class Tray:
    """Ended attempts. Who puts one there rings if `is_waited_for`.

    The taker says so before it looks for the last time, so that one of the two sees the other.
    """

    __slots__ = ("bell", "ended", "is_waited_for")

    def __init__(self) -> None:
        self.bell = Bell()
        self.ended: deque[Run] = deque()
        self.is_waited_for = False

    def put(self, run: Run) -> None:
        """Put one there."""
        self.ended.append(run)
        if self.is_waited_for:
            self.ring()

    def ring(self) -> None:
        """Wake the taker."""
        self.is_waited_for = False
        self.bell.ring()

    def wait(self, timeout_s: float) -> None:
        """Until something is there, somebody rings, or that time is over."""
        self.is_waited_for = True
        if not self.ended:
            self.bell.wait(timeout_s)
        self.is_waited_for = False
