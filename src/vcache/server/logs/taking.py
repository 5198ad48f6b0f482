"""Records that are sent: a body read, unpacked and parsed, and its records kept before anybody says so.

It must not know which dialect they are sent in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreBusy, StoreError, UsageError
from vcache.kit.data import NamedTuple
from vcache.logs.record import Mark
from vcache.server.logs.unpacking import unpacked
from vcache.server.refused import Refusal, Refused
from vcache.server.underway import UnderWay

if TYPE_CHECKING:
    from vcache.logs.collect.collector import Collector
    from vcache.logs.collect.parcels import Ticket
    from vcache.logs.receive.base import Format, Parsed
    from vcache.logs.record import Record
    from vcache.server.callers import Caller
    from vcache.server.exchange import Exchange
    from vcache.server.logs.stores import Stores

__all__ = ["BODY_BYTES", "Taken", "Taking"]

BODY_BYTES: Final = 32 << 20
"""The longest body, packed and unpacked. Clients send up to 10 MB (Vector), 5 MB (promtail, Filebeat)."""

_ALL_BYTES: Final = 96 << 20  # what bodies under way may come to, unpacked
_KEPT_S: Final = 15.0  # clients give up after 30 s or so, and send again
_MOST_ITEMS: Final = 500_000  # a record takes 200 bytes and more, however short it is written
_RECORD_BYTES: Final = 64  # beside its message
_FIRST_GUESS: Final = 4  # a packed body is taken to become so many times as long, until it is known


class Taken(NamedTuple):
    """What became of a body.

    Attributes:
        count: records that are kept.
        unparsed: how many of them were not of the format that was announced.
        parsed: what was made of the body.
    """

    count: int  # type: ignore[assignment]  # instead of the method of a tuple
    unparsed: int
    parsed: Parsed


class Taking:
    """Takes bodies for all dialects.

    Args:
        stores: where they go.
        note: told of each body that was kept: the caller, the dialect, how many records, and about how long
            they are where they are kept.
    """

    def __init__(self, stores: Stores, note: Callable[[Caller, str, int, int], object]) -> None:
        self._stores, self._note = stores, note
        self._under_way = UnderWay(_ALL_BYTES)

    async def take(
        self, exchange: Exchange, parse: Callable[[bytes, int], Parsed], *, is_snappy: bool = False
    ) -> Taken:
        """Keep what a body holds.

        Args:
            parse: makes records of it, given the time; on a thread.
            is_snappy: it unpacks snappy itself, whether or not `Content-Encoding` says so.

        Raises:
            Refused: no right, no room, too long, not what it says it is, or not kept in time.
        """
        exchange.caller.require_write()
        self._stores.require_write()
        length = exchange.length_bytes
        exchange.desk.admit(exchange.caller, length)
        coding = exchange.header("content-encoding")
        if is_snappy and coding == "snappy":
            coding = None
        guess = (
            BODY_BYTES
            if length is None
            else min(length * (_FIRST_GUESS if coding or is_snappy else 1), BODY_BYTES)
        )
        with self._under_way.room(guess):
            body = await exchange.read(BODY_BYTES)
            found: Parsed = await exchange.desk.run(_parsed, body, coding, parse)
            size = len(body)
            del body
            if found.records:
                collector: Collector = await exchange.desk.run(
                    self._stores.collector, exchange.caller.namespace
                )
                await _kept(collector, found.records, exchange.dialect, size)
        self._note(exchange.caller, exchange.dialect, len(found.records), _size_bytes(found.records))
        exchange.outcome = "put"
        unparsed = sum(1 for record in found.records if record.marks & Mark.UNPARSED)
        return Taken(len(found.records), unparsed, found)

    async def take_as(self, exchange: Exchange, known: Format, *, source: str = "") -> Taken:
        """Keep what a body of a format holds; raises as `take`."""
        return await self.take(exchange, lambda body, now_ns: known.parse(body, now_ns=now_ns, source=source))


def _size_bytes(records: list[Record]) -> int:
    """About what records take before they are sealed; after that it is counted anew."""
    return sum([len(record.message) for record in records]) + _RECORD_BYTES * len(records)


def _parsed(body: bytes, coding: str | None, parse: Callable[[bytes, int], Parsed]) -> Parsed:
    content = unpacked(body, coding, limit_bytes=BODY_BYTES)
    if max(content.count(b"\n"), content.count(b"{")) > _MOST_ITEMS:
        raise Refused(Refusal.TOO_LARGE, f"more than {_MOST_ITEMS} records at once: send fewer")
    try:
        return parse(content, time.time_ns())
    except UsageError as error:
        raise Refused(Refusal.MALFORMED, str(error)) from error


async def _kept(collector: Collector, records: list[Record], origin: str, size_bytes: int) -> None:
    """Wait until records would survive a power loss."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Ticket] = loop.create_future()

    def end(ticket: Ticket) -> None:
        if not done.done():
            done.set_result(ticket)

    try:
        collector.submit(
            records,
            wait=False,
            origin=origin,
            size_bytes=max(size_bytes, 256 * len(records)),
            on_done=lambda ticket: loop.call_soon_threadsafe(end, ticket),
        )
    except StoreBusy as error:
        raise Refused(Refusal.CROWDED, str(error)) from error
    try:
        ticket = await asyncio.wait_for(done, _KEPT_S)
    except TimeoutError:
        raise Refused(
            Refusal.BUSY, f"the records were not kept within {_KEPT_S:g} s: send them again"
        ) from None
    if ticket.error is not None:
        if isinstance(ticket.error, StoreError):
            raise Refused(Refusal.BUSY, str(ticket.error)) from ticket.error
        raise ticket.error
