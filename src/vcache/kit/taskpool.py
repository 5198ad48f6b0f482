"""Threads that are kept for the next task: spawn, scope, shutdown.

Unlike `concurrent.futures` its threads are daemonic, so that a task that hangs does not keep the
interpreter from ending, and it costs 2 ms less to import (no logging). It must not know what runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from vcache.errors import UsageError
from vcache.kit.outcome import Outcome

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Scope", "Task", "TaskPool"]

T = TypeVar("T")


class Task(Generic[T]):
    """A call that was handed to a pool. Whoever claims it first runs it: a thread or a waiter."""

    __slots__ = ("_claim", "_done", "_outcome", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._outcome: Outcome[T] | None = None
        self._claim = threading.Lock()  # taken once, never given back
        self._done = threading.Lock()  # free once it is over
        self._done.acquire()

    @property
    def is_over(self) -> bool:
        """It ended, or was cancelled."""
        return not self._done.locked()

    def result(self, timeout_s: float | None = None) -> T:
        """What the call returned, or raised. A task that no thread has begun is run here and now, so
        that a task may wait for others of its own pool, however small it is.

        Raises:
            TimeoutError: it took longer.
            UsageError: it was cancelled.
        """
        if timeout_s is None:
            self._run()
        if not self._done.acquire(timeout=-1 if timeout_s is None else timeout_s):
            raise TimeoutError(f"the task took longer than {timeout_s} s")
        self._done.release()
        assert self._outcome is not None
        return self._outcome.get()

    def cancel(self) -> bool:
        """Whether it will never run: only what nobody has begun can be cancelled."""
        if not self._claim.acquire(blocking=False):
            return False
        self._outcome, self._work = Outcome(None, UsageError("the task was cancelled before it began")), None
        self._done.release()
        return True

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        assert self._work is not None
        self._outcome = Outcome.of(self._work)
        self._work = None  # what it holds on to is free before anybody asks
        self._done.release()


class TaskPool:
    """Runs calls in threads that it keeps.

    Args:
        name: what its threads are called.
        limit: how many threads at most; further tasks wait. None for one per running task.
    """

    def __init__(self, name: str, *, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"a pool needs a thread: limit is {limit}")
        self._name: Final = name
        self._limit: Final = limit
        self._queue: SimpleQueue[Task[object] | None] = SimpleQueue()
        self._lock = threading.Lock()  # guards the next three
        self._threads: list[threading.Thread] = []
        self._n_idle = 0  # threads that wait, less tasks that wait
        self._is_shut = False

    @property
    def n_threads(self) -> int:
        return len(self._threads)

    def spawn(self, work: Callable[[], T]) -> Task[T]:
        """Run a call in some thread, as soon as one is free.

        Raises:
            UsageError: the pool was shut down.
        """
        task = Task(work)
        with self._lock:
            if self._is_shut:
                raise UsageError(f"the pool {self._name!r} was shut down")
            if self._n_idle > 0 or len(self._threads) == self._limit:
                self._n_idle -= 1
            else:
                self._add_thread()
            self._queue.put(cast("Task[object]", task))
        return task

    def scope(self) -> Scope:
        """Tasks that all end before the `with` does."""
        return Scope(self)

    def shutdown(self, *, waits: bool = True) -> None:
        """Take no more tasks; those that were taken run, and are waited for if asked."""
        with self._lock:
            is_first, self._is_shut = not self._is_shut, True
            threads = tuple(self._threads)
            for _ in threads if is_first else ():
                self._queue.put(None)
        if waits:
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()

    def _add_thread(self) -> None:
        name = f"{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task._run()
            del task  # not kept alive while there is nothing to do
            with self._lock:
                self._n_idle += 1


class Scope:
    """Tasks with one common end. See `TaskPool.scope`.

    Leaving it waits for all of them, then raises the first error in the order of their spawning. If
    its own body raises, that error goes on, and tasks that nobody has begun are cancelled.
    """

    def __init__(self, pool: TaskPool) -> None:
        self._pool = pool
        self._tasks: list[Task[object]] = []

    def spawn(self, work: Callable[[], T]) -> Task[T]:
        """As `TaskPool.spawn`."""
        task = self._pool.spawn(work)
        self._tasks.append(cast("Task[object]", task))
        return task

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        errors: list[BaseException] = []
        wanted = [task for task in self._tasks if error is None or not task.cancel()]
        for task in wanted:
            try:
                task.result()
            except BaseException as caught:  # the first is raised below
                errors.append(caught)
        if error is None and errors:
            raise errors[0]
