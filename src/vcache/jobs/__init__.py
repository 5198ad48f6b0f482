"""A durable queue of jobs, workers that run them, schedules, and workflows.

    vcache.jobs.connect() ▷ Jobs.submit(…) ▷ queue (SQLite, Redis, a server, memory) ▷ Worker ▷ @job functions

Formats and states: docs/design/jobs.md.
"""

from __future__ import annotations

from vcache.kit.lazy import on_first_use

TYPE_CHECKING = False  # what mypy understands as well: importing typing costs 10 ms
if TYPE_CHECKING:
    from vcache.jobs.front import Jobs, connect
    from vcache.jobs.handlers import GiveUp, RetryLater, current_job, job
    from vcache.jobs.memory import MemoryQueue
    from vcache.jobs.models import Job, Limits, Priority, Spec
    from vcache.jobs.opening import open_queue
    from vcache.jobs.states import State
    from vcache.jobs.worker import Worker

__all__ = [
    "GiveUp", "Job", "Jobs", "Limits", "MemoryQueue", "Priority", "RetryLater", "Spec", "State", "Worker", "connect",
    "current_job", "job", "open_queue",
]  # fmt: skip

# Loaded on first use: who asks for jobs needs no worker, and the other way round.
_HOMES = {
    "GiveUp": "handlers",
    "Job": "models",
    "Jobs": "front",
    "Limits": "models",
    "MemoryQueue": "memory",
    "Priority": "models",
    "RetryLater": "handlers",
    "Spec": "models",
    "State": "states",
    "Worker": "worker",
    "connect": "front",
    "current_job": "handlers",
    "job": "handlers",
    "open_queue": "opening",
}

__getattr__ = on_first_use(globals(), _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
