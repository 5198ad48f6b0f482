"""Attempts as tasks of an event loop that runs in a thread of its own. It must not know what becomes of them."""

from __future__ import annotations

import asyncio
import threading
from time import perf_counter
from typing import TYPE_CHECKING

from vcache.jobs.handlers.current import CURRENT
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vcache.jobs.worker.judge import Judge
    from vcache.jobs.worker.run import Run
    from vcache.jobs.worker.tray import Tray

__all__ = ["LoopExecutor", "new_loop"]


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class LoopExecutor:
    """Runs coroutine functions. A thread and its loop start with the first.

    Args:
        enter: called in the context of each attempt before it starts; None for nothing.
    """

    def __init__(self, tray: Tray, judge: Judge, enter: Callable[[Run], object] | None = None) -> None:
        self._tray, self._judge, self._enter = tray, judge, enter
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_to_ring = False
        self._thread: threading.Thread | None = None

    def start(self, runs: list[Run]) -> None:
        """Hand them all over at once."""
        loop = self._loop
        if loop is None:
            loop = self._begin()
        loop.call_soon_threadsafe(self._spawn, runs)

    def stop(self, run: Run) -> bool:
        """Cancel its task."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._cancel, run)
        return True

    def write_off(self, run: Run) -> None:
        """A task goes on as long as it likes; there is room for others."""

    def close(self, timeout_s: float) -> None:
        """End the loop, with the tasks that handlers left behind."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout_s)
        if thread.is_alive():
            logger(__name__).warning("the event loop does not end: a handler blocks it")

    def _begin(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = new_loop()
        self._thread = threading.Thread(target=self._serve, args=(loop,), name="vcache-loop", daemon=True)
        self._thread.start()
        return loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            try:
                _cancel_all(loop)
                loop.run_until_complete(loop.shutdown_asyncgens())
            finally:
                asyncio.set_event_loop(None)
                loop.close()

    def _spawn(self, runs: list[Run]) -> None:
        create, run_one = self._loop.create_task if self._loop else None, self._run
        if create is None:
            return  # closed meanwhile
        for run in runs:
            run.task = create(run_one(run))

    async def _run(self, run: Run) -> None:
        run.started_s = perf_counter()
        handler = run.line.handler
        try:
            CURRENT.set(run)
            if self._enter is not None:
                self._enter(run)
            try:
                made: Coroutine[object, object, object] = handler.function(
                    **handler.arguments(run.claimed.spec.payload)
                )  # type: ignore[assignment]
                result = await made
            except GeneratorExit:
                raise
            except BaseException as error:  # also what would end the process: it is the handler's
                run.finished = self._judge.raised(run, error)
            else:
                run.finished = self._judge.returned(run, result)
        except Exception as error:  # or it would hang for ever
            run.finished = self._judge.broken(run, error)
        run.ended_s = perf_counter()
        run.task = (
            None  # it knows its context, which knows the run: a circle for each job, left to the collector
        )
        tray = self._tray
        tray.ended.append(run)
        if tray.is_waited_for and not self._is_to_ring and self._loop is not None:
            # Behind what else is ready: those that were started together are told of together, and not the first
            # of them alone, at which the pump would take the interpreter from the rest.
            self._is_to_ring = True
            self._loop.call_soon(self._ring)

    def _ring(self) -> None:
        self._is_to_ring = False
        self._tray.ring()

    def _cancel(self, run: Run) -> None:
        task = run.task
        if task is None or task.done():
            return

        def is_over(_: object) -> None:
            if not run.ended_s:  # cancelled before its first step: nothing of it ran
                run.started_s = run.ended_s = perf_counter()
                run.finished = self._judge.stopped(run)
                self._tray.put(run)

        task.add_done_callback(is_over)
        task.cancel(f"{run.stop and run.stop.value}")


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for each in left:
        each.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=1))
