"""Whose turn it is to write, between processes: first come, nearly first served, by two locks of the kernel.

Who waits holds the door, so that who had its turn and comes again stands behind it, at the latest the eighth time:
flock alone would let the same one in again and again. A process that dies loses its locks; one that is stopped keeps them, so that waiting
has an end. It must not know what is written.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import Final

from vcache.errors import StoreBusy

__all__ = ["Turnstile"]

_PASSES: Final = 8
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Turnstile:
    """One process's way to its turn.

    Args:
        path: of the lock files, less their endings.

    Threads: one at a time.
    """

    def __init__(self, path: str) -> None:
        self._paths = (path + ".door", path + ".turn")
        self._door = self._turn = -1
        self._wait: _Wait | None = None
        self._n_passed = 0

    def enter(self, timeout_s: float) -> None:
        """Have the turn.

        Raises:
            StoreBusy: not within that time.
            OSError: a lock file cannot be made.
        """
        if self._turn < 0:
            self._open()
        if self._wait is not None and not self._wait.want():
            self._wait = None
        if self._wait is None:
            if self._try():
                return
            self._wait = _Wait(self._door, self._turn)
        if not self._wait.is_had_within(timeout_s):
            raise StoreBusy(
                f"{self._paths[1]} was not had within {timeout_s:g} s: another process holds it, and may be stopped"
            )
        self._wait = None

    def leave(self) -> None:
        """Let the next one in."""
        fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give all back. May be called again."""
        if self._wait is not None and self._wait.abandon():
            self._door = self._turn = -1  # who waits closes them
        for fd in (self._turn, self._door):
            if fd >= 0:
                os.close(fd)
        self._door = self._turn = -1
        self._wait = None

    def _open(self) -> None:
        door = os.open(self._paths[0], _FLAGS, 0o666)
        try:
            self._turn = os.open(self._paths[1], _FLAGS, 0o666)
        except BaseException:
            os.close(door)
            raise
        self._door = door

    def _try(self) -> bool:
        # A syscall less in front of most turns; who stands in the door is passed by so many others at most.
        self._n_passed = (self._n_passed + 1) % _PASSES
        if self._n_passed:
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                return True
        try:
            fcntl.flock(self._door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # the door stays ours: who waits for the turn has it again at once
        fcntl.flock(self._door, fcntl.LOCK_UN)
        return True


class _Wait:
    """A thread that waits in the kernel, which knows no deadline; who wants the turn may go away meanwhile."""

    def __init__(self, door: int, turn: int) -> None:
        self._door, self._turn = door, turn
        self._lock = threading.Lock()  # guards the three below
        self._is_over = self._is_abandoned = False
        self._is_wanted = True
        self._error: OSError | None = None
        self._end = threading.Event()
        threading.Thread(target=self._run, name="vcache-jobs-turn", daemon=True).start()

    def want(self) -> bool:
        """Go on waiting for it; False where the thread had it meanwhile, and gave it back."""
        with self._lock:
            self._is_wanted = not self._is_over
            return self._is_wanted

    def is_had_within(self, timeout_s: float) -> bool:
        """Whether it was had in time; if not, nobody wants it until `want`."""
        self._end.wait(timeout_s)
        with self._lock:
            self._is_wanted = False
            if self._error is not None:
                raise self._error
            return self._is_over

    def abandon(self) -> bool:
        """Nobody will ever want it; whether the thread still waits, and will close the files."""
        with self._lock:
            self._is_abandoned = True
            return not self._is_over

    def _run(self) -> None:
        try:
            fcntl.flock(self._door, fcntl.LOCK_EX)
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        with self._lock:
            self._is_over = True
            fcntl.flock(self._door, fcntl.LOCK_UN)
            if not self._is_wanted:
                fcntl.flock(self._turn, fcntl.LOCK_UN)
            if self._is_abandoned:
                os.close(self._turn)
                os.close(self._door)
        self._end.set()
