"""What holds for all loggers of this process: the level, the sinks, what is a secret.

Loggers compile what they need of it, and are told when it changes. It must not know them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from vcache.logs.front.secrets import Redactor
from vcache.query.levels import UNSET

if TYPE_CHECKING:
    from vcache.logs.front.lanes import Lane

__all__ = ["PROCESS", "Listener", "Process", "redactor"]


class Listener(Protocol):
    """Is told when what it compiled no longer holds."""

    def forget(self) -> None: ...


class Process:
    """See the module. Threads: all operations."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # guards what follows; loggers are made within it
        self.level = UNSET
        self.lanes: tuple[Lane, ...] | None = None
        self.redactor = Redactor()
        self.listeners: WeakSet[Listener] = WeakSet()

    def changed(self) -> None:
        """Have everybody compile anew."""
        with self.lock:
            for each in list(self.listeners):
                each.forget()

    def after_fork_in_child(self) -> None:
        """Forget a lock that a thread may hold that is not here."""
        self.lock = threading.RLock()


PROCESS: Final = Process()


def redactor() -> Redactor:
    """What takes secrets out in this process."""
    return PROCESS.redactor
