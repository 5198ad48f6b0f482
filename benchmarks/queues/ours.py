"""vcache: everything on, that is leases, fencing tokens, timeouts, retries and metrics."""

from __future__ import annotations

import os
import time
from time import monotonic_ns

import vcache.jobs
from benchmarks.queues import asking, counting
from vcache.jobs import Spec, job

_BATCH = 1000
_TICKS = 1000  # a second


@job("noop", retries=3, timeout="30s")
async def noop() -> None:
    counting.count()


@job("plain", retries=3, timeout="30s")
def plain() -> None:
    counting.count()


@job("late", retries=3, timeout="30s")
async def late(sent_ns: int) -> None:
    counting.late(sent_ns)


def main() -> None:
    with vcache.jobs.connect(os.environ["BENCH_ADDRESS"]) as jobs:

        def one(count: int) -> None:
            for _ in range(count):
                jobs.submit("noop")

        def many(count: int, kind: str = "noop") -> None:
            for start in range(0, count, _BATCH):
                jobs.submit_many([Spec("", kind) for _ in range(min(_BATCH, count - start))])

        def paced(count: int, rate: int) -> None:
            """So many a second, those of a thousandth of it in one call, which is when they are stamped."""
            tick, begun_ns = max(1, rate // _TICKS), monotonic_ns()
            for number in range(0, count, tick):
                ahead_s = (begun_ns - monotonic_ns()) / 1e9 + number / rate
                if ahead_s > 0:
                    time.sleep(ahead_s)
                payload = {"sent_ns": monotonic_ns()}
                jobs.submit_many([Spec("", "late", payload) for _ in range(min(tick, count - number))])

        asking.serve(one=one, many=many, plain=lambda count: many(count, "plain"), paced=paced)


if __name__ == "__main__":
    main()
