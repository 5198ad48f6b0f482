"""Writing a large file: in pieces of which size."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Scale, take_turns
from benchmarks.result import Compare, Row

TITLE = "write chunks"

_CHUNKS = {"64 KiB": 64 << 10, "256 KiB": 256 << 10, "1 MiB": 1 << 20, "one call": 1 << 40}


def run(scale: Scale, directory: Path) -> list[Row]:
    """A new file of 10 MB, no fsync: pieces of 64 KiB against larger ones."""
    data = memoryview(os.urandom(scale.pick(10_000_000, 1_000_000)))
    numbers = itertools.count()

    def write(chunk_bytes: int) -> None:
        fd = os.open(directory / str(next(numbers)), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            for start in range(0, len(data), chunk_bytes):
                os.write(fd, data[start : start + chunk_bytes])
        finally:
            os.close(fd)

    sides: dict[str, Callable[[object], object]] = {
        label: lambda _, size=size: write(size)  # type: ignore[misc]
        for label, size in _CHUNKS.items()
    }

    def clear(_: int) -> None:
        for path in directory.iterdir():
            path.unlink()

    calls = [None] * scale.pick(4, 1)
    figures = take_turns(sides, lambda _: calls, rounds=scale.rounds, once=True, after=clear)
    ours, *others = _CHUNKS
    return [
        Row(f"write 10 MB in {ours} against {other}", Compare.FASTER, "µs", figures[ours], figures[other])
        for other in others
    ]
