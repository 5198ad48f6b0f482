"""The thread that waits for news of the queue, so that the pump need not. It must not know what is done with them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from vcache.jobs.worker.tray import Bell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vcache.jobs.base import Queue
    from vcache.jobs.worker.tray import Tray

__all__ = ["Waiter"]

_WAIT_S: Final = 1.0
_PAUSE_S: Final = 0.5  # after a fault


class Waiter:
    """Waits in `queue.wait` while somebody asked it to, and rings when that returns."""

    def __init__(self, queue: Queue, kinds: Sequence[str], tray: Tray) -> None:
        self._queue, self._kinds, self._tray = queue, kinds, tray
        self._bell = Bell()
        self._is_asked = False
        self._has_news = False
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vcache-wait", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask(self) -> None:
        """Wait, unless it does so."""
        if not self._is_asked:
            self._is_asked = True
            self._bell.ring()

    def takes_news(self) -> bool:
        """Whether something may have come since the last call."""
        if not self._has_news:
            return False  # what comes between this look and a reset would be lost
        self._has_news = False
        return True

    def close(self) -> None:
        """Let it end, as soon as it returns from the queue."""
        self._is_closed.set()
        self._bell.ring()

    def _work(self) -> None:
        while True:
            self._bell.wait()
            if self._is_closed.is_set():
                return
            try:
                self._queue.wait(self._kinds, _WAIT_S)
            except (
                Exception
            ):  # the pump meets the same fault, and says it; a closed queue is no concern of ours
                self._is_closed.wait(_PAUSE_S)
            self._is_asked = False
            self._has_news = True
            self._tray.ring()
