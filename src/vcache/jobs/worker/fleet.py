"""Worker processes under a supervisor. It must not know what they run, nor how they were told to.

The supervisor's process lives as long as they do, and loads neither queue nor handlers.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreError, UsageError
from vcache.jobs.worker.names import worker_name
from vcache.kit.logs import logger
from vcache.kit.supervisor import Program, Supervisor

if TYPE_CHECKING:
    from vcache.jobs.base import Queue

__all__ = ["MISUSE", "RECYCLE", "end_sessions", "run_fleet"]

RECYCLE: Final = 75  # EX_TEMPFAIL: a process that asks to be replaced
MISUSE: Final = 2  # a process that was told nonsense: a further one would be told the same
_SAID: Final = 1  # an error that the process itself reported; or what a handler exited with
_GRACE_S: Final = 10.0  # for a process to end, after its own grace
_ASIDE_S: Final = 20  # for sessions to be ended; the lease ends them otherwise


def run_fleet(
    argv: Sequence[str],
    size: int,
    *,
    queue: Callable[[], Queue],
    name: str = "",
    grace_s: float = 30.0,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run so many processes of a command that runs a `Worker` each, until SIGTERM or SIGINT (again to
    hurry); the exit status.

    One that crashes is replaced, and its jobs go to others at once. One that ends with status `RECYCLE` is
    replaced without further ado; when one ends with `MISUSE`, or crashes again and again, all are ended.

    Args:
        queue: opens the queue, to end the session of a process that died. Called in a short-lived copy of this
            process, where it has no other threads.
        name: as each process gives it to `worker_name`; processes on other machines must have other ones.
        grace_s: as the workers have it.
        env: variables of the processes; None for those of this one.

    Raises:
        UsageError: fewer than one.
    """
    if size < 1:
        raise UsageError(f"{size!r} worker processes: give 1 or more")
    aside = _Aside()

    def on_exit(pid: int, status: int) -> None:
        if status not in (0, RECYCLE, MISUSE):
            aside.run(lambda: _end_sessions(queue, worker_name(pid, name), is_said=status == _SAID))

    try:
        return Supervisor(
            lambda place: Program(argv, env=env),
            size,
            replaced=frozenset((RECYCLE,)),
            hopeless=frozenset((MISUSE,)),
            grace_s=grace_s + _GRACE_S,
            on_exit=on_exit,
        ).run()
    finally:
        aside.bury()


def end_sessions(queue: Callable[[], Queue], worker: str) -> None:
    """End what a dead worker held, so that others have it at once, not only when its lease is over.

    Raises:
        StoreError: the queue does not answer.
    """
    opened = queue()
    try:
        for session in opened.sessions():
            if session.worker == worker:
                ids = opened.end_session(session.id)
                logger(__name__).warning("worker %s has died: its %d jobs go to others", worker, len(ids))
    finally:
        opened.close()


def _end_sessions(queue: Callable[[], Queue], worker: str, *, is_said: bool) -> None:
    try:
        end_sessions(queue, worker)
    except StoreError as error:
        if not is_said:  # else the worker has said the same
            logger(__name__).warning(
                "worker %s has died: others have its jobs when its lease is over (%s)", worker, error
            )


class _Aside:
    """Does things in copies of this process: one that has a queue open takes twice the memory, for good, and one
    that waits for a queue watches nobody meanwhile.
    """

    def __init__(self) -> None:
        self._pids: list[int] = []

    def run(self, act: Callable[[], object]) -> None:
        """Do it, later than this returns where there are no other threads, which a copy would not have."""
        self.bury()
        if threading.active_count() > 1:
            act()
            return
        pid = os.fork()
        if pid:
            self._pids.append(pid)
            return
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # they are meant for the supervisor
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_ASIDE_S)
            act()
        except Exception:  # nobody stands above it
            logger(__name__).exception("the session of a worker that died could not be ended")
        finally:
            os._exit(0)

    def bury(self) -> None:
        """Forget the copies that have ended."""
        self._pids = [pid for pid in self._pids if os.waitpid(pid, os.WNOHANG) == (0, 0)]
