"""What a job does, as it does it: its end waited for, its log, and both as server-sent events.

The events are `state` and `progress` (a job without payload and result; its progress), `log` (a record) and `end`. Whoever
comes again with the id of the last event has the log from there on, and the state as it is; whoever had `end` is told
to come no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from vcache.errors import VcacheError
from vcache.jobs.facts import job_facts, progress_facts
from vcache.jobs.states import ENDED
from vcache.logs.show.formats import media_type
from vcache.query.syntax import Limit, Query, Sort
from vcache.server.jobs.answers import FRESH
from vcache.server.logs import asking, shown
from vcache.server.logs.streams import Stop, streamed
from vcache.server.logs.tails import Leash, Missed, News
from vcache.server.refused import Refused

if TYPE_CHECKING:
    from vcache.jobs.models import Job
    from vcache.logs.base import LogStore
    from vcache.logs.record import Record
    from vcache.query.syntax import Expression
    from vcache.server.exchange import Exchange
    from vcache.server.jobs.desk import JobDesk
    from vcache.server.jobs.watching import Watch

__all__ = ["ended_within", "log", "tell"]

_END: Final = "end"  # an event's id: no record has one like it
_HEARTBEAT_S: Final = 15.0
_LINGER_S: Final = 2.0  # after a job's end: its last records may come behind it
_PENDING: Final = 64


async def ended_within(watch: Watch, job: Job, timeout_s: float) -> Job:
    """A job when it has ended, or as it is after so long."""
    found = job
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s), aclosing(watch.follow(job.id)) as changes:
            async for each in changes:
                if each is None:
                    break
                found = each
                if found.state in ENDED:
                    break
    return found


async def log(exchange: Exchange, desk: JobDesk, job: Job) -> None:
    """Answer with what a job said, in all its attempts."""
    fields = {name: text for name, text in exchange.query.items() if name in ("format", "last", "timeout")}
    question = asking.question_of({**fields, "q": job.log})
    stop = Stop(question.timeout_s)
    queue = desk.logs.queue
    async with queue.turn():
        store = await exchange.desk.run(desk.logs.stores.of, exchange.caller.namespace)
        pieces = streamed(partial(asking.answer, store, question, stop), stop, queue.executor)
        headers = [("content-type", media_type(question.format)), FRESH]
        await exchange.stream(pieces, headers, when_lost=stop.give_up)


async def tell(exchange: Exchange, desk: JobDesk, job: Job) -> None:
    """Answer with what a job does, until it has ended."""
    after = exchange.header("last-event-id") or exchange.query.get("after", "")
    if after == _END:
        if job.state in ENDED:
            await exchange.answer(204, b"", (FRESH,))
            return
        after = ""
    watch = await desk.watch(exchange.caller.namespace)
    try:
        store: LogStore | None = await exchange.desk.run(desk.logs.stores.of, exchange.caller.namespace)
    except (Refused, VcacheError):  # a server without logs shows states all the same
        store = None
    story = _Story(exchange, desk, job, store)
    headers = [("content-type", "text/event-stream"), FRESH, ("x-accel-buffering", "no")]
    async with aclosing(story.pieces(watch, after)) as pieces:
        await exchange.stream(pieces, headers, when_lost=story.leave)


class _Story:
    """One who is told what a job does."""

    def __init__(self, exchange: Exchange, desk: JobDesk, job: Job, store: LogStore | None) -> None:
        self._namespace = exchange.caller.namespace
        self._desk, self._job, self._store = desk, job, store
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_PENDING)
        self._leash = Leash()
        self._works: list[asyncio.Task[None]] = []

    def leave(self) -> None:
        """Whoever was told is gone."""
        self._leash.end()
        for work in self._works:
            work.cancel()
        with contextlib.suppress(asyncio.QueueFull):
            self._pieces.put_nowait(None)

    async def pieces(self, watch: Watch, after: str) -> AsyncGenerator[bytes]:
        """The events, encoded."""
        yield b"retry: 1000\n\n"
        self._begin(self._states(watch))
        if self._store is not None:
            self._begin(self._log(self._store, after))
        try:
            while True:
                try:
                    async with asyncio.timeout(_HEARTBEAT_S):
                        piece = await self._pieces.get()
                except TimeoutError:
                    piece = b":\n\n"
                if piece is None:
                    return
                yield piece
        finally:
            self._leash.end()
            for work in self._works:
                work.cancel()
            await asyncio.gather(*self._works, return_exceptions=True)

    def _begin(self, work: Awaitable[None]) -> None:
        async def done() -> None:
            try:
                await work
            except Refused as why:  # it had begun: all that can be done is to say so, and to end
                await self._pieces.put(_event("error", shown.encoded({"detail": str(why)})))
                await self._pieces.put(None)

        self._works.append(asyncio.get_running_loop().create_task(done()))

    async def _states(self, watch: Watch) -> None:
        last: Job | None = None
        is_over = False  # otherwise the server ends, and another one may go on
        async with aclosing(watch.follow(self._job.id)) as changes:
            async for job in changes:
                is_over = job is None or job.state in ENDED
                if job is None:
                    break
                if last is None or _outlines(job) != _outlines(last):
                    await self._pieces.put(_event("state", shown.encoded(job_facts(job, is_whole=False))))
                if job.progress is not None and (last is None or job.progress != last.progress):
                    await self._pieces.put(_event("progress", shown.encoded(progress_facts(job.progress))))
                last = job
                if is_over:
                    break
        if is_over:
            if self._store is not None:
                await asyncio.sleep(_LINGER_S)
            await self._pieces.put(_event(_END, b"{}", event_id=_END))
        await self._pieces.put(None)

    async def _log(self, store: LogStore, after: str) -> None:
        where = asking.parsed(self._job.log).where
        records = _records(self._desk, self._namespace, store, where, after, self._leash)
        async with aclosing(records) as events:
            async for each in events:
                await self._pieces.put(each)


async def _records(
    desk: JobDesk, namespace: str, store: LogStore, where: Expression, after: str, leash: Leash
) -> AsyncGenerator[bytes]:
    """Records from the first on, or behind one, as events."""
    follow = partial(desk.logs.tails.follow, namespace, store, where)
    first: Record | None = None
    if not after:
        first = await _first_of(desk, store, where)
        if first is None:
            async with aclosing(follow("", leash)) as news:
                await anext(news)  # it is followed from here on: only what came since that look may be missed
                first = await _first_of(desk, store, where)
                if first is None:
                    async for each in news:
                        yield _news_event(each)
                    return
    if first is not None:
        yield _event("log", shown.json_of(first), event_id=first.id)
        after = first.id
    async with aclosing(follow(after, leash)) as news:
        async for each in news:
            yield _news_event(each)


async def _first_of(desk: JobDesk, store: LogStore, where: Expression) -> Record | None:
    """The record that came first, which need not be the oldest."""
    order = Sort((("@seen", False), ("@id", False)))
    found = await desk.logs.queue.run(lambda: list(store.search(Query(where, (order, Limit(1)))).rows))
    assert isinstance(found, list)
    return found[0] if found else None


def _news_event(news: News) -> bytes:
    if news is None:
        return b":\n\n"
    if isinstance(news, Missed):
        return _event("dropped", b'{"dropped": %d}' % news.count)
    return b"".join([_event("log", text, event_id=record_id) for record_id, text in news.items])


def _outlines(job: Job) -> tuple[object, ...]:
    return job.state, job.attempts, job.kills, job.due_ns, job.worker, job.why


def _event(kind: str, data: bytes, *, event_id: str = "") -> bytes:
    start = f"event: {kind}\n" + (f"id: {event_id}\n" if event_id else "")
    return start.encode() + b"data: " + data + b"\n\n"
