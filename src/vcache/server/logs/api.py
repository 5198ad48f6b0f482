"""The API of logs below `/api/v1/logs`: records in, queries out. Described in `vcache.server.api.openapi`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from vcache.logs.show.formats import media_type
from vcache.logs.show.values import iso, level_word
from vcache.server.api.openapi import BASE
from vcache.server.api.problems import problem
from vcache.server.callers import Role
from vcache.server.logs import asking, formats, shown, sockets
from vcache.server.logs.streams import Stop, streamed
from vcache.server.logs.tails import Leash, Missed, News
from vcache.server.phrases import READS
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.logs.base import LogStats, LogStore
    from vcache.server.dialect import Answer
    from vcache.server.exchange import Exchange
    from vcache.server.logs.desk import LogDesk

__all__ = ["LogsApi"]

_ROOT: Final = f"{BASE}/logs"
_RECORDS: Final = f"{_ROOT}/records/"
_WISH_BYTES: Final = 128 << 10
_JSON: Final = ("content-type", "application/json")
_FRESH: Final = ("cache-control", "no-store")
_RETRY_S: Final = 1


class LogsApi:
    """What people and programs of their own ask of logs."""

    name = "logs"

    def __init__(self, desk: LogDesk) -> None:
        self._desk = desk
        self._ways: Mapping[str, tuple[tuple[str, ...], Callable[[Exchange], Awaitable[None]]]] = {
            "": (("POST",), self._take),
            "/query": (("GET", "POST"), self._query),
            "/stats": (("GET", "HEAD"), self._stats),
            "/histogram": (("GET", "HEAD"), self._histogram),
            "/tail": (("GET",), self._tail),
            "/seal": (("POST",), self._seal),
        }

    def claims(self, path: str) -> bool:
        """Whether a path is the API's for logs."""
        return path.startswith(_ROOT) and path[len(_ROOT) : len(_ROOT) + 1] in ("", "/")

    def needs_token(self, method: str, path: str) -> bool:
        """Always."""
        return True

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request.

        Raises:
            Refused: it is not done.
        """
        if exchange.caller.role < Role.READER:
            raise Refused(Refusal.UNAUTHENTICATED, "a token is needed: Authorization: Bearer TOKEN")
        if exchange.path.startswith(_RECORDS):
            _require(exchange, ("GET", "HEAD"))
            await self._record(exchange, exchange.path[len(_RECORDS) :])
            return
        way = self._ways.get(exchange.path[len(_ROOT) :])
        if way is None:
            raise Refused(Refusal.ABSENT, f"{exchange.path!r:.200} is nothing of the API")
        methods, handler = way
        _require(exchange, methods)
        await handler(exchange)

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As a problem in JSON."""
        status, headers, body = problem(refused)
        if refused.kind is Refusal.METHOD:
            methods = ("GET", "HEAD") if path.startswith(_RECORDS) else self._ways[path[len(_ROOT) :]][0]
            headers = [*headers, ("allow", ", ".join(methods))]
        elif refused.kind in (Refusal.CROWDED, Refusal.BUSY):
            headers = [*headers, ("retry-after", str(_RETRY_S))]
        return status, headers, body

    # -- records in ------------------------------------------------------------------------

    async def _take(self, exchange: Exchange) -> None:
        known = formats.body_format(exchange)
        taken = await self._desk.taking.take_as(exchange, known, source=formats.source_of(exchange))
        said: dict[str, object] = {"taken": taken.count}
        if taken.unparsed:
            said["unparsed"] = taken.unparsed
        await exchange.answer(200, shown.encoded(said), (_JSON, _FRESH))

    # -- answers out -----------------------------------------------------------------------

    async def _query(self, exchange: Exchange) -> None:
        fields = exchange.query
        if exchange.method == "POST":
            fields = {**fields, **await _wish(exchange)}
        question = asking.question_of(fields)
        stop = Stop(question.timeout_s)
        queue = self._desk.queue
        async with queue.turn():
            store = await self._store(exchange)
            pieces = streamed(partial(asking.answer, store, question, stop), stop, queue.executor)
            headers = [("content-type", media_type(question.format)), _FRESH]
            await exchange.stream(pieces, headers, when_lost=stop.give_up)

    async def _histogram(self, exchange: Exchange) -> None:
        stop = Stop(asking.question_of({**exchange.query, "format": "json"}).timeout_s)
        store = await self._store(exchange)
        found = await self._desk.queue.run(asking.histogram, store, exchange.query, stop)
        await exchange.answer(200, shown.encoded(found), (_JSON, _FRESH))

    async def _record(self, exchange: Exchange, record_id: str) -> None:
        store = await self._store(exchange)
        found = await exchange.desk.run(asking.record_or_refuse, store, record_id)
        await exchange.answer(200, shown.json_of(found) + b"\n", (_JSON, _FRESH))

    async def _stats(self, exchange: Exchange) -> None:
        store = await self._store(exchange)
        stats = await self._desk.queue.run(store.stats)
        await exchange.answer(200, shown.encoded(_told(stats)), (_JSON, _FRESH))  # type: ignore[arg-type]

    async def _seal(self, exchange: Exchange) -> None:
        if exchange.caller.role < Role.ADMIN:
            raise Refused(
                Refusal.FORBIDDEN,
                f"this is for admins; the token's role is {exchange.caller.role.name.lower()}",
            )
        await exchange.discard()
        sealed = await exchange.desk.run(self._desk.seal, exchange.caller)
        await exchange.answer(200, shown.encoded(sealed), (_JSON, _FRESH))

    async def _tail(self, exchange: Exchange) -> None:
        query = asking.parsed(exchange.query.get("q", ""))
        if query.stages:
            raise Refused(Refusal.MALFORMED, "a live tail takes a condition, without steps behind `|`")
        after = exchange.header("last-event-id") or exchange.query.get("after", "")
        store = await self._store(exchange)
        leash = Leash()
        namespace = exchange.caller.namespace
        async with aclosing(self._desk.tails.follow(namespace, store, query.where, after, leash)) as news:
            if exchange.offers("websocket"):
                await sockets.serve(exchange, news, leash)
                return
            headers = [("content-type", "text/event-stream"), _FRESH, ("x-accel-buffering", "no")]
            async with aclosing(_events(news)) as events:
                await exchange.stream(events, headers, when_lost=leash.end)

    async def _store(self, exchange: Exchange) -> LogStore:
        store: LogStore = await exchange.desk.run(self._desk.stores.of, exchange.caller.namespace)
        return store


async def _events(news: AsyncGenerator[News]) -> AsyncGenerator[bytes]:
    """News as server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    first = await anext(news)  # what is wrong is said before anything is sent
    yield b"retry: 1000\n\n" + (b"" if first is None else _event(first))
    async for each in news:
        yield _event(each)


def _event(news: News) -> bytes:
    if news is None:
        return b":\n\n"
    if isinstance(news, Missed):
        return b'event: dropped\ndata: {"dropped": %d}\n\n' % news.count
    return news.events


def _require(exchange: Exchange, methods: tuple[str, ...]) -> None:
    if exchange.method not in methods:
        raise Refused(Refusal.METHOD, f"{exchange.method} {exchange.path}: one of {', '.join(methods)}")
    if exchange.method in READS and (exchange.length_bytes or 0) > _WISH_BYTES:
        raise Refused(Refusal.TOO_LARGE, "a body that nobody asked for")


async def _wish(exchange: Exchange) -> Mapping[str, str]:
    """The parameters of a query that is too long for an address."""
    body = await exchange.read(_WISH_BYTES)
    try:
        wish = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(Refusal.MALFORMED, f"the body is no JSON: {error}") from error
    if not isinstance(wish, dict):
        raise Refused(Refusal.MALFORMED, f"the body is {type(wish).__name__}, not an object")
    for name, value in wish.items():
        if name not in _WISHES:
            raise Refused(Refusal.MALFORMED, f"unknown member {name!r:.40}: {', '.join(_WISHES)} are known")
        if type(value) is not _WISHES[name]:
            raise Refused(Refusal.MALFORMED, f"{name}={value!r:.40} is no {_WISHES[name].__name__}")
    return {name: str(value) for name, value in wish.items()}


_WISHES: Final[Mapping[str, type]] = {
    "q": str, "format": str, "from": int, "to": int, "last": int, "timeout": int,
}  # fmt: skip


def _told(stats: LogStats) -> dict[str, object]:
    return {
        "records": stats.records,
        "tail_records": stats.tail_records,
        "segments": stats.segments,
        "size_bytes": stats.size_bytes,
        "first": iso(stats.first_ns) if stats.records else "",
        "last": iso(stats.last_ns) if stats.records else "",
        "sources": {
            source: {
                "records": held.records,
                "levels": {level_word(level): count for level, count in sorted(held.by_level.items())},
                "first": iso(held.first_ns),
                "last": iso(held.last_ns),
            }
            for source, held in sorted(stats.sources.items())
        },
        "gaps": shown.gaps_of(list(stats.gaps)),
    }
