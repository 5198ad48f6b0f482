"""One request and its answer: all that a dialect sees of HTTP.

Nothing else touches ASGI. It knows the caller's rights and the vault, and no dialect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote

from vcache.entry import cost_ns_in
from vcache.kit.data import dataclass
from vcache.server.callers import Caller
from vcache.server.intake import Check, Inspector, Intake
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Found, Kept, Vault, realm_key

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.server.duplex import Duplex, Peer

__all__ = ["Desk", "Exchange", "Header"]

Header = tuple[str, str]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BINARY: Final = (b"content-type", b"application/octet-stream")


@dataclass(slots=True)
class Desk:
    """What all exchanges share.

    Attributes:
        vault: where values are.
        limit_bytes: the longest body.
        directory: where long bodies wait to be published; on the file system of the store.
        run: runs what blocks on a thread.
        admit: called before a body is read, with the caller and its length where it is known; may refuse.
        note: told of each change, on the thread that made it: the caller, action, dialect, realm, name and what was kept.
    """

    vault: Vault
    limit_bytes: int
    directory: Path
    run: Callable[..., Awaitable[Any]]
    admit: Callable[[Caller, int | None], None]
    note: Callable[[Caller, str, str, str, str | bytes, Kept | None], None]


class Exchange:
    """One request, answered once.

    Attributes:
        method: in capitals.
        path: percent-decoded, without the query.
        caller: who asks.
        outcome: "hit", "miss", "put" or "": for metrics and the access log.
        status: of the answer, 0 while there is none.
        sent_bytes, received_bytes: of bodies.
        saved_ns: what a hit saves.
    """

    __slots__ = (
        "_headers", "_query", "_receive", "_scope", "_send", "caller", "desk", "dialect", "method", "outcome",
        "path", "received_bytes", "saved_ns", "sent_bytes", "status",
    )  # fmt: skip

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, caller: Caller, desk: Desk, dialect: str
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._headers: dict[bytes, bytes] | None = None
        self._query: dict[str, str] | None = None
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.caller, self.desk, self.dialect = caller, desk, dialect
        self.outcome = ""
        self.status = self.sent_bytes = self.received_bytes = self.saved_ns = 0

    # -- the request -----------------------------------------------------------------------

    def header(self, name: str) -> str | None:
        """A header by its lower-case name; the first of several."""
        headers = self._headers
        if headers is None:
            headers = self._headers = dict(reversed(self._scope["headers"]))
        value = headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def raw_path(self) -> str:
        """The path as it came, percent-encoded: what signatures are over."""
        raw: bytes | None = self._scope.get("raw_path")
        return quote(self.path) if raw is None else raw.partition(b"?")[0].decode("latin-1")

    @property
    def raw_query(self) -> str:
        """The query as it came."""
        query: bytes = self._scope["query_string"]
        return query.decode("latin-1")

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query, decoded; the last of several."""
        if self._query is None:
            self._query = dict(parse_qsl(self.raw_query, keep_blank_values=True))
        return self._query

    @property
    def length_bytes(self) -> int | None:
        """How long the body says it is; None if it does not.

        Raises:
            Refused: the header is no number.
        """
        text = self.header("content-length")
        if text is None:
            return None
        if not text.isascii() or not text.isdigit():
            raise Refused(Refusal.MALFORMED, f"Content-Length: {text!r:.40} is not a number")
        return int(text)

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body, in memory.

        Raises:
            Refused: it is longer, shorter than it said, or the client went away.
        """
        length = self.length_bytes
        if length is not None and length > limit_bytes:
            raise Refused(
                Refusal.TOO_LARGE, f"a body of {length} bytes; at most {limit_bytes} are taken here"
            )
        parts: list[bytes] = []
        async for chunk in self._chunks(length, limit_bytes):
            parts.append(chunk)  # noqa: PERF401 - PEP 530 would make no difference, and the name helps
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def discard(self) -> None:
        """Let the body pass by: what it says is known, and the connection is to serve the next request.

        Raises:
            Refused: it is too long, shorter than it said, or the client went away.
        """
        async for _ in self._chunks(self.length_bytes, self.desk.limit_bytes):
            pass

    async def body(self, limit_bytes: int) -> bytes | Path:
        """The whole body, in a file where it is long; the caller removes it.

        Raises:
            Refused: no right, no room, too long, or cut off.
        """
        length, limit = self._admitted(limit_bytes)
        return await self._taken(length, limit, (), None)

    async def keep(
        self,
        realm: str,
        name: str | bytes,
        *,
        checks: Sequence[Check] = (),
        meta: Mapping[str, str] | None = None,
        cost_ns: int | Callable[[], int] = 0,
        tags: frozenset[str] = frozenset(),
        limit_bytes: int | None = None,
        decode: Callable[[bytes], bytes] | None = None,
        inspector: Inspector | None = None,
    ) -> Kept:
        """Take the body in as a value of the caller's namespace, checked and published whole.

        Args:
            checks: see every byte before it is published; long bodies on a thread, in order.
            decode: makes content of a body that is sent in some wrapping, piece by piece.
            inspector: sees the content when it is complete.
            cost_ns: what it took to make; a callable is asked when the whole body was seen.

        Raises:
            Refused: no right, no room, too long, cut off, or a check says no. Nothing was changed.
        """
        length, limit = self._admitted(limit_bytes)
        content = await self._taken(length, limit, checks, decode)

        def publish() -> Kept:
            # Others may have filled the quota meanwhile, and a body in chunks did not say how long it is.
            self.desk.admit(self.caller, _size_of(content))
            if inspector is not None:
                inspector.inspect(content)
            cost = cost_ns if isinstance(cost_ns, int) else cost_ns()
            kept = self.desk.vault.put(
                self.caller.namespace, realm, name, content, meta=meta, cost_ns=cost, tags=tags
            )
            self.desk.note(self.caller, "put", self.dialect, realm, name, kept)
            return kept

        try:
            kept: Kept = await self.desk.run(publish)
        finally:
            if isinstance(content, Path):
                content.unlink(missing_ok=True)
        self.outcome = "put"
        return kept

    # -- the store -------------------------------------------------------------------------

    def get(self, realm: str, name: str | bytes) -> Found | None:
        """A value of the caller's namespace; on a thread, or where it is sure to be small and near."""
        return self.desk.vault.get(self.caller.namespace, realm, name)

    async def find(self, realm: str, name: str | bytes) -> Found | None:
        """A value of the caller's namespace, looked for on a thread where that may take long."""
        vault = self.desk.vault
        key = realm_key(self.caller.namespace, realm, name)
        near = vault.near(key)
        if near is True:
            found: Found | None = await self.desk.run(vault.get_key, key)
            return found
        return None if near is False else vault.found(near)

    async def delete(self, realm: str, name: str | bytes) -> bool:
        """Forget a value of the caller's namespace; whether there was one.

        Raises:
            Refused: no right, or the store fails.
        """
        self.caller.require_write()

        def forget() -> bool:
            is_gone = self.desk.vault.delete(self.caller.namespace, realm, name)
            if is_gone:
                self.desk.note(self.caller, "delete", self.dialect, realm, name, None)
            return is_gone

        is_gone: bool = await self.desk.run(forget)
        return is_gone

    # -- the answer ------------------------------------------------------------------------

    async def answer(self, status: int, body: Buffer = b"", headers: Iterable[Header] = ()) -> None:
        """Answer in one write; for HEAD without the body, but with its length."""
        size = memoryview(body).nbytes
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if status != 204 and status >= 200:
            lines.append((b"content-length", b"%d" % size))
        await self._start(status, lines, b"" if self.method == "HEAD" else body)

    async def send(self, found: Found, headers: Iterable[Header] = (), *, status: int = 200) -> None:
        """Answer with a value, and count a hit."""
        self.hit(found)
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if not any(name == b"content-type" for name, _ in lines):
            lines.append(_BINARY)
        lines.append((b"content-length", b"%d" % found.size_bytes))
        await self._start(status, lines, b"" if self.method == "HEAD" else found.body)

    async def answer_in_parts(
        self, status: int, parts: Sequence[Buffer], headers: Iterable[Header] = ()
    ) -> None:
        """As `answer`, with a body in pieces that need not be joined."""
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        sizes = [memoryview(part).nbytes for part in parts]
        lines.append((b"content-length", b"%d" % sum(sizes)))
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        last = len(parts) - 1
        if self.method == "HEAD":
            parts, last = (b"",), 0
        else:
            self.sent_bytes = sum(sizes)
        for number, part in enumerate(parts):
            message = {"type": "http.response.body", "body": part, "more_body": number < last}
            await self._send(message)

    async def absent(self, body: bytes = b"", headers: Iterable[Header] = ()) -> None:
        """Answer 404, and count a miss."""
        self.outcome = "miss"
        await self.answer(404, body, headers)

    async def delegate(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        """Let another ASGI application answer, which finds the caller under `vcache.caller`."""

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            else:
                self.sent_bytes += len(message.get("body", b""))
            await self._send(message)

        await application({**self._scope, "vcache.caller": self.caller}, self._receive, send)

    def hit(self, found: Found) -> None:
        """Count a hit, for an answer of another form."""
        self.outcome = "hit"
        self.saved_ns = cost_ns_in(found.record.head)

    async def stream(
        self,
        pieces: AsyncIterator[Buffer],
        headers: Iterable[Header] = (),
        *,
        when_lost: Callable[[], object] | None = None,
    ) -> None:
        """Answer with pieces whose length is not known before they are there; none is sent before the first.

        Args:
            when_lost: called as soon as the client is seen to be gone.
        """
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        line: Peer | None = self._scope.get("vcache.line")
        if line is not None and when_lost is not None:
            line.lost_calls.append(when_lost)
        try:
            async for piece in pieces:
                if not self.status:
                    self.status = 200
                    await self._send({"type": "http.response.start", "status": 200, "headers": lines})
                self.sent_bytes += memoryview(piece).nbytes
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                if line is not None and line.is_lost:
                    return
        finally:
            if line is not None and when_lost is not None:
                line.lost_calls.remove(when_lost)
        if not self.status:
            self.status = 200
            await self._send({"type": "http.response.start", "status": 200, "headers": lines})
        await self._send({"type": "http.response.body"})

    def offers(self, protocol: str) -> bool:
        """Whether the client would rather speak another protocol, which is known here."""
        return self._scope.get("vcache.upgrade") == protocol.encode() and "vcache.line" in self._scope

    def switch(self, headers: Iterable[Header]) -> Duplex:
        """Speak that protocol from here on."""
        self.status = 101
        line: Peer = self._scope["vcache.line"]
        return line.switch(b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers))

    # -- inside ----------------------------------------------------------------------------

    async def _start(self, status: int, lines: list[tuple[bytes, bytes]], body: Buffer) -> None:
        self.status = status
        self.sent_bytes = memoryview(body).nbytes
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        await self._send({"type": "http.response.body", "body": body})

    def _admitted(self, limit_bytes: int | None) -> tuple[int | None, int]:
        """How long the body says it is, and may be, before any of it is read.

        Raises:
            Refused: no right, no room, or too long.
        """
        self.caller.require_write()
        length = self.length_bytes
        limit = self.desk.limit_bytes if limit_bytes is None else min(limit_bytes, self.desk.limit_bytes)
        if length is not None and length > limit:
            raise Refused(Refusal.TOO_LARGE, f"a body of {length} bytes; at most {limit} are taken")
        self.desk.admit(self.caller, length)
        return length, limit

    async def _chunks(self, length: int | None, limit_bytes: int) -> AsyncIterator[bytes]:
        """The body as it comes, its length compared with what was said."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Refused(Refusal.MALFORMED, "the client went away before the body was complete")
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            self.received_bytes += len(chunk)
            if self.received_bytes > limit_bytes:
                raise Refused(Refusal.TOO_LARGE, f"a body of more than {limit_bytes} bytes")
            if chunk:
                yield chunk
        if length is not None and self.received_bytes != length:
            raise Refused(
                Refusal.MALFORMED, f"a body of {self.received_bytes} bytes, {length} were announced"
            )

    async def _taken(
        self,
        length: int | None,
        limit_bytes: int,
        checks: Sequence[Check],
        decode: Callable[[bytes], bytes] | None,
    ) -> bytes | Path:
        """The content in memory, or in a file where it is long."""
        intake = Intake(self.desk.directory, self.desk.run, checks, decode)
        try:
            async for chunk in self._chunks(length, limit_bytes):
                await intake.take(chunk)
            return await intake.finish()
        except BaseException:  # also where the server gives the request up
            intake.discard()
            raise


def _size_of(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
