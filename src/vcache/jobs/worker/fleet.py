"""Several worker processes under a supervisor. It must not know what they run, nor how they were told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError
from vcache.jobs.worker.worker import worker_name
from vcache.kit.logs import logger
from vcache.kit.supervisor import Program, Supervisor

if TYPE_CHECKING:
    from vcache.jobs.base import Queue

__all__ = ["MISUSE", "RECYCLE", "end_sessions", "run_fleet"]

RECYCLE: Final = 75  # EX_TEMPFAIL: a process that asks to be replaced
MISUSE: Final = 2  # a process that was told nonsense: a further one would be told the same
_GRACE_S: Final = 10.0  # for a process to end, after its own grace


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
        queue: opens the queue, to end the session of a process that died.
        name: as each process gives it to `worker_name`.
        grace_s: as the workers have it.
        env: variables of the processes; None for those of this one.

    Raises:
        UsageError: fewer than one.
    """
    if size < 1:
        raise UsageError(f"{size!r} worker processes: give 1 or more")

    def on_exit(pid: int, status: int) -> None:
        if status not in (0, RECYCLE, MISUSE):
            end_sessions(queue, worker_name(pid, name))

    return Supervisor(
        lambda place: Program(argv, env=env),
        size,
        replaced=frozenset((RECYCLE,)),
        hopeless=frozenset((MISUSE,)),
        grace_s=grace_s + _GRACE_S,
        on_exit=on_exit,
    ).run()


def end_sessions(queue: Callable[[], Queue], worker: str) -> None:
    """End what a dead worker held, so that others have it at once, not only when its lease is over."""
    opened = queue()
    try:
        for session in opened.sessions():
            if session.worker == worker:
                ids = opened.end_session(session.id)
                logger(__name__).warning("worker %s has died: its %d jobs go to others", worker, len(ids))
    finally:
        opened.close()
