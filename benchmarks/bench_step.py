"""Calling a remembered function with small arguments, and `get_or_compute` beside a bare `get`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import steps
from benchmarks.measure import Scale, take_turns
from benchmarks.peers import joblib_memory
from benchmarks.result import Compare, Row
from vcache import Cache

TITLE = "steps"


def run(scale: Scale, directory: Path) -> list[Row]:
    """Step hits against joblib.Memory."""
    with Cache(directory / "tiers") as tiers, Cache(f"disk:{directory / 'disk'}") as disk:
        over_disk, disk_only = tiers.step(steps.volume), disk.step(steps.volume)
        peer = joblib_memory(directory / "peer").cache(steps.volume)
        sides: dict[str, Callable[[int], object]] = {
            "vcache": lambda n: over_disk(n, 7, "name", scale=2.0),
            "vcache, disk tier alone": lambda n: disk_only(n, 7, "name", scale=2.0),
            "joblib": lambda n: peer(n, 7, "name", scale=2.0),
        }
        numbers = list(range(scale.pick(50, 3)))
        for n in numbers:
            assert len({call(n) for call in sides.values()}) == 1
        calls = numbers * scale.pick(10, 1)
        figures = take_turns(sides, lambda _: calls, rounds=scale.rounds)
        computed = _get_or_compute(scale, disk)
    note = "four small arguments, one of them by name; code checked for change at each call"
    peer_figure = figures["joblib"]
    return [
        Row("step hit, small arguments", Compare.FASTER, "µs", figures["vcache"], peer_figure, 15.0, note),
        Row(
            "step hit, disk tier alone", Compare.FASTER, "µs", figures["vcache, disk tier alone"],
            peer_figure, 15.0, "every hit is read and verified from the disk tier, as joblib reads its file",
        ),
        computed,
    ]  # fmt: skip


def _get_or_compute(scale: Scale, cache: Cache) -> Row:
    keys = [f"object-{number}" for number in range(scale.pick(2000, 10))]
    for key in keys:
        cache.put(key, b"x" * 1000)
    sides: dict[str, Callable[[str], object]] = {
        "vcache get_or_compute": lambda key: cache.get_or_compute(key, bytes),
        "vcache get": cache.get,
    }
    figures = take_turns(sides, lambda _: keys, rounds=scale.rounds)
    return Row(
        "get_or_compute hit, 1 KB",
        Compare.WITHIN,
        "µs",
        figures["vcache get_or_compute"],
        figures["vcache get"],
    )
