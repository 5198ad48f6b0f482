"""A queue as the place where the job nodes of a build are done (`vcache.dag.errands`).

It knows errands and queues, and nothing of graphs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from vcache.dag.errands import Answer
from vcache.dag.node import Told
from vcache.errors import NodeFailed, VcacheError
from vcache.jobs.building.endings import Endings
from vcache.jobs.front import Jobs
from vcache.jobs.states import State

if TYPE_CHECKING:
    from vcache.dag.errands import Errand, JobPlace
    from vcache.dag.nodelogs import Chunks
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

    def run(self, errand: Errand) -> Answer:
        """As `JobPlace.run`."""
        began_ns = time.perf_counter_ns()
        while True:
            job_id, is_ours, job = self._once(errand)
            if job is not None and job.state is State.COMPLETED:
                most_ns = time.perf_counter_ns() - began_ns
                return Answer(job.result, Told(_story(job, most_ns), self._parent))
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


def _story(job: Job, most_ns: int) -> Chunks:
    """How a job came to its result, a line for each attempt.

    Args:
        most_ns: how long it was waited for: nothing is said of after that.
    """
    name, lines = f"job {job.id} ({job.kind})", []
    for failure in job.failures:
        worker = f" on {failure.worker}" if failure.worker else ""
        said = f"failed ({failure.reason}): {failure.message}"  # not as a compiler says it: it names no file
        lines.append((failure.at_ns, f"{name}, attempt {failure.attempt}{worker} {said}".replace("\n", " ")))
    took_s = max(0, job.finished_ns - job.started_ns) / 1e9
    worker = f" on {job.worker}" if job.worker else ""
    end = f"{name}, attempt {job.attempts}{worker} completed in {took_s:.3f} s; see vcache jobs log {job.id}"
    lines.append((job.finished_ns, end))
    return tuple(
        (
            1,
            min(max(0, at_ns - job.spec.created_ns), most_ns),
            f"{line}\n".encode("utf-8", "backslashreplace"),
        )
        for at_ns, line in lines
    )


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
