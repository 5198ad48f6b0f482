"""Huey, as its guide has it: on Redis, where a crash loses what was popped; on SQLite, synced at each commit."""

from __future__ import annotations

import os

from huey import RedisHuey, SqliteHuey

from benchmarks.queues import asking, counting

_ADDRESS = os.environ["BENCH_ADDRESS"]

huey = (
    RedisHuey("bench", url=_ADDRESS)
    if "://" in _ADDRESS
    else SqliteHuey("bench", filename=_ADDRESS, fsync=True)
)


@huey.task()  # type: ignore[untyped-decorator]  # Huey has no types
def noop() -> None:
    counting.count()


def one(count: int) -> None:
    for _ in range(count):
        noop()


if __name__ == "__main__":
    from benchmarks.queues.with_huey import one as ask  # a task is named after its module: not __main__

    asking.serve(one=ask)
