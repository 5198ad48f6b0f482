"""Pages of a long list: where the last one ended is told by an opaque cursor.

A cursor holds the last key that was given, so that a page follows another whatever came or went
in between. It must not know what is listed.
"""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from vcache.errors import UsageError
from vcache.kit.data import dataclass

__all__ = ["Page", "cursor_of", "key_of", "page_of"]

T = TypeVar("T")

_VERSION: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list.

    Attributes:
        items: in the order of their keys.
        next: the cursor of the next page; None on the last.
    """

    items: list[T]
    next: str | None


def page_of(items: Iterable[T], key: Callable[[T], bytes], *, after: str | None, limit: int) -> Page[T]:
    """The items behind a cursor, as many as asked for, in the order of their keys.

    Args:
        items: all of them, in any order; no two have one key.
        after: the `next` of the page before; None for the first.

    Raises:
        UsageError: a cursor that is none, or a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"limit={limit}: ask for one item or more")
    start = None if after is None else key_of(after)
    behind = items if start is None else (item for item in items if key(item) > start)
    found = heapq.nsmallest(limit + 1, behind, key=key)
    has_more = len(found) > limit
    found = found[:limit]
    return Page(found, cursor_of(key(found[-1])) if has_more else None)


def cursor_of(key: bytes) -> str:
    """The cursor of a page that ended with a key."""
    return base64.urlsafe_b64encode(_VERSION + key).decode().rstrip("=")


def key_of(cursor: str) -> bytes:
    """The key with which the page before ended.

    Raises:
        UsageError: it is no cursor.
    """
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if data[:1] != _VERSION or cursor_of(data[1:]) != cursor:
        raise UsageError(f"cursor {cursor!r:.80} is none: take the `next` of the page before")
    return data[1:]
