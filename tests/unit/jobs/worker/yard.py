"""A worker in a thread over a queue in memory, and handlers that do what tests need."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from tests.patience import NEVER_S, until
from vcache.jobs.front import Jobs
from vcache.jobs.handlers import GiveUp, Registry, RetryLater, current_job, job
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Job
from vcache.jobs.states import State
from vcache.jobs.worker.worker import Worker
from vcache.kit.retry import Backoff

AT_ONCE = Backoff(times=9, base_s=0)
gates: dict[str, threading.Event] = {}
seen: list[str] = []


@job("plain", retries=0)
def plain(number: int = 1) -> int:
    return number + 1


@job("sees", retries=0)
def sees() -> None:
    seen.append(current_job().id)


@job("waits", retries=0)
async def waits(number: int = 1) -> int:
    await asyncio.sleep(0)
    return number + 2


@job("raises", retries=2, backoff=AT_ONCE)
def raises() -> None:
    raise RuntimeError("two\nlines")


@job("exits", retries=0)
async def exits() -> None:
    raise SystemExit(3)


@job("exits.plain", retries=0)
def exits_plain() -> None:
    raise KeyboardInterrupt


@job("gives-up")
def gives_up() -> None:
    raise GiveUp("no such address")


@job("later", backoff=Backoff(times=9, base_s=NEVER_S))
def later() -> int:
    if current_job().attempt == 1:
        raise RetryLater(0)
    return current_job().attempt


@job("odd", retries=3)
def odd() -> object:
    return object()


class Silent:
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


@job("silent", retries=3)
def silent() -> object:
    return Silent()


@job("hangs", retries=0, timeout=0.05)
async def hangs() -> None:
    await asyncio.sleep(NEVER_S)


@job("hangs.plain", retries=0, timeout=0.05)
def hangs_plain(gate: str) -> int:
    gates[gate].wait(NEVER_S)
    return 7


@job("until-cancelled", retries=0)
async def until_cancelled() -> None:
    current_job().progress(1, 2, "half")
    await asyncio.sleep(NEVER_S)


@job("looks", retries=0)
def looks() -> None:
    while not current_job().is_cancelled:
        time.sleep(0.001)


@job("waits-for", retries=0)
def waits_for(gate: str) -> None:
    gates[gate].wait(NEVER_S)


@job("says", retries=0, timeout="30s")
def says(text: str) -> dict[str, Any]:
    mine = current_job()
    mine.log.info(text)
    return {
        "id": mine.id,
        "kind": mine.kind,
        "attempt": mine.attempt,
        "tags": list(mine.tags),
        "parent": mine.parent,
    }


@job("submits", retries=0)
def submits() -> str:
    return cast("Jobs", current_job().jobs).submit("plain", {"number": 5})


@job("dies")
def dies() -> None:
    os.kill(os.getpid(), 9)


@job("pid", retries=0)
def pid() -> int:
    return os.getpid()


@job("blocks-loop", retries=0)
async def blocks_loop(seconds: float) -> int:
    time.sleep(seconds)  # noqa: ASYNC251 - as careless handlers do
    return current_job().attempt


HANDLERS = Registry()
HANDLERS.add_all(globals())


@contextmanager
def working(queue: MemoryQueue, **options: Any) -> Iterator[Worker]:
    """A worker that runs meanwhile."""
    options.setdefault("concurrency", 4)
    worker = Worker(queue, HANDLERS, **options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.drain(0.2)
        thread.join(30)
        assert not thread.is_alive(), "the worker does not end"


def ended(jobs: Jobs, job_id: str) -> Job:
    """The job, once it is completed, dead or cancelled."""

    def look() -> Job:
        found = jobs.get(job_id)
        assert found is not None
        return found

    until(lambda: look().state in {State.COMPLETED, State.DEAD, State.CANCELLED})
    return look()
