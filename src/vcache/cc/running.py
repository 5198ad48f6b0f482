"""Runs a compiler in this process's place: the same terminal, group and signals, but with its words kept.

Unlike `kit.child` it makes no process group: who interrupts the build interrupts both, and who kills
the wrapper (make does, by its id) has the signal passed on. It knows nothing of caches.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # builtin; `signal` costs three enums, 0.5 ms
import errno
import os
import select
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from vcache.kit.data import dataclass

__all__ = ["Ran", "become", "end_as", "run"]

_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Python ignores these, and what is ignored stays so in a child.
_RESTORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)
_CHUNK_BYTES: Final = 64 << 10
_MOST_BYTES: Final = 4 << 20

Filter = Callable[[bytes], bytes]
"""What is left of a line of standard error."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a compiler ended.

    Attributes:
        status: its exit status; negative for the signal that ended it.
        chunks: stream (1 or 2) and bytes, in order, as they were passed on.
        is_whole: whether `chunks` is everything that it wrote.
        was_signalled: whether this process was told to stop meanwhile.
        took_ns: how long it ran.
    """

    status: int
    chunks: tuple[tuple[int, bytes], ...]
    is_whole: bool
    was_signalled: bool
    took_ns: int


def run(
    program: str,
    words: list[str],
    *,
    keep_line: Filter | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Ran:
    """Run a program to its end, passing on what it writes.

    It goes by its path: gcc looks for its parts beside the `gcc` that it finds in PATH, which may be
    a launcher of ours.

    Args:
        program: its path.
        words: its arguments.
        keep_line: each line of its standard error goes through this; None for no change.
        meanwhile: what can be done while it runs; nothing that takes long, nor fails.

    Raises:
        OSError: it cannot be started.
    """
    began_ns = time.perf_counter_ns()
    pipes = {1: os.pipe(), 2: os.pipe()}
    actions: list[tuple[object, ...]] = [(os.POSIX_SPAWN_DUP2, pipes[to][1], to) for to in pipes]
    try:
        pid = os.posix_spawn(
            program, [program, *words], os.environ, file_actions=actions, setsigdef=_RESTORED
        )
    except BaseException:
        for read_end, _ in pipes.values():
            os.close(read_end)
        raise
    finally:
        for _, write_end in pipes.values():
            os.close(write_end)
    signals: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it ended by itself

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    pump = _Pump(keep_line)
    try:
        if meanwhile is not None:
            meanwhile()
        pump.run({read_end: stream for stream, (read_end, _) in pipes.items()})
        _, code = os.waitpid(pid, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return Ran(
        os.waitstatus_to_exitcode(code),
        tuple((stream, bytes(data)) for stream, data in pump.chunks),
        pump.is_whole,
        bool(signals),
        time.perf_counter_ns() - began_ns,
    )


class _Pump:
    """Passes on what a child writes, and keeps it."""

    def __init__(self, keep_line: Filter | None) -> None:
        self._keep_line = keep_line
        self._pending = b""
        self._kept_bytes = 0
        self.chunks: list[tuple[int, bytearray]] = []
        self.is_whole = True

    def run(self, streams: dict[int, int]) -> None:
        poll = select.poll()
        for fd in streams:
            poll.register(fd, select.POLLIN)
        left = len(streams)
        while left:
            for fd, _ in poll.poll():
                data = os.read(fd, _CHUNK_BYTES)
                if not data:
                    poll.unregister(fd)
                    os.close(fd)
                    left -= 1
                self._take(streams[fd], data)

    def _take(self, stream: int, data: bytes) -> None:
        """Pass on data; none is the stream's end."""
        if stream == 2 and self._keep_line is not None:
            *ended, rest = (self._pending + data).split(b"\n")
            lines = [line + b"\n" for line in ended]
            if not data and rest:
                lines.append(rest)
                rest = b""
            self._pending = rest
            data = b"".join(map(self._keep_line, lines))
        if not data:
            return
        self._keep(stream, data)
        try:
            while data:
                data = data[os.write(stream, data) :]
        except OSError as error:
            # Nobody reads it: the compiler goes on, and what it makes is no worse for it.
            if error.errno not in (errno.EPIPE, errno.EBADF):
                raise
            self.is_whole = False

    def _keep(self, stream: int, data: bytes) -> None:
        self._kept_bytes += len(data)
        if self._kept_bytes > _MOST_BYTES:
            self.is_whole = False
        elif self.chunks and self.chunks[-1][0] == stream:
            self.chunks[-1][1].extend(data)
        else:
            self.chunks.append((stream, bytearray(data)))


def become(program: str, words: list[str]) -> int:
    """Be the program: nothing of this process remains to stand in its way. The exit code if that fails."""
    for number in _RESTORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(program, [program, *words])  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        os.write(2, os.fsencode(f"vcache cc: {program}: {error.strerror}\n"))
        return 127 if isinstance(error, FileNotFoundError) else 126


def end_as(status: int) -> int:
    """The exit code for a status of `Ran`; where a signal ended the compiler, this process ends by it, too."""
    if status >= 0:
        return status
    try:
        signal.signal(-status, signal.SIG_DFL)
    except OSError:
        pass  # SIGKILL, which nobody handles
    os.kill(os.getpid(), -status)
    return 128 - status
