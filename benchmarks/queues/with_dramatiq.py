"""Dramatiq on Redis, with the middleware it has by default."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.queues import asking, counting

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_ADDRESS"]))  # type: ignore[no-untyped-call]


@dramatiq.actor
def noop() -> None:
    counting.count()


def one(count: int) -> None:
    for _ in range(count):
        noop.send()


if __name__ == "__main__":
    from benchmarks.queues.with_dramatiq import one as ask

    asking.serve(one=ask)
