"""Live tails: what came since a record, from the store, and then what comes, without a hole between.

Each record comes at least once; who goes on after a break may be sent some again that other writers
appended around then, and tells them by their ids. It must not know how they are sent.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Final

from vcache.kit.data import NamedTuple
from vcache.logs.ids import parse_id
from vcache.query.syntax import And, Compare, Everything, Expression, Limit, Or, Query, Sort
from vcache.server.logs import shown
from vcache.server.logs.asking import record_or_none
from vcache.server.logs.hub import Chunk, Hub, Subscription
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.logs.base import LogStore
    from vcache.logs.record import Record
    from vcache.server.logs.asking import Queue

__all__ = ["HEARTBEAT_S", "Leash", "Missed", "News", "Tails"]

HEARTBEAT_S: Final = 15.0
_MOST: Final = 512  # live tails of a server
_PAGE: Final = 4096
_AGAIN_NS: Final = 2 * 10**9  # writers are this far apart at most between the time they say and the disk
_DOUBLED_S: Final = 2.0  # so long after a catch-up the live records may hold some of it
_TRIES: Final = 5


class Missed(NamedTuple):
    """Records were left out.

    Attributes:
        count: how many; -1 where nobody knows.
    """

    count: int  # type: ignore[assignment]  # instead of the method of a tuple


News = Chunk | Missed | None
"""Records, a hole, or nothing for a while."""


class Leash:
    """Ends a tail from outside, such as when its client is gone."""

    def __init__(self) -> None:
        self.is_over = False
        self._subscription: Subscription | None = None

    def hold(self, subscription: Subscription) -> None:
        """It is this one."""
        self._subscription = subscription
        if self.is_over:
            subscription.end()

    def end(self) -> None:
        """End it."""
        self.is_over = True
        if self._subscription is not None:
            self._subscription.end()


class Tails:
    """All live tails of a server. On the event loop.

    Args:
        queue: runs what is read from stores.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._hubs: dict[str, Hub] = {}
        self._count = 0
        self._is_over = False

    async def follow(
        self, namespace: str, store: LogStore, where: Expression, after: str, leash: Leash
    ) -> AsyncGenerator[News]:
        """What comes, for as long as it is wanted.

        Args:
            after: the id of the last record that was had; "" for none.
            leash: ends it.

        Raises:
            Refused: too many tails, or `after` is no id.
        """
        if self._is_over:
            raise Refused(Refusal.BUSY, "the server is shutting down")
        if self._count >= _MOST:
            raise Refused(Refusal.CROWDED, f"there are {_MOST} live tails")
        # Looked up first: what is wrong with it is said before anything is sent.
        last = await self._queue.run(record_or_none, store, after) if after else None
        hub = self._hubs.get(namespace)
        if hub is None:
            hub = self._hubs[namespace] = Hub(store)
        subscription = await hub.subscribe(where)
        leash.hold(subscription)
        self._count += 1
        try:
            yield Missed(-1) if after and last is None else None
            doubled: set[str] = set()
            if last is not None:
                async for chunk in self._caught_up(store, where, last, subscription, doubled):  # type: ignore[arg-type]
                    yield chunk
                    if leash.is_over:
                        return
            async for news in _live(subscription, doubled):
                yield news
        finally:
            hub.leave(where, subscription)
            self._count -= 1

    def end(self) -> None:
        """End all, and begin no more."""
        self._is_over = True
        for hub in self._hubs.values():
            hub.end()

    async def _caught_up(
        self, store: LogStore, where: Expression, last: Record, subscription: Subscription, doubled: set[str]
    ) -> AsyncIterator[Chunk]:
        """What was appended after a record, in order of arrival; all of it, however long that takes."""
        stream, seq = parse_id(last.id)
        at_ns, at_id = last.seen_ns - _AGAIN_NS, ""
        for _ in range(_TRIES):
            recent_ns = time.time_ns() - 2 * _AGAIN_NS
            while True:
                found = await self._queue.run(partial(_page, store, where, at_ns, at_id))
                assert isinstance(found, list)
                if not found:
                    break
                at_ns, at_id = found[-1].seen_ns, found[-1].id
                doubled.update(record.id for record in found if record.seen_ns >= recent_ns)
                items = [
                    (record.id, shown.json_of(record)) for record in found if _is_later(record, stream, seq)
                ]
                if items:
                    yield Chunk(items)
                if len(found) < _PAGE:
                    break
            if not subscription.dropped:
                return
            # Meanwhile more came live than is held: what was dropped is in the store.
            subscription.take()
            subscription.dropped = 0


def _is_later(record: Record, stream: int, seq: int) -> bool:
    """Whether a record may not have been sent: of one stream those with a higher sequence."""
    of, number = parse_id(record.id)
    return of != stream or number > seq


def _page(store: LogStore, where: Expression, at_ns: int, at_id: str) -> list[Record]:
    """The first records behind a place in the order of arrival. Blocks."""
    behind: Expression = Compare("@seen", ">=", at_ns)
    if at_id:
        behind = Or(
            (Compare("@seen", ">", at_ns), And((Compare("@seen", "=", at_ns), Compare("@id", ">", at_id))))
        )
    parts = where.items if isinstance(where, And) else () if isinstance(where, Everything) else (where,)
    condition = And((behind, *parts)) if parts else behind
    order = Sort((("@seen", False), ("@id", False)))
    return list(store.search(Query(condition, (order, Limit(_PAGE)))).rows)  # type: ignore[arg-type]


async def _live(subscription: Subscription, doubled: set[str]) -> AsyncIterator[News]:
    doubled_until_s = time.monotonic() + _DOUBLED_S
    while True:
        if not await subscription.wait(HEARTBEAT_S):
            yield None
            continue
        chunks = subscription.take()
        if doubled and time.monotonic() > doubled_until_s:
            doubled.clear()
        for chunk in chunks:
            if doubled:
                chunk = Chunk([item for item in chunk.items if item[0] not in doubled])
            if chunk.items:
                yield chunk
        if subscription.dropped:
            count, subscription.dropped = subscription.dropped, 0
            yield Missed(count)
        if subscription.is_over:
            return
