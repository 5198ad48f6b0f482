"""A child process whose two output streams are captured in order and passed on as they come.

It must not know what is run, nor why its output is kept.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from subprocess import Popen

__all__ = ["STDERR", "STDOUT", "Chunk", "Finished", "Sink", "merged", "run_captured"]

STDOUT: Final = 1
STDERR: Final = 2

Chunk = tuple[int, bytes]
"""What was written at once: the stream (1 or 2) and the bytes."""

Sink = Callable[[int, bytes], object]
"""Takes a chunk as it comes. A BrokenPipeError from it closes that stream to the child."""

_CHUNK_BYTES: Final = 64 << 10
MOST_BYTES: Final = 64 << 20
# A `tee` behind a shell's `>(…)` ends a moment after the shell; a daemon never does.
_GRACE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended.

    Attributes:
        status: its exit status as a shell has it: 128 + n after signal n.
        chunks: what it wrote, in the order in which it arrived.
        gap: why `chunks` is not everything it wrote; empty when it is.
        duration_ns: how long it took.
    """

    status: int
    chunks: tuple[Chunk, ...]
    gap: str
    duration_ns: int


def run_captured(
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str],
    sink: Sink,
    on_start: Callable[[int], object] = lambda pid: None,
    most_bytes: int = MOST_BYTES,
) -> Finished:
    """Run a program in a process group of its own until it ends.

    Its standard input is empty. Whatever ends this call early also ends the group.

    Args:
        argv: the program, found through PATH, and its arguments.
        sink: gets every chunk, also those beyond `most_bytes`.
        on_start: told the id of the process and its group, to forward signals to.
        most_bytes: of both streams together, to be kept in `Finished.chunks`.

    Raises:
        OSError: it cannot be started.
    """
    import subprocess  # 9 ms, which an answer from the cache does not need

    started_ns = time.perf_counter_ns()
    with subprocess.Popen(
        argv,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        process_group=0,
    ) as child:
        pump = _Pump(child, sink, most_bytes)
        try:
            on_start(child.pid)
            pump.run()
            code = child.wait()
        except BaseException:
            _kill_group(child.pid)
            raise
    status = code if code >= 0 else 128 - code
    return Finished(status, merged(pump.chunks), pump.gap, time.perf_counter_ns() - started_ns)


def merged(chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """The same output with neighbours of one stream joined."""
    runs: list[tuple[int, list[bytes]]] = []
    for stream, data in chunks:
        if runs and runs[-1][0] == stream:
            runs[-1][1].append(data)
        else:
            runs.append((stream, [data]))
    return tuple((stream, b"".join(parts)) for stream, parts in runs)


class _Pump:
    """Moves what a child writes to a sink, and keeps it."""

    def __init__(self, child: Popen[bytes], sink: Sink, most_bytes: int) -> None:
        self._child, self._sink, self._room_bytes = child, sink, most_bytes
        self.chunks: list[Chunk] = []
        self.gap = ""

    def run(self) -> None:
        """Until both streams end, or soon after the child does when others keep them open."""
        import selectors

        assert self._child.stdout is not None
        assert self._child.stderr is not None
        pidfd = _pidfd(self._child.pid)
        deadline_s: float | None = None
        with selectors.DefaultSelector() as selector:
            for stream, pipe in ((STDOUT, self._child.stdout), (STDERR, self._child.stderr)):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, stream)
            if pidfd >= 0:
                selector.register(pidfd, selectors.EVENT_READ, 0)
            try:
                while any(key.data for key in selector.get_map().values()):
                    left_s = None if deadline_s is None else deadline_s - time.monotonic()
                    if left_s is not None and left_s <= 0:
                        self.gap = self.gap or "a process it left behind still holds its output"
                        return
                    # Standard output first: of two streams ready at once nobody knows the order.
                    for key, _ in sorted(selector.select(left_s), key=lambda item: item[0].data):
                        if key.data == 0:
                            selector.unregister(key.fileobj)
                            deadline_s = time.monotonic() + _GRACE_S
                        elif not self._move(key.data, key.fd):
                            selector.unregister(key.fileobj)
                            key.fileobj.close()  # type: ignore[union-attr]  # a pipe was registered
            finally:
                if pidfd >= 0:
                    os.close(pidfd)

    def _move(self, stream: int, fd: int) -> bool:
        """Take what is there; False at the end of the stream, or when nobody wants it."""
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._room_bytes -= len(data)
        if self._room_bytes >= 0:
            self.chunks.append((stream, data))
        else:
            self.gap = self.gap or "it wrote more than is kept"
        try:
            self._sink(stream, data)
        except BrokenPipeError:
            # As without us: the child gets SIGPIPE on its next write.
            self.gap = self.gap or "its output was not read to the end"
            return False
        return True


def _pidfd(pid: int) -> int:
    """A descriptor that is readable once a process has ended; -1 where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it ended by itself
