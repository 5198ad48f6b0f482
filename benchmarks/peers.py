"""The peers, opened at their best, and the values that all sides are given."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cachetools
import diskcache
import joblib

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["Values", "disk_cache", "fanout_cache", "joblib_memory", "read_file", "ttl_cache", "write_file"]

# diskcache culls above 1 GB by default; no benchmark is to pay for that.
_NEVER_FULL_BYTES = 1 << 40


def disk_cache(directory: Path) -> diskcache.Cache:
    """A diskcache with its defaults: WAL, synchronous=NORMAL, values above 32 KiB as files."""
    return diskcache.Cache(str(directory), size_limit=_NEVER_FULL_BYTES)


def fanout_cache(directory: Path) -> diskcache.FanoutCache:
    """A diskcache for many writers, with its defaults: 8 shards, a write gives up after 10 ms."""
    return diskcache.FanoutCache(str(directory), size_limit=_NEVER_FULL_BYTES)


def ttl_cache(entries: int) -> MutableMapping[str, bytes]:
    """The TTLCache of cachetools, without the lock that threads would need around it."""
    cache: MutableMapping[str, bytes] = cachetools.TTLCache(maxsize=entries, ttl=3600)
    return cache


def joblib_memory(directory: Path) -> joblib.Memory:
    """The memory of joblib with its defaults, silent."""
    return joblib.Memory(str(directory), verbose=0)


def write_file(path: Path, data: bytes) -> None:
    """The plain write: a new file, one call, no fsync."""
    with open(path, "wb") as file:
        file.write(data)


def read_file(path: Path) -> bytes:
    """The plain read of a whole file."""
    with open(path, "rb") as file:
        return file.read()


class Values:
    """Keys and incompressible values, no two alike: equal content would be stored once."""

    def __init__(self, size_bytes: int) -> None:
        self._base = os.urandom(size_bytes)
        self._numbers = itertools.count()

    def take(self, count: int) -> Sequence[tuple[str, bytes]]:
        """New keys with new values."""
        base = self._base[8:]
        return [
            (f"object-{number:08d}", number.to_bytes(8, "little") + base)
            for number in itertools.islice(self._numbers, count)
        ]
