"""Attempts in threads. Who cannot be stopped is written off, and replaced. It must not know what becomes of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from vcache.jobs.handlers.current import CURRENT
from vcache.jobs.worker.tray import Bell
from vcache.kit.logs import logger

if TYPE_CHECKING:
    import asyncio

    from vcache.jobs.base import Finished
    from vcache.jobs.worker.judge import Judge
    from vcache.jobs.worker.run import Run
    from vcache.jobs.worker.tray import Tray

__all__ = ["Hand", "InPlace", "ThreadsExecutor"]


class Hand(Protocol):
    """What one thread runs attempts with."""

    def run(self, run: Run) -> Finished | None: ...

    def stop(self, run: Run) -> bool:
        """See `Executor.stop`; called by other threads, while or before it runs."""

    def close(self) -> None: ...


class InPlace:
    """Calls handlers in the thread itself; coroutine functions on a loop of the thread's own."""

    def __init__(self, judge: Judge, enter: Callable[[Run], object] | None = None) -> None:
        self._judge, self._enter = judge, enter
        self._runner: asyncio.Runner | None = None

    def run(self, run: Run) -> Finished | None:
        """The handler's outcome."""
        try:
            result = Context().run(self._call, run)
        except BaseException as error:  # also what would end the thread: it is the handler's
            return self._judge.raised(run, error)
        return self._judge.returned(run, result)

    def stop(self, run: Run) -> bool:
        """Cancel a coroutine at its next await; a plain function cannot be."""
        task = run.task
        if task is None:
            return False  # one that is about to begin sees it itself
        try:
            task.get_loop().call_soon_threadsafe(task.cancel)
        except RuntimeError:
            pass  # it has ended, and its loop with it
        return True

    def close(self) -> None:
        """End its loop."""
        if self._runner is not None:
            self._runner.close()

    def _call(self, run: Run) -> object:
        CURRENT.set(run)
        if self._enter is not None:
            self._enter(run)
        handler = run.line.handler
        result = handler.function(**handler.arguments(run.claimed.spec.payload))
        return self._awaited(run, result) if handler.is_async else result  # type: ignore[arg-type]  # it is one

    def _awaited(self, run: Run, made: Coroutine[object, object, object]) -> object:
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
        from contextvars import copy_context

        return self._runner.run(_as_task(run, made), context=copy_context())


async def _as_task(run: Run, made: Coroutine[object, object, object]) -> object:
    import asyncio

    run.task = asyncio.current_task()
    try:
        if run.stop is not None:  # said before there was a task to cancel
            made.close()
            raise asyncio.CancelledError
        return await made
    finally:
        run.task = None  # as in a loop of all: no circle is left to the collector


class _Thread:
    """A thread, as the others see it."""

    __slots__ = ("bell", "hand", "is_written_off", "run", "thread")

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.bell = Bell()
        self.run: Run | None = None
        self.is_written_off = False
        self.thread: threading.Thread | None = None


class ThreadsExecutor:
    """Runs attempts in so many threads, each with a hand of its own. They start when they are needed.

    A thread that takes an attempt wakes the next one if there are more, and that one the next: as long as
    handlers are short, one thread runs them all, and none other fights for the interpreter.
    """

    def __init__(self, tray: Tray, size: int, hand: Callable[[], Hand], judge: Judge) -> None:
        self._tray, self._size, self._hand, self._judge = tray, size, hand, judge
        self._waiting: deque[Run] = deque()
        self._idle: list[_Thread] = []
        self._threads: set[_Thread] = set()
        self._lock = threading.Lock()  # guards the set of threads, and what each runs while it is written off
        self._is_waking = False
        self._is_closed = False
        self.n_written_off = 0

    def start(self, runs: list[Run]) -> None:
        """Hand them all over at once."""
        self._waiting.extend(runs)
        self._wake()

    def stop(self, run: Run) -> bool:
        """Have its hand stop it."""
        with self._lock:
            mine = self._who_runs(run)
            if mine is not None:
                return mine.hand.stop(run)
        try:
            self._waiting.remove(run)
        except (ValueError, IndexError):  # others take from it meanwhile
            return False  # it has just begun, or ended
        run.started_s = run.ended_s = perf_counter()
        run.finished = self._judge.stopped(run)
        self._tray.put(run)
        return True

    def write_off(self, run: Run) -> None:
        """Have another thread in place of its."""
        with self._lock:
            mine = self._who_runs(run)
            if mine is None:
                return
            mine.is_written_off = True
            self._threads.discard(mine)
            self.n_written_off += 1
        self._wake()

    def _who_runs(self, run: Run) -> _Thread | None:
        return next((each for each in self._threads if each.run is run), None)

    def close(self, timeout_s: float) -> None:
        """Let idle threads end. One that still runs a handler ends with the process."""
        self._is_closed = True
        self._waiting.clear()
        with self._lock:
            threads = list(self._threads)
        for each in threads:
            each.bell.ring()
        end_s = perf_counter() + timeout_s
        for each in threads:
            if each.thread is not None and each.thread is not threading.current_thread():
                each.thread.join(max(0.0, end_s - perf_counter()))

    def _wake(self) -> None:
        """Have one more thread look; at most one at a time is on its way."""
        if self._is_waking or not self._waiting:
            return
        try:
            each = self._idle.pop()
        except IndexError:
            self._grow()
            return
        self._is_waking = True
        each.bell.ring()

    def _grow(self) -> None:
        with self._lock:
            if len(self._threads) >= self._size or self._is_closed:
                return
            mine = _Thread(self._hand())
            self._threads.add(mine)
            self._is_waking = True
        mine.thread = threading.Thread(target=self._work, args=(mine,), name="vcache-job", daemon=True)
        mine.thread.start()

    def _work(self, mine: _Thread) -> None:
        self._is_waking = False
        waiting, tray, run_one = self._waiting, self._tray, mine.hand.run
        while True:
            try:
                mine.run = run = waiting.popleft()
            except IndexError:
                if self._rest(mine):
                    continue
                break
            if waiting:
                self._wake()
            run.started_s = perf_counter()
            try:
                run.finished = run_one(run)
            except BaseException as error:  # or it would hang for ever, and the thread be gone
                run.finished = self._judge.broken(run, error)
            run.ended_s = perf_counter()
            with self._lock:  # or who writes it off now would take its next attempt for this one
                mine.run, is_given_up = None, mine.is_written_off
            if is_given_up:
                self._came_back(run)
                break
            tray.ended.append(run)
            if tray.is_waited_for:
                tray.ring()
        mine.hand.close()

    def _rest(self, mine: _Thread) -> bool:
        """Wait for something to do; False at the end."""
        if self._is_closed:
            return False
        self._idle.append(mine)
        if self._waiting:  # it came after the look, and who brought it may not have seen us
            try:
                self._idle.remove(mine)
            except ValueError:
                pass  # somebody has seen us: the bell rings, and once too often is no harm
            else:
                return True
        mine.bell.wait()
        self._is_waking = False
        return True

    def _came_back(self, run: Run) -> None:
        with self._lock:
            self.n_written_off -= 1
        logger(__name__).info(  # that it did not end was said
            "job %s (%s) came to its end %.1f s after it was given up; what it returned is dropped",
            run.id, run.kind, run.ended_s - run.deadline_s if run.deadline_s < run.ended_s else 0.0,
        )  # fmt: skip
