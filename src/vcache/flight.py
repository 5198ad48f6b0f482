"""Single flight: of all threads and processes that want one thing made, one makes it.

The kernel ends a lead when its process dies, however it dies; whoever waited then looks again
and may lead itself. It knows nothing of caches or values.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Final, Self

from vcache.hash import digest

__all__ = ["Lead", "SingleFlight"]

_FIRST_PAUSE_S: Final = 0.0005
_LONGEST_PAUSE_S: Final = 0.05


class _Turn:
    """The lock of one key among the threads of this process."""

    __slots__ = ("lock", "owner", "waiting")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = 0  # the thread that leads, to see that it asks for its own key again
        self.waiting = 0


class Lead:
    """The right to make one thing. Release it from any thread; use it as a context manager.

    A lead that is dropped is released. In a forked child it is void: it is the parent's.
    """

    __slots__ = ("_fd", "_flight", "_key", "_path", "_pid", "_turn")

    def __init__(
        self, flight: SingleFlight, key: bytes, turn: _Turn | None, fd: int = -1, path: str = ""
    ) -> None:
        self._flight, self._key, self._turn, self._fd, self._path = flight, key, turn, fd, path
        self._pid = os.getpid()

    def release(self) -> None:
        """Let the next one lead. May be called again."""
        if self._pid != os.getpid():
            return  # the parent's file must keep its name
        fd, self._fd = self._fd, -1
        if fd in self._flight._fds:  # not closed with the flight: the number may be another file's
            self._flight._fds.discard(fd)
            # Removed while still locked: a waiter that gets the lock sees that the name is gone.
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            os.close(fd)
        turn, self._turn = self._turn, None
        if turn is not None:
            self._flight._leave(self._key, turn)

    def __enter__(self) -> Self:
        if self._turn is not None and self._pid == os.getpid():
            self._turn.owner = threading.get_ident()  # whoever works by it may ask again
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


class SingleFlight:
    """Leads by key.

    Args:
        directory: where the lock files of processes lie; None for threads only. It is made on
            first use. Where it cannot be written to, processes do not wait for each other.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._guard = threading.Lock()  # guards _turns
        self._turns: dict[bytes, _Turn] = {}
        self._fds: set[int] = set()
        _flights.add(self)

    def lead(self, key: bytes, *, wait: bool = True, is_recursive: bool = True) -> Lead | None:
        """Wait until this caller may lead; without `wait`, None when somebody else leads.

        A thread that already leads a key leads it again at once: a recursive computation
        must not wait for itself. Without `is_recursive` it is not taken for the same caller:
        for those who change threads meanwhile.
        """
        with self._guard:
            turn = self._turns.get(key)
            if turn is None:
                turn = self._turns[key] = _Turn()
            if is_recursive and turn.owner == threading.get_ident():
                return Lead(self, key, None)
            turn.waiting += 1
        if not turn.lock.acquire(blocking=wait):
            self._forget(key, turn)
            return None
        turn.owner = threading.get_ident() if is_recursive else 0
        try:
            found = self._lock_file(key, wait=wait)
        except BaseException:
            self._leave(key, turn)
            raise
        if found is None:
            self._leave(key, turn)
            return None
        return Lead(self, key, turn, *found)

    def _leave(self, key: bytes, turn: _Turn) -> None:
        turn.owner = 0
        turn.lock.release()
        self._forget(key, turn)

    def _forget(self, key: bytes, turn: _Turn) -> None:
        with self._guard:
            turn.waiting -= 1
            if turn.waiting == 0 and self._turns.get(key) is turn:
                del self._turns[key]

    def _lock_file(self, key: bytes, *, wait: bool) -> tuple[int, str] | None:
        """(descriptor, path) of a locked file; (-1, "") where there can be none; None if busy."""
        if self._directory is None:
            return -1, ""
        path = os.path.join(self._directory, digest(key).hex()[:40])
        pause = _FIRST_PAUSE_S
        while True:
            try:
                fd = self._open(path)
            except OSError:
                return -1, ""  # read-only, full, out of descriptors: rather twice than never
            self._fds.add(fd)  # before it is locked: a child forked right then lets go of it
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _has_name(fd, path):
                    return fd, path
            except BlockingIOError:
                self._close(fd)
                if not wait:
                    return None
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE_S)
            except OSError:
                self._close(fd)
                return -1, ""  # a file system without locks: nobody can wait for anybody
            else:
                self._close(fd)  # its holder removed it: start on the file that has the name now

    def _open(self, path: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:
            assert self._directory is not None
            self._directory.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o644)

    def _close(self, fd: int) -> None:
        self._fds.discard(fd)
        os.close(fd)

    def after_fork(self) -> None:
        """In a child: drop the parent's leads, whose descriptors would outlive the parent."""
        self._guard, self._turns = threading.Lock(), {}
        self.close()

    def close(self) -> None:
        """Give up every descriptor of this process."""
        for fd in list(self._fds):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds.clear()


_flights: weakref.WeakSet[SingleFlight] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for flight in list(_flights):
        flight.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _has_name(fd: int, path: str) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (held.st_ino, held.st_dev) == (named.st_ino, named.st_dev)
