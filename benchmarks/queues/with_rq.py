"""RQ on Redis: asking for jobs, by `enqueue_many` too."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue

from benchmarks.queues import asking, counting

_BATCH = 1000


def main() -> None:
    queue = Queue(connection=Redis.from_url(os.environ["BENCH_ADDRESS"]))

    def one(count: int) -> None:
        for _ in range(count):
            queue.enqueue(counting.count)

    def many(count: int) -> None:
        for start in range(0, count, _BATCH):
            size = min(_BATCH, count - start)
            queue.enqueue_many([Queue.prepare_data(counting.count) for _ in range(size)])

    asking.serve(one=one, many=many)


if __name__ == "__main__":
    main()
