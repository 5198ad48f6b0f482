"""A million jobs that wait: what a claim and the statistics take, and what they weigh, on Redis and embedded."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Final

import redis

from benchmarks.measure import Scale, time_alone
from benchmarks.queues.places import address_of, durable_redis
from benchmarks.result import Compare, Figure, Row, Spread
from vcache.jobs import Jobs, Spec
from vcache.jobs.base import Claimed, Finished, Queue
from vcache.jobs.opening import open_queue
from vcache.jobs.states import Event

TITLE = "a million jobs that wait"
_BATCH: Final = 1000
_WANT: Final = 100


def run(scale: Scale, directory: Path) -> list[Row]:
    """One queue after the other."""
    count, rows = scale.pick(1_000_000, 500), []
    with durable_redis(directory / "redis") as server, redis.Redis(port=server.port) as admin:
        before_bytes = admin.info("memory")["used_memory"]
        with Jobs(open_queue(address_of(server))) as jobs:
            _fill(jobs, count)
            each_bytes = (admin.info("memory")["used_memory"] - before_bytes) / count
            rows += _rows("Redis", scale, jobs.queue, count, each_bytes, "memory of the server")
    with Jobs(open_queue(f"sqlite:{directory / 'embedded'}")) as jobs:
        _fill(jobs, count)
        files = [path.stat().st_size for path in (directory / "embedded").rglob("*") if path.is_file()]
        rows += _rows("embedded", scale, jobs.queue, count, sum(files) / count, "of files")
    return rows


def _fill(jobs: Jobs, count: int) -> None:
    for start in range(0, count, _BATCH):
        jobs.submit_many([Spec("", "noop") for _ in range(min(_BATCH, count - start))])


def _rows(name: str, scale: Scale, queue: Queue, count: int, each_bytes: float, note: str) -> list[Row]:
    stats_ms = Spread.of([time_alone(queue.stats) for _ in range(scale.pick(50, 2))])
    one_ms, many_ms = (_claims(queue, scale.pick(1_000, 5), want) for want in (1, _WANT))
    left = sum(queue.stats().waiting.values())
    assert left == count - (1 + _WANT) * scale.pick(1_000, 5) if not scale.is_smoke else left >= 0
    what = f"{name}, {count:,} queued"
    return [
        Row(f"{what}: claim one, p50", Compare.ALONE, "ms", Figure("vcache", (one_ms.p50,), one_ms), bound=1.0,
            note="the call records the one before as completed"),
        Row(f"{what}: claim {_WANT}", Compare.ALONE, "ms", Figure("vcache", (many_ms.p50,), many_ms)),
        Row(f"{what}: stats, p50", Compare.ALONE, "ms", Figure("vcache", (stats_ms.p50,), stats_ms), bound=50.0),
        Row(f"{what}: a job takes", Compare.ALONE, "bytes", Figure("vcache", (each_bytes,)), note=note),
    ]  # fmt: skip


def _claims(queue: Queue, calls: int, want: int) -> Spread:
    """What calls take that claim so many and complete those of the call before, in ms."""
    session = queue.open_session("bench", kinds=["noop"], lease_s=60.0)
    held: list[Claimed] = []
    each_ms = []
    for _ in range(calls):
        finished = [Finished(claimed, Event.COMPLETE) for claimed in held]
        started_s = perf_counter()
        held = list(queue.exchange(session, finished, kinds=["noop"], want=want).claimed)
        each_ms.append((perf_counter() - started_s) * 1e3)
    queue.exchange(session, [Finished(claimed, Event.COMPLETE) for claimed in held], kinds=["noop"])
    queue.end_session(session)
    return Spread.of(each_ms)
