"""Names as directories: what lies directly below one, in pages. Pure.

WebDAV and S3 list what the store keeps under flat names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from vcache.kit.data import dataclass

__all__ = ["Page", "page_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing.

    Attributes:
        names: those without a delimiter behind the prefix, in order.
        groups: what the others have in common up to the delimiter, in order.
        last: where the next page goes on; empty where this is the last.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    last: str = ""


def page_of(
    names: Iterable[str], prefix: str, *, delimiter: str = "", after: str = "", limit: int = 1000
) -> Page:
    """What begins with a prefix and comes behind `after`, at most `limit` names and groups."""
    found: dict[str, bool] = {}  # what is shown, and whether it is a group
    for name in names:
        if not name.startswith(prefix):
            continue
        end = name.find(delimiter, len(prefix)) if delimiter else -1
        shown = name if end < 0 else name[: end + len(delimiter)]
        if shown > after:
            found[shown] = end >= 0
    ordered = sorted(found)
    taken = ordered[:limit]
    return Page(
        tuple(name for name in taken if not found[name]),
        tuple(name for name in taken if found[name]),
        taken[-1] if taken and len(ordered) > len(taken) else "",
    )
