"""What format a body of records has, and who says it: by the request's parameters and `Content-Type`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError
from vcache.logs.record import NAME_CHARS
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.logs.receive.base import Format
    from vcache.server.exchange import Exchange

__all__ = ["body_format", "source_of"]

_OF_TYPE: Final = {"text/plain": "lines"}


def body_format(exchange: Exchange) -> Format:
    """The format that a request says, or its type does; JSON lines for any other.

    Raises:
        Refused: there is none of that name.
    """
    from vcache.logs.receive import by_name

    kind = (exchange.header("content-type") or "").partition(";")[0].strip().lower()
    name = exchange.query.get("format") or _OF_TYPE.get(kind, "json")
    try:
        return by_name(name)
    except UsageError as error:
        raise Refused(Refusal.MALFORMED, str(error)) from error


def source_of(exchange: Exchange) -> str:
    """What says records that do not say it themselves.

    Raises:
        Refused: it is too long.
    """
    source = exchange.query.get("source", "")
    if len(source) > NAME_CHARS:
        raise Refused(Refusal.MALFORMED, f"source={source[:40]!r}…: at most {NAME_CHARS} characters")
    return source
