"""Workers: processes that take jobs out of a queue and run their handlers (docs/design/jobs.md).

It must not know which queue it is.
"""

from __future__ import annotations

from vcache.kit.lazy import on_first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vcache.jobs.worker.fleet import run_fleet
    from vcache.jobs.worker.loading import load_handlers
    from vcache.jobs.worker.names import worker_name
    from vcache.jobs.worker.worker import Ended, Worker

__all__ = ["Ended", "Worker", "load_handlers", "run_fleet", "worker_name"]

# Loaded on first use: a child that runs jobs for a worker needs none of it.
_HOMES = {
    "Ended": "worker",
    "Worker": "worker",
    "load_handlers": "loading",
    "run_fleet": "fleet",
    "worker_name": "names",
}

__getattr__ = on_first_use(globals(), _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
