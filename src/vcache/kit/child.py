"""A child process that is watched until it ends, and ended when it takes too long.

It must not know what is run, nor why its output is kept.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from subprocess import Popen
    from typing import Self

    Sender = Callable[[Popen[bytes], int], None]

__all__ = [
    "STDERR",
    "STDOUT",
    "Chunk",
    "Finished",
    "Leash",
    "Sink",
    "merged",
    "pidfd_of",
    "run_attached",
    "run_captured",
]

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
# Between SIGTERM, on which compilers remove what is half written, and SIGKILL.
_MERCY_S: Final = 2.0
_POLL_S: Final = 0.02  # where the system has no descriptor of a process


class Finished(NamedTuple):
    """How a child ended.

    Attributes:
        status: its exit status as a shell has it: 128 + n after signal n.
        chunks: what it wrote, in the order in which it arrived.
        gap: why `chunks` is not everything it wrote; empty when it is.
        duration_ns: how long it took.
        times_ns: for each chunk, when its first byte arrived, from the start on.
        is_timed_out: it was ended since it took too long.
        is_stopped: it was ended by its leash.
    """

    status: int
    chunks: tuple[Chunk, ...]
    gap: str
    duration_ns: int
    times_ns: tuple[int, ...] = ()
    is_timed_out: bool = False
    is_stopped: bool = False


class Leash:
    """Ends a child early, at any time and from any thread. One leash holds one child.

    A context manager: when its holder leaves it, no pull reaches anybody any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the descriptors against being closed in between
        self._ends: tuple[int, int] | None = os.pipe()

    def pull(self) -> None:
        """SIGTERM to the child's group, SIGKILL two seconds later. Of no effect once it has ended."""
        with self._lock:
            if self._ends is not None:
                os.set_blocking(self._ends[1], False)
                try:
                    os.write(self._ends[1], b"!")
                except BlockingIOError:
                    pass  # pulled some 60,000 times

    def fileno(self) -> int:
        """Readable once it was pulled.

        Raises:
            ValueError: it was let go.
        """
        if self._ends is None:
            raise ValueError("this leash was let go: each child needs a leash of its own")
        return self._ends[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            ends, self._ends = self._ends, None
        for fd in ends or ():
            os.close(fd)


def run_captured(
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str],
    sink: Sink,
    on_start: Callable[[int], object] = lambda pid: None,
    most_bytes: int = MOST_BYTES,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
    timeout_s: float | None = None,
    leash: Leash | None = None,
) -> Finished:
    """Run a program in a process group of its own until it ends.

    Its standard input is empty. Whatever ends this call early also ends the group.

    Args:
        argv: the program, found through the PATH of `env`, and its arguments.
        sink: gets every chunk, also those beyond `most_bytes`.
        on_start: told the id of the process and its group, to forward signals to.
        most_bytes: of both streams together, to be kept in `Finished.chunks`.
        env: all its environment variables; None for this process's own.
        pass_fds: descriptors that it inherits under the same numbers.
        timeout_s: after which it is ended, as by `leash`.
        leash: ends it early.

    Raises:
        OSError: it cannot be started; `filename` is the directory if that is the reason.
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
        env=env,
        pass_fds=pass_fds,
    ) as child:
        watch = _Watch(child, started_ns, timeout_s, _signal_group)
        watch.capture(sink, most_bytes)
        return watch.until_end(on_start, leash)


def run_attached(
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str],
    on_start: Callable[[int], object] = lambda pid: None,
    env: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
    timeout_s: float | None = None,
    leash: Leash | None = None,
) -> Finished:
    """Run a program on this process's own streams and in its process group, as a shell does.

    What a terminal sends to the group, such as SIGINT, reaches it; a leash or a timeout ends only the
    process itself. For the arguments see `run_captured`.

    Raises:
        OSError: it cannot be started.
    """
    import subprocess  # as above

    started_ns = time.perf_counter_ns()
    with subprocess.Popen(argv, cwd=cwd, env=env, pass_fds=pass_fds) as child:
        watch = _Watch(child, started_ns, timeout_s, subprocess.Popen.send_signal)
        return watch.until_end(on_start, leash)


def merged(chunks: Iterable[Chunk]) -> tuple[Chunk, ...]:
    """The same output with neighbours of one stream joined."""
    return _joined((stream, 0, data) for stream, data in chunks)[0]


def _joined(stamped: Iterable[tuple[int, int, bytes]]) -> tuple[tuple[Chunk, ...], tuple[int, ...]]:
    """Chunks with neighbours of one stream joined, and the time of the first of each."""
    runs: list[tuple[int, int, list[bytes]]] = []
    for stream, at_ns, data in stamped:
        if runs and runs[-1][0] == stream:
            runs[-1][2].append(data)
        else:
            runs.append((stream, at_ns, [data]))
    return tuple((stream, b"".join(parts)) for stream, _, parts in runs), tuple(run[1] for run in runs)


class _Watch:
    """Waits for a child, moves what it writes to a sink, and ends it when it is time."""

    def __init__(self, child: Popen[bytes], started_ns: int, timeout_s: float | None, send: Sender) -> None:
        self._child, self._started_ns, self._send = child, started_ns, send
        self._timeout_at_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._kill_at_s: float | None = None
        self._grace_at_s: float | None = None
        self._poll = select.poll()
        self._streams: dict[int, int] = {}  # descriptor ▷ stream, as far as they are open
        self._sink: Sink | None = None
        self._room_bytes = 0
        self._stamped: list[tuple[int, int, bytes]] = []
        self._gap = ""
        self._is_timed_out = self._is_stopped = self._has_ended = False

    def capture(self, sink: Sink, most_bytes: int) -> None:
        """Take what it writes. To be called before the wait, if at all."""
        self._sink, self._room_bytes = sink, most_bytes
        for stream, pipe in ((STDOUT, self._child.stdout), (STDERR, self._child.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._streams[pipe.fileno()] = stream
            self._poll.register(pipe.fileno(), select.POLLIN)

    def until_end(self, on_start: Callable[[int], object], leash: Leash | None) -> Finished:
        """Until both streams end, or soon after the child does when others keep them open."""
        try:
            on_start(self._child.pid)
            self._run(-1 if leash is None else leash.fileno())
            if self._kill_at_s is not None:
                self._send(self._child, signal.SIGKILL)  # members of the group that hold no stream
            code = self._child.wait()
        except BaseException:
            self._send(self._child, signal.SIGKILL)
            raise
        chunks, times_ns = _joined(self._stamped)
        return Finished(
            code if code >= 0 else 128 - code,
            chunks,
            self._gap,
            time.perf_counter_ns() - self._started_ns,
            times_ns,
            self._is_timed_out,
            self._is_stopped,
        )

    def _run(self, leash_fd: int) -> None:
        pidfd = pidfd_of(self._child.pid)
        try:
            for fd in (pidfd, leash_fd):
                if fd >= 0:
                    self._poll.register(fd, select.POLLIN)
            while self._streams or not self._has_ended:
                # Standard output first: of two streams ready at once nobody knows the order.
                for fd, _ in sorted(self._poll.poll(self._left_ms(pidfd)), key=self._rank):
                    self._on_ready(fd, pidfd)
                if pidfd < 0 and self._child.poll() is not None:
                    self._on_end()
                if not self._goes_on(time.monotonic()):
                    return
        finally:
            if pidfd >= 0:
                os.close(pidfd)

    def _rank(self, event: tuple[int, int]) -> int:
        return self._streams.get(event[0], 3)

    def _left_ms(self, pidfd: int) -> float | None:
        """Until something is due without anything being ready."""
        times_s = (self._timeout_at_s, self._kill_at_s, self._grace_at_s)
        due_s = [at_s - time.monotonic() for at_s in times_s if at_s is not None]
        if pidfd < 0 and not self._has_ended:
            due_s.append(_POLL_S)
        return max(0.0, min(due_s) * 1000) + 1 if due_s else None

    def _on_ready(self, fd: int, pidfd: int) -> None:
        if fd in self._streams:
            if self._moves(self._streams[fd], fd):
                return
            pipe = self._child.stdout if self._streams.pop(fd) == STDOUT else self._child.stderr
            self._poll.unregister(fd)
            assert pipe is not None
            pipe.close()
            return
        self._poll.unregister(fd)
        if fd == pidfd:
            self._on_end()
        else:
            self._is_stopped = True
            self._ask_to_end(time.monotonic())

    def _on_end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._timeout_at_s = None
            # Who was asked to end as well has all its time; only then is anybody left behind.
            self._grace_at_s = (self._kill_at_s or time.monotonic()) + _GRACE_S

    def _ask_to_end(self, now_s: float) -> None:
        if self._kill_at_s is None:
            self._send(self._child, signal.SIGTERM)
            self._kill_at_s = now_s + _MERCY_S
            if self._has_ended:
                self._grace_at_s = self._kill_at_s + _GRACE_S

    def _goes_on(self, now_s: float) -> bool:
        """Do what is due; False when it is to be waited no longer."""
        if self._timeout_at_s is not None and now_s >= self._timeout_at_s:
            self._is_timed_out, self._timeout_at_s = True, None
            self._ask_to_end(now_s)
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._send(self._child, signal.SIGKILL)
            self._kill_at_s = now_s + _MERCY_S  # again, for what was forked meanwhile
        if self._grace_at_s is None or now_s < self._grace_at_s:
            return True
        self._gap = self._gap or ("a process it left behind still holds its output" if self._streams else "")
        return False

    def _moves(self, stream: int, fd: int) -> bool:
        """Take what is there; False at the end of the stream, or when nobody wants it."""
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._room_bytes -= len(data)
        if self._room_bytes >= 0:
            self._stamped.append((stream, time.perf_counter_ns() - self._started_ns, data))
        else:
            self._gap = self._gap or "it wrote more than is kept"
        assert self._sink is not None
        try:
            self._sink(stream, data)
        except BrokenPipeError:
            # As without us: the child gets SIGPIPE on its next write.
            self._gap = self._gap or "its output was not read to the end"
            return False
        return True


def pidfd_of(pid: int) -> int:
    """A descriptor that is readable once a process has ended; -1 where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _signal_group(child: Popen[bytes], number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it ended by itself
