"""A server of jobs for the tests beside this, and a client for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.jobserving import JobServer, job_server
from vcache.jobs.base import Claimed, Finished, Queue
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.states import Event

_NUMBERS: Final = itertools.count()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    with job_server(
        tmp_path_factory.mktemp("served"), lambda namespace: MemoryQueue(namespace=namespace)
    ) as found:
        yield found


class Api:
    """A namespace of its own, as callers of each role see it."""

    def __init__(self, server: JobServer, namespace: str) -> None:
        self.server, self.namespace = server, namespace
        self.client = httpx.Client(base_url=f"{server.url}/api/v1", timeout=60)

    @property
    def queue(self) -> Queue:
        """What the server asks, itself."""
        return self.server.desk.queues.of(self.namespace)

    def ask(self, method: str, path: str, *, role: str = "admin", **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.namespace}:{role}", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    def submit(self, kind: str = "k", **fields: object) -> str:
        got = self.ask("POST", "/jobs", json={"kind": kind, **fields})
        assert got.status_code in (200, 201), got.text
        job_id: str = got.json()["id"]
        return job_id

    def session(self) -> str:
        return self.queue.open_session("hand", kinds=["k"], lease_s=10)

    def claim(self, session: str, *kinds: str) -> Claimed:
        (claimed,) = self.queue.exchange(session, kinds=kinds or ["k"], want=1).claimed
        return claimed

    def finish(self, session: str, claimed: Claimed, event: Event = Event.COMPLETE, **more: Any) -> None:
        assert self.queue.exchange(session, [Finished(claimed, event, **more)]).refused == []

    def kill(self, kind: str = "k") -> str:
        """A dead job."""
        from vcache.jobs.models import Failure

        job_id = self.submit(kind)
        session = self.session()
        failure = Failure(1, 1, "error", "boom", "Traceback: boom", "hand")
        self.finish(session, self.claim(session, kind), Event.GIVE_UP, failure=failure)
        return job_id


@pytest.fixture
def api(server: JobServer) -> Iterator[Api]:
    found = Api(server, f"n{next(_NUMBERS)}")
    with found.client:
        yield found


@pytest.fixture
def stranger(server: JobServer) -> Iterator[Api]:
    """Somebody with a token of another namespace."""
    found = Api(server, f"n{next(_NUMBERS)}")
    with found.client:
        yield found
