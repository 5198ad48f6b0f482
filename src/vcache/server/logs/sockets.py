"""Live tails over WebSocket (RFC 6455), by wsproto: a message holds a line of JSON for each record.

What clients send means nothing but pings, pongs and the end. Pages of other sites are shown out at the
door, before a request is routed (`vcache.server.door`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from vcache.server.logs.hub import text_frame
from vcache.server.logs.tails import HEARTBEAT_S, Leash, Missed, News
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from wsproto.connection import Connection

    from vcache.server.duplex import Duplex
    from vcache.server.exchange import Exchange

__all__ = ["serve"]

_SILENT_S: Final = 3 * HEARTBEAT_S
_MESSAGE_BYTES: Final = 64 << 10
_GOING_AWAY, _BAD, _TOO_BIG = 1001, 1002, 1009


async def serve(exchange: Exchange, news: AsyncGenerator[News], leash: Leash) -> None:
    """Speak WebSocket until one side ends.

    Raises:
        Refused: the offer is none; nothing was answered yet.
    """
    accept = _accept(exchange)
    first = await anext(news)  # what is wrong is said in HTTP
    duplex = exchange.switch(
        [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept)]
    )
    try:
        await _Session(exchange, duplex, leash).run(first, news)
    finally:
        duplex.close()


def _accept(exchange: Exchange) -> str:
    """What proves that the offer was understood."""
    from wsproto.utilities import generate_accept_token

    version, key = exchange.header("sec-websocket-version"), exchange.header("sec-websocket-key") or ""
    if version != "13":
        raise Refused(Refusal.MALFORMED, f"Sec-WebSocket-Version: {version!r:.20}: 13 is spoken here")
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise ValueError("not 16 bytes")
    except (binascii.Error, ValueError) as error:
        raise Refused(Refusal.MALFORMED, f"Sec-WebSocket-Key: {key!r:.40}: {error}") from error
    return generate_accept_token(key.encode()).decode()


class _Session:
    """One WebSocket that is open."""

    def __init__(self, exchange: Exchange, duplex: Duplex, leash: Leash) -> None:
        from wsproto.connection import Connection, ConnectionType

        self._exchange, self._duplex, self._leash = exchange, duplex, leash
        self._protocol: Connection = Connection(ConnectionType.SERVER)
        self._heard_s = time.monotonic()
        self._has_closed = False
        self._message_bytes = 0

    async def run(self, first: News, news: AsyncGenerator[News]) -> None:
        hearing = asyncio.get_running_loop().create_task(self._hear())
        try:
            await self._tell(first)
            async for each in news:
                if self._leash.is_over:
                    break
                await self._tell(each)
            await self._close(_GOING_AWAY)
        finally:
            hearing.cancel()

    async def _tell(self, news: News) -> None:
        if news is None:
            from wsproto.events import Ping

            if time.monotonic() - self._heard_s > _SILENT_S:
                self._leash.end()  # it does not even answer pings
            elif not self._has_closed:
                await self._send(self._protocol.send(Ping()))
        elif isinstance(news, Missed):
            await self._send(text_frame(b'{"@dropped":%d}' % news.count))
        else:
            await self._send(news.frame)

    async def _send(self, data: bytes) -> None:
        if not self._has_closed:
            self._exchange.sent_bytes += len(data)
            await self._duplex.write(data)

    async def _hear(self) -> None:
        """Heed what the client says, until it says no more."""
        from wsproto.utilities import RemoteProtocolError

        try:
            while data := await self._duplex.read():
                self._heard_s = time.monotonic()
                self._protocol.receive_data(data)
                for event in self._protocol.events():
                    if not await self._heed(event):
                        return
        except RemoteProtocolError as error:
            await self._close(error.event_hint.code if _has_code(error) else _BAD)  # type: ignore[union-attr]
        finally:
            self._leash.end()

    async def _heed(self, event: object) -> bool:
        from wsproto.events import CloseConnection, Message, Ping

        if isinstance(event, Ping):
            await self._send(self._protocol.send(event.response()))
        elif isinstance(event, CloseConnection):
            if not self._has_closed:
                await self._send(self._protocol.send(event.response()))
                self._has_closed = True
            return False
        elif isinstance(event, Message):
            self._exchange.received_bytes += len(event.data)
            self._message_bytes += len(event.data)
            if self._message_bytes > _MESSAGE_BYTES:
                await self._close(_TOO_BIG)
                return False
            if event.message_finished:
                self._message_bytes = 0
        return True

    async def _close(self, code: int) -> None:
        from wsproto.events import CloseConnection

        if not self._has_closed:
            await self._send(self._protocol.send(CloseConnection(code=code)))
            self._has_closed = True


def _has_code(error: Exception) -> bool:
    return hasattr(getattr(error, "event_hint", None), "code")
