"""Forks and gRPC: its own handlers serve a child well, as long as no call is under way at the fork.

If one is, they are skipped, and the first call in the child crashes it or never ends (grpcio 1.85,
src/core/lib/iomgr/fork_posix.cc: "Other threads are currently calling into gRPC"). So a fork waits a
moment for the calls to end, and new ones for the fork; where that is not enough the child is told to
keep away from gRPC for good. It must not know what the calls are.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Final

__all__ = ["GATE", "Gate"]

_WAIT_S: Final = 0.5


class Gate:
    """Counts the calls under way.

    Attributes:
        is_spoiled: this process was forked in the middle of a call: no call will ever end here.
        forks: how many forks there were between the first process and this one.
    """

    def __init__(self) -> None:
        self.is_spoiled = False
        self.forks = 0
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition(threading.Lock())  # guards the next two
        self._calls = 0
        self._is_forking = False

    def __enter__(self) -> None:
        """Begin a call; while the process forks, first wait for that."""
        with self._changed:
            while self._is_forking:
                self._changed.wait()
            self._calls += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._calls -= 1
            if self._is_forking and not self._calls:
                self._changed.notify_all()

    def before(self) -> None:
        """Let calls end, and let none begin."""
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: not self._calls, _WAIT_S)

    def in_parent(self) -> None:
        """Let calls begin again."""
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def in_child(self) -> None:
        """Begin anew, without the calls of the parent's threads."""
        self.is_spoiled |= bool(self._calls)
        self.forks += 1
        self._begin()


GATE: Final = Gate()
"""The one of this process: gRPC is one for all its users."""

os.register_at_fork(before=GATE.before, after_in_parent=GATE.in_parent, after_in_child=GATE.in_child)
