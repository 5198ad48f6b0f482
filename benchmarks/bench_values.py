"""Reading values that are more than bytes: compressed text, a large array, plain data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import Scale, take_turns
from benchmarks.peers import disk_cache
from benchmarks.result import Compare, Row
from vcache import Cache

TITLE = "values"


def run(scale: Scale, directory: Path) -> list[Row]:
    """For information: no target stands for these."""
    with Cache(f"disk:{directory / 'ours'}") as cache:
        return [
            *_text(scale, directory, cache),
            *_array(scale, directory, cache),
            _plain(scale, directory, cache),
        ]


def _text(scale: Scale, directory: Path, cache: Cache) -> list[Row]:
    line = "src/module_{0}.c:{1}: warning: unused variable 'value_{0}' [-Wunused-variable]\n"
    text = "".join(line.format(n * 7919 % 997, n) for n in range(2000))[:100_000]
    keys = [f"log-{number}" for number in range(scale.pick(50, 2))]
    with disk_cache(directory / "text") as peer:
        for key in keys:
            cache.put(key, key + text)
            peer.set(key, key + text)
        sides: dict[str, Callable[[str], object]] = {"vcache": cache.get, "diskcache": peer.get}
        reads = take_turns(sides, lambda _: keys * 4, rounds=scale.rounds)
    entry = next(iter(cache.entries()))
    note = f"packed as {entry.encoding.name}; diskcache keeps it unpacked in a file"
    return [Row("hit, text of 100 KB", Compare.FASTER, "µs", reads["vcache"], reads["diskcache"], note=note)]


def _array(scale: Scale, directory: Path, cache: Cache) -> list[Row]:
    array = np.random.default_rng(1).random(scale.pick(10_000_000, 100_000))
    path = directory / "array.npy"
    np.save(path, array)
    cache.put("array", array)
    found = cache.get("array")
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, array)
    sides: dict[str, Callable[[object], object]] = {
        "vcache": lambda _: cache.get("array"),
        "np.load": lambda _: np.load(path),
        "np.load, mapped": lambda _: np.load(path, mmap_mode="r"),
    }
    figures = take_turns(sides, lambda _: [None] * scale.pick(2, 1), rounds=scale.rounds)
    what = f"hit, array of {array.nbytes // 1_000_000} MB"
    ours = figures["vcache"]
    return [
        Row(what, Compare.FASTER, "µs", ours, figures["np.load"], note="mapped and verified; np.load copies"),
        Row(
            f"{what}, against a mapping", Compare.WITHIN, "µs", ours, figures["np.load, mapped"],
            note="the mapping reads nothing yet, vcache has read and verified every byte",
        ),
    ]  # fmt: skip


def _plain(scale: Scale, directory: Path, cache: Cache) -> Row:
    value = {"name": "link", "inputs": [f"obj/{n}.o" for n in range(20)], "flags": ("-O2", "-g"), "code": 0}
    keys = [f"plain-{number}" for number in range(scale.pick(1000, 5))]
    with disk_cache(directory / "plain") as peer:
        for key in keys:
            cache.put(key, value)
            peer.set(key, value)
        assert cache.get(keys[0]) == value == peer.get(keys[0])
        sides: dict[str, Callable[[str], object]] = {"vcache": cache.get, "diskcache": peer.get}
        figures = take_turns(sides, lambda _: keys, rounds=scale.rounds)
    return Row(
        "hit, a dict of 25 strings", Compare.FASTER, "µs", figures["vcache"], figures["diskcache"],
        note="typed msgpack; diskcache unpickles",
    )  # fmt: skip
