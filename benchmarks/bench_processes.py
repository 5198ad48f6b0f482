"""Four processes on one directory: 90 % reads, 10 % writes, 1 KB values, 10,000 keys."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol, cast

from benchmarks.measure import Scale
from benchmarks.peers import Values, fanout_cache
from benchmarks.result import Compare, Figure, Row, Spread
from vcache import Cache

TITLE = "four processes, 90 % reads"

_PROCESSES = 4
_WRITES_IN = 10  # one of so many calls
_BLOCKS, _BLOCK = 20, 500  # the clock is asked whether to go on after each block
_SAMPLED = 47  # one of so many calls goes into the percentiles; writes and reads alike
_VALUE_BYTES = 1000
_NS = 1_000_000_000


class Open(Protocol):
    """How a side is opened in each process; gives its get and its put."""

    def __call__(self, directory: Path) -> tuple[AbstractContextManager[object], Get, Put]: ...


Get = Callable[[str], object]
Put = Callable[[str, bytes], bool]
Call = tuple[str, bytes | None]


def open_ours(directory: Path) -> tuple[AbstractContextManager[object], Get, Put]:
    """A disk tier alone."""
    cache = Cache(f"disk:{directory}")
    return cache, cache.get, cache.put


def open_peer(directory: Path) -> tuple[AbstractContextManager[object], Get, Put]:
    """The FanoutCache of diskcache."""
    cache = fanout_cache(directory)
    return cache, cache.get, cache.set


_SIDES: dict[str, Open] = {"vcache": open_ours, "diskcache FanoutCache": open_peer}


def run(scale: Scale, directory: Path) -> list[Row]:
    """Operations per second of all processes together, and the longest single one."""
    entries, seconds = scale.pick(10_000, 200), 5.0 if not scale.is_smoke else 0.2
    for name, open_side in _SIDES.items():
        _fill(directory / name, open_side, entries)
    rates: dict[str, list[float]] = {name: [] for name in _SIDES}
    stalls: dict[str, list[float]] = {name: [] for name in _SIDES}
    spreads: dict[str, list[float]] = {name: [] for name in _SIDES}
    refused = dict.fromkeys(_SIDES, 0)
    for number in range(scale.pick(3, 1)):
        for name in list(_SIDES)[:: 1 if number % 2 == 0 else -1]:
            counted = _contend(name, directory / name, entries, seconds)
            rates[name].append(sum(calls for calls, _, _, _ in counted) / seconds)
            stalls[name].append(max(longest for _, longest, _, _ in counted))
            refused[name] += sum(lost for _, _, lost, _ in counted)
            spreads[name] += [each for _, _, _, sample in counted for each in sample]
    for name in _SIDES:
        shutil.rmtree(directory / name)
    return _rows(rates, stalls, spreads, refused, seconds)


def _rows(
    rates: dict[str, list[float]],
    stalls: dict[str, list[float]],
    spreads: dict[str, list[float]],
    refused: dict[str, int],
    seconds: float,
) -> list[Row]:
    ours, peer = _SIDES
    lost = f"writes given up in all rounds: {refused[ours]} and {refused[peer]}"
    note = f"{_PROCESSES} processes, rounds of {seconds:g} s, {_VALUE_BYTES} B values"
    rate = {name: Figure(name, tuple(rates[name])) for name in rates}
    stall = {name: Figure(name, tuple(stalls[name]), Spread.of(spreads[name])) for name in stalls}
    return [
        Row("4 processes, 90 % reads", Compare.MORE, "op/s", rate[ours], rate[peer], 4.0, f"{note}; {lost}"),
        Row("… longest stall of one call", Compare.STALL, "µs", stall[ours], stall[peer], 1.0),
    ]


def _fill(directory: Path, open_side: Open, entries: int) -> None:
    opened, _, put = open_side(directory)
    with opened:
        for key, value in Values(_VALUE_BYTES).take(entries):
            put(key, value)


Counted = tuple[int, float, int, list[float]]


def _contend(name: str, directory: Path, entries: int, seconds: float) -> list[Counted]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(_PROCESSES)
    queue = context.SimpleQueue()
    workers = [
        context.Process(target=work, args=(name, directory, entries, seconds, seed, barrier, queue))
        for seed in range(_PROCESSES)
    ]
    for worker in workers:
        worker.start()
    counted = [cast("Counted", queue.get()) for _ in workers]
    for worker in workers:
        worker.join()
    return counted


def work(
    name: str, directory: Path, entries: int, seconds: float, seed: int, barrier: Barrier, queue: object
) -> None:
    """One process: calls until the time is over, each one timed."""
    opened, get, put = _SIDES[name](directory)
    plan = _plan(random.Random(seed), entries)
    calls = longest = lost = 0
    sample: list[float] = []
    with opened:
        get("object-00000000")
        barrier.wait(60)
        until = perf_counter_ns() + int(seconds * _NS)
        for block in itertools.cycle(plan):
            taken, refused = _timed(block, get, put)
            calls += len(taken)
            lost += refused
            longest = max(longest, *taken)
            sample += [each / 1000 for each in taken[::_SAMPLED]]
            if perf_counter_ns() >= until:
                break
    queue.put((calls, longest / 1000, lost, sample))  # type: ignore[attr-defined]  # a SimpleQueue


def _plan(chance: random.Random, entries: int) -> list[list[Call]]:
    """Blocks of calls: keys in random order, every tenth with a new value."""
    values = [value for _, value in Values(_VALUE_BYTES).take(_BLOCKS * _BLOCK // _WRITES_IN)]
    keys = (f"object-{chance.randrange(entries):08d}" for _ in itertools.count())
    calls = (
        (next(keys), values[n // _WRITES_IN] if n % _WRITES_IN == 0 else None) for n in itertools.count()
    )
    return [list(itertools.islice(calls, _BLOCK)) for _ in range(_BLOCKS)]


def _timed(block: list[Call], get: Get, put: Put) -> tuple[list[int], int]:
    """What each call took, in ns, and how many puts were refused. As little else as can be."""
    taken: list[int] = []
    refused = 0
    before = perf_counter_ns()
    for key, value in block:
        if value is None:
            get(key)
        elif not put(key, value):
            refused += 1
        now = perf_counter_ns()
        taken.append(now - before)
        before = now
    return taken, refused
