"""Refusals in plain HTTP, for dialects that have nothing of their own to say."""

from __future__ import annotations

from typing import Final

from vcache.server.dialect import Answer
from vcache.server.refused import Refusal, Refused

__all__ = ["BEARER", "CHALLENGE", "READS", "is_probe", "plain"]

READS: Final = frozenset({"GET", "HEAD"})

CHALLENGE: Final = ("www-authenticate", 'Basic realm="vcache", charset="UTF-8"')
"""With a 401: clients that send a password only when asked for it send it then (RFC 7617)."""

BEARER: Final = ("www-authenticate", 'Bearer realm="vcache"')
"""With a 401, for clients of our own and whoever reads the description of the API."""

_PROBE: Final = "/.sccache_check"
_TEXT: Final = ("content-type", "text/plain; charset=utf-8")


def plain(refused: Refused, *, status: int | None = None, challenge: tuple[str, str] = CHALLENGE) -> Answer:
    """The status of the kind of refusal, or another one, and why in words."""
    headers = [_TEXT]
    if refused.kind is Refusal.UNAUTHENTICATED:
        headers.append(challenge)
    return status or refused.kind.value, headers, f"{refused}\n".encode()


def is_probe(refused: Refused, *, path: str) -> bool:
    """Whether it is sccache's probe that is refused, for want of a token that is known.

    Answered 404 when it is read and 403 when it is written, sccache's server starts, and compiles what it
    may not look up; answered 401, it does not start and no compilation succeeds.
    """
    return refused.kind is Refusal.UNAUTHENTICATED and path.endswith(_PROBE)
