"""Wakes workers of other processes: a FIFO for each kind, into which who submits writes a byte after its commit.

Who waits reads it and looks; who looked and leaves something behind writes another one. Nobody who writes ever waits,
and where no worker listens nothing is there to write to. It must not know what is claimed.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Final

from vcache.hash import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Bells"]

_LISTEN: Final = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
_RING: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_PATHS: Final = 1_000
_POLL_S: Final = 0.02
_MOST_BYTES: Final = 1 << 16  # what a FIFO holds


class Bells:
    """The bells of a queue's kinds, as one process hears and rings them.

    Args:
        directory: where they are; made when somebody listens.
        namespace: whose they are.

    Threads: every operation.
    """

    def __init__(self, directory: str, namespace: str) -> None:
        self._directory = directory
        self._namespace = namespace
        self._paths: dict[str, str] = {}
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()  # guards the three below
        self._fds: dict[str, int] = {}
        self._end, self._end_writes = -1, -1
        self._is_closed = False
        self._is_deaf = False  # the file system has no FIFOs

    def listen(self, kinds: Iterable[str]) -> bool:
        """Hear the bells of kinds from here on; whether all of them were heard before."""
        fds = self._fds
        missing = [kind for kind in kinds if kind not in fds]
        if not missing or self._is_deaf:
            return not self._is_deaf
        with self._lock:
            for kind in missing:
                if kind not in fds and not self._is_closed:
                    self._hear(kind)
        return False

    def _hear(self, kind: str) -> None:
        path = self._path(kind)
        try:
            os.makedirs(self._directory, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o666)
            self._fds[kind] = os.open(path, _LISTEN)
        except OSError:
            self._is_deaf = True  # a file system without them, or too many open: looking now and then does it

    def ring(self, kinds: Iterable[str]) -> None:
        """Wake one who waits for each of some kinds."""
        for kind in kinds:
            fd = self._fds.get(kind)
            try:
                if fd is not None:
                    os.write(fd, b"!")
                elif os.access(path := self._path(kind), os.F_OK):  # a third of an `open` that fails
                    _ring_at(path)
            except OSError:
                pass  # nobody listens, or it has been rung very often

    def wait(self, kinds: Iterable[str], timeout_s: float, *, version: Callable[[], int]) -> None:
        """Return when a bell of one of the kinds is rung, or nearly so, or time is up.

        Args:
            version: a number that changes with each commit of others, for file systems without FIFOs.
        """
        end_s = time.monotonic() + timeout_s
        if self._is_deaf:
            self._watch(version, end_s)
            return
        fds = [fd for kind in kinds if (fd := self._fds.get(kind)) is not None]
        poll = select.poll()
        for fd in (self._end_reads(), *fds):
            poll.register(fd, select.POLLIN)
        while not self._is_closed:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            for fd, _ in poll.poll(left_s * 1000 + 1):
                if fd not in fds or _is_taken(fd):
                    return

    def _watch(self, version: Callable[[], int], end_s: float) -> None:
        before = version()
        while not self._is_closed and version() == before:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(left_s, _POLL_S))

    def _end_reads(self) -> int:
        with self._lock:
            if self._end < 0:
                self._end, self._end_writes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            return self._end

    def close(self) -> None:
        """Let all who wait return. May be called again."""
        with self._lock:
            self._is_closed = True
            if self._end_writes >= 0:
                os.close(self._end_writes)  # whoever polls the other end hears it
                self._end_writes = -1
            # Others' threads may be polling them in this moment: a number is not given away under their hands.
            self._left = (*self._fds.values(), self._end)
            self._fds = {}

    def __del__(self) -> None:
        for fd in getattr(self, "_left", ()):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def renew(self) -> None:
        """Begin anew after a fork, in the child."""
        for fd in (*self._fds.values(), self._end, self._end_writes):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._renew()

    def _path(self, kind: str) -> str:
        found = self._paths.get(kind)
        if found is None:
            if len(self._paths) > _MOST_PATHS:
                self._paths.clear()
            found = self._paths[kind] = self._path_of(kind)
        return found

    def _path_of(self, kind: str) -> str:
        name = digest(f"{len(self._namespace)} {self._namespace} {kind}".encode("utf-8", "surrogatepass"))
        return os.path.join(self._directory, name.hex()[:32])


def _ring_at(path: str) -> None:
    fd = os.open(path, _RING)
    try:
        os.write(fd, b"!")
    finally:
        os.close(fd)


def _is_taken(fd: int) -> bool:
    """Whether there was a byte for us; all of them are read, as one look serves them all."""
    try:
        return bool(os.read(fd, _MOST_BYTES))
    except BlockingIOError:
        return False  # another one was faster
    except OSError:
        return True
