"""The queue of a server, spoken to over HTTP, against the suite that is shipped."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.jobserving import JobServer, job_server
from vcache.jobs.base import Queue
from vcache.jobs.memory import MemoryQueue
from vcache.testing import FakeClock, QueueTests

_CLOCK: Final = FakeClock()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    def opened(namespace: str) -> Queue:
        return MemoryQueue(namespace=namespace, clock=_CLOCK)

    with job_server(tmp_path_factory.mktemp("served"), opened) as found:
        yield found


class TestRemoteQueue(QueueTests):
    """Each test has a namespace of its own, and with that an empty queue."""

    numbers: Final = itertools.count()

    @pytest.fixture
    def make_queue(self, server: JobServer) -> Iterator[Callable[[], Queue]]:
        namespace = f"n{next(self.numbers)}"
        with contextlib.ExitStack() as stack:

            def opened() -> Queue:
                queue = server.queue(namespace)
                stack.callback(queue.close)
                return queue

            yield opened

    def advance(self, queue: Queue, seconds: float) -> None:
        _CLOCK.advance(seconds)
