"""An executor with a door: so many jobs run at once, and further ones wait their turn.

It knows nothing of what runs, nor where.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vcache.dag.executor import NOT_RUNNABLE, Ended, Executor
from vcache.errors import VcacheError
from vcache.kit.child import STDERR
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from vcache.dag.executor import Job

__all__ = ["BoundedExecutor", "killed"]

_STOPPED: Final = 143


def killed() -> Ended:
    """How a job ends that never began."""
    return Ended(status=_STOPPED, is_killed=True)


@dataclass(slots=True, eq=False)
class _Waiter:
    """A job on its way through the door. Guarded by the executor's lock."""

    job: Job
    on_end: Callable[[Ended], None]
    kill: Callable[[], None] | None = None
    is_stopped: bool = False


class BoundedExecutor:
    """Runs jobs on another executor, so many at once. One that has the terminal does not wait.

    Args:
        executor: closed with this one.
        slots: how many at once.
    """

    def __init__(self, executor: Executor, *, slots: int) -> None:
        self._executor, self._slots = executor, slots
        self._lock = threading.Lock()  # guards all below
        self._waiting: deque[_Waiter] = deque()
        self._count = 0

    @property
    def slots(self) -> int:
        return self._slots

    def start(self, job: Job, on_end: Callable[[Ended], None]) -> Callable[[], None]:
        """As `Executor.start`. What keeps a job from beginning is told as its end."""
        waiter = _Waiter(job, on_end)
        with self._lock:
            is_in = self._count < self._slots or job.has_terminal
            if is_in:
                self._count += 1
            else:
                self._waiting.append(waiter)
        if is_in:
            self._begin(waiter)
        return lambda: self._stop(waiter)

    def close(self) -> None:
        """As `Executor.close`."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            waiter.on_end(killed())
        self._executor.close()

    def _begin(self, waiter: _Waiter) -> None:
        if self._is_stopped(waiter):
            self._ended(waiter, killed())
            return
        try:
            kill = self._executor.start(waiter.job, lambda ended: self._ended(waiter, ended))
        except (OSError, RuntimeError, VcacheError) as error:
            self._ended(waiter, _not_run(waiter.job, error))
            return
        with self._lock:
            waiter.kill = kill
        if self._is_stopped(waiter):  # in between
            kill()

    def _ended(self, waiter: _Waiter, ended: Ended) -> None:
        try:
            waiter.on_end(ended)
        finally:
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                self._count -= following is None
            if following is not None:
                self._begin(following)

    def _stop(self, waiter: _Waiter) -> None:
        with self._lock:
            waiter.is_stopped = True
            kill = waiter.kill
            is_waiting = waiter in self._waiting
            if is_waiting:
                self._waiting.remove(waiter)
        if is_waiting:
            waiter.on_end(killed())
        elif kill is not None:
            kill()

    def _is_stopped(self, waiter: _Waiter) -> bool:
        with self._lock:
            return waiter.is_stopped


def _not_run(job: Job, error: Exception) -> Ended:
    line = f"vcache: {job.node.name}: cannot be run: {error}\n"
    return Ended(status=NOT_RUNNABLE, chunks=((STDERR, 0, line.encode("utf-8", "surrogateescape")),))


if TYPE_CHECKING:
    _: type[Executor] = BoundedExecutor
