"""No-op jobs through one worker process, from a queue that was filled before: on Redis and embedded.

Ours has everything on: leases, fencing tokens, timeouts, retries, results and metrics. Each round starts each
side's worker anew; what counts begins with the first job and ends with the last. Nobody else is at the queue.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import redis

from benchmarks.measure import Scale
from benchmarks.queues.places import address_of, durable_redis, family, peak_mb
from benchmarks.queues.sides import DRAMATIQ, HUEY, OURS, TASKIQ, Side, asker, drained, worker
from benchmarks.result import Compare, Figure, Row

TITLE = "jobs through one worker"
_TARGET: Final = 50_000.0  # jobs/s
_ROUNDS: Final = 3  # each takes half a minute
_MODES: Final = ("async", "threads", "processes")


class Run(NamedTuple):
    """A side, how it is asked for jobs, and for how many."""

    name: str
    side: Side
    way: str
    jobs: int


def run(scale: Scale, directory: Path) -> list[Row]:
    """Rows of Redis, of the embedded queue, of a queue in memory, and of a worker's memory."""
    return [
        *_redis(scale, directory / "redis"),
        *_embedded(scale, directory),
        *_memory_queue(scale),
        *_resident(scale, directory / "resident"),
    ]


def _redis(scale: Scale, directory: Path) -> list[Row]:
    many, few = scale.pick(300_000, 300), scale.pick(10_000, 100)
    runs = [
        Run("vcache", OURS, "many", many),
        Run("vcache, plain functions in threads", OURS, "plain", many),
        *(Run(side.name, side, "one", few) for side in (HUEY, TASKIQ, DRAMATIQ)),
    ]
    with durable_redis(directory) as server, redis.Redis(port=server.port) as admin:
        address = address_of(server)

        def anew(_: Run, __: int) -> str:
            admin.flushall()
            return address

        ours, threads, *peers = _in_turn(runs, anew, _rounds(scale), directory)
    note = "appendfsync everysec; Huey runs a job at most once, the others at least once"
    return [
        *(_row("Redis, one worker process", ours, peer, 8.0, note) for peer in peers),
        _row("Redis, one worker process", ours, _target(ours), 1.0),
        _row("Redis, one worker process", threads, max(peers, key=lambda each: each.value)),
    ]


def _embedded(scale: Scale, directory: Path) -> list[Row]:
    runs = [
        Run("vcache", OURS, "many", scale.pick(200_000, 300)),
        Run("Huey on SQLite", HUEY, "one", scale.pick(10_000, 100)),
    ]

    def anew(run: Run, number: int) -> str:
        place = directory / f"{run.name}-{number}"
        return f"sqlite:{place}" if run.side is OURS else f"{place}.db"

    ours, peer = _in_turn(runs, anew, _rounds(scale), directory)
    note = "both in WAL with synchronous=FULL; ours commits what many jobs acknowledge at once"
    return [_row("embedded, durable at every acknowledgement", ours, peer, 6.0, note)]


def _in_turn(
    runs: Sequence[Run], anew: Callable[[Run, int], str], rounds: int, directory: Path
) -> list[Figure]:
    """Jobs per second of each, each round begun by another one."""
    found: dict[str, list[float]] = {run.name: [] for run in runs}
    for number in range(rounds):
        for turn in range(len(runs)):
            run = runs[(number + turn) % len(runs)]
            address = anew(run, number)
            with asker(run.side, address) as asking:
                asking.ask(run.way, run.jobs)
            found[run.name].append(drained(run.side, address, run.jobs, directory))
    return [Figure(name, tuple(each)) for name, each in found.items()]


def _memory_queue(scale: Scale) -> list[Row]:
    """What a worker itself costs: no server, no disk."""
    rows = []
    for mode in _MODES:
        jobs = scale.pick(20_000 if mode == "processes" else 200_000, 100)
        command = [sys.executable, "-m", "benchmarks.queues.in_memory", mode, str(jobs)]
        each = [float(subprocess.check_output(command)) for _ in range(_rounds(scale))]
        rows.append(_row(f"a queue in memory, {mode}", Figure("vcache", tuple(each)), None))
    return rows


def _resident(scale: Scale, directory: Path) -> list[Row]:
    """What is resident of the processes of `vcache worker`, as a user starts it, after its jobs."""
    jobs = scale.pick(100_000, 100)
    with durable_redis(directory) as server:
        address = address_of(server)
        with asker(OURS, address) as asking:
            asking.ask("many", jobs)
        with worker(OURS, address, jobs, directory) as running:
            running.ran()
            peaks = sorted(map(peak_mb, family(running.process.pid)))
    what = f"a worker process after {jobs:,} jobs: most that was resident"
    return [
        Row(what, Compare.ALONE, "MB", Figure("vcache", (peaks[-1],)), bound=50.0),
        Row("… with who watches over it", Compare.ALONE, "MB", Figure("vcache", (sum(peaks),)),
            note="the sum counts shared pages twice"),
    ]  # fmt: skip


def _rounds(scale: Scale) -> int:
    return min(scale.rounds, _ROUNDS)


def _target(ours: Figure) -> Figure:
    return Figure("the target", (_TARGET,) * len(ours.rounds))


def _row(what: str, ours: Figure, peer: Figure | None, bound: float | None = None, note: str = "") -> Row:
    compare = Compare.ALONE if peer is None else Compare.MORE
    return Row(what, compare, "jobs/s", ours, peer, bound, note)
