"""Requests that a browser sends for a page of somebody else: shown the door before anything is looked up.

An open server on loopback takes everybody on this machine for a friend, and so every page that a browser
on it shows: a page may send requests to any address, or have its own name resolve to loopback (DNS
rebinding) and read the answers as well. What tells is `Host`, `Origin` and `Sec-Fetch-Site`, which no page
can set and no build tool sends amiss. Pure; it must not know dialects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["LOOKED_AT", "Door", "Objection"]

LOOKED_AT: Final = frozenset({b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode"})
"""The headers that are looked at."""

Objection = tuple[int, str]
"""A status, and words."""

_MOST_KNOWN: Final = 64
_HOST: Final = re.compile(rb"([A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{0,5})?")
# Names that nobody beyond this network can have resolve to anything: addresses, names without a dot, and
# the domains reserved for private use (RFC 6761, ICANN 2024: containers are given such).
_NEAR: Final = re.compile(
    rb"(\[.*\]|[0-9]+(\.[0-9]+){3}|[^.]*|(.*\.)?(localhost|internal))\.?", re.IGNORECASE
)


class Door:
    """Says whom not to let in.

    Args:
        is_private: only this machine is to be served, and nobody needs a token: `Host` has to be a name
            that a stranger cannot have resolve to loopback.
    """

    def __init__(self, *, is_private: bool) -> None:
        self._is_private = is_private
        # Clients say the same again and again.
        self._known: dict[tuple[tuple[bytes, bytes], ...], Objection | None] = {}

    def objection(self, headers: Iterable[tuple[bytes, bytes]]) -> Objection | None:
        """What there is to say against a request; None for nothing.

        Args:
            headers: those of `LOOKED_AT`, in lower case.
        """
        asked = tuple(headers)
        try:
            return self._known[asked]
        except KeyError:
            found = self._look(asked)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[asked] = found
            return found

    def _look(self, headers: tuple[tuple[bytes, bytes], ...]) -> Objection | None:
        said = dict(headers)
        if len(said) != len(headers):
            return 400, "a header that may be there once is there twice"
        host = said.get(b"host")
        if host is not None:
            match = _HOST.fullmatch(host)
            if match is None:
                return 400, "Host is the name of no server"
            if self._is_private and not _NEAR.fullmatch(match[1]):
                return 403, (
                    f"Host: {host[:200].decode('latin-1')}: this server is open to this machine only, and is "
                    "asked for as localhost or by its address; `open = true` lets any name do"
                )
        return self._look_at_page(said, host or b"")

    def _look_at_page(self, said: dict[bytes, bytes], host: bytes) -> Objection | None:
        """Whether another site's page has a browser ask."""
        site = said.get(b"sec-fetch-site")
        if site is not None:
            is_own = site in (b"same-origin", b"none")
            # Who follows a link gets its answer, which the page with the link cannot read.
            is_link = said.get(b"sec-fetch-mode") == b"navigate" and b"origin" not in said
        else:
            origin = said.get(b"origin")
            is_own = origin is None or (
                b"://" in origin and origin.partition(b"://")[2].lower() == host.lower()
            )
            is_link = False
        return None if is_own or is_link else (403, "pages of other sites are not served")
