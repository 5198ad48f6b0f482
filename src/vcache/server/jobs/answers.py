"""Bodies in, JSON out, for all that answers about jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from vcache.server.jobs.desk import BODY_BYTES, JobDesk
from vcache.server.logs import shown
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.server.exchange import Exchange, Header

__all__ = ["FRESH", "answered", "received", "sent", "whole_number"]

_JSON: Final = ("content-type", "application/json")
FRESH: Final = ("cache-control", "no-store")


@asynccontextmanager
async def received(exchange: Exchange, desk: JobDesk) -> AsyncIterator[bytes]:
    """The body of a request, with room for it as long as the context lasts.

    Raises:
        Refused: no room, too long, or cut off.
    """
    length = exchange.length_bytes
    exchange.desk.admit(exchange.caller, length)
    if length is not None and length > BODY_BYTES:
        raise Refused(Refusal.TOO_LARGE, _too_large(length))
    with desk.under_way.room(BODY_BYTES if length is None else length):
        yield await exchange.read(BODY_BYTES)


def _too_large(size_bytes: int) -> str:
    return (
        f"a body of {size_bytes:,} bytes; at most {BODY_BYTES:,} are taken: put what is large into the cache, and its "
        "key into the payload"
    )


async def answered(
    exchange: Exchange, value: object, headers: Sequence[Header] = (), *, status: int = 200
) -> None:
    """Answer with a value in JSON."""
    await sent(exchange, shown.encoded(value), headers, status=status)


async def sent(exchange: Exchange, text: bytes, headers: Sequence[Header] = (), *, status: int = 200) -> None:
    """Answer with what is JSON already."""
    await exchange.answer(status, text + b"\n", (_JSON, FRESH, *headers))


def whole_number(fields: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    """A parameter that is a whole number.

    Raises:
        Refused: it is none, or out of bounds.
    """
    text = fields.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise Refused(Refusal.MALFORMED, f"{name}={text!r:.40}: a whole number from {least} to {most}")
    return int(text)
