"""A queue as the place where the job nodes of a build are done (`vcache.dag.errands`).

It knows errands and queues, and nothing of graphs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from vcache.errors import NodeFailed, VcacheError
from vcache.jobs.building.endings import Endings
from vcache.jobs.front import Jobs
from vcache.jobs.states import State

if TYPE_CHECKING:
    from vcache.dag.errands import Errand, JobPlace
    from vcache.jobs.base import Queue
    from vcache.jobs.models import Job, Payload
__all__ = ["QueuePlace"]

_LOOK_S: Final = 0.1
_TRACE_LINES: Final = 30


class QueuePlace:
    """Asks a queue for the jobs of a build.

    A job is unique by the errand's key while it lives: builds that want the same one at the same time, on
    whatever machines, wait for one run. When a build is stopped, the jobs that it asked for are cancelled; a
    build that waits for one of those asks for it anew.

    Args:
        opens: gives the queue, when the first job is asked for.
        parent: the build's id, which its jobs are found by.

    Threads: any number.
    """

    def __init__(self, opens: Callable[[], Queue], *, parent: str = "") -> None:
        self._opens, self._parent = opens, parent
        self._lock = threading.Lock()  # guards the next
        self._opened: tuple[Jobs, Endings] | None = None
        self._is_stopped = False

    def run(self, errand: Errand) -> object:
        """As `JobPlace.run`."""
        while True:
            job_id, is_ours, job = self._once(errand)
            if job is not None and job.state is State.COMPLETED:
                return job.result
            if is_ours or (job is not None and job.state is State.DEAD):
                raise NodeFailed(_evidence(errand, job_id, job))
            # Another build asked for it, and was stopped.

    def stop(self) -> None:
        """As `JobPlace.stop`."""
        self._is_stopped = True  # no lock: a signal handler must not wait for one

    def _is_over(self) -> bool:
        return self._is_stopped

    def close(self) -> None:
        """Let go of the queue."""
        self.stop()
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].close()
            opened[0].close()

    def _once(self, errand: Errand) -> tuple[str, bool, Job | None]:
        """Ask once: the job's id, whether it is ours, and how it ended; None if it was removed."""
        jobs, endings = self._queue()
        spec = jobs.spec(
            errand.kind, cast("Payload", errand.payload), priority=errand.priority, timeout=errand.timeout_s or None,
            retries=None if errand.retries < 0 else errand.retries,
            unique=f"vcache.build:{errand.key}" if errand.key else False, parent=self._parent,
        )  # fmt: skip
        ended: list[Job | None] = []
        is_there = threading.Event()

        def end(job: Job | None) -> None:
            ended.append(job)
            is_there.set()

        if self._is_over():
            raise NodeFailed(f"{errand.node}: interrupted")
        (job_id,) = jobs.queue.submit([spec])
        endings.watch(job_id, end)
        while not is_there.wait(_LOOK_S):
            if self._is_over() and endings.forget(job_id, end):
                if job_id == spec.id:
                    with suppress(VcacheError):
                        jobs.queue.cancel([job_id], why="the build that asked for it was stopped")
                raise NodeFailed(f"{errand.node}: interrupted")
        return job_id, job_id == spec.id, ended[0]

    def _queue(self) -> tuple[Jobs, Endings]:
        with self._lock:
            if self._opened is None:
                queue = self._opens()
                self._opened = Jobs(queue), Endings(queue)
            return self._opened


def _evidence(errand: Errand, job_id: str, job: Job | None) -> str:
    """Why a job gave nothing, for people."""
    if job is None:
        return f"{errand.node}: job {job_id} ({errand.kind}) was removed from the queue"
    last = job.failures[-1] if job.failures else None
    said = last.message if last is not None else job.why
    words = [f"{errand.node}: job {job_id} ({errand.kind}) is {job.state}{f': {said}' if said else ''}"]
    if last is not None:
        worker = f" on {last.worker}" if last.worker else ""
        words.append(
            f"{last.reason} in attempt {last.attempt}{worker}; `vcache jobs show {job_id}` shows all of them"
        )
        words += last.traceback.rstrip().splitlines()[-_TRACE_LINES:]
    return "\n".join(words)


if TYPE_CHECKING:
    _: type[JobPlace] = QueuePlace
