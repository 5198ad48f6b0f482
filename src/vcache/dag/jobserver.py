"""The jobserver of GNU make: one pool of slots for a whole tree of builds, ours among them.

A token is a byte in a pipe: who reads it may run one more job, and writes it back afterwards. The
first job of each process needs none. Source: GNU make manual, "Sharing Job Slots with GNU make". It
knows nothing of what the slots are for.

Who understands what: make before 4.4 only descriptors ("R,W", and dies of anything else), ninja
1.13 only paths ("fifo:PATH"), cargo and gcc both. A path to our own pipe is `/proc/<us>/fd/<R>`,
so that one pool is reached both ways, and nothing is left in a file system when we are killed.
"""

from __future__ import annotations

import array
import fcntl
import os
import re
import stat
import termios
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from vcache.errors import UsageError

__all__ = ["MOST_SLOTS", "JobServer", "Tokens", "inherited"]

_AUTH: Final = re.compile(r"--jobserver-(?:auth|fds)=(\S*)")
_JOBS: Final = re.compile(r"(?:^|(?<=\s))(?:-j\s*\d*|--jobs(?:=\d+)?|--jobserver-(?:auth|fds)=\S*)(?=\s|$)")
_NINJA: Final = re.compile(r"\b(?:vcache-)?ninja\b")
_MAKE: Final = re.compile(r"make\b")
MOST_SLOTS: Final = 4096  # the least that a pipe holds anywhere; a token must never wait to be written


class Tokens(Protocol):
    """Slots beyond the first one, which every process has by being run. Threads: any."""

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """Descriptors that a child has to inherit to share them."""
        ...

    def environment(self, words: str = "") -> dict[str, str]:
        """Variables that tell a child of them.

        Args:
            words: its command, to tell it in the way it understands.
        """
        ...

    def acquire(self) -> bool:
        """Take a token if one is there. Never waits."""
        ...

    def release(self) -> None:
        """Give back one that was taken."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that is readable when there may be a token; None where there is none."""
        ...

    def settle(self) -> None:
        """No child runs: what killed children did not give back is put back, if that is known."""
        ...

    def close(self) -> None:
        """Give back what is still held, and let go."""
        ...


def inherited(environ: Mapping[str, str]) -> Tokens | None:
    """The jobserver that this process was started under; None where there is none to be used.

    A recipe of make 4.3 that is neither marked with `+` nor names `$(MAKE)` is told of one that it
    cannot reach: that is none.
    """
    flags = environ.get("MAKEFLAGS", "").partition(" -- ")[0]
    said = _AUTH.findall(flags)
    if not said:
        return None
    auth = said[-1]  # as make: the last one counts
    try:
        if auth.startswith("fifo:"):
            return _Inherited(_opened(auth[5:], os.O_RDONLY), _opened(auth[5:], os.O_WRONLY), ())
        numbers = re.fullmatch(r"(\d+),(\d+)", auth)
        if numbers is None:  # "-2,-2": switched off
            return None
        reads, writes = int(numbers[1]), int(numbers[2])
        for fd in (reads, writes):
            _check_pipe(fd)
        return _Inherited(_reader(reads), os.dup(writes), (reads, writes))
    except OSError:
        return None


class _Taken:
    """A pool's two ends, and the tokens that this process has of it."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._lock = threading.Lock()  # guards what is held, together with what is in the pipe
        self._held: list[bytes] = []
        self._is_closed = False

    def acquire(self) -> bool:
        with self._lock:
            try:
                token = b"" if self._is_closed else os.read(self._reads, 1)
            except BlockingIOError:
                return False
            if token:
                self._held.append(token)
            return bool(token)

    def release(self) -> None:
        with self._lock:
            if not self._held:
                raise UsageError("a token was given back that was never taken")
            os.write(self._writes, self._held.pop())  # the very byte: it may carry a meaning

    def fileno(self) -> int | None:
        return None if self._is_closed else self._reads

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            os.write(self._writes, b"".join(self._held))
            self._held.clear()
            os.close(self._reads)
            os.close(self._writes)


class _Inherited(_Taken):
    """A jobserver of somebody above. Children find it as we did."""

    def __init__(self, reads: int, writes: int, pass_fds: tuple[int, ...]) -> None:
        super().__init__(reads, writes)
        self._pass_fds = pass_fds

    @property
    def pass_fds(self) -> tuple[int, ...]:
        return self._pass_fds

    def environment(self, words: str = "") -> dict[str, str]:
        return {}

    def settle(self) -> None:
        """Others run as well: what is missing is not known here."""


class JobServer(_Taken):
    """A jobserver of our own, for sub-builds.

    Args:
        slots: how many jobs run at once, of all builds together.
        environ: the caller's variables: what `MAKEFLAGS` says besides is passed on.

    Raises:
        UsageError: no slots, or more than a pipe holds.
    """

    def __init__(self, slots: int, environ: Mapping[str, str] | None = None) -> None:
        if not 1 <= slots <= MOST_SLOTS:
            raise UsageError(f"a jobserver has 1 to {MOST_SLOTS} slots, not {slots}")
        self._pipe = os.pipe()
        super().__init__(_reader(self._pipe[0]), self._pipe[1])
        self._slots = slots
        environ = os.environ if environ is None else environ
        flags, dashes, variables = environ.get("MAKEFLAGS", "").partition(" -- ")
        self._flags = " ".join(_JOBS.sub(" ", flags).split())
        self._variables = dashes + variables
        os.write(self._writes, b"+" * (slots - 1))

    @property
    def pass_fds(self) -> tuple[int, ...]:
        return self._pipe

    def environment(self, words: str = "") -> dict[str, str]:
        """As `Tokens.environment`: a path for ninja, descriptors for all others."""
        reads, writes = self._pipe
        pair = f"{reads},{writes}"
        # Make before 4.2 knows the one name, make since 4.2 both.
        auth = f"--jobserver-fds={pair} --jobserver-auth={pair}"
        if _NINJA.search(words) and not _MAKE.search(words):
            path = f"/proc/{os.getpid()}/fd/{reads}"
            if os.path.exists(path):
                auth = f"--jobserver-auth=fifo:{path}"
        return {"MAKEFLAGS": f"{self._flags} -j{self._slots} {auth}{self._variables}"}

    def settle(self) -> None:
        """As `Tokens.settle`: what the pipe lacks is known, since nobody else made it."""
        with self._lock:
            if self._is_closed:
                return
            missing = self._slots - 1 - len(self._held) - _waiting(self._reads)
            if missing > 0:
                os.write(self._writes, b"+" * missing)
            elif missing < 0:
                try:
                    os.read(self._reads, -missing)
                except BlockingIOError:
                    pass  # somebody took them after all

    def close(self) -> None:
        """As `Tokens.close`."""
        is_first = not self._is_closed
        super().close()
        if is_first and self._reads != self._pipe[0]:
            os.close(self._pipe[0])


def _opened(path: str, how: int) -> int:
    """One end of a fifo, which is read without waiting."""
    fd = os.open(path, how | os.O_NONBLOCK)
    try:
        _check_pipe(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _check_pipe(fd: int) -> None:
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        raise OSError(f"descriptor {fd} is no pipe")


def _reader(fd: int) -> int:
    """The reading end of a pipe, to be read without waiting.

    Whether a read waits belongs to what was opened, which is shared with everybody who inherited
    it. Linux opens it once more; elsewhere all get what make itself sets since 4.3.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        os.set_blocking(fd, False)
        return os.dup(fd)


def _waiting(fd: int) -> int:
    """How many bytes a pipe holds."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


if TYPE_CHECKING:
    _server: Tokens = JobServer(1)
    _client: Tokens = _Inherited(0, 1, ())
