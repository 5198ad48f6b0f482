"""The ASGI application: routes a request to its dialect, says who asks, and accounts for it.

It knows dialects by their protocol only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from vcache.errors import VcacheError
from vcache.server.callers import Caller
from vcache.server.dialect import Dialect
from vcache.server.exchange import Desk, Exchange, Receive, Scope, Send
from vcache.server.refused import Refusal, Refused

__all__ = ["App"]

_log: Final = logging.getLogger("vcache.server")

Authenticate = Callable[[Scope], Caller]
"""Who sends a request.

Raises:
    Refused: nobody that may.
"""


class App:
    """All HTTP dialects on one port.

    Args:
        desk: what all requests share.
        dialects: in the order in which they are asked for a path.
        authenticate: who sends a request.
    """

    def __init__(self, desk: Desk, dialects: Sequence[Dialect], authenticate: Authenticate) -> None:
        self._desk = desk
        self._dialects = tuple(dialects)
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        dialect = next((dialect for dialect in self._dialects if dialect.claims(path)), None)
        if dialect is None:
            await _plain(send, 404, b"nothing is served under this path\n")
            return
        exchange: Exchange | None = None
        try:
            caller = self._authenticate(scope)
            exchange = Exchange(scope, receive, send, caller=caller, desk=self._desk, dialect=dialect.name)
            await dialect.answer(exchange)
            return
        except Refused as refused:
            why = refused
        except (VcacheError, OSError) as error:
            _log.exception("%s %s failed", method, path)
            why = Refused(Refusal.BROKEN, f"{type(error).__name__}: {error}")
        if exchange is not None and exchange.status:
            return  # the answer has begun: closing the connection says the rest
        status, headers, body = dialect.phrase(why, method=method, path=path)
        await _plain(send, status, b"" if method == "HEAD" else body, headers, size=len(body))


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
