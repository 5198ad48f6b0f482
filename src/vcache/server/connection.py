"""Connections: bytes to requests by httptools, answers to bytes, and what no client may do to others.

uvicorn starts and ends it in the place of its own HTTP protocol. What is different: an answer goes out
in one write; a small one is given at once, without a task; bodies are not copied; and a client that is
slow, greedy or confused is shown out. It knows ASGI and no dialect.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from vcache.server.door import LOOKED_AT
from vcache.server.duplex import Duplex
from vcache.server.gate import Gate, Limits
from vcache.server.turn import STATUS_LINES, Turn
from vcache.server.upgrade import Headers, Resumed, has_body

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.server.exchange import Scope

__all__ = ["MAX_HEADERS", "MAX_HEAD_BYTES", "Connection"]

_log: Final = logging.getLogger("vcache.server")

MAX_HEAD_BYTES: Final = 64 << 10
MAX_HEADERS: Final = 128
# Up to here a head and a body are joined: a copy costs less than a second piece.
_JOINED_BYTES: Final = 64 << 10
_LINGER_S: Final = 2.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_QUICK: Final = frozenset({"GET", "HEAD"})


class Connection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_answering",
        "_begun_s",
        "_client",
        "_duplex",
        "_expects",
        "_head_bytes",
        "_headers",
        "_held",
        "_is_reading",
        "_linger_s",
        "_looked_at",
        "_parser",
        "_parsing",
        "_queue",
        "_seen_bytes",
        "_seen_s",
        "_server",
        "_state",
        "_transport",
        "_upgrade",
        "_url",
        "_waiters",
        "_written_bytes",
        "gate",
        "is_lost",
        "is_tls",
        "lost_calls",
    )  # fmt: skip

    def __init__(self, gate: Gate, state: Any) -> None:
        self.gate, self._state = gate, state
        self._parser = HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._queue: deque[Turn] = deque()
        self._answering: Turn | None = None  # whose answer is to come next
        self._parsing: Turn | None = None  # whose body comes in
        self._waiters: list[asyncio.Future[None]] | None = None  # while the client does not take bytes
        self._head_bytes = 0
        self._begun_s = gate.now_s  # of the head, or of being idle
        self._linger_s = 0.0
        self._seen_s, self._seen_bytes = gate.now_s, 0
        self._is_reading = True
        self.is_lost = False
        self.lost_calls: list[Callable[[], object]] = []
        self._written_bytes = 0
        self._upgrade = b""  # the protocol that the request offers
        self._held: bytes | None = None  # what came behind an offer that is being thought about
        self._duplex: Duplex | None = None  # it was taken

    # -- asyncio ---------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._client = transport.get_extra_info("peername")
        self._server = transport.get_extra_info("sockname")
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        if not self.gate.admit(self):
            transport.write(
                STATUS_LINES[503] + self.gate.lines + b"connection: close\r\ncontent-length: 0\r\n\r\n"
            )
            transport.close()
            return
        self._state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.gate.all.discard(self)
        self.gate.idle.pop(self, None)
        self._state.connections.discard(self)
        for turn in (self._answering, self._parsing, *self._queue):
            if turn is not None:
                turn.lose()
        self._queue.clear()
        self.resume_writing()
        if self._duplex is not None:
            self._duplex.lose()
        for call in tuple(self.lost_calls):
            call()

    def eof_received(self) -> bool:
        # Half a connection is a whole answer: the client waits for it. Half a body is nothing.
        return (
            self._duplex is None and self._answering is not None and self._parsing is None and not self.is_tls
        )

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
        if self._duplex is not None:
            self._duplex.take(data)
            return
        if self._held is not None:
            self._held += data  # what was under way when reading paused
            return
        if self.gate.idle.pop(self, self) is None:
            self._begun_s = self.gate.now_s
        try:
            self._feed(data)
        except HttpParserError as error:
            self._refuse(400, str(error))

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:  # an offer
                data = data[upgrade.args[0] :]
                if self._upgrade == b"websocket" and self._answering is not None and self._parsing is None:
                    self._held = data  # until it is taken or not
                    self.pause()
                    break
                if self._parsing is not None:
                    self._parser = Resumed.parser(self, self._headers)
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
        self._looked_at: Headers = []
        self._expects = False
        self._upgrade = b""
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_bytes < 0:
            self._pass_trailer(name, value)
            return
        name = name.lower()
        if name == b"expect":
            self._expects = value.lower() == b"100-continue"
        elif name == b"upgrade":
            self._upgrade = value.lower()
        elif name in LOOKED_AT:
            self._looked_at.append((name, value))
        self._headers.append((name, value))

    def _pass_trailer(self, name: bytes, value: bytes) -> None:
        """What stands behind a body counts for nothing (RFC 9110, 6.5.1), and is no way to send for ever."""
        self._head_bytes -= len(name) + len(value) + 4
        if self._head_bytes < -MAX_HEAD_BYTES:
            self.end()

    def on_headers_complete(self) -> None:
        if self._linger_s:
            return  # refused: what follows is not looked at
        self._head_bytes = -1  # there is none to be counted, and trailers count backwards
        scope = self._scope()
        keeps_alive = self._parser.should_keep_alive()
        objection = self.gate.door.objection(self._looked_at) if self._looked_at else None
        if objection is not None:
            self._parsing = None
            self._refuse(*objection)
            return
        if (
            self._answering is None
            and keeps_alive
            and scope["method"] in _QUICK
            and self._is_answered_at_once(scope)
        ):
            return
        turn = Turn(self, scope, expects=self._expects, keeps_alive=keeps_alive)
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

    def _scope(self) -> Scope:
        """The request whose head has come, as ASGI has it."""
        parser, url = self._parser, self._url
        path, query = url, b""
        if url[:1] != b"/" or b"#" in url:
            parsed = parse_url(url)
            path, query = parsed.path or b"/", parsed.query or b""
        elif b"?" in url:
            path, _, query = url.partition(b"?")
        text = path.decode("latin-1")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": parser.get_http_version(),
            "method": parser.get_method().decode("ascii"),
            "scheme": "https" if self.is_tls else "http",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
            "vcache.line": self,
            "vcache.upgrade": self._upgrade,
        }

    def _is_answered_at_once(self, scope: Scope) -> bool:
        """Whether the answer was at hand, and is on its way."""
        gate, method = self.gate, scope["method"]
        try:
            reply = gate.quick(scope)
        except Exception:  # the slow way says what it is
            _log.exception("%s %r failed", method, scope["path"])
            return False
        if reply is None:
            return False
        status, lines, start, body = reply
        if method == "HEAD":
            start = body = b""
        self.write(b"".join((STATUS_LINES[status], gate.lines, lines, b"\r\n", start)), body)
        self._parsing = None
        self._state.total_requests += 1
        self._be_idle()
        return True

    def on_body(self, body: bytes) -> None:
        turn = self._parsing
        if turn is not None:
            turn.take(body)

    def on_message_complete(self) -> None:
        if self._parsing is not None and self._parser.should_upgrade() and has_body(self._headers):
            return  # its parser has seen enough, we have not
        turn, self._parsing = self._parsing, None
        if turn is not None:
            turn.end_body()

    # -- turns -----------------------------------------------------------------------------

    def _start(self, turn: Turn) -> None:
        self._answering = turn
        self._seen_s, self._seen_bytes = self.gate.now_s, 0
        task = asyncio.get_running_loop().create_task(turn.run())
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def answered(self, turn: Turn) -> None:
        """The next request may begin, or the connection ends."""
        self._state.total_requests += 1
        if self.is_lost:
            return
        self._answering = None
        if not turn.keeps_alive:
            self._queue.clear()
            if turn.more and not self.is_tls and self._transport.can_write_eof():
                # To close with bytes unread would have the kernel tell the client so before it read
                # our answer.
                self._transport.write_eof()
                self._linger_s = self.gate.now_s + _LINGER_S
                self.resume()
            else:
                self._transport.close()
            return
        self.resume()
        if self._queue:
            self._start(self._queue.popleft())
        else:
            self._be_idle()
        if self._held is not None:  # the offer was not taken: what follows it is the next request
            held, self._held = self._held, None
            if held:
                self.data_received(held)

    def switch(self, head: bytes) -> Duplex:
        """Take the offer of the request that is being answered: say so, and speak HTTP no more."""
        turn = self._answering
        assert turn is not None and self._duplex is None
        turn.hand_over()
        self._duplex = Duplex(self, self._held or b"")
        self._held = None
        self.write_body(STATUS_LINES[101] + self.gate.lines + head + b"\r\n")
        if self.is_lost:
            self._duplex.lose()
        return self._duplex

    def close(self) -> None:
        """Send what was written, and end."""
        self._transport.close()

    def shutdown(self) -> None:
        """End after the answer that is under way; asked by uvicorn when the server stops."""
        turn = self._answering
        if turn is None:
            self._transport.close()
        else:
            turn.keeps_alive = False

    def end(self) -> None:
        """End now."""
        self.gate.all.discard(self)
        self.gate.idle.pop(self, None)
        self._transport.abort()

    def look(self) -> None:
        """Close what takes too long."""
        gate, limits = self.gate, self.gate.limits
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

    def _look_at(self, turn: Turn | None, now_s: float, limits: Limits) -> None:
        """Whether bytes move, as long as they wait for the client."""
        left = self._transport.get_write_buffer_size()
        is_ours = turn is not None and not left and not turn.is_waiting
        moved = (0 if turn is None else turn.taken_bytes) + self._written_bytes - left
        if is_ours:
            self._seen_s, self._seen_bytes = now_s, moved
        elif now_s - self._seen_s >= limits.stall_s:
            if moved - self._seen_bytes < limits.rate_bytes * (now_s - self._seen_s):
                self.end()
            self._seen_s, self._seen_bytes = now_s, moved

    def _be_idle(self) -> None:
        self.gate.idle[self] = None
        self._begun_s = self.gate.now_s

    def _refuse(self, status: int, words: str) -> None:
        """Answer what is no request, and close."""
        if self._answering is not None or self._transport.is_closing():
            self.end()  # in the middle of an answer there are no words
            return
        body = words.encode("latin-1", "replace") + b"\n"
        self._transport.write(
            STATUS_LINES[status] + self.gate.lines + b"connection: close\r\ncontent-type: text/plain\r\n"
            b"content-length: %d\r\n\r\n" % len(body) + body
        )
        self._linger_s = self.gate.now_s + _LINGER_S
        if self.is_tls:
            self._transport.close()
        else:
            self._transport.write_eof()

    # -- for turns -------------------------------------------------------------------------

    def write(self, head: bytes, body: Buffer) -> None:
        size = memoryview(body).nbytes
        self._written_bytes += size
        if not size:
            self._transport.write(head)
        elif size <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))  # type: ignore[arg-type]

    def write_body(self, body: Buffer) -> None:
        self._written_bytes += memoryview(body).nbytes
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
