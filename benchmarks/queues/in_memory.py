"""A worker and its queue in one process: `python -m benchmarks.queues.in_memory MODE JOBS` prints jobs per second."""

from __future__ import annotations

import sys
import threading
import time
from time import perf_counter

from benchmarks.queues import ours
from vcache.jobs import Jobs, Worker, open_queue
from vcache.jobs.handlers import Registry
from vcache.metrics import Metrics

_LOOK_S = 0.01


def main(mode: str, count: int) -> None:
    """Run so many jobs, by handlers that suit the mode."""
    kind, concurrency = ("noop", 1000) if mode == "async" else ("plain", 2 if mode == "processes" else 1000)
    with Jobs(open_queue("mem:")) as jobs:
        jobs.submit_many([jobs.spec(kind) for _ in range(count)])
        handlers = Registry([ours.noop, ours.plain])
        worker = Worker(jobs.queue, handlers, concurrency=concurrency, mode=mode, metrics=Metrics())

        def drain_at_the_end() -> None:
            while jobs.stats().totals[kind].completed < count:
                time.sleep(_LOOK_S)
            worker.drain()

        threading.Thread(target=drain_at_the_end, daemon=True).start()
        started_s = perf_counter()
        worker.run(signals=False)
        print(count / (perf_counter() - started_s))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
