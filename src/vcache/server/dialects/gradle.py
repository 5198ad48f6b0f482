"""Gradle's HTTP build cache: `GET|PUT /gradle/<key>`.

Any answer but 2xx, 404 and, since 7.2, 413 switches the cache off for the rest of the build, for reading
too. So a PUT that is not taken is 413, a GET that goes wrong a miss; a token that is not known is 401, as
somebody has to be told. Bodies are tar.gz, whose first member, METADATA, tells `executionTime` in ms
(protocols: 3.g).
"""

from __future__ import annotations

import re
from typing import Final

from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange
from vcache.server.framing import GzipCheck
from vcache.server.phrases import READS, plain
from vcache.server.refused import Refusal, Refused

__all__ = ["Gradle", "cost_in"]

_PREFIX: Final = "/gradle/"
_KEY: Final = re.compile(r"/gradle/([0-9A-Za-z_-]{1,128})")
_TYPE: Final = ("content-type", "application/vnd.gradle.build-cache-artifact.v1")

_HEAD_BYTES: Final = 16 << 10  # more than METADATA, which holds paths and names, ever is
_TAR_BLOCK_BYTES: Final = 512
_TIME: Final = re.compile(rb"^executionTime=(\d{1,12})\r?$", re.MULTILINE)


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
        if exchange.method in READS:
            found = await exchange.find("gradle", match[1])
            await (exchange.absent() if found is None else exchange.send(found, (_TYPE,)))
        elif exchange.method == "PUT":
            check = GzipCheck(head_bytes=_HEAD_BYTES)
            kept = await exchange.keep(
                "gradle", match[1], checks=(check,), cost_ns=lambda: cost_in(check.head)
            )
            await exchange.answer(201 if kept.is_new else 204)
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} is not part of Gradle's protocol")

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """401 for who is not known; else a miss, or "too large"."""
        if refused.kind is Refusal.UNAUTHENTICATED:
            return plain(refused)
        if method in READS:
            return plain(refused, status=404)
        return plain(refused, status=413 if method == "PUT" else None)


def cost_in(head: bytes) -> int:
    """How long the task ran, in ns, as METADATA at the beginning of a tar says; 0 where it does not."""
    from tarfile import XHDTYPE, HeaderError, TarInfo

    place = 0
    while True:
        content = place + _TAR_BLOCK_BYTES
        try:
            member = TarInfo.frombuf(head[place:content], "utf-8", "surrogateescape")
        except HeaderError:
            return 0
        if member.size < 0:  # which one of the two ways to write a size allows
            return 0
        if member.type != XHDTYPE:
            break
        # Gradle's tars have times in fractions, which take a header of their own before each member.
        place = content + -(-member.size // _TAR_BLOCK_BYTES) * _TAR_BLOCK_BYTES
    if member.name != "METADATA":
        return 0
    match = _TIME.search(head[content : content + member.size])
    return 0 if match is None else int(match[1]) * 1_000_000
