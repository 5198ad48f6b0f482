"""What `vcache doctor` says of the queue of jobs: which one it is, and whether it answers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from vcache.errors import VcacheError
from vcache.jobs.states import State
from vcache.kit.redact import without_secrets
from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from vcache.config import Settings

__all__ = ["queue_findings"]

_REDIS: Final = ("redis", "rediss", "unix", "redis+unix")
Seen = tuple[Literal["ok", "note", "bad"], str]


def queue_findings(settings: Settings) -> Iterator[Seen]:
    """Levels, and what was seen. A queue in the cache's directory that nobody made yet is not made."""
    if not settings.queue and not os.path.isdir(os.path.join(settings.dir, "jobs")):
        yield "ok", "no job was asked for yet; the queue would be in the directory"
        return
    address = without_secrets(settings.queue_address)
    try:
        yield _asked(settings, address)
        yield from _risks(settings.queue_address)
    except (VcacheError, OSError) as error:
        yield "bad", f"{address}: {error}"


def _asked(settings: Settings, address: str) -> Seen:
    from vcache.jobs.opening import open_queue

    began_s = time.monotonic()
    queue = open_queue(settings.queue_address, namespace=settings.namespace)
    try:
        found = queue.stats()
    finally:
        queue.close()
    took = format_duration(time.monotonic() - began_s)
    waiting, dead = (found.by_state.get(state, 0) for state in (State.QUEUED, State.DEAD))
    words = f"{address} answers in {took}: {waiting:,} jobs wait, {len(found.sessions)} workers"
    if dead:
        return "note", f"{words}, {dead:,} jobs are dead: see vcache jobs dlq"
    if waiting and not found.sessions:
        return "note", f"{words}: start one with vcache worker"
    return "ok", words


def _risks(address: str) -> Iterator[Seen]:
    if address.partition(":")[0].lower() in _REDIS:
        from vcache.jobs.redis.risks import risks

        for risk in risks(address):
            yield "note", f"the server {risk}"
