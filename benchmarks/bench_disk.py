"""Where the disk store changes its way: its constants, measured on both sides of their limits."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

from benchmarks.measure import Scale, take_turns
from benchmarks.peers import Values
from benchmarks.result import Compare, Figure, Row
from vcache import Cache
from vcache.store.disk import blobs, segments, writing

TITLE = "the disk store's limits"

_KIB = 1 << 10
Item = tuple[str, bytes]


def run(scale: Scale, directory: Path) -> list[Row]:
    """For each limit: this way against the other one, by size."""
    rows: list[Row] = []
    for size in (1, 2, 4, 8, 16):
        rows += _crossing(scale, directory, size, "inline", "shared", writing, "INLINE_BYTES")
    for size in (64, 128, 256, 512, 1024):
        rows += _crossing(scale, directory, size, "in a segment", "in a file", writing, "SEGMENT_BLOB_BYTES")
    for size in (4, 16, 64):
        rows += _crossing(scale, directory, size, "joined", "gathered", segments, "_JOINED_BYTES")[:1]
    for size in (512, 1024, 4096):
        rows.append(_mapping(scale, directory, size))
    return rows


def _crossing(
    scale: Scale, directory: Path, size_kib: int, below: str, beyond: str, module: object, limit: str
) -> list[Row]:
    """Puts and hits of one size, with the limit above it and below it."""
    values = Values(size_kib * _KIB)
    ways = {below: 1 << 40, beyond: 0}
    caches = {way: Cache(f"disk:{directory / way}") for way in ways}
    kept: list[str] = []

    def put(way: str, item: Item) -> None:
        with patch.object(module, limit, ways[way]):
            caches[way].put(*item)

    def fresh(_: int) -> Sequence[Item]:
        items = values.take(scale.pick(max(20, min(300, 8192 // size_kib)), 2))
        kept.extend(key for key, _ in items)
        return items

    puts = take_turns(_sides(put, ways), fresh, rounds=max(1, scale.rounds // 2), once=True)
    gets = take_turns(
        {way: caches[way].get for way in ways},
        lambda _: random.choices(kept, k=scale.pick(200, 2)),
        rounds=max(1, scale.rounds // 2),
    )
    for way, cache in caches.items():
        cache.close()
        shutil.rmtree(directory / way)
    return [
        _row(f"put {size_kib} KiB {below} against {beyond}", puts, below, beyond),
        _row(f"hit {size_kib} KiB {below} against {beyond}", gets, below, beyond),
    ]


def _sides(put: Callable[[str, Item], None], ways: dict[str, int]) -> dict[str, Callable[[Item], object]]:
    return {way: lambda item, way=way: put(way, item) for way in ways}  # type: ignore[misc]


def _row(what: str, figures: dict[str, Figure], below: str, beyond: str) -> Row:
    return Row(what, Compare.FASTER, "µs", figures[below], figures[beyond])


def _mapping(scale: Scale, directory: Path, size_kib: int) -> Row:
    """Reading a blob file into memory against mapping it, both verified."""
    content = blobs.Blobs(directory / "mapping")
    (directory / "mapping").mkdir()
    kept = []
    for number, (_, value) in enumerate(Values(size_kib * _KIB).take(scale.pick(8, 1))):
        digest = number.to_bytes(32, "big")
        kept.append((digest, content.write(digest, 0, value)))
    ways = {"read": 1 << 40, "mapped": 0}

    def read(way: str, number: int) -> None:
        digest, seal = kept[number]
        with patch.object(blobs, "_MAPPED_BYTES", ways[way]):
            assert content.read(digest, 0, seal, mapped=True) is not None

    sides: dict[str, Callable[[int], object]] = {
        way: lambda number, way=way: read(way, number)  # type: ignore[misc]
        for way in ways
    }
    numbers = list(range(len(kept))) * scale.pick(4, 1)
    figures = take_turns(sides, lambda _: numbers, rounds=max(1, scale.rounds // 2))
    shutil.rmtree(directory / "mapping")
    return _row(f"blob file of {size_kib} KiB read against mapped", figures, "read", "mapped")
