"""Live records of one store, for many: followed once, tested once for each distinct query, encoded once.

A thread follows the store and makes chunks; the event loop hands them to subscriptions, which are bounded:
who does not take them in time is told how many it missed. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from vcache.errors import StoreClosed
from vcache.logs.base import Follower, LogStore
from vcache.logs.fields import getter_of
from vcache.logs.record import Record
from vcache.query.rows import compiled
from vcache.query.syntax import Expression
from vcache.server.logs.shown import json_of

__all__ = ["Chunk", "Hub", "Subscription", "text_frame"]

_log: Final = logging.getLogger("vcache.server")

_WAIT_S: Final = 0.5
_PENDING_BYTES: Final = 4 << 20  # of one subscription
_HANDED: Final = (
    64  # batches that the loop has not come to yet; more wait with the follower, which is bounded
)
_MOST_AT_ONCE: Final = 8192  # records of a batch: a thread that encodes for long keeps the loop waiting


class Chunk:
    """Records that came together and that one query means: made ready once, for all who are sent them.

    Attributes:
        items: their ids and what is said of them, as JSON.
    """

    __slots__ = ("_events", "_frame", "items", "size_bytes")

    def __init__(self, items: Sequence[tuple[str, bytes]]) -> None:
        self.items = items
        self.size_bytes = sum([len(text) for _, text in items])
        self._events: bytes | None = None
        self._frame: bytes | None = None

    @property
    def events(self) -> bytes:
        """As server-sent events, after each of which a browser can go on."""
        if self._events is None:
            self._events = b"".join([b"id: %b\ndata: %b\n\n" % (i.encode(), text) for i, text in self.items])
        return self._events

    @property
    def frame(self) -> bytes:
        """As one message of a WebSocket: a line each."""
        if self._frame is None:
            self._frame = text_frame(b"\n".join([text for _, text in self.items]))
        return self._frame


def text_frame(payload: bytes) -> bytes:
    """A whole text message as servers send it (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c" % size + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


class Subscription:
    """What one client has yet to be sent. On the event loop only.

    Attributes:
        dropped: how many it missed since it was last asked for.
        is_over: nothing more comes.
    """

    __slots__ = ("_chunks", "_has_some", "_pending_bytes", "dropped", "is_over")

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._pending_bytes = 0
        self._has_some = asyncio.Event()
        self.dropped = 0
        self.is_over = False

    def put(self, chunk: Chunk) -> None:
        """Have a chunk sent, if there is room for it."""
        if self._pending_bytes and self._pending_bytes + chunk.size_bytes > _PENDING_BYTES:
            self.dropped += len(chunk.items)
        else:
            self._chunks.append(chunk)
            self._pending_bytes += chunk.size_bytes
        self._has_some.set()

    def miss(self, count: int) -> None:
        """Records went by unseen."""
        self.dropped += count
        self._has_some.set()

    def end(self) -> None:
        """Nothing more comes."""
        self.is_over = True
        self._has_some.set()

    def take(self) -> list[Chunk]:
        """What is there."""
        chunks, self._chunks, self._pending_bytes = list(self._chunks), deque(), 0
        self._has_some.clear()
        return chunks

    async def wait(self, timeout_s: float) -> bool:
        """Whether something came, or ended, within so long."""
        if self._has_some.is_set():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._has_some.wait()
        except TimeoutError:
            return False
        return True


class _Channel:
    """All that subscribed to one condition."""

    def __init__(self, where: Expression) -> None:
        self.test: Callable[[Record], bool] = compiled(where, getter_of)
        self.subscriptions: list[Subscription] = []


class Hub:
    """The live records of a store.

    Args:
        store: is followed as long as anybody subscribes.
    """

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._channels: dict[Expression, _Channel] = {}  # replaced, never changed: the thread reads it
        self._room = threading.Semaphore(_HANDED)
        self._following: _Following | None = None

    def __len__(self) -> int:
        return sum(len(channel.subscriptions) for channel in self._channels.values())

    async def subscribe(self, where: Expression) -> Subscription:
        """Hear of every record that is appended after this returns, and that the condition means."""
        subscription = Subscription()
        channel = self._channels.get(where)
        if channel is None:
            channel = _Channel(where)
            self._channels = {**self._channels, where: channel}
        channel.subscriptions.append(subscription)
        if self._following is None:
            self._following = _Following(self)
        await self._following.begun
        return subscription

    def leave(self, where: Expression, subscription: Subscription) -> None:
        """Hear of nothing more."""
        channel = self._channels.get(where)
        if channel is None or subscription not in channel.subscriptions:
            return
        channel.subscriptions.remove(subscription)
        if not channel.subscriptions:
            self._channels = {other: kept for other, kept in self._channels.items() if other != where}
        if not self._channels:
            self._stop()

    def end(self) -> None:
        """End all subscriptions."""
        self._stop()
        for channel in self._channels.values():
            for subscription in channel.subscriptions:
                subscription.end()

    def _stop(self) -> None:
        if self._following is not None:
            self._following.is_wanted = False
            self._following = None

    # -- on the thread ---------------------------------------------------------------------

    def publish(self, records: Sequence[Record], following: _Following) -> None:
        """Hand records to those who want them. Waits where the event loop lags behind."""
        known: dict[int, tuple[str, bytes]] = {}
        made: list[tuple[_Channel, Chunk]] = []
        for channel in self._channels.values():
            items = []
            for number, record in enumerate(records):
                if channel.test(record):
                    item = known.get(number)
                    if item is None:
                        item = known[number] = record.id, json_of(record)
                    items.append(item)
            if items:
                made.append((channel, Chunk(items)))
        if made:
            self._hand(self._deliver, made, following)

    def tell_missed(self, count: int, following: _Following) -> None:
        """Say that records went by."""
        self._hand(self._miss, count, following)

    def _hand(self, call: Callable[..., None], what: object, following: _Following) -> None:
        while not self._room.acquire(timeout=_WAIT_S):
            if not following.is_wanted:
                return
        try:
            self._loop.call_soon_threadsafe(call, what, following)
        except RuntimeError:  # the loop has ended
            following.is_wanted = False

    # -- on the loop -----------------------------------------------------------------------

    def _deliver(self, made: list[tuple[_Channel, Chunk]], following: _Following) -> None:
        self._room.release()
        if following is not self._following:
            return  # everybody had left, and who came since is served by another
        for channel, chunk in made:
            for subscription in channel.subscriptions:
                subscription.put(chunk)

    def _miss(self, count: int, following: _Following) -> None:
        self._room.release()
        if following is not self._following:
            return
        for channel in self._channels.values():
            for subscription in channel.subscriptions:
                subscription.miss(count)

    def fail(self) -> None:
        """The store cannot be followed any more."""
        self.end()


class _Following:
    """One thread that follows, for as long as it is wanted."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.is_wanted = True
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        threading.Thread(target=self._run, name="vcache-log-hub", daemon=True).start()

    def _run(self) -> None:
        try:
            follower = self._hub._store.follow()
        except Exception as error:  # whoever subscribes is told
            self._call(self._fail, error)
            return
        self._call(self._begin)
        try:
            self._follow(follower)
        except StoreClosed:
            self._call(self._hub.fail)
        except Exception:
            _log.exception("live logs ended")
            self._call(self._hub.fail)
        finally:
            follower.close()

    def _follow(self, follower: Follower) -> None:
        dropped = 0
        while self.is_wanted:
            records = follower.wait(_WAIT_S)
            for start in range(0, len(records), _MOST_AT_ONCE):
                self._hub.publish(records[start : start + _MOST_AT_ONCE], self)
            if follower.dropped != dropped:
                self._hub.tell_missed(follower.dropped - dropped, self)
                dropped = follower.dropped

    def _call(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            pass  # the loop has ended, and with it whoever would care

    def _begin(self) -> None:
        if not self.begun.done():
            self.begun.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.begun.done():
            self.begun.set_exception(error)
        self._hub.end()
