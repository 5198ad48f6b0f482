"""Refusals in plain HTTP, for dialects that have nothing of their own to say."""

from __future__ import annotations

from typing import Final

from vcache.server.dialect import Answer
from vcache.server.refused import Refusal, Refused

__all__ = ["CHALLENGE", "READS", "plain"]

READS: Final = frozenset({"GET", "HEAD"})

CHALLENGE: Final = ("www-authenticate", 'Basic realm="vcache", charset="UTF-8"')
"""With a 401: clients that send a password only when asked for it send it then (RFC 7617)."""

_TEXT: Final = ("content-type", "text/plain; charset=utf-8")


def plain(refused: Refused, *, status: int | None = None) -> Answer:
    """The status of the kind of refusal, or another one, and why in words."""
    headers = [_TEXT]
    if refused.kind is Refusal.UNAUTHENTICATED:
        headers.append(CHALLENGE)
    return status or refused.kind.value, headers, f"{refused}\n".encode()
