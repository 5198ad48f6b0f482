"""Opening a warm cache of 10,000 entries and reading the first of them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import Scale, take_turns
from benchmarks.peers import Values, disk_cache
from benchmarks.result import Compare, Row
from vcache import Cache

TITLE = "opening"


def run(scale: Scale, directory: Path) -> list[Row]:
    """Open and first get against diskcache; closing is outside the clock."""
    values = Values(1000).take(scale.pick(10_000, 50))
    with Cache(f"disk:{directory / 'ours'}") as cache, disk_cache(directory / "peer") as other:
        cache.put_many(dict(values))
        with other.transact():
            for key, value in values:
                other.set(key, value)
    opened: list[object] = []

    def ours(key: str) -> None:
        cache = Cache(f"disk:{directory / 'ours'}")
        opened.append(cache)
        assert cache.get(key) is not None

    def ours_tiers(key: str) -> None:
        cache = Cache(directory / "ours")
        opened.append(cache)
        assert cache.get(key) is not None

    def peer(key: str) -> None:
        cache = disk_cache(directory / "peer")
        opened.append(cache)
        assert cache.get(key) is not None

    def close(_: int) -> None:
        for cache in opened:
            cache.close()  # type: ignore[attr-defined]
        opened.clear()

    keys = [key for key, _ in values[: scale.pick(20, 2)]]
    sides = {"vcache": ours, "vcache, memory over disk": ours_tiers, "diskcache": peer}
    figures = take_turns(sides, lambda _: keys, rounds=scale.rounds, once=True, after=close)
    what = "open a warm cache + first get"
    return [
        Row(what, Compare.FASTER, "µs", figures["vcache"], figures["diskcache"], 5.0),
        Row(
            f"{what}, memory over disk", Compare.FASTER, "µs", figures["vcache, memory over disk"],
            figures["diskcache"], 5.0,
        ),
    ]  # fmt: skip
