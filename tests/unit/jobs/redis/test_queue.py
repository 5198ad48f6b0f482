"""What is particular to the queue in Redis; the rest are the laws of all queues (tests/conformance)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.servers import RedisServer, redis_server
from vcache.errors import ConfigError, FormatError, StoreError, StoreFull, StoreUnavailable
from vcache.jobs.base import Finished
from vcache.jobs.models import Limits, Spec
from vcache.jobs.redis import RedisQueue
from vcache.jobs.states import Event, State
from vcache.kit.ids import uuid7

HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def queue(server: RedisServer, request: pytest.FixtureRequest) -> Iterator[RedisQueue]:
    with RedisQueue.at(f"redis+unix://{server.socket}", namespace=request.node.name, keep_ended=5) as opened:
        yield opened


def made(count: int = 1, **fields: Any) -> list[Spec]:
    return [Spec(uuid7.text(), "k", **fields) for _ in range(count)]


def keys(queue: RedisQueue) -> set[str]:
    begin = queue._prefix.decode() + ":"
    found = queue._client.ask(b"KEYS", b"*")
    return {each.decode().removeprefix(begin) for each in found if each.decode().startswith(begin)}


def test_a_job_leaves_nothing_behind(queue):
    """When it is forgotten, no key knows it."""
    session = queue.open_session("w", kinds=["k"], lease_s=10)
    asked = made(20, deadline_ns=queue.now_ns() + 10**12, tags=["t"])
    queue.submit([spec._replace(unique=f"key {number}") for number, spec in enumerate(asked)])
    for number in range(20):
        (claimed,) = queue.exchange(session, kinds=["k"], want=1).claimed
        event = Event.COMPLETE if number % 2 else Event.GIVE_UP
        queue.exchange(session, [Finished(claimed, event)])
    queue.end_session(session)
    assert queue.stats().by_state[State.COMPLETED] == 5
    for state in (State.COMPLETED, State.DEAD):
        queue.purge(state)
    assert keys(queue) <= {"format", "kinds", "n", "totals", "active", "wake:k"}


def test_scripts_that_the_server_forgot_are_told_again(queue):
    """A server that was started anew, or flushed, knows none."""
    queue.submit(made())
    queue._client.ask(b"SCRIPT", b"FLUSH")
    queue.submit(made())
    queue._client.ask(b"SCRIPT", b"FLUSH")
    assert queue.stats().waiting == {("k", 2): 2}


def test_many_end_in_one_call(queue):
    """More than a script is told at once are told by several."""
    session = queue.open_session("w", kinds=["k"], lease_s=10)
    queue.submit(made(1_300))
    claimed = []
    while more := queue.exchange(session, kinds=["k"], want=250).claimed:
        claimed += more
    assert len(claimed) == 1_300
    done = [Finished(each, Event.COMPLETE) for each in claimed]
    assert queue.exchange(session, done[::-1]).refused == []
    assert len(queue.exchange(session, done).refused) == 1_300
    assert queue.stats().totals["k"].completed == 1_300


def test_chains_may_be_longer_than_the_servers_stack(queue):
    """When its head is cancelled, all of it is, in one script."""
    chain = made(25_000)
    chain[1:] = [spec._replace(after=[before.id]) for before, spec in pairwise(chain)]
    for first in range(0, len(chain), 5_000):
        queue.submit(chain[first : first + 5_000])
    assert queue.cancel([chain[0].id]) == [spec.id for spec in chain]
    assert queue.stats().by_state[State.BLOCKED] == 0


def test_a_lane_of_cancelled_jobs_is_passed_over_in_parts(queue):
    """So that no call takes long; the job behind them is not lost sight of."""
    cancelled, (behind,) = made(6_000), made()
    queue.submit([*cancelled, behind])
    queue.cancel([spec.id for spec in cancelled])
    session = queue.open_session("w", kinds=["k"], lease_s=10)
    first = queue.exchange(session, kinds=["k"], want=1)
    assert (first.claimed, first.next_due_s) == ([], 0)
    claimed = [each for _ in range(3) for each in queue.exchange(session, kinds=["k"], want=1).claimed]
    assert [each.spec.id for each in claimed] == [behind.id]


@pytest.mark.parametrize("jump_us", [HOUR_US, -HOUR_US])
def test_a_jump_of_the_servers_clock_moves_no_delay(queue, jump_us):
    """Who hears of it takes it back: what was due in an hour still is."""
    session = queue.open_session("w", kinds=["k"], lease_s=10)
    queue.exchange(session)
    queue.submit(made(not_before_ns=queue.now_ns() + 1_800_000_000_000))
    # As TIME would jump: the offset changes, and nobody has said so.
    queue._client.ask(b"HINCRBY", queue._prefix + b":n", b"offset", b"%d" % jump_us)
    queue.exchange(session)
    found = queue.exchange(session, kinds=["k"], want=1)
    assert found.next_due_s is not None
    assert 1_700 < found.next_due_s <= 1_800
    assert queue.now_ns() // 10**12 == int(queue._client.ask(b"TIME")[0]) // 1000


def test_a_queue_of_a_newer_format_is_left_alone(queue):
    """Its keys may mean something else."""
    queue._client.ask(b"SET", queue._prefix + b":format", b"vcache jobs 2")
    with pytest.raises(FormatError, match="vcache jobs 2"):
        queue.submit(made())
    with pytest.raises(FormatError):
        queue.open_session("w", kinds=["k"], lease_s=1)


def test_namespaces_and_prefixes_keep_queues_apart(server):
    """None sees the jobs of another."""
    places = [("", "a"), ("", "b"), ("?prefix=x", "a")]
    queues = [
        RedisQueue.at(f"redis+unix://{server.socket}{options}", namespace=space) for options, space in places
    ]
    ids = [queue.submit(made())[0] for queue in queues]
    for queue in queues:
        assert sum(job is not None for job in queue.get(ids)) == 1
        queue.close()


def test_a_server_that_is_away_is_said(tmp_path):
    """As one that may be tried again; nothing is sent before the first call."""
    queue = RedisQueue.at(f"redis+unix://{tmp_path}/none.sock")
    with pytest.raises(StoreUnavailable) as caught:
        queue.submit(made())
    assert caught.value.retryable
    queue.close()


def test_a_server_that_does_not_let_us_is_said(server, queue):
    """With what it said, and without the password."""
    queue._client.ask(b"ACL", b"SETUSER", b"guest", b"on", b">pw", b"~*", b"+select", b"+set")
    with RedisQueue.at(f"redis://guest:pw@127.0.0.1:{server.port}/0") as other:
        with pytest.raises(StoreError, match=r"evalsha|script") as caught:
            other.submit(made())
        assert "pw" not in str(caught.value)


def test_a_full_server_opens_no_session(queue):
    """Nor does it seem to: a worker that believed so would lose it at once, again and again."""
    queue.submit(made())
    queue.limit("k", Limits(running=1))
    queue._client.ask(b"CONFIG", b"SET", b"maxmemory", b"1")
    try:
        with pytest.raises(StoreFull, match="maxmemory"):
            queue.open_session("w", kinds=["k"], lease_s=10)
    finally:
        queue._client.ask(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert queue.sessions() == []


def test_an_address_that_makes_no_sense_is_refused():
    """With its place."""
    for address in ("redis:", "redis://host/x", "redis://host?ttl=5", "redis://host?ca=x"):
        with pytest.raises(ConfigError):
            RedisQueue.at(address)
