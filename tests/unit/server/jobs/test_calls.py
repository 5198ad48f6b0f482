"""The calls of remote queues: who may make which, and what is said where one fails."""

from __future__ import annotations

import threading

import pytest

from tests.patience import no_hang, until
from tests.unit.server.jobs.conftest import Api
from vcache.errors import SessionLost, StoreClosed, StoreError, UsageError, VcacheError
from vcache.jobs.base import Finished, Queue
from vcache.jobs.models import Limits, Progress, Spec
from vcache.jobs.remote import wire
from vcache.jobs.states import Event, State
from vcache.kit.ids import uuid7

CALLS = {
    "get": ("reader", lambda queue: queue.get(["x"])),
    "list": ("reader", lambda queue: queue.list(State.QUEUED)),
    "stats": ("reader", lambda queue: queue.stats()),
    "sessions": ("reader", lambda queue: queue.sessions()),
    "limits": ("reader", lambda queue: queue.limits()),
    "cells": ("reader", lambda queue: queue.cells("")),
    "submit": ("writer", lambda queue: queue.submit([Spec(uuid7.text(), "k", {})])),
    "cancel": ("writer", lambda queue: queue.cancel(["x"])),
    "requeue": ("writer", lambda queue: queue.requeue(["x"])),
    "swap": ("writer", lambda queue: queue.swap("cell", 0, b"1")),
    "purge": ("builder", lambda queue: queue.purge(State.DEAD)),
    "limit": ("builder", lambda queue: queue.limit("k", Limits(1.0))),
    "open-session": ("builder", lambda queue: queue.open_session("w", kinds=["k"], lease_s=10)),
    "exchange": ("builder", lambda queue: queue.exchange("x", kinds=["k"], want=1)),
    "held": ("builder", lambda queue: queue.held("x")),
    "report": ("builder", lambda queue: queue.report("x", "x", 1, Progress(1.0))),
    "end-session": ("builder", lambda queue: queue.end_session("x")),
    "upkeep": ("builder", lambda queue: queue.upkeep()),
    "wait": ("builder", lambda queue: queue.wait(["k"], 0.0)),
}
ROLES = ("nobody", "reader", "writer", "builder")


@pytest.mark.parametrize("name", CALLS)
def test_roles_are_heeded(api: Api, name: str) -> None:
    """Whoever works is a builder, whoever asks a writer, whoever looks a reader."""
    least, call = CALLS[name]
    for role in ROLES:
        queue: Queue = api.server.queue(api.namespace, role)
        try:
            if ROLES.index(role) < ROLES.index(least):
                with pytest.raises(StoreError, match=r"40[13] to the call"):
                    call(queue)
            else:
                call(queue)
        except SessionLost:
            assert name in ("exchange", "held")
        finally:
            queue.close()
    if least != "reader":
        assert set(api.queue.stats().totals) <= {"k"}


def test_every_call_is_answered(api: Api) -> None:
    """With nonsense as with nothing: 400 or what it means, never a fault."""
    for call in wire.CALLS:
        for body in (b"", b"\xc1", b"\x90", wire.pack([1] * 4), wire.pack([["x"], 0]), wire.pack({"a": 1})):
            got = api.ask("POST", f"/queue/{call}", content=body)
            assert got.status_code in (200, 400), (call, body, got.text)
    assert api.ask("POST", "/queue/nonsense", content=b"").status_code == 404
    assert api.ask("GET", "/queue/stats").status_code == 405
    assert api.ask("POST", "/queue/stats", content=iter([b"\x90"])).status_code == 411


def test_errors_are_those_of_the_queue(api: Api) -> None:
    """A lost session, and what could not be kept, have their own classes on this side too."""
    queue = api.server.queue(api.namespace)
    session = queue.open_session("w", kinds=["k"], lease_s=10)
    assert list(queue.end_session(session)) == []
    with pytest.raises(SessionLost, match="open another one"):
        queue.exchange(session, kinds=["k"], want=1)
    with pytest.raises(UsageError, match="priority"):
        queue.submit([Spec(uuid7.text(), "k", {}, 9)])
    with pytest.raises(UsageError, match="a lease of"):
        queue.open_session("w", kinds=["k"], lease_s=1e9)
    queue.close()
    with pytest.raises(StoreClosed):
        queue.stats()


def test_a_namespace_is_the_tokens(api: Api) -> None:
    """What a job says of whose it is does not count; a queue of another namespace is none of this token."""
    queue = api.server.queue(api.namespace)
    (job_id,) = queue.submit([Spec(uuid7.text(), "k", {}, namespace="other")])
    (job,) = queue.get([job_id])
    assert job is not None
    assert job.spec.namespace == api.namespace
    queue._namespace = "other"
    with pytest.raises(UsageError, match="take a token of that one"):
        _ = queue.info
    queue.close()


def test_long_results_go_in_parts(api: Api) -> None:
    """More than a request may hold comes through all the same, each once."""
    queue = api.server.queue(api.namespace)
    ids = queue.submit([Spec(uuid7.text(), "k", {}) for _ in range(5)])
    session = queue.open_session("w", kinds=["k"], lease_s=10)
    claimed = queue.exchange(session, kinds=["k"], want=5).claimed
    ended = [Finished(each, Event.COMPLETE, b"x" * (5 << 20)) for each in claimed]
    assert queue.exchange(session, ended).refused == []
    assert [len(job.result) for job in queue.get(ids) if job] == [5 << 20] * 5  # type: ignore[arg-type]
    assert queue.exchange(session, ended[:1]).refused == [ids[0]]
    queue.close()


def test_many_wait_and_hear(api: Api) -> None:
    """Any number of workers wait at the cost of a thread, and hear at once of a job of their kind."""
    queue = api.server.queue(api.namespace)
    heard: list[str] = []

    def wait(kind: str) -> None:
        while not any(job.state is State.QUEUED for job in api.queue.list(State.QUEUED, kind=kind).jobs):
            queue.wait([kind], 30)
        heard.append(kind)

    threads = [threading.Thread(target=wait, args=(kind,)) for kind in ("a", "a", "a", "b")]
    with no_hang():
        for thread in threads:
            thread.start()
        until(lambda: api.namespace in api.server.desk._waiting)
        until(lambda: len(api.server.desk._waiting[api.namespace]._sorts) == 2)
        api.submit("b")
        until(lambda: heard == ["b"])
        api.submit("a")
        for thread in threads:
            thread.join()
    queue.close()


def test_a_server_that_is_gone_is_no_hurry() -> None:
    """Who waits for jobs of a server that does not answer waits a while, and is not told: who claims is."""
    from tests.servers import free_port
    from vcache.errors import StoreUnavailable
    from vcache.jobs.opening import open_queue

    queue = open_queue(f"http://127.0.0.1:{free_port()}")
    queue.wait(["k"], 0.01)
    with pytest.raises(StoreUnavailable):
        queue.stats()
    queue.close()
    assert issubclass(StoreUnavailable, VcacheError)
