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
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import get_ident
from types import TracebackType
from typing import Final

from vcache.errors import StoreBusy

__all__ = ["WriterLock"]

_EXCLUSIVE_NOW: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
_YIELDS: Final = 4
_FIRST_PAUSE_S: Final = 20e-6
_LONGEST_PAUSE_S: Final = 2e-3
_NOTHING: Final = nullcontext()


class WriterLock:
    """A context manager around `flock`, with a deadline.

    A blocking `flock` cannot be given a deadline, and a stopped process that holds the lock
    must not hang a build: hence the polling, which a writer of a few microseconds ends soon.
    It is not taken twice by one thread: what half of a write has left must not be built upon,
    neither by a signal handler nor by a finaliser. What runs within it on purpose says so with
    `joined`.

    Raises:
        StoreBusy: on entry, when the deadline passed, or when this very thread holds it.
        OSError: on entry, when the lock file cannot be opened.
    """

    __slots__ = ("_deadline_s", "_fd", "_owner", "_path", "_thread")

    def __init__(self, path: Path, *, deadline_s: float) -> None:
        self._path = path
        self._deadline_s = deadline_s
        self._thread = threading.Lock()  # guards _fd, and the directory between threads
        self._fd = -1
        self._owner = 0  # the thread that holds _thread

    def __enter__(self) -> None:
        if not self._thread.acquire(blocking=False):
            self._wait_for_thread()
        self._owner = get_ident()
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._fd, _EXCLUSIVE_NOW)
            except BlockingIOError:
                self._wait()
        except BaseException:
            self._owner = 0
            self._thread.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            self._owner = 0
            self._thread.release()

    def joined(self) -> AbstractContextManager[None]:
        """This lock, or nothing where this thread holds it already."""
        return _NOTHING if self._owner == get_ident() else self

    def _wait_for_thread(self) -> None:
        if self._owner == get_ident():
            raise StoreBusy(f"{self._path}: held by this very thread, which was interrupted in a write")
        if not self._thread.acquire(timeout=self._deadline_s):
            raise StoreBusy(f"{self._path}: not had within {self._deadline_s} s (held by another thread)")

    def _wait(self) -> None:
        until, pause, tries = time.monotonic() + self._deadline_s, _FIRST_PAUSE_S, 0
        while True:
            # A put takes less time than the shortest sleep: first let just the holder run.
            if tries < _YIELDS:
                os.sched_yield()
            else:
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE_S)
            tries += 1
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

    def after_fork(self) -> None:
        """In a child: forget the parent's lock, which the inherited descriptor would share."""
        self._thread = threading.Lock()
        self._owner = 0
        self._close_fd()

    def close(self, *also: Callable[[], object]) -> None:
        """Release the descriptor; the lock can be taken again.

        Args:
            also: called while no other thread of this process is writing: a descriptor that is closed
                under a writer becomes the number of somebody else's file.
        """
        if self._owner == get_ident() or not self._thread.acquire(timeout=self._deadline_s):
            return  # a writer is at work: its descriptors go when the objects do
        try:
            for call in also:
                call()
            self._close_fd()
        finally:
            self._thread.release()

    def _close_fd(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
