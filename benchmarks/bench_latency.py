"""From asking for a job to its start, on Redis: who asks, the worker and the server share this machine.

Each is a process of its own. Jobs carry the time at which they were asked for, of the clock that all processes of
a machine have in common; those of the first second warm up and do not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.measure import Scale
from benchmarks.queues.places import address_of, durable_redis
from benchmarks.queues.sides import OURS, asker, worker
from benchmarks.result import Compare, Figure, Row, Spread
from tests.servers import wait_until
from vcache.jobs import Jobs, open_queue

TITLE = "from asking for a job to its start"
_RATES: Final = {1_000: None, 10_000: (1.0, 10.0), 50_000: (1.0, 10.0)}  # jobs/s: p50 and p99, at most, in ms
_SECONDS: Final = 11


def run(scale: Scale, directory: Path) -> list[Row]:
    """One run of each rate."""
    rows: list[Row] = []
    for rate, bounds in _RATES.items():
        rows += _paced(scale, directory / str(rate), rate, bounds or (None, None))
    return rows


def _paced(scale: Scale, directory: Path, rate: int, bounds: tuple[float | None, float | None]) -> list[Row]:
    count, warm = scale.pick(rate * _SECONDS, 200), scale.pick(rate, 20)
    with (
        durable_redis(directory) as server,
        worker(OURS, address_of(server), count, directory) as running,
        asker(OURS, address_of(server)) as asking,
    ):
        with Jobs(open_queue(address_of(server))) as jobs:
            wait_until(lambda: bool(jobs.queue.sessions()), "a worker is there")
        reached = count / asking.ask("paced", count, rate)
        late = Spread.of(running.ran().late_ms[warm:])
    what = f"{rate:,} jobs/s, those of a millisecond in one call"
    return [
        Row(f"{what}, p50", Compare.ALONE, "ms", Figure("vcache", (late.p50,), late), bound=bounds[0]),
        Row(f"{what}, p99", Compare.ALONE, "ms", Figure("vcache", (late.p99,)), bound=bounds[1]),
        Row(f"{what}, reached", Compare.MORE, "jobs/s", Figure("vcache", (reached,)),
            Figure("the rate", (float(rate),)), 0.98),
    ]  # fmt: skip
