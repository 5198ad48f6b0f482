"""Connections: bytes to requests by httptools, answers to bytes, and what no client may do to others.

uvicorn starts and ends it in the place of its own HTTP protocol. What is different: an answer goes
out in one write; a small one is given at once, without a task; bodies are not copied; and a sweep
once a second closes who is idle for too long, sends a head or a body too slowly, or does not take
its answer. It knows ASGI and no dialect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.server.exchange import Receive, Scope, Send

__all__ = ["Gate", "Limits", "Quick", "Reply"]

_log: Final = logging.getLogger("vcache.server")

MAX_HEAD_BYTES: Final = 64 << 10
MAX_HEADERS: Final = 128
# What is read ahead of who takes a body in; each pause and each go costs a system call.
_AHEAD_BYTES: Final = 1 << 20
# Up to here a head and a body are joined: a copy costs less than a second piece.
_JOINED_BYTES: Final = 64 << 10
# What is left of a refused body is read rather than a connection lost.
_DRAINED_BYTES: Final = 1 << 20
_LINGER_S: Final = 2.0
# TLS copies what it encrypts: large bodies are handed to it in pieces.
_PIECE_BYTES: Final = 1 << 20
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

_FRAMING: Final = (b"content-length", b"transfer-encoding")
Headers = list[tuple[bytes, bytes]]
Reply = tuple[int, bytes, bytes, "Buffer"]
"""Status, header lines (each ended by CRLF, Content-Length among them), body in two parts."""


class Quick(Protocol):
    """What can be answered without waiting for anything."""

    def __call__(self, scope: Scope) -> Reply | None:
        """The answer to a request without a body; None for one that takes longer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take.

    Attributes:
        connections: how many there may be; beyond, the one that is idle for longest is closed.
        idle_s: how long one may be without a request.
        head_s: how long the head of a request may take.
        rate_bytes, stall_s: a body that is slower, measured over so long, ends its connection; so
            does an answer of which nothing was taken for so long.
    """

    connections: int = 10_000
    idle_s: float = 120.0
    head_s: float = 10.0
    rate_bytes: int = 1_000
    stall_s: float = 20.0


class Gate:
    """All connections of a server.

    Args:
        app: the ASGI application.
        quick: see `Quick`.
        limits: may be replaced at any time.
        server: the value of the `Server` header.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        quick: Quick,
        limits: Limits,
        *,
        server: str,
    ) -> None:
        self.app, self.quick, self.limits = app, quick, limits
        self.idle: dict[Connection, None] = {}  # by since when, the longest first
        self.all: set[Connection] = set()
        self.refused = 0
        self._server = server.encode("latin-1")
        self.lines = b""
        self.now_s = 0.0
        self._tick()

    def connection(
        self, *, server_state: Any, _loop: asyncio.AbstractEventLoop | None = None, **_: object
    ) -> Connection:
        """A protocol, as uvicorn asks for one."""
        return Connection(self, server_state)

    def admit(self, connection: Connection) -> bool:
        """Make room for a new connection; whether there is any."""
        if len(self.all) >= self.limits.connections:
            oldest = next(iter(self.idle), None)
            self.refused += 1
            if oldest is None:
                return False
            oldest.end()
        self.all.add(connection)
        self.idle[connection] = None
        return True

    async def sweep(self) -> None:
        """Look after all connections once a second, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._tick()
            for connection in list(self.all):
                try:
                    connection.look()
                except Exception:
                    _log.exception("a connection cannot be looked after")
                    connection.end()

    def _tick(self) -> None:
        self.now_s = time.monotonic()
        self.lines = b"server: %b\r\ndate: %b\r\n" % (self._server, formatdate(usegmt=True).encode())


class Connection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_answering", "_begun_s", "_client", "_expects", "_gate", "_head_bytes", "_headers", "_is_reading",
        "_is_tls", "_linger_s", "_parser", "_parsing", "_queue", "_seen_bytes", "_seen_s", "_server",
        "_state", "_transport", "_url", "_waiters", "is_lost",
    )  # fmt: skip

    def __init__(self, gate: Gate, state: Any) -> None:
        self._gate, self._state = gate, state
        self._parser = HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._queue: deque[_Turn] = deque()
        self._answering: _Turn | None = None  # whose answer is to come next
        self._parsing: _Turn | None = None  # whose body comes in
        self._waiters: list[asyncio.Future[None]] | None = None  # while the client does not take bytes
        self._head_bytes = 0
        self._begun_s = gate.now_s  # of the head, or of being idle
        self._linger_s = 0.0
        self._seen_s, self._seen_bytes = gate.now_s, 0
        self._is_reading = True
        self.is_lost = False

    # -- asyncio ---------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._client = transport.get_extra_info("peername")
        self._server = transport.get_extra_info("sockname")
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        if not self._gate.admit(self):
            transport.write(
                _LINES[503] + self._gate.lines + b"connection: close\r\ncontent-length: 0\r\n\r\n"
            )
            transport.close()
            return
        self._state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._gate.all.discard(self)
        self._gate.idle.pop(self, None)
        self._state.connections.discard(self)
        for turn in (self._answering, self._parsing, *self._queue):
            if turn is not None:
                turn.lose()
        self._queue.clear()
        self.resume_writing()

    def eof_received(self) -> bool:
        # Half a connection is a whole answer: the client waits for it.
        return self._answering is not None and not self._is_tls

    def pause_writing(self) -> None:
        self._waiters = []

    def resume_writing(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._linger_s:
            return  # what nobody wants any more
        if self._gate.idle.pop(self, self) is None:
            self._begun_s = self._gate.now_s
        try:
            self._feed(data)
        except HttpParserError as error:
            self._refuse(400, str(error))

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:  # an offer: we know no other protocol
                data = data[upgrade.args[0] :]
                if self._parsing is not None:
                    self._parser = _Resumed.parser(self, self._headers)
                if data:
                    continue
            break
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "the head of the request is too long")

    # -- httptools -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: Headers = []
        self._expects = False
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect":
            self._expects = value.lower() == b"100-continue"
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._linger_s:
            return  # refused: what follows is not looked at
        self._head_bytes = -1  # there is none to be counted
        parser, gate, url = self._parser, self._gate, self._url
        method = parser.get_method()
        path, query = url, b""
        if url[:1] != b"/" or b"#" in url:
            parsed = parse_url(url)
            path, query = parsed.path or b"/", parsed.query or b""
        elif b"?" in url:
            path, _, query = url.partition(b"?")
        text = path.decode("latin-1")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": parser.get_http_version(),
            "method": method.decode("ascii"),
            "scheme": "https" if self._is_tls else "http",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
        }
        keeps_alive = parser.should_keep_alive()
        if self._answering is None and keeps_alive and method in (b"GET", b"HEAD"):
            try:
                reply = gate.quick(scope)
            except Exception:  # the slow way says what it is
                _log.exception("%s %s failed", scope["method"], text)
                reply = None
            if reply is not None:
                status, lines, start, body = reply
                if method == b"HEAD":
                    start = body = b""
                self._write(b"".join((_LINES[status], gate.lines, lines, b"\r\n", start)), body)
                self._parsing = None
                self._state.total_requests += 1
                self._be_idle()
                return
        turn = _Turn(self, scope, expects=self._expects, keeps_alive=keeps_alive)
        if len(self._headers) > MAX_HEADERS:
            turn.keeps_alive = False
            self._parsing = turn
            self._refuse(431, "the request has too many headers")
            return
        self._parsing = turn
        if self._answering is None:
            self._start(turn)
        else:
            self._queue.append(turn)
            self.pause()

    def on_body(self, body: bytes) -> None:
        turn = self._parsing
        if turn is not None:
            turn.take(body)

    def on_message_complete(self) -> None:
        if self._parsing is not None and self._parser.should_upgrade() and _has_body(self._headers):
            return  # its parser has seen enough, we have not
        turn, self._parsing = self._parsing, None
        if turn is not None:
            turn.end_body()

    # -- turns -----------------------------------------------------------------------------

    def _start(self, turn: _Turn) -> None:
        self._answering = turn
        self._seen_s, self._seen_bytes = self._gate.now_s, 0
        task = asyncio.get_running_loop().create_task(turn.run())
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def answered(self, turn: _Turn) -> None:
        """The next request may begin, or the connection ends."""
        self._state.total_requests += 1
        if self.is_lost:
            return
        self._answering = None
        if not turn.keeps_alive:
            self._queue.clear()
            if turn.more and not self._is_tls and self._transport.can_write_eof():
                # To close with bytes unread would have the kernel tell the client so before it read
                # our answer.
                self._transport.write_eof()
                self._linger_s = self._gate.now_s + _LINGER_S
                self.resume()
            else:
                self._transport.close()
            return
        self.resume()
        if self._queue:
            self._start(self._queue.popleft())
        else:
            self._be_idle()

    def shutdown(self) -> None:
        """End after the answer that is under way; asked by uvicorn when the server stops."""
        turn = self._answering
        if turn is None:
            self._transport.close()
        else:
            turn.keeps_alive = False

    def end(self) -> None:
        """End now."""
        self._gate.all.discard(self)
        self._gate.idle.pop(self, None)
        self._transport.abort()

    def look(self) -> None:
        """Close what takes too long."""
        gate, limits = self._gate, self._gate.limits
        now_s, transport = gate.now_s, self._transport
        turn = self._answering
        if self._linger_s:
            if now_s > self._linger_s:
                self.end()
        elif turn is not None or transport.get_write_buffer_size():
            self._look_at(turn, now_s, limits)
        elif self in gate.idle:
            if now_s - self._begun_s > limits.idle_s:
                self.end()
        elif now_s - self._begun_s > limits.head_s:
            self._refuse(408, "the head of the request took too long")

    def _look_at(self, turn: _Turn | None, now_s: float, limits: Limits) -> None:
        """Whether bytes move, as long as they wait for the client."""
        left = self._transport.get_write_buffer_size()
        is_ours = turn is not None and not left and not turn.is_waiting
        moved = (0 if turn is None else turn.taken_bytes) - left
        if is_ours:
            self._seen_s, self._seen_bytes = now_s, moved
        elif now_s - self._seen_s >= limits.stall_s:
            if moved - self._seen_bytes < limits.rate_bytes * (now_s - self._seen_s):
                self.end()
            self._seen_s, self._seen_bytes = now_s, moved

    def _be_idle(self) -> None:
        self._gate.idle[self] = None
        self._begun_s = self._gate.now_s

    def _refuse(self, status: int, words: str) -> None:
        """Answer what is no request, and close."""
        if self._answering is not None or self._transport.is_closing():
            self.end()  # in the middle of an answer there are no words
            return
        body = words.encode("latin-1", "replace") + b"\n"
        self._transport.write(
            _LINES[status] + self._gate.lines + b"connection: close\r\ncontent-type: text/plain\r\n"
            b"content-length: %d\r\n\r\n" % len(body) + body
        )
        self._linger_s = self._gate.now_s + _LINGER_S
        if self._is_tls:
            self._transport.close()
        else:
            self._transport.write_eof()

    # -- for turns -------------------------------------------------------------------------

    def _write(self, head: bytes, body: Buffer) -> None:
        size = memoryview(body).nbytes
        if not size:
            self._transport.write(head)
        elif size <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))  # type: ignore[arg-type]

    def _write_body(self, body: Buffer) -> None:
        self._transport.write(body)  # type: ignore[arg-type]

    def send_continue(self) -> None:
        """Ask for the body."""
        if not self._transport.is_closing():
            self._transport.write(_CONTINUE)

    async def drain(self) -> None:
        """Wait until the client took what was written."""
        if self._waiters is not None and not self.is_lost:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def pause(self) -> None:
        """Read no more for now."""
        if self._is_reading and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._is_reading and not self._transport.is_closing():
            self._is_reading = True
            self._transport.resume_reading()


class _Resumed:
    """Hands a connection what comes after a head that offers another protocol.

    A parser stops there, whether or not a body follows: another one goes on, from a head of our own that
    says of the body what theirs said, and is not passed along.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_ours = True

    @classmethod
    def parser(cls, connection: Connection, headers: Headers) -> HttpRequestParser:
        """A parser that goes on with a body."""
        parser = HttpRequestParser(cls(connection))
        framing = b"".join(b"%b: %b\r\n" % header for header in headers if header[0] in _FRAMING)
        parser.feed_data(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n")
        return parser

    def on_message_begin(self) -> None:
        if not self._is_ours:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_ours:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_ours:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_ours:
            self._is_ours = False
        else:
            self._connection.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._connection.on_body(body)

    def on_message_complete(self) -> None:
        self._connection.on_message_complete()


def _has_body(headers: Headers) -> bool:
    return any(name in _FRAMING and value != b"0" for name, value in headers)


class _Turn:
    """One request and its answer, as ASGI has them."""

    __slots__ = (
        "_chunks", "_connection", "_expects", "_head", "_is_chunked", "_left_bytes", "_pending_bytes",
        "_scope", "_waiter", "is_done", "is_lost", "keeps_alive", "more", "taken_bytes",
    )  # fmt: skip

    def __init__(self, connection: Connection, scope: Scope, *, expects: bool, keeps_alive: bool) -> None:
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
            await self._connection._gate.app(self._scope, self.receive, self.send)
            if not (self.is_done or self.is_lost):
                _log.error("%s %s was not answered", self._scope["method"], self._scope["path"])
        except asyncio.CancelledError:
            _log.warning("%s %s was given up", self._scope["method"], self._scope["path"])
        except Exception:
            _log.exception("%s %s failed", self._scope["method"], self._scope["path"])
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
        if size > _PIECE_BYTES and connection._is_tls:
            await self._send_in_pieces(head, memoryview(body).cast("B"))
        elif head:
            connection._write(head, body)
        elif size:
            connection._write_body(body)
        if more:
            await connection.drain()
        else:
            self._finish()

    async def _send_in_pieces(self, head: bytes | None, body: memoryview) -> None:
        connection = self._connection
        if head:
            connection._write(head, b"")
        for start in range(0, len(body), _PIECE_BYTES):
            if self.is_lost:
                return
            connection._write_body(body[start : start + _PIECE_BYTES])
            await connection.drain()

    def _finish(self) -> None:
        self.is_done = True
        self._chunks = []
        self._connection.answered(self)

    def _framed(self, status: int, headers: Any) -> bytes:
        """The head of an answer."""
        parts = [_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._connection._gate.lines]
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
