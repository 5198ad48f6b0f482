"""Answers of sealed segments, kept in the cache by query and digest: asking again about the past costs nothing.

A segment never changes, so an answer over it never does. What cannot be kept or read is as if it had not been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.entry import make_key
from vcache.hash import digest
from vcache.outcome import Hit

if TYPE_CHECKING:
    from vcache.entry import Key
    from vcache.making import Keeper

__all__ = ["KeptAnswers"]

_NAMESPACE: Final = ".log-answers"


class KeptAnswers:
    """What `vcache.logs.search` remembers, in a cache. Threads: as the cache."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def get(self, query: str, segment: bytes) -> object | None:
        """What was kept; None for nothing."""
        found = self._keeper.peek_key(_key(query, segment))
        return found.value if isinstance(found, Hit) else None

    def put(self, query: str, segment: bytes, plain: object) -> None:
        """Keep what a query made of a segment."""
        if not self._keeper.is_disabled and not self._keeper.is_read_only:
            self._keeper.put_key(_key(query, segment), plain)


def _key(query: str, segment: bytes) -> Key:
    return make_key(segment + digest(query.encode("utf-8", "surrogatepass")), namespace=_NAMESPACE)
