"""A child process of a worker: runs attempts one after the other, until the worker is gone or ends it.

Started as `python -m vcache.jobs.worker.child FD`. It must not know the queue, but for handlers that ask.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import socket
import sys
import threading
from time import time_ns
from typing import TYPE_CHECKING, Any, cast

from vcache.errors import UsageError, VcacheError
from vcache.jobs.base import Claimed, Finished
from vcache.jobs.packing import unpack_spec
from vcache.jobs.worker.frames import Frames
from vcache.jobs.worker.in_processes import ChildSetup
from vcache.jobs.worker.in_threads import InPlace
from vcache.jobs.worker.judge import Judge
from vcache.jobs.worker.loading import load_handlers
from vcache.jobs.worker.run import Line, Run, resident_bytes
from vcache.jobs.worker.tally import Tally

if TYPE_CHECKING:
    from vcache.jobs.handlers.current import Attempt
    from vcache.jobs.handlers.registry import Registry
    from vcache.jobs.models import Progress
    from vcache.logs import Logger
    from vcache.logs.record import Record

__all__ = ["main"]


class _Sink:
    """A sink of a logger: records go to the worker."""

    folds = False
    level = 0

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def write(self, record: Record) -> None:
        self._frames.send("record", *record)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class _Child:
    """What stands behind `current_job()` here, and the loop."""

    def __init__(self, frames: Frames, setup: ChildSetup, handlers: Registry) -> None:
        self._frames, self._setup, self._handlers = frames, setup, handlers
        self._hand = InPlace(Judge(setup.worker, time_ns), self._enter if setup.has_log else None)
        self._front: object = None

    def serve(self) -> None:
        """Run what comes."""
        coming: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(coming,), name="vcache-read", daemon=True).start()
        while True:
            packed, token, attempt, kills, trace = coming.get()
            finished = self._run(Claimed(unpack_spec(packed), token, attempt, kills), trace)
            event, result, failure, delay_s = finished[1:]
            self._frames.send("ended", event.value, result, failure, delay_s, resident_bytes())

    def _read(self, coming: queue.SimpleQueue[list[Any]]) -> None:
        while (found := self._frames.receive()) is not None:
            coming.put(found)
        os._exit(0)  # the worker is gone: what runs here is nobody's

    def _run(self, claimed: Claimed, trace: str) -> Finished:
        handler = self._handlers.get(claimed.spec.kind)
        if handler is None:
            raise SystemExit(f"no handler for {claimed.spec.kind!r}: the worker's modules have changed")
        run = Run(claimed, self, Line(handler, cast("Any", None), cast("Tally", None)))
        run.trace = trace
        finished = self._hand.run(run)
        assert finished is not None  # nobody stops it here
        return finished

    def report(self, attempt: Attempt, progress: Progress) -> None:
        self._frames.send("progress", progress.done, progress.total, progress.note)

    def logger(self, attempt: Attempt) -> Logger:
        from vcache.logs import Logger

        sinks = [_Sink(self._frames)] if self._setup.has_log else None
        return Logger(f"job/{attempt.kind}", sinks=cast("Any", sinks), **attempt.fields)

    def jobs(self) -> object:
        if not self._setup.address:
            raise UsageError("current_job().jobs: a process of a worker must be told the queue's address")
        if self._front is None:
            from vcache.jobs.front import Jobs
            from vcache.jobs.opening import open_queue

            self._front = Jobs(open_queue(self._setup.address, namespace=self._setup.namespace))
        return self._front

    def _enter(self, run: Run) -> None:
        from vcache.logs.front.context import CURRENT

        CURRENT.set(run)  # type: ignore[arg-type]  # it has what `Fields` has


def main(fd: int) -> None:
    """Run what comes over a descriptor."""
    faulthandler.enable()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # of a whole group: the worker decides
    frames = Frames(socket.socket(fileno=fd))
    said = frames.receive()
    if said is None:
        return
    setup = ChildSetup(*cast("list[Any]", said))
    try:
        handlers = load_handlers(setup.modules, plugins=False)
    except VcacheError as error:
        frames.send("broken", str(error))
        return
    _bound_memory(setup.most_bytes)
    frames.send("ready")
    _Child(frames, setup, handlers).serve()


def _bound_memory(most_bytes: int) -> None:
    """A handler that takes far more than it may gets a MemoryError, before the machine is in need."""
    if most_bytes:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (2 * most_bytes, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]))
