"""Reading from memory: the memory tier alone, and over a disk tier as `Cache(DIR)` has it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Scale, take_turns
from benchmarks.peers import Values, ttl_cache
from benchmarks.result import Compare, Figure, Row
from vcache import Cache

TITLE = "memory tier"


def run(scale: Scale, directory: Path) -> list[Row]:
    """Hits and misses against cachetools' TTLCache."""
    values = Values(1000).take(scale.pick(5000, 50))
    peer = ttl_cache(2 * len(values))
    with Cache("mem:64MB") as ours, Cache(directory / "tiers") as tiers:
        for key, value in values:
            ours.put(key, value)
            tiers.put(key, value)
            peer[key] = value
            assert ours.get(key) == tiers.get(key) == peer.get(key)
        keys = [key for key, _ in values]
        sides: dict[str, Callable[[str], object]] = {
            "vcache": ours.get,
            "vcache, memory over disk": tiers.get,
            "TTLCache.get": peer.get,
            "TTLCache[]": peer.__getitem__,
        }
        hits = take_turns(sides, lambda _: _some(keys, scale), rounds=scale.rounds)
        absent = [f"absent-{number:08d}" for number in range(5000)]
        misses = take_turns(
            {"vcache": ours.get, "TTLCache.get": peer.get},
            lambda _: _some(absent, scale),
            rounds=scale.rounds,
        )
    return _rows(hits, misses)


def _some(keys: list[str], scale: Scale) -> list[str]:
    return random.choices(keys, k=scale.pick(20_000, 50))


def _rows(hits: dict[str, Figure], misses: dict[str, Figure]) -> list[Row]:
    def row(what: str, ours: Figure, peer: Figure, bound: float | None = None, note: str = "") -> Row:
        return Row(what, Compare.FASTER, "µs", ours, peer, bound=bound, note=note)

    by_get, by_item = hits["TTLCache.get"], hits["TTLCache[]"]
    over_disk = hits["vcache, memory over disk"]
    unlocked = "the TTLCache has no lock around it, so it serves one thread; vcache's serves any number"
    return [
        row("memory hit", hits["vcache"], by_get, 1.0, f"both by .get(key); {unlocked}"),
        row("memory hit, against cache[key]", hits["vcache"], by_item),
        row(
            "memory hit, memory over disk", over_disk, by_get,
            note="each hit asks the disk tier whether another process wrote the key since",
        ),
        row("memory miss", misses["vcache"], misses["TTLCache.get"]),
    ]  # fmt: skip
