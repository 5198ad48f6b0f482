"""Handlers that are steps of a cache: looked up before they run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import until
from vcache.aio import AsyncCache
from vcache.cache import Cache
from vcache.jobs.handlers import Registry, job
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Job, Plain, Spec
from vcache.jobs.states import State
from vcache.jobs.worker import Worker


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", root=tmp_path)


def done(handler: Callable[..., object], payloads: list[dict[str, Plain]]) -> list[Job]:
    """Jobs that a worker did, one after the other."""
    queue = MemoryQueue()
    worker = Worker(queue, Registry([handler]), concurrency=1)
    thread = threading.Thread(target=worker.run, kwargs={"signals": False})
    thread.start()
    found = []
    for number, payload in enumerate(payloads):
        queue.submit([Spec(f"job-{number}", "render", payload)])

        def ended(job_id: str = f"job-{number}") -> Job | None:
            (job,) = queue.get([job_id])
            return job if job is not None and job.state in (State.COMPLETED, State.DEAD) else None

        until(ended)
        found.append(ended())
    worker.drain()
    thread.join()
    queue.close()
    return [each for each in found if each is not None]


def test_a_step_is_looked_up_before_it_runs(cache: Cache, tmp_path: Path):
    """The second job with one payload is answered from the cache; another payload runs."""
    marks = str(tmp_path / "marks")  # a list would count as what the function is made of

    @job("render")
    @cache.step
    def render(to: str, n: int = 1) -> str:
        with open(marks, "a") as file:
            file.write(to)
        return to * n

    jobs = done(render, [{"to": "a", "n": 2}, {"to": "a", "n": 2}, {"to": "b"}])
    assert [each.result for each in jobs] == ["aa", "aa", "b"]
    assert Path(marks).read_text() == "ab"
    assert render.is_cached(to="b")
    assert render(to="b") == "b"


def test_an_async_step_is_one_as_well(cache: Cache, tmp_path: Path):
    """It runs on the event loop, and is kept."""
    marks = str(tmp_path / "marks")  # a list would count as what the function is made of
    shared = AsyncCache(cache)

    @job("render")
    @shared.step
    async def render(to: str) -> str:
        await asyncio.sleep(0)
        with open(marks, "a") as file:  # noqa: ASYNC230 - one byte
            file.write(to)
        return to

    assert [each.result for each in done(render, [{"to": "a"}, {"to": "a"}])] == ["a", "a"]
    assert Path(marks).read_text() == "a"
