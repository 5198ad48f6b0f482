"""The writer lock of a directory: one writer at a time, over threads and processes.

The kernel lets go of it when its holder dies, however it dies. It knows nothing of what it
guards.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from vcache.errors import StoreBusy

__all__ = ["WriterLock"]

_EXCLUSIVE_NOW: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
_FIRST_PAUSE_S: Final = 20e-6
_LONGEST_PAUSE_S: Final = 2e-3


class WriterLock:
    """A context manager around `flock`, with a deadline.

    A blocking `flock` cannot be given a deadline, and a stopped process that holds the lock
    must not hang a build: hence the polling, which a writer of a few microseconds ends soon.

    Raises:
        StoreBusy: on entry, when the deadline passed.
        OSError: on entry, when the lock file cannot be opened.
    """

    __slots__ = ("_deadline_s", "_fd", "_path", "_thread")

    def __init__(self, path: Path, *, deadline_s: float) -> None:
        self._path = path
        self._deadline_s = deadline_s
        self._thread = threading.Lock()  # guards _fd, and the directory between threads
        self._fd = -1

    def __enter__(self) -> None:
        if not self._thread.acquire(blocking=False) and not self._thread.acquire(timeout=self._deadline_s):
            raise StoreBusy(f"{self._path}: not had within {self._deadline_s} s (held by another thread)")
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._fd, _EXCLUSIVE_NOW)
            except BlockingIOError:
                self._wait()
        except BaseException:
            self._thread.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            self._thread.release()

    def _wait(self) -> None:
        until, pause = time.monotonic() + self._deadline_s, _FIRST_PAUSE_S
        while True:
            time.sleep(pause)
            try:
                fcntl.flock(self._fd, _EXCLUSIVE_NOW)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                    raise
            else:
                return
            if time.monotonic() > until:
                raise StoreBusy(
                    f"{self._path}: not had within {self._deadline_s} s (held by another process)"
                )
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)

    def after_fork(self) -> None:
        """In a child: forget the parent's lock, which the inherited descriptor would share."""
        self._thread = threading.Lock()
        self.close()

    def close(self) -> None:
        """Release the descriptor; the lock can be taken again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
