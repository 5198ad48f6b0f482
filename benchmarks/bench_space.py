"""What 100,000 entries of 200 bytes take on the disk, against one file each."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from benchmarks.measure import Scale
from benchmarks.peers import Values, disk_cache, write_file
from benchmarks.result import Compare, Figure, Row
from vcache import Cache

TITLE = "space on the disk"

_BATCH = 1000


def run(scale: Scale, directory: Path) -> list[Row]:
    """Blocks allocated, directories included."""
    count = scale.pick(100_000, 1000)
    values = Values(200).take(count)
    ours, plain, peer = directory / "ours", directory / "plain", directory / "peer"
    with Cache(f"disk:{ours}") as cache:
        for start in range(0, count, _BATCH):
            cache.put_many(dict(values[start : start + _BATCH]))
    for key, value in values:
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        folder = plain / name[:2]
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / name[2:], value)
    with disk_cache(peer) as other, other.transact():
        for key, value in values:
            other.set(key, value)
    taken = {path.name: _figure(path) for path in (ours, plain, peer)}
    for path in (ours, plain, peer):
        shutil.rmtree(path)
    what = f"{count:,} entries of 200 bytes: disk used"
    return [
        Row(
            what, Compare.SPACE, "MB", taken["ours"], taken["plain"], 0.15, "st_blocks, directories included"
        ),
        Row(f"{what}, diskcache", Compare.SPACE, "MB", taken["ours"], taken["peer"]),
    ]


def _figure(directory: Path) -> Figure:
    name = {"ours": "vcache", "plain": "one file each", "peer": "diskcache"}[directory.name]
    return Figure(name, (_allocated_bytes(directory) / 1e6,))


def _allocated_bytes(directory: Path) -> int:
    os.sync()  # blocks are allocated when written back
    total = 0
    for folder, _, names in os.walk(directory):
        total += os.lstat(folder).st_blocks * 512
        total += sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for name in names)
    return total
