"""Four processes on one directory: 90 % reads, 10 % writes, 1 KB values, 10,000 keys."""

from __future__ import annotations

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
_VALUE_BYTES = 1000
_NS = 1_000_000_000


class Open(Protocol):
    """How a side is opened in each process; gives its get and its put."""

    def __call__(self, directory: Path) -> tuple[AbstractContextManager[object], Get, Put]: ...


Get = Callable[[str], object]
Put = Callable[[str, bytes], bool]


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
    chance = random.Random(seed)
    keys = [f"object-{chance.randrange(entries):08d}" for _ in range(20_011)]
    values = [value for _, value in Values(_VALUE_BYTES).take(257)]
    calls = longest = lost = 0
    sample: list[float] = []
    with opened:
        get(keys[0])
        barrier.wait(60)
        now = perf_counter_ns()
        until = now + int(seconds * _NS)
        while now < until:
            key = keys[calls % len(keys)]
            if calls % _WRITES_IN == seed:
                lost += not put(key, values[calls % len(values)])
            else:
                get(key)
            before, now = now, perf_counter_ns()
            calls += 1
            longest = max(longest, now - before)
            if calls % 64 == 0:
                sample.append((now - before) / 1000)
    queue.put((calls, longest / 1000, lost, sample))  # type: ignore[attr-defined]  # a SimpleQueue
