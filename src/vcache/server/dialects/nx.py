"""Nx's self-hosted cache: `GET|PUT /v1/cache/<hash>`.

A PUT has to be answered with 200, 403 or 409: anything else is tried six times in 20 s, and then the
task that succeeded is failed. A GET is 200 or 404: at anything else, 403 for a wrong token included, no
task is run. The client waits for an answer for ever. A record is never replaced (409). The body is a tar.gz of outputs, `terminalOutput` and `code`
(protocols: 3.f; OpenAPI of Nx, 1.0.0).
"""

from __future__ import annotations

import re
from typing import Final

from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange
from vcache.server.framing import GzipCheck
from vcache.server.phrases import READS, plain
from vcache.server.refused import Refusal, Refused

__all__ = ["Nx"]

_PREFIX: Final = "/v1/cache/"
_PATH: Final = re.compile(r"/v1/cache/([A-Za-z0-9_-]{1,512})")
_RIGHTS: Final = (Refusal.UNAUTHENTICATED, Refusal.FORBIDDEN)


class Nx:
    """What Nx says and expects."""

    name = "nx"

    def claims(self, path: str) -> bool:
        """Whether a path is Nx's."""
        return path.startswith(_PREFIX)

    def needs_token(self, method: str, path: str) -> bool:
        """Always."""
        return True

    async def answer(self, exchange: Exchange) -> None:
        """Give or keep one artifact."""
        match = _PATH.fullmatch(exchange.path)
        if match is None:
            raise Refused(Refusal.MALFORMED, f"{exchange.path!r:.200} is no hash of Nx's")
        if exchange.method in READS:
            found = await exchange.find("nx", match[1])
            await (exchange.absent() if found is None else exchange.send(found))
        elif exchange.method == "PUT":
            exchange.caller.require_write()
            if await exchange.find("nx", match[1]) is not None:
                raise Refused(Refusal.CONFLICT, "there is a record of that hash: it is never replaced")
            await exchange.keep("nx", match[1], checks=(GzipCheck(),))
            await exchange.answer(200)
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} is not part of Nx's protocol")

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """A GET is a miss; a PUT 403 where a right is missing, else 409: "there already"."""
        if method in READS:
            return plain(refused, status=404)
        return plain(refused, status=403 if refused.kind in _RIGHTS else 409)
