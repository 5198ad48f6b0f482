"""Attempts in child processes, each in the hands of one thread. It must not know what becomes of them.

A child is a fresh interpreter that imports the handlers' modules by name: nothing is forked, nothing is
pickled. What runs in it can be ended at any time, and when it dies, exactly one job was in it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from vcache.errors import UsageError
from vcache.jobs.base import Finished
from vcache.jobs.models import Failure
from vcache.jobs.packing import pack_spec
from vcache.jobs.states import Event
from vcache.jobs.worker.frames import Frames
from vcache.kit.data import NamedTuple
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from vcache.jobs.handlers.handler import Handler
    from vcache.jobs.worker.judge import Judge
    from vcache.jobs.worker.run import Run

__all__ = ["ChildSetup", "ProcessHand", "modules_of"]

_PAUSE_S: Final = 1.0  # after a child that could not even begin


class ChildSetup(NamedTuple):
    """What a child is told when it starts.

    Attributes:
        modules: where its handlers are.
        address: of the queue, with its namespace: for handlers that submit jobs.
        most_bytes: as `Worker` has it.
        has_log: what handlers log goes to the worker.
    """

    modules: Sequence[str]
    worker: str
    address: str = ""
    namespace: str = ""
    most_bytes: int = 0
    has_log: bool = False


def modules_of(handlers: Sequence[Handler]) -> list[str]:
    """The modules that a child imports to have these.

    Raises:
        UsageError: one is of a program's own file, which cannot be imported.
    """
    found = {str(getattr(each.function, "__module__", "")) for each in handlers}
    if "__main__" in found:
        raise UsageError(
            "handlers of the program itself cannot run in processes: put them in a module that it imports"
        )
    return sorted(found)


class ProcessHand:
    """Runs attempts in a child, one after the other, and starts another when that is gone.

    Args:
        most_jobs: of one child; 0 for any number.
        tell_record: takes what a handler logged.
    """

    def __init__(
        self,
        setup: ChildSetup,
        judge: Judge,
        *,
        most_jobs: int = 0,
        tell_record: Callable[[Sequence[object]], object] = lambda record: None,
    ) -> None:
        self._setup, self._judge, self._most_jobs, self._tell_record = setup, judge, most_jobs, tell_record
        self._child: subprocess.Popen[bytes] | None = None
        self._frames: Frames | None = None
        self._lock = threading.Lock()  # guards which attempt is in the child
        self._inside: Run | None = None
        self._n_jobs = 0

    def run(self, run: Run) -> Finished | None:
        """The outcome of an attempt."""
        try:
            frames = self._frames or self._started()
        except (OSError, RuntimeError) as error:
            logger(__name__).error("a process for jobs cannot be started: %s", error)
            time.sleep(_PAUSE_S)
            return Finished(run.claimed, Event.RELEASE)
        with self._lock:
            self._inside = None if run.stop is not None else run
        if self._inside is None:
            return self._judge.stopped(run)
        claimed = run.claimed
        try:
            frames.send(pack_spec(claimed.spec), claimed.token, claimed.attempt, claimed.kills, run.trace)
        except OSError:
            pass  # it has died: so says what is received
        found = self._answered(frames, run)
        with self._lock:
            self._inside = None
        if found is None:
            return self._judge.died(run, self._end())
        return self._judged(run, found)

    def stop(self, run: Run) -> bool:
        """Kill the child, if the attempt is in it."""
        with self._lock:
            if self._inside is run and self._child is not None:
                self._child.kill()
        return True

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._end()

    def _answered(self, frames: Frames, run: Run) -> list[Any] | None:
        while (found := frames.receive()) is not None:
            word, *rest = found
            if word == "ended":
                return rest
            if word == "progress":
                run.progress(*cast("list[Any]", rest))
            elif word == "record":
                self._tell_record(rest)
        return None

    def _judged(self, run: Run, found: list[Any]) -> Finished | None:
        event, result, failure, delay_s, resident_bytes = found
        self._n_jobs += 1
        most_bytes = self._setup.most_bytes
        is_full = self._n_jobs == self._most_jobs or (most_bytes and resident_bytes > most_bytes)
        if is_full or run.stop is not None:  # who stopped it may have killed the child after its last word
            self.close()
        if run.stop is not None:
            return self._judge.stopped(run)
        why = None if failure is None else Failure(*failure)
        return Finished(run.claimed, Event(event), result, why, delay_s)

    def _started(self) -> Frames:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "vcache.jobs.worker.child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
            )
        frames = Frames(ours)
        frames.send(*self._setup)
        said = frames.receive()
        if said is None or said[0] != "ready":
            frames.close()
            how = self._end()
            raise RuntimeError(str(said[1]) if said else how)
        self._frames, self._n_jobs = frames, 0
        return frames

    def _end(self) -> str:
        """How the child ended."""
        child, frames = self._child, self._frames
        self._child = self._frames = None
        if frames is not None:
            frames.close()
        if child is None:
            return "its process is gone"
        try:
            status = child.wait(_PAUSE_S)
        except subprocess.TimeoutExpired:  # it closed its end, and goes on
            child.kill()
            status = child.wait()
        if status < 0:
            return f"its process was ended by {_signal_name(-status)}"
        return f"its process ended with exit status {status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
