"""Processes for fault tests: forked from a warm parent, watched with a deadline, killed on demand."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final, Self

import vcache.store.disk as engine

__all__ = ["Child", "Gate", "deadline", "in_threads", "kill_at_line", "kill_at_syscall", "note", "notes"]

_PTRACE_TRACEME: Final = 0
_PTRACE_SYSCALL: Final = 24
_ENGINE: Final = os.path.dirname(engine.__file__)


class Child:
    """A forked process that runs one function and ends; a pipe brings what it reports.

    Args:
        work: gets the descriptor to report to. What it raises is printed and is exit status 1.
    """

    def __init__(self, work: Callable[[int], object]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.reports, writes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reports)
            _run(work, writes)
        os.close(writes)
        self._pidfd = os.pidfd_open(self.pid)
        self._status: int | None = None

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self.wait(10)

    def wait(self, timeout_s: float) -> int:
        """Its exit status, negative for a signal.

        Raises:
            AssertionError: it did not end in time; it is killed then.
        """
        if self._status is None:
            if not select.select([self._pidfd], [], [], timeout_s)[0]:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"a child did not end within {timeout_s} s: it hangs")
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._pidfd)
        return self._status

    def read(self) -> bytes:
        """All it reported until now or its end."""
        pieces = []
        while piece := os.read(self.reports, 1 << 16):
            pieces.append(piece)
        os.close(self.reports)
        return b"".join(pieces)

    def finish(self, timeout_s: float) -> bytes:
        """What it reported, once it ended well within a time."""
        status = self.wait(timeout_s)
        said = self.read()
        assert status == 0, f"a child ended with {status}"
        return said


class Gate:
    """Opened once by the parent; whoever came before it waits there, so that all start together."""

    def __init__(self) -> None:
        self._reads, self._writes = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def open(self) -> None:
        """Let everybody pass, the parent's end being the last one."""
        for fd in (self._reads, self._writes):
            with contextlib.suppress(OSError):
                os.close(fd)

    def wait(self) -> None:
        """In a child: wait until the parent opens the gate, or dies."""
        os.close(self._writes)
        os.read(self._reads, 1)


def in_threads(count: int, work: Callable[[int], object], *, timeout_s: float = 30) -> list[object]:
    """What a function gave in each of several threads that start together.

    Raises:
        BaseException: the first that any of them raised.
        AssertionError: one did not end in time.
    """
    barrier = threading.Barrier(count)
    results: list[object] = [None] * count
    failed: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = work(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
        assert not thread.is_alive(), f"a thread did not end within {timeout_s} s: it hangs"
    if failed:
        raise failed[0]
    return results


def note(path: Path, text: str) -> int:
    """Append a line to a file that many processes append to; how many bytes came before it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        line = f"{text}\n".encode()
        os.write(fd, line)
        return os.lseek(fd, 0, os.SEEK_CUR) - len(line)
    finally:
        os.close(fd)


def notes(path: Path) -> list[str]:
    """The lines noted until now."""
    return path.read_text().splitlines() if path.exists() else []


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Interrupt what runs too long in the main thread: an endless loop is a failure, not a wait."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it took longer than {seconds} s: it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def kill_at_line(number: int, work: Callable[[], object], *, opcodes: bool = False) -> bool:
    """Run something in a child that is killed at its so-manieth line within the disk store.

    Args:
        number: from 1.
        work: what to run.
        opcodes: count instructions of the interpreter instead of lines.

    Returns:
        Whether it came to that line; False when the work ended before.
    """

    def run(_fd: int) -> None:
        left = number

        def trace(frame: FrameType, event: str, _arg: object) -> object:
            nonlocal left
            if not frame.f_code.co_filename.startswith(_ENGINE):
                return None
            if event == "call":
                frame.f_trace_opcodes, frame.f_trace_lines = opcodes, not opcodes
            if event == ("opcode" if opcodes else "line"):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]
        try:
            work()
        finally:
            sys.settrace(None)

    child = Child(run)
    status = child.wait(60)
    os.close(child.reports)
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def kill_at_syscall(number: int, work: Callable[[], object]) -> bool:
    """Run something in a child that is killed at its so-manieth entry to or return from the kernel.

    Args:
        number: from 1.
        work: what to run.

    Returns:
        Whether it came so far; False when the work ended before.
    """
    pid = os.fork()
    if pid == 0:
        _trace_me()
        with contextlib.suppress(BaseException):
            work()
        os.kill(os.getpid(), signal.SIGUSR1)  # where the work ends
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status)
    try:
        for _ in range(number):
            _ptrace(_PTRACE_SYSCALL, pid)
            _, status = os.waitpid(pid, 0)
            if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) == signal.SIGUSR1:
                return False
        return True
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _run(work: Callable[[int], object], writes: int) -> None:
    status = 1
    try:
        work(writes)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _trace_me() -> None:
    _ptrace(_PTRACE_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def _ptrace(request: int, pid: int) -> None:
    call = _libc.ptrace
    if call(request, pid, None, None) != 0:
        raise OSError(
            ctypes.get_errno(), "ptrace failed: this test must be allowed to trace its own children"
        )


_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
