"""Maven's build cache extension: any file below `/maven/`, by GET, HEAD and PUT.

Maven Resolver moves the files: `v1.1/<group>/<artifact>/<checksum>/buildinfo.xml` and the artifacts
beside it, which come first. With WebDAV switched on it makes directories (MKCOL) and asks what there is
(OPTIONS). 404 is a miss, any 2xx success; a password is sent when 401 asks for it. A buildinfo.xml that
was saved with `remote.save.final` says so in its `final` element and is not replaced (protocols: 3.h).
"""

from __future__ import annotations

import re
from typing import Final

from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange
from vcache.server.names import clean_name
from vcache.server.phrases import READS, plain
from vcache.server.ranges import send_part
from vcache.server.refused import Refusal, Refused

__all__ = ["Maven"]

_PREFIX: Final = "/maven/"
_METHODS: Final = ("allow", "GET, HEAD, PUT, MKCOL, OPTIONS")
_FINAL: Final = re.compile(rb"<(\w+:)?final>\s*true\s*</")
_FINAL_WITHIN_BYTES: Final = 1 << 20


class Maven:
    """What Maven's extension says and expects."""

    name = "maven"

    def claims(self, path: str) -> bool:
        """Whether a path is Maven's."""
        return path.startswith(_PREFIX)

    def needs_token(self, method: str, path: str) -> bool:
        """For all but the question what there is."""
        return method != "OPTIONS"

    async def answer(self, exchange: Exchange) -> None:
        """Give or keep one file."""
        if exchange.method == "OPTIONS":
            await exchange.answer(200, headers=(_METHODS, ("dav", "1")))
        elif exchange.method == "MKCOL":
            exchange.caller.require_write()
            await exchange.answer(201)
        else:
            await self._file(exchange, clean_name(exchange.path.removeprefix(_PREFIX)))

    async def _file(self, exchange: Exchange, name: str) -> None:
        if exchange.method in READS:
            found = await exchange.find("maven", name)
            if found is None:
                await exchange.absent()
            else:
                await send_part(exchange, found, f'"{found.digest.hex()}"', [])
        elif exchange.method == "PUT":
            exchange.caller.require_write()
            if name.endswith("/buildinfo.xml"):
                old = await exchange.find("maven", name)
                if old is not None and _FINAL.search(old.body[:_FINAL_WITHIN_BYTES]):
                    raise Refused(Refusal.CONFLICT, f"{name!r:.200} was saved as final")
            kept = await exchange.keep("maven", name)
            await exchange.answer(201 if kept.is_new else 204)
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} is not part of Maven's protocol")

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As it is; where the store fails a read is a miss."""
        if refused.kind in (Refusal.BROKEN, Refusal.BUSY) and method in READS:
            return plain(refused, status=404)
        return plain(refused)
