"""A few processes that are to run: started, watched, started again when they crash, ended together.

It must not know what they do.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.kit.child import pidfd_of
from vcache.kit.data import NamedTuple
from vcache.kit.logs import logger
from vcache.kit.orphans import OrphanGuard
from vcache.kit.retry import Backoff

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Program", "Supervisor"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_POLL_S: Final = 0.2  # where no descriptor tells that a process has ended
_SETTLED_S: Final = 30.0  # who ran for so long did not crash on starting


class Program(NamedTuple):
    """What is started.

    Attributes:
        argv: the command.
        stdin: what it can read there.
        env: all its environment variables; None for this process's own.
    """

    argv: Sequence[str]
    stdin: bytes = b""
    env: Mapping[str, str] | None = None


class _Slot:
    """One of the processes that are to run, whichever it is at a time."""

    __slots__ = ("child", "crashes", "fd", "number", "start_at_s", "started_s")

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: subprocess.Popen[bytes] | None = None
        self.fd = -1
        self.started_s = 0.0
        self.start_at_s: float | None = 0.0  # None: no more
        self.crashes: deque[float] = deque()


class Supervisor:
    """Keeps so many processes of a program running.

    A process that ends with status 0 has done what it was there for, and is not replaced. Children have a
    process group each: what a terminal sends reaches them through here. None outlives this process.

    Args:
        program: gives what is started, by the number of its place, 0 to `size` - 1.
        replaced: exit statuses by which a process asks to be replaced at once.
        hopeless: exit statuses that a further try cannot change: all are ended.
        most_crashes: of one place within a minute, before it is given up and all are ended.
        grace_s: between the first SIGTERM and SIGKILL.
        on_exit: told of each that ended: its process id, and its status as a shell has it.
        backoff: how long it is waited after each crash in a row.

    Threads: `run` in the main thread; `stop` in any.
    """

    def __init__(
        self,
        program: Callable[[int], Program],
        size: int,
        *,
        replaced: frozenset[int] = frozenset(),
        hopeless: frozenset[int] = frozenset(),
        most_crashes: int = 5,
        grace_s: float = 60.0,
        on_exit: Callable[[int, int], object] = lambda pid, status: None,
        backoff: Backoff = Backoff(times=1 << 30, base_s=0.5, most_s=30.0),  # noqa: B008 - it is frozen
    ) -> None:
        self._program, self._replaced, self._hopeless = program, replaced, hopeless
        self._most_crashes, self._grace_s, self._on_exit, self._backoff = (
            most_crashes,
            grace_s,
            on_exit,
            backoff,
        )
        self._slots = [_Slot(number) for number in range(size)]
        self._guard = OrphanGuard()
        self._wake_read, self._wake_write = os.pipe()
        self._n_asked = 0
        self._n_told = 0
        self._kill_at_s = float("inf")
        self._status = 0
        self.failure = ""

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [slot.child.pid for slot in self._slots if slot.child is not None]

    def stop(self) -> None:
        """Ask all to end. A second time: to hurry; both as SIGTERM. From any thread or signal handler."""
        self._n_asked += 1
        os.write(self._wake_write, b".")

    def run(self) -> int:
        """Until all have ended: 0, or the status of who made it give up; `failure` says why."""
        before = self._take_signals()
        try:
            self._guard.start()
            while self._goes_on():
                self._wait()
                for slot in self._slots:
                    self._reap(slot)
        finally:
            for slot in self._slots:
                self._kill(slot)
            self._guard.close()
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._wake_read)
            os.close(self._wake_write)
        return self._status

    def _take_signals(self) -> dict[int, signal.Handlers]:
        if threading.current_thread() is not threading.main_thread():
            return {}

        def heard(number: int, frame: FrameType | None) -> None:
            self.stop()

        return {number: signal.signal(number, heard) for number in _SIGNALS}  # type: ignore[misc]

    def _goes_on(self) -> bool:
        """Do what is due; whether anything runs, or will."""
        now_s = time.monotonic()
        while self._n_told < self._n_asked:
            self._n_told += 1
            self._kill_at_s = min(self._kill_at_s, now_s + self._grace_s)
            for slot in self._slots:
                slot.start_at_s = None
                self._tell(slot, signal.SIGTERM)
        for slot in self._slots:
            if now_s >= self._kill_at_s:
                self._tell(slot, signal.SIGKILL)
            if slot.child is None and slot.start_at_s is not None and slot.start_at_s <= now_s:
                self._start(slot)
        return any(slot.child is not None or slot.start_at_s is not None for slot in self._slots)

    def _wait(self) -> None:
        due_s = [
            slot.start_at_s for slot in self._slots if slot.child is None and slot.start_at_s is not None
        ]
        if self._n_told:
            due_s.append(self._kill_at_s)
        if any(slot.child is not None and slot.fd < 0 for slot in self._slots):
            due_s.append(time.monotonic() + _POLL_S)
        left_s = max(0.0, min(due_s) - time.monotonic()) if due_s else None
        poll = select.poll()
        for fd in (self._wake_read, *(slot.fd for slot in self._slots if slot.fd >= 0)):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(None if left_s is None or left_s == float("inf") else left_s * 1000 + 1):
            if fd == self._wake_read:
                os.read(fd, 512)

    def _start(self, slot: _Slot) -> None:
        program = self._program(slot.number)
        slot.started_s = time.monotonic()
        child = subprocess.Popen(program.argv, stdin=subprocess.PIPE, env=program.env, process_group=0)
        slot.child, slot.fd = child, pidfd_of(child.pid)
        self._guard.watch(child.pid, is_group=True)
        assert child.stdin is not None
        try:
            child.stdin.write(program.stdin)
            child.stdin.close()
        except BrokenPipeError:
            pass  # it has ended: that is seen

    def _reap(self, slot: _Slot) -> None:
        child = slot.child
        if child is None or (code := child.poll()) is None:
            return
        status = code if code >= 0 else 128 - code
        _let_go(slot)
        slot.child = None
        self._guard.forget(child.pid, is_group=True)
        try:
            self._on_exit(child.pid, status)
        except Exception:  # what is told must not end what watches
            logger(__name__).exception("process %d ended, and that could not be seen to", child.pid)
        if self._n_asked:
            return
        if status == 0:
            slot.start_at_s = None
        elif status in self._hopeless:
            self._give_up(
                status, f"process {child.pid} ended with status {status}, which no further try can change"
            )
        elif status in self._replaced:
            slot.start_at_s = time.monotonic()
        else:
            self._crashed(slot, child.pid, status)

    def _crashed(self, slot: _Slot, pid: int, status: int) -> None:
        now_s = time.monotonic()
        if now_s - slot.started_s > _SETTLED_S:
            slot.crashes.clear()
        slot.crashes.append(now_s)
        while now_s - slot.crashes[0] > 60:
            slot.crashes.popleft()
        how = f"was ended by signal {status - 128}" if status > 128 else f"ended with status {status}"
        if len(slot.crashes) > self._most_crashes:
            self._give_up(
                status,
                f"process {pid} {how}, as {len(slot.crashes) - 1} before it in its place within a minute: given up",
            )
            return
        wait_s = self._backoff.wait_s(len(slot.crashes)) or 0.0
        slot.start_at_s = now_s + wait_s
        logger(__name__).error("process %d %s; another is started in %.1f s", pid, how, wait_s)

    def _give_up(self, status: int, why: str) -> None:
        self._status, self.failure = status, self.failure or why
        if status not in self._hopeless or len(self._slots) > 1:  # it has said itself what it cannot do
            logger(__name__).error("%s", why)
        self.stop()

    def _tell(self, slot: _Slot, number: int) -> None:
        if slot.child is not None:
            try:
                slot.child.send_signal(number)
            except ProcessLookupError:
                pass  # it has ended: that is seen

    def _kill(self, slot: _Slot) -> None:
        if slot.child is not None:
            slot.child.kill()
            slot.child.wait()
            _let_go(slot)
            self._guard.forget(slot.child.pid, is_group=True)
            slot.child = None


def _let_go(slot: _Slot) -> None:
    if slot.fd >= 0:
        os.close(slot.fd)
        slot.fd = -1
