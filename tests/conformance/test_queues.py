"""Every queue of jobs against the suite that is shipped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clocks import move_redis_clock
from tests.servers import RedisServer, redis_server
from vcache.jobs.base import Queue
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.redis import RedisQueue
from vcache.jobs.sqlite import SqliteQueue
from vcache.testing import FakeClock, QueueTests


class _OnFakeClock(QueueTests):
    """Of queues whose clock is `self.clock`."""

    @pytest.fixture(autouse=True)
    def clock(self) -> FakeClock:
        self._clock = FakeClock()
        return self._clock

    def advance(self, queue: Queue, seconds: float) -> None:
        self._clock.advance(seconds)


class TestMemoryQueue(_OnFakeClock):
    @pytest.fixture
    def make_queue(self, clock: FakeClock) -> Iterator[Callable[[], Queue]]:
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(MemoryQueue(clock=clock))


class TestSqliteQueue(_OnFakeClock):
    @pytest.fixture
    def make_queue(self, tmp_path: Path, clock: FakeClock) -> Iterator[Callable[[], Queue]]:
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(SqliteQueue(tmp_path / "jobs", clock=clock))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as started:
        yield started


class TestRedisQueue(QueueTests):
    @pytest.fixture
    def make_queue(
        self, server: RedisServer, request: pytest.FixtureRequest
    ) -> Iterator[Callable[[], Queue]]:
        address = f"redis+unix://{server.socket}"
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(RedisQueue.at(address, namespace=request.node.name))

    def advance(self, queue: Queue, seconds: float) -> None:
        move_redis_clock(queue, seconds)
