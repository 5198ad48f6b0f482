"""Hashes by size: what identity and verification cost, and from where threads pay."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Scale, take_turns
from benchmarks.result import Compare, Row
from vcache.hash import Hasher, checksum

TITLE = "hashes"

_SIZES = {
    "1 KB": 1000, "100 KB": 100_000, "1 MB": 1_000_000, "2 MiB": 2 << 20, "4 MiB": 4 << 20, "8 MiB": 8 << 20,
    "32 MiB": 32 << 20,
}  # fmt: skip
_THREADED_FROM = 1_000_000
_CALL_BYTES = 16 << 20


def run(scale: Scale, directory: Path) -> list[Row]:
    """BLAKE3 and xxh3-128 against SHA-256; BLAKE3 with threads against without."""
    rows: list[Row] = []
    for label, size in _SIZES.items():
        if scale.is_smoke and size > _THREADED_FROM:
            break
        data = os.urandom(size)
        sides: dict[str, Callable[[object], object]] = {
            "BLAKE3": lambda _, data=data: Hasher(data).digest(),  # type: ignore[misc]
            "BLAKE3, threads": lambda _, data=data: Hasher(data, max_threads=Hasher.AUTO).digest(),  # type: ignore[misc]
            "xxh3-128": lambda _, data=data: checksum(data),  # type: ignore[misc]
            "SHA-256": lambda _, data=data: hashlib.sha256(data).digest(),  # type: ignore[misc]
        }
        calls = [None] * scale.pick(max(1, min(1000, _CALL_BYTES // size)), 1)
        figures = take_turns(sides, lambda _, calls=calls: calls, rounds=scale.rounds)  # type: ignore[misc]
        sha = figures["SHA-256"]
        rows.append(Row(f"xxh3-128, {label}", Compare.FASTER, "µs", figures["xxh3-128"], sha))
        rows.append(Row(f"BLAKE3, {label}", Compare.FASTER, "µs", figures["BLAKE3"], sha))
        if size >= _THREADED_FROM:
            threads, alone = figures["BLAKE3, threads"], figures["BLAKE3"]
            rows.append(Row(f"BLAKE3 with threads, {label}", Compare.FASTER, "µs", threads, alone))
    return rows
