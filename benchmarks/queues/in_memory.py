"""A worker and a queue in one process: `python -m benchmarks.queues.in_memory MODE JOBS` prints jobs per second."""

from __future__ import annotations

import sys
from time import perf_counter

from benchmarks.queues import ours
from vcache.jobs import Jobs
from vcache.jobs.handlers import Registry
from vcache.jobs.opening import open_queue
from vcache.jobs.states import State
from vcache.jobs.worker import Worker


def main(mode: str, count: int) -> None:
    queue = open_queue("mem:")
    jobs = Jobs(queue)
    kind = "noop" if mode == "async" else "plain"
    jobs.submit_many([jobs.spec(kind) for _ in range(count)])
    worker = Worker(queue, Registry.of(ours), concurrency=250 if mode != "processes" else 2, mode=mode)
    started_s = perf_counter()
    worker.drain()
    seconds = perf_counter() - started_s
    assert queue.stats().by_state[State.COMPLETED] == count
    print(count / seconds)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
