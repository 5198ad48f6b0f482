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

from benchmarks.graphs import headers_of

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = [
    "Values",
    "disk_cache",
    "fanout_cache",
    "joblib_memory",
    "read_file",
    "ttl_cache",
    "write_dodo",
    "write_file",
    "write_sconstruct",
]

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


def write_dodo(directory: Path, count: int) -> None:
    """The tree of `graphs.write_sources` as a dodo.py, with headers declared: doit reads no depfiles."""
    (directory / "dodo.py").write_text(
        "def task_cc():\n"
        f"    for number in range({count}):\n"
        "        headers = HEADERS[number]\n"
        "        target = f'doit/f{number}.o'\n"
        "        yield {'name': str(number), 'file_dep': [f'src/f{number}.c', *headers],\n"
        "               'targets': [target], 'actions': [f': > {target}']}\n"
        f"\n\nHEADERS = {_all_headers(count)!r}\n"
    )
    (directory / "doit").mkdir()


def write_sconstruct(directory: Path, count: int) -> None:
    """The same as an SConstruct. SCons would scan for includes; the sources here have none."""
    (directory / "SConstruct").write_text(
        f"HEADERS = {_all_headers(count)!r}\n"
        "env = Environment(tools=[])\n"
        f"for number in range({count}):\n"
        "    env.Command(f'scons/f{number}.o', [f'src/f{number}.c', *HEADERS[number]], ': > $TARGET')\n"
    )


def _all_headers(count: int) -> list[list[str]]:
    return [headers_of(number, count) for number in range(count)]


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
