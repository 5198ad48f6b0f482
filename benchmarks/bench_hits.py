"""Reading from a disk tier alone, every byte verified: 1 KB, 100 KB, 10 MB, and a key that is absent."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Scale, take_turns
from benchmarks.peers import Values, disk_cache, read_file, write_file
from benchmarks.result import Compare, Row
from vcache import Cache

TITLE = "disk tier: reads"


def run(scale: Scale, directory: Path) -> list[Row]:
    """Hits against diskcache and a plain read; misses against diskcache."""
    return [
        *_small(scale, directory),
        _against_diskcache(scale, directory, "100 KB", 100_000, entries=scale.pick(200, 5), calls=400),
        _against_file(scale, directory),
    ]


def _small(scale: Scale, directory: Path) -> list[Row]:
    hit = _against_diskcache(scale, directory, "1 KB", 1000, entries=scale.pick(10_000, 50), calls=4000)
    with Cache(f"disk:{directory / 'ours-1 KB'}") as ours, disk_cache(directory / "peer-1 KB") as peer:
        sides = {"vcache": ours.get, "diskcache": peer.get}
        absent = [f"absent-{number:08d}" for number in range(scale.pick(4000, 20))]
        figures = take_turns(sides, lambda _: absent, rounds=scale.rounds)
    miss = Row(
        "disk miss",
        Compare.FASTER,
        "µs",
        figures["vcache"],
        figures["diskcache"],
        bound=5.0,
        note=f"{scale.pick(10_000, 50):,} other entries are there",
    )
    return [hit, miss]


def _against_diskcache(
    scale: Scale, directory: Path, size: str, size_bytes: int, *, entries: int, calls: int
) -> Row:
    values = Values(size_bytes).take(entries)
    with Cache(f"disk:{directory / f'ours-{size}'}") as ours, disk_cache(directory / f"peer-{size}") as peer:
        for key, value in values:
            ours.put(key, value)
            peer.set(key, value)
        for key, value in values[:5]:
            assert ours.get(key) == value == peer.get(key)
        keys = [key for key, _ in values]

        def some(_: int) -> list[str]:
            return random.choices(keys, k=scale.pick(calls, 10))

        figures = take_turns({"vcache": ours.get, "diskcache": peer.get}, some, rounds=scale.rounds)
    return Row(
        f"disk hit, {size}, verified",
        Compare.FASTER,
        "µs",
        figures["vcache"],
        figures["diskcache"],
        bound=3.0,
        note=f"of {entries:,} entries, in random order; diskcache verifies nothing",
    )


def _against_file(scale: Scale, directory: Path) -> Row:
    values = Values(scale.pick(10_000_000, 1_000_000)).take(8)
    plain = directory / "plain"
    plain.mkdir()
    with Cache(f"disk:{directory / 'ours-10 MB'}") as ours:
        for key, value in values:
            ours.put(key, value)
            write_file(plain / key, value)
            assert ours.get(key) == value == read_file(plain / key)
        keys = [key for key, _ in values]
        sides: dict[str, Callable[[str], object]] = {
            "vcache": ours.get,
            "plain read": lambda key: read_file(plain / key),
        }
        figures = take_turns(sides, lambda _: keys, rounds=scale.rounds)
    return Row(
        "disk hit, 10 MB, verified",
        Compare.WITHIN,
        "µs",
        figures["vcache"],
        figures["plain read"],
        bound=2.0,
        note="the plain read is open(path, 'rb').read() from the page cache, unverified",
    )
