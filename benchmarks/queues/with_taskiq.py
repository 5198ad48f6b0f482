"""Taskiq on a Redis stream, which is its broker that acknowledges, and the faster one."""

from __future__ import annotations

import asyncio
import os

from taskiq_redis import RedisStreamBroker

from benchmarks.queues import asking, counting

_AT_ONCE = 100

broker = RedisStreamBroker(os.environ["BENCH_ADDRESS"], consumer_id="0", xread_count=1000)


@broker.task(task_name="noop")
async def noop() -> None:
    counting.count()


def main() -> None:
    runner = asyncio.Runner()
    runner.run(broker.startup())

    async def one(count: int) -> None:
        for _ in range(count):
            await noop.kiq()

    async def many(count: int) -> None:
        for _ in range(0, count, _AT_ONCE):
            await asyncio.gather(*(noop.kiq() for _ in range(_AT_ONCE)))

    asking.serve(one=lambda count: runner.run(one(count)), many=lambda count: runner.run(many(count)))


if __name__ == "__main__":
    main()
