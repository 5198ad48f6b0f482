"""Gradle's HTTP build cache: `GET|PUT /gradle/<key>`.

Any answer but 2xx, 404 and 413 switches the cache off for the rest of the build; a redirect is
followed. Bodies are tar.gz, which tells `executionTime` in its first member (protocols: 3.g).
"""

from __future__ import annotations

import re
from typing import Final

from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange
from vcache.server.refused import Refusal, Refused

__all__ = ["Gradle"]

_PREFIX: Final = "/gradle/"
_KEY: Final = re.compile(r"/gradle/([0-9A-Za-z_-]{1,128})")
_TYPE: Final = ("content-type", "application/vnd.gradle.build-cache-artifact.v1")


class Gradle:
    """What Gradle says and expects."""

    name = "gradle"

    def claims(self, path: str) -> bool:
        """Whether a path is Gradle's."""
        return path.startswith(_PREFIX)

    def needs_token(self, method: str, path: str) -> bool:
        """Always."""
        return True

    async def answer(self, exchange: Exchange) -> None:
        """Give or keep one artifact."""
        match = _KEY.fullmatch(exchange.path)
        if match is None:
            raise Refused(Refusal.MALFORMED, f"{exchange.path!r:.200} is no key of Gradle's")
        if exchange.method in ("GET", "HEAD"):
            found = exchange.get("gradle", match[1])
            if found is None:
                await exchange.absent()
            else:
                await exchange.send(found, (_TYPE,))
        elif exchange.method == "PUT":
            kept = await exchange.keep("gradle", match[1])
            await exchange.answer(201 if kept.is_new else 204)
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} is not part of Gradle's protocol")

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As plain statuses; where the store fails a read is a miss, for the build's sake."""
        if refused.kind in (Refusal.FULL, Refusal.TOO_LARGE):
            return 413, (), b""
        if refused.kind is Refusal.BROKEN and method in ("GET", "HEAD"):
            return 404, (), b""
        return refused.kind.value, (("content-type", "text/plain"),), str(refused).encode()
