"""Live records for many: each gets what it asked for, in order, and is told what it missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.logs.memory import MemoryLogs
from vcache.logs.record import Record
from vcache.query.parser import parse_condition
from vcache.query.syntax import Everything, Expression
from vcache.server.logs import hub as hubs
from vcache.server.logs.asking import Queue
from vcache.server.logs.hub import Chunk, Hub, Subscription, text_frame
from vcache.server.logs.tails import Leash, Missed, News, Tails
from vcache.server.refused import Refused


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(bounded())


def records(*messages: str) -> list[Record]:
    return [Record(1, 9, "s", message) for message in messages]


async def messages(subscription: Subscription, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        assert await subscription.wait(60)
        for chunk in subscription.take():
            found += [json.loads(text)["message"] for _, text in chunk.items]
    return found


def test_each_condition_gets_its_own() -> None:
    """Two queries over one store, and two clients of one query: what each means, in order."""

    async def work() -> None:
        store = MemoryLogs()
        hub = Hub(store)
        odd, all_ = parse_condition('message ~ "[13]"'), Everything()
        first, second = await hub.subscribe(odd), await hub.subscribe(odd)
        third = await hub.subscribe(all_)
        assert len(hub) == 3
        store.append(records("1", "2", "3"))
        assert await messages(first, 2) == await messages(second, 2) == ["1", "3"]
        assert await messages(third, 3) == ["1", "2", "3"]
        hub.leave(odd, first)
        store.append(records("33"))
        assert await messages(second, 1) == ["33"]
        assert first.take() == []
        hub.end()
        assert second.is_over

    run(work)


def test_it_follows_again_after_nobody_listened() -> None:
    """The thread ends with the last client, and another one begins with the next."""

    async def work() -> None:
        store = MemoryLogs()
        hub = Hub(store)
        for number in range(3):
            subscription = await hub.subscribe(Everything())
            store.append(records(str(number)))
            assert await messages(subscription, 1) == [str(number)]
            hub.leave(Everything(), subscription)
            store.append(records("unheard"))
        assert len(hub) == 0

    run(work)


def test_who_is_slow_is_told_and_holds_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is counted; what was taken stays in order."""
    monkeypatch.setattr(hubs, "_PENDING_BYTES", 1000)

    async def work() -> None:
        subscription = Subscription()
        chunks = [Chunk([(str(n), b"x" * 300)] * 2) for n in range(5)]
        for chunk in chunks:
            subscription.put(chunk)
        assert subscription.dropped == 8
        assert subscription.take() == chunks[:1]
        subscription.put(chunks[4])
        assert subscription.take() == chunks[4:]

    run(work)


@given(st.integers(min_value=0, max_value=70_000))
def test_frames_are_as_long_as_they_say(size: int) -> None:
    """A frame is a whole text message of RFC 6455, for lengths of all three forms."""
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import TextMessage

    client = Connection(ConnectionType.CLIENT)
    client.receive_data(text_frame(b"x" * size))
    (event,) = client.events()
    assert isinstance(event, TextMessage)
    assert event.message_finished
    assert len(event.data) == size


# -- tails ------------------------------------------------------------------------------------------


class Followed:
    """A tail of a store, read one at a time."""

    def __init__(self, tails: Tails, store: MemoryLogs, where: Expression, after: str = "") -> None:
        self.leash = Leash()
        self.news: AsyncIterator[News] = tails.follow("ns", store, where, after, self.leash)

    async def messages(self, count: int) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            each = await anext(self.news)
            if isinstance(each, Chunk):
                found += [json.loads(text)["message"] for _, text in each.items]
        return found


def test_a_resumed_tail_has_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was appended after the record comes from the store, page by page, then what comes live."""
    monkeypatch.setattr("vcache.server.logs.tails._PAGE", 7)

    async def work() -> None:
        with ThreadPoolExecutor(2) as pool:
            tails, store = Tails(Queue(pool, running=2, waiting=8)), MemoryLogs()
            first = store.append(records(*(f"old {n}" for n in range(5)))).first_id
            for n in range(10):
                store.append(records(f"{n}a", f"{n}b", f"{n}c"))
            tail = Followed(tails, store, Everything(), first[:-8] + "00000004")
            assert await anext(tail.news) is None
            store.append(records("live"))
            expected = [f"{n}{letter}" for n in range(10) for letter in "abc"] + ["live"]
            assert await tail.messages(len(expected)) == expected
            store.append(records("later"))
            assert await tail.messages(1) == ["later"]
            tail.leash.end()
            with pytest.raises(StopAsyncIteration):
                await anext(tail.news)

    run(work)


def test_what_was_missed_while_catching_up_is_caught_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """If more comes live than is held meanwhile, it is read from the store: nothing is lost."""
    monkeypatch.setattr(hubs, "_PENDING_BYTES", 600)
    monkeypatch.setattr("vcache.server.logs.tails._PAGE", 50)

    async def work() -> None:
        with ThreadPoolExecutor(2) as pool:
            tails, store = Tails(Queue(pool, running=2, waiting=8)), MemoryLogs()
            first = store.append(records("0", *(f"old {n}" for n in range(80)))).first_id
            tail = Followed(tails, store, Everything(), first)
            assert await anext(tail.news) is None
            found = await tail.messages(50)
            for n in range(40):
                store.append(records(f"new {n}"))
                await asyncio.sleep(0)
            while len(found) < 120:
                found += await tail.messages(1)
            assert sorted(set(found)) == sorted(
                [*(f"old {n}" for n in range(80)), *(f"new {n}" for n in range(40))]
            )

    run(work)


def test_a_record_that_is_gone_is_a_hole_of_unknown_size() -> None:
    """Who names a record that is not there is told so, and hears what comes."""

    async def work() -> None:
        with ThreadPoolExecutor(1) as pool:
            tails, store = Tails(Queue(pool, running=1, waiting=8)), MemoryLogs()
            tail = Followed(tails, store, Everything(), "01a1fec7-8ff7-7000-8000-000000000000")
            assert await anext(tail.news) == Missed(-1)
            wrong = Followed(tails, store, Everything(), "nonsense")
            with pytest.raises(Refused, match="nonsense"):
                await anext(wrong.news)
            tails.end()
            with pytest.raises(StopAsyncIteration):
                await anext(tail.news)
            with pytest.raises(Refused, match="shutting down"):
                await anext(Followed(tails, store, Everything()).news)

    run(work)
