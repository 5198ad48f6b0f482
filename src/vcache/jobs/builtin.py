"""Jobs that keep a machine in order, for schedules: `vcache worker --module vcache.jobs.builtin`.

They work on the cache and the log store that the worker's settings name, and on no others: who submits a
job chooses bounds, not places. They are no entry points, so that no worker drops anything unasked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError
from vcache.jobs.handlers import GiveUp, job

if TYPE_CHECKING:
    from vcache.config import Settings
    from vcache.logs.disk import DiskLogs

__all__ = ["GC", "LOGS_GC", "LOGS_SEAL", "collect_cache", "collect_logs", "seal_logs"]

GC: Final = "vcache.gc"
LOGS_GC: Final = "vcache.logs.gc"
LOGS_SEAL: Final = "vcache.logs.seal"

_WAIT_S: Final = 60.0  # for another process that seals


@job(GC, timeout="6h")
def collect_cache(
    max_bytes: int | str | None = None, max_age: float | str | None = None, max_entries: int | None = None
) -> Mapping[str, object]:
    """As `vcache gc`: drop what is expired, too old or over budget. Bounds not given are those of the settings.

    Returns: what was dropped and freed.
    """
    from vcache.cache import Cache

    settings = _settings()
    with Cache(disabled=False) as cache, _fitting():
        report = cache.gc(max_bytes=max_bytes, max_age=max_age, max_entries=max_entries)
    _sweep_records(settings)
    return {name: getattr(report, name) for name in report.__slots__}


@job(LOGS_SEAL, timeout="6h")
def seal_logs() -> Mapping[str, object]:
    """As `vcache logs seal`: make segments of what was appended. Returns: what was sealed."""
    with _logs(_settings()) as store:
        return store.seal(timeout_s=_WAIT_S)._asdict()


@job(LOGS_GC, timeout="6h")
def collect_logs(
    keep: Mapping[str, str] | None = None,
    max_age: float | str | None = None,
    max_bytes: int | str | None = None,
) -> Mapping[str, object]:
    """As `vcache logs gc`: drop what is too old or too much. Without bounds those of the settings hold.

    Args:
        keep: bounds such as "7d,100MB" by pattern of sources.

    Returns: what was dropped.
    """
    from vcache.kit.units import seconds, size_bytes
    from vcache.logs.settings import rules_of

    settings = _settings()
    with _fitting():
        if keep or max_age is not None or max_bytes is not None:
            rules = rules_of(
                keep or {},
                max_bytes=None if max_bytes is None else size_bytes(max_bytes),
                max_age_s=None if max_age is None else seconds(max_age),
            )
        else:
            rules = rules_of(
                settings.logs_keep, max_bytes=settings.logs_max_bytes, max_age_s=settings.logs_max_age_s
            )
    if not rules.is_bounded:
        raise GiveUp(
            "nothing bounds the logs: give keep, max_age or max_bytes in the payload, or set logs_keep, logs_max_age, "
            "logs_max_bytes where the worker runs"
        )
    with _logs(settings) as store:
        gone = store.retain(rules, timeout_s=_WAIT_S)
    return {"records": gone.records, "size_bytes": gone.size_bytes}


def _settings() -> Settings:
    from vcache import config

    return config.load()


@contextmanager
def _fitting() -> Iterator[None]:
    """Within, a bound that is none ends the job: no further attempt would find another one."""
    try:
        yield
    except UsageError as error:
        raise GiveUp(str(error)) from error


@contextmanager
def _logs(settings: Settings) -> Iterator[DiskLogs]:
    """The log store of the settings."""
    from vcache.cache import Cache
    from vcache.logs.disk import DiskLogs

    place = settings.logs_place or os.path.join(settings.dir, "logs", settings.namespace or "default")
    if place.startswith(("http://", "https://")):
        raise GiveUp(f"the log store is {place}: it is sealed and collected where its directory is")
    # Segments go to the cache's network tiers, and come back from there.
    with Cache(disabled=settings.is_disabled) as cache:
        store = DiskLogs(place, cache=None if settings.is_disabled or settings.is_read_only else cache)
        try:
            yield store
        finally:
            store.close()


def _sweep_records(settings: Settings) -> None:
    """The compiler wrapper's own records live beside the store, and are dropped with it."""
    home = os.path.join(settings.dir, "cc")
    if os.path.isdir(home):
        from vcache.cc.records import budget_of, sweep

        sweep(home, budget_bytes=budget_of(settings.max_bytes), now_ns=time.time_ns())
