"""vcache: everything a build produces is an entry, found by the fingerprint of what went into it."""

from __future__ import annotations

TYPE_CHECKING = False  # what mypy understands as well: importing typing costs 10 ms
if TYPE_CHECKING:
    from vcache.aio import AsyncCache
    from vcache.cache import Cache
    from vcache.entry import Entry
    from vcache.errors import StoreError, UsageError, VcacheError
    from vcache.fingerprint.inputs import Absent, Dir, Env, File, Glob, Ref, Tool, Value
    from vcache.outcome import Hit, Miss, Reason
    from vcache.report import Stats
    from vcache.store.url import open_store

__all__ = [
    "Absent",
    "AsyncCache",
    "Cache",
    "Dir",
    "Entry",
    "Env",
    "File",
    "Glob",
    "Hit",
    "Miss",
    "Reason",
    "Ref",
    "Stats",
    "StoreError",
    "Tool",
    "UsageError",
    "Value",
    "VcacheError",
    "open_store",
]

__version__ = "0.1.0"

# Loaded on first use: `vcache stats` needs neither fingerprints nor serialisers
# (benchmarks/results: startup).
_HOMES = {
    "AsyncCache": "aio",
    "Cache": "cache",
    "Entry": "entry",
    "Hit": "outcome",
    "Miss": "outcome",
    "Reason": "outcome",
    "Stats": "report",
    "StoreError": "errors",
    "UsageError": "errors",
    "VcacheError": "errors",
    "open_store": "store.url",
} | dict.fromkeys(("Absent", "Dir", "Env", "File", "Glob", "Ref", "Tool", "Value"), "fingerprint.inputs")


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'vcache' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"vcache.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
