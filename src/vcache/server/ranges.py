"""Parts of a value: what `Range`, `If-Range` and `If-None-Match` ask for (RFC 9110, 13 and 14).

It must not know dialects.
"""

from __future__ import annotations

import re
from typing import Final

from vcache.server.exchange import Exchange, Header
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Found

__all__ = ["part_of", "send_part"]

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def part_of(header: str, size_bytes: int) -> range | None:
    """The bytes that one range asks for; None for what may be answered whole.

    Raises:
        Refused: none of them are there.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return None  # several ranges, another unit: RFC 9110 lets a server ignore them
    if not match[1]:
        start, stop = max(0, size_bytes - int(match[2])), size_bytes
    else:
        start, stop = int(match[1]), min(size_bytes, int(match[2]) + 1 if match[2] else size_bytes)
    if start >= stop:
        raise Refused(Refusal.RANGE, f"{header!r:.80} of {size_bytes} bytes")
    return range(start, stop)


async def send_part(exchange: Exchange, found: Found, etag: str, headers: list[Header]) -> None:
    """Answer with a value, the part of it that was asked for, or that it has not changed.

    Raises:
        Refused: a part that is not there.
    """
    headers = [*headers, ("etag", etag), ("accept-ranges", "bytes")]
    if etag in (exchange.header("if-none-match") or "").split(", "):
        exchange.hit(found)
        await exchange.answer(304, headers=headers)
        return
    asked = exchange.header("range")
    if exchange.header("if-range") not in (None, etag):
        asked = None  # what the client has the beginning of is another value, or of a date: no part fits it
    part = None if asked is None else part_of(asked, found.size_bytes)
    if part is None:
        await exchange.send(found, headers)
        return
    exchange.hit(found)
    headers.append(("content-range", f"bytes {part.start}-{part.stop - 1}/{found.size_bytes}"))
    await exchange.answer(206, found.body[part.start : part.stop], headers)
