"""Threads of a store: one that watches while anybody follows, one that works while there is something to do.

They must not know what is watched and done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from vcache.errors import VcacheError

__all__ = ["POLL_S", "Background", "Watch"]

POLL_S: Final = 0.01
"""So late is what other processes append noticed, at most."""
_PAUSE_S: Final = 0.002


class Watch:
    """Looks when it is told to (`wake`), and every `POLL_S`. Threads: any.

    Args:
        look: looks; errors of the system are borne, and looked past.
        is_wanted: whether anybody follows; the thread ends where nobody does.
    """

    def __init__(self, look: Callable[[], object], *, is_wanted: Callable[[], bool]) -> None:
        self._look = look
        self._is_wanted = is_wanted
        self.begin()

    def begin(self) -> None:
        """In a fork's child: no thread is there."""
        self._lock = threading.Lock()  # guards the thread's being there
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()

    def start(self) -> None:
        """Watch, if nobody does."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vcache-logs-follow", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """There is something to be seen."""
        if self._thread is not None:
            self._woken.set()

    def stop(self) -> None:
        """Wait for the thread to end, once nobody follows."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._woken.set()
            thread.join(5)

    def _run(self) -> None:
        pause = threading.Event()  # never set: what waits on it hears of no fork and costs no import
        while True:
            self._woken.wait(POLL_S)
            self._woken.clear()
            with self._lock:
                if not self._is_wanted():
                    self._thread = None
                    return
            try:
                self._look()
            except (OSError, VcacheError):
                pass  # the directory is gone, or no descriptor is left: it may come back
            # Appends of one record each are looked at together, some hundred times a second.
            pause.wait(_PAUSE_S)


class Background:
    """Work of which there is one at a time. Threads: any.

    Args:
        work: is given what says whether to go on.
    """

    def __init__(self, work: Callable[[Callable[[], bool]], object]) -> None:
        self._work = work
        self.begin()

    def begin(self) -> None:
        """In a fork's child: no thread is there."""
        self._lock = threading.Lock()  # guards what follows
        self._thread: threading.Thread | None = None
        self._is_asked = self._is_stopped = False

    def start(self) -> None:
        """Have it done, once more if it is under way."""
        with self._lock:
            self._is_asked = True
            if self._thread is None and not self._is_stopped:
                self._thread = threading.Thread(target=self._run, name="vcache-logs-seal", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Have no more of it done, and wait for the step that is under way."""
        with self._lock:
            self._is_stopped = True
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._is_asked or self._is_stopped:
                    self._thread = None
                    return
                self._is_asked = False
            self._work(self._goes_on)

    def _goes_on(self) -> bool:
        return not self._is_stopped
