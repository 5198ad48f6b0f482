"""The ASGI application: routes a request to its dialect, says who asks, and accounts for it.

It knows dialects by their protocol only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import VcacheError
from vcache.server.access import AccessLog
from vcache.server.callers import Caller
from vcache.server.counts import Counts
from vcache.server.dialect import Dialect
from vcache.server.exchange import Desk, Exchange, Receive, Scope, Send
from vcache.server.refused import Refusal, Refused, refusal_of

if TYPE_CHECKING:
    from vcache.server.gate import Reply

__all__ = ["App", "Asgi", "Authenticate", "Mount"]

_log: Final = logging.getLogger("vcache.server")

Authenticate = Callable[[Scope], Caller]
"""Who sends a request.

Raises:
    Refused: nobody that may.
"""

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Mount = tuple[str, Asgi]
"""With what paths begin, and the ASGI application that answers them, tokens included."""


class App:
    """All HTTP dialects on one port.

    Args:
        desk: what all requests share.
        dialects: in the order in which they are asked for a path.
        authenticate: who sends a request.
        mounts: asked before the dialects.
        counts: what is counted.
        log: of requests.
    """

    def __init__(
        self,
        desk: Desk,
        dialects: Sequence[Dialect],
        authenticate: Authenticate,
        *,
        mounts: Sequence[Mount] = (),
        counts: Counts | None = None,
        log: AccessLog | None = None,
    ) -> None:
        self._desk = desk
        self._dialects = tuple(dialects)
        self._authenticate = authenticate
        self._mounts = tuple(mounts)
        self.counts = counts or Counts()
        self.log = log or AccessLog("off")
        self.quick_dialects = tuple(dialect for dialect in dialects if hasattr(dialect, "quick"))
        for dialect in dialects:
            self.counts.of(dialect.name)

    def quick(self, scope: Scope) -> Reply | None:
        """The answer that can be given at once; None for a request that takes longer or is refused."""
        started_ns = time.perf_counter_ns()
        path = scope["path"]
        for dialect in self.quick_dialects:
            if not dialect.claims(path):
                continue
            try:
                caller = self._authenticate(scope)
                answer = dialect.quick(scope, caller)
            except (Refused, VcacheError, OSError):
                return None  # whose words are the slow way's
            if answer is None:
                return None
            outcome, saved_ns, reply = answer
            out_bytes = len(reply[2]) + len(reply[3])
            took_ns = time.perf_counter_ns() - started_ns
            slot = self.counts.of(dialect.name)
            slot.count(outcome, in_bytes=0, out_bytes=out_bytes, saved_ns=saved_ns, took_ns=took_ns)
            if self.log.mode != "off" and self.log.wants(reply[0]):
                self._write(scope, caller, dialect.name, reply[0], outcome, 0, out_bytes, took_ns)
            return reply  # type: ignore[no-any-return]
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        for prefix, application in self._mounts:
            if path.startswith(prefix):
                await application(scope, receive, send)
                return
        dialect = next((dialect for dialect in self._dialects if dialect.claims(path)), None)
        if dialect is None:
            await _plain(send, 404, b"nothing is served under this path\n")
            return
        started_ns = time.perf_counter_ns()
        slot = self.counts.of(dialect.name)
        slot.running += 1
        exchange: Exchange | None = None
        why: Refused | None = None
        try:
            caller = self._authenticate(scope)
            if not caller.may_read and dialect.needs_token(method, path):
                raise Refused(Refusal.UNAUTHENTICATED, "a token is needed here")
            exchange = Exchange(scope, receive, send, caller=caller, desk=self._desk, dialect=dialect.name)
            await dialect.answer(exchange)
        except Refused as refused:
            why = refused
        except Exception as error:  # one request's fault is not the others'
            why = refusal_of(error)
            if why.kind is Refusal.FULL:
                _log.warning("%s %s: %s", method, path, why)
            else:
                _log.exception("%s %r failed", method, path)
        finally:
            slot.running -= 1
        status = 0 if exchange is None else exchange.status
        if why is not None and not status:
            status, headers, body = dialect.phrase(why, method=method, path=path)
            slot.refuse(why.kind.value)
            await _plain(send, status, b"" if method == "HEAD" else body, headers, size=len(body))
        self._account(scope, exchange, dialect.name, status, time.perf_counter_ns() - started_ns)

    def _account(
        self, scope: Scope, exchange: Exchange | None, dialect: str, status: int, took_ns: int
    ) -> None:
        slot = self.counts.of(dialect)
        if exchange is None:
            slot.took(took_ns)
        else:
            slot.count(
                exchange.outcome,
                in_bytes=exchange.received_bytes,
                out_bytes=exchange.sent_bytes,
                saved_ns=exchange.saved_ns,
                took_ns=took_ns,
            )
        if self.log.mode != "off" and self.log.wants(status):
            in_bytes, out_bytes, outcome = 0, 0, ""
            if exchange is not None:
                in_bytes, out_bytes = exchange.received_bytes, exchange.sent_bytes
                outcome = exchange.outcome
            caller = None if exchange is None else exchange.caller
            self._write(scope, caller, dialect, status, outcome, in_bytes, out_bytes, took_ns)

    def _write(
        self,
        scope: Scope,
        caller: Caller | None,
        dialect: str,
        status: int,
        outcome: str,
        in_bytes: int,
        out_bytes: int,
        took_ns: int,
    ) -> None:
        self.log.write(
            method=scope["method"],
            path=scope["path"],
            status=status,
            dialect=dialect,
            outcome=outcome,
            token="" if caller is None else caller.token,
            namespace="" if caller is None else caller.namespace,
            client=scope.get("client"),
            in_bytes=in_bytes,
            out_bytes=out_bytes,
            took_ns=took_ns,
        )


async def _plain(
    send: Send,
    status: int,
    body: bytes,
    headers: Sequence[tuple[str, str]] = (("content-type", "text/plain; charset=utf-8"),),
    *,
    size: int | None = None,
) -> None:
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    lines.append((b"content-length", b"%d" % (len(body) if size is None else size)))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
