"""One request and its answer, as ASGI has them: a body that comes, an answer that goes out in one write.

It must not know how bytes become requests, nor what is answered.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.server.exchange import Scope
    from vcache.server.gate import Gate

__all__ = ["STATUS_LINES", "Line", "Turn"]

_log: Final = logging.getLogger("vcache.server")

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
# What is read ahead of who takes a body in; each pause and each go costs a system call.
_AHEAD_BYTES: Final = 1 << 20
# What is left of a refused body is read rather than a connection lost.
_DRAINED_BYTES: Final = 1 << 20
# TLS copies what it encrypts: large bodies are handed to it in pieces.
_PIECE_BYTES: Final = 1 << 20


class Line(Protocol):
    """A connection, as far as a turn uses it."""

    @property
    def gate(self) -> Gate: ...

    @property
    def is_tls(self) -> bool: ...

    def write(self, head: bytes, body: Buffer) -> None:
        """Send a head and what is there of the body, in one write."""

    def write_body(self, body: Buffer) -> None:
        """Send more of the body."""

    def send_continue(self) -> None:
        """Ask for the body."""

    async def drain(self) -> None:
        """Wait until the client took what was written."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""

    def answered(self, turn: Turn) -> None:
        """The next request may begin, or the connection ends."""

    def end(self) -> None:
        """End now."""


class Turn:
    """One request and its answer, as ASGI has them."""

    __slots__ = (
        "_chunks", "_connection", "_expects", "_head", "_is_chunked", "_left_bytes", "_pending_bytes",
        "_scope", "_waiter", "is_done", "is_lost", "keeps_alive", "more", "taken_bytes",
    )  # fmt: skip

    def __init__(self, connection: Line, scope: Scope, *, expects: bool, keeps_alive: bool) -> None:
        self._connection, self._scope = connection, scope
        self._expects, self.keeps_alive = expects, keeps_alive
        self._chunks: list[bytes] = []
        self._pending_bytes = self.taken_bytes = 0
        self.more = True
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = b""  # None when it was written
        self._is_chunked = False
        self._left_bytes = 0
        self.is_done = self.is_lost = False

    @property
    def is_waiting(self) -> bool:
        """Whether the client is asked for more of its body."""
        return self._waiter is not None

    async def run(self) -> None:
        """Have the application answer."""
        try:
            await self._connection.gate.app(self._scope, self.receive, self.send)
            if not (self.is_done or self.is_lost):
                _log.error("%s %r was not answered", self._scope["method"], self._scope["path"])
        except asyncio.CancelledError:
            _log.warning("%s %r was given up", self._scope["method"], self._scope["path"])
        except Exception:
            _log.exception("%s %r failed", self._scope["method"], self._scope["path"])
        if self.is_done or self.is_lost:
            return
        if self._head is None:
            self._connection.end()
            return
        self.keeps_alive = False
        self._head = b""
        await self.send(
            {"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]}
        )
        await self.send({"type": "http.response.body"})

    def hand_over(self) -> None:
        """The connection speaks another protocol from here on: there is nothing more to answer."""
        self.is_done, self.keeps_alive, self._head = True, False, None
        self._chunks = []

    # -- the body --------------------------------------------------------------------------

    def take(self, body: bytes) -> None:
        """More of the body has come."""
        self.taken_bytes += len(body)
        if self.is_done:
            if self.taken_bytes > _DRAINED_BYTES * 2:
                self._connection.end()
            return
        self._chunks.append(body)
        self._pending_bytes += len(body)
        if self._pending_bytes > _AHEAD_BYTES:
            self._connection.pause()
        self._wake()

    def end_body(self) -> None:
        """All of the body has come."""
        self.more = False
        self._wake()

    def lose(self) -> None:
        """The client went away."""
        self.is_lost = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """As ASGI has it."""
        if not (self._chunks or self.is_done or self.is_lost) and self.more:
            if self._expects:
                self._expects = False
                self._connection.send_continue()
            self._connection.resume()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.is_done or self.is_lost:
            return {"type": "http.disconnect"}
        chunks, self._chunks, self._pending_bytes = self._chunks, [], 0
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return {"type": "http.request", "body": body, "more_body": self.more}

    # -- the answer ------------------------------------------------------------------------

    async def send(self, message: Any) -> None:
        """As ASGI has it; the head waits for the first of the body."""
        connection = self._connection
        if self.is_lost or self.is_done:
            return
        if message["type"] == "http.response.start":
            self._head = self._framed(message["status"], message.get("headers", ()))
            return
        body: Buffer = message.get("body", b"")
        more = message.get("more_body", False)
        size = memoryview(body).nbytes
        if self._scope["method"] == "HEAD":
            body, size, self._left_bytes = b"", 0, 0
        elif not self._is_chunked:
            self._left_bytes -= size
            if self._left_bytes < 0 or (self._left_bytes and not more):
                raise RuntimeError(f"an answer whose length is wrong by {-self._left_bytes} bytes")
        head, self._head = self._head, None
        if self._is_chunked and self._scope["method"] != "HEAD":
            body = (b"%x\r\n" % size + body + b"\r\n" if size else b"") + (b"" if more else b"0\r\n\r\n")
            size = len(body)
        if size > _PIECE_BYTES and connection.is_tls:
            await self._send_in_pieces(head, memoryview(body).cast("B"))
        elif head:
            connection.write(head, body)
        elif size:
            connection.write_body(body)
        if more:
            await connection.drain()
        else:
            self._finish()

    async def _send_in_pieces(self, head: bytes | None, body: memoryview) -> None:
        connection = self._connection
        if head:
            connection.write(head, b"")
        for start in range(0, len(body), _PIECE_BYTES):
            if self.is_lost:
                return
            connection.write_body(body[start : start + _PIECE_BYTES])
            await connection.drain()

    def _finish(self) -> None:
        self.is_done = True
        self._chunks = []
        self._connection.answered(self)

    def _framed(self, status: int, headers: Any) -> bytes:
        """The head of an answer."""
        parts = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._connection.gate.lines]
        has_length = closes = False
        for name, value in headers:
            if b"\r" in value or b"\n" in value or b"\r" in name or b"\n" in name:
                raise RuntimeError(f"a header with a line end: {name!r}: {value!r:.80}")
            lower = name.lower()
            if lower == b"content-length":
                has_length, self._left_bytes = True, int(value)
            elif lower == b"connection" and b"close" in value.lower():
                closes = True
            elif lower in (b"server", b"date", b"transfer-encoding"):
                continue
            parts += (name, b": ", value, b"\r\n")
        if not has_length and status >= 200 and status not in (204, 304):
            self._is_chunked = self._scope["http_version"] != "1.0"
            if self._is_chunked:
                parts.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keeps_alive = False
        if self.more and not self._may_drain():
            self.keeps_alive = False
        if closes:
            self.keeps_alive = False
        elif not self.keeps_alive:
            parts.append(b"connection: close\r\n")
        elif self._scope["http_version"] == "1.0":
            parts.append(b"connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def _may_drain(self) -> bool:
        """Whether what is still to come of the body is little, and sure to come."""
        if self._expects:
            return False  # it comes or not, as the client likes
        for name, value in self._scope["headers"]:
            if name == b"content-length":
                return int(value) - self.taken_bytes <= _DRAINED_BYTES
        return not any(name == b"transfer-encoding" for name, _ in self._scope["headers"])
