"""Listings of a project's files, by content: what a tree elsewhere is to hold.

Pure but for one look into a cache. It knows no tree.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from vcache.entry import make_key
from vcache.hash import digest
from vcache.kit.data import dataclass, field
from vcache.outcome import Hit

if TYPE_CHECKING:
    from vcache.artifacts import Cabinet

__all__ = [
    "GONE",
    "Lost",
    "Rows",
    "Wanted",
    "above",
    "listing_key",
    "pack_rows",
    "read_listing",
    "unpack_rows",
]

GONE: Final = -1
"""The mode of a row that takes a name out of what an earlier listing says."""

Rows: TypeAlias = dict[str, tuple[int, bytes]]
"""Mode and content by name below the root, as an artifact has them; or GONE."""


class Lost(Exception):
    """Something that was promised by content cannot be had."""


def listing_key(content: bytes) -> bytes:
    """The key that a listing of this digest is kept under: that of a file of the same content."""
    return make_key(content, namespace=".outputs")


def pack_rows(rows: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A listing as bytes: equal for equal rows."""
    return json.dumps([[name, *_hexed(rows[name])] for name in sorted(rows)]).encode("ascii")


def unpack_rows(packed: bytes) -> Rows:
    """What `pack_rows` packed.

    Raises:
        ValueError: something else.
    """
    return {str(name): (int(mode), bytes.fromhex(content)) for name, mode, content in json.loads(packed)}


def _hexed(row: tuple[int, bytes]) -> tuple[int, str]:
    return row[0], row[1].hex()


def read_listing(cabinet: Cabinet, content: bytes) -> Rows:
    """A listing by its digest.

    Raises:
        Lost: it is not in the store, or is not what it should be.
    """
    found = cabinet.peek_key(listing_key(content))
    if not isinstance(found, Hit) or not isinstance(found.value, bytes) or digest(found.value) != content:
        raise Lost("a listing of the project's files")
    try:
        return unpack_rows(found.value)
    except (ValueError, TypeError) as error:
        raise Lost(f"a listing of the project's files ({error})") from error


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a tree is to hold.

    Attributes:
        rows: files, links and empty directories.
        directories: all that lead to them.
    """

    rows: Rows
    directories: frozenset[str] = field(repr=False)

    @classmethod
    def of(cls, rows: Rows) -> Wanted:
        """What leads to these rows, too."""
        return cls(rows, frozenset(above(rows)) | {name for name in rows if stat.S_ISDIR(rows[name][0])})

    def but(self, more: Mapping[str, tuple[int, bytes]], less: Iterable[str] = ()) -> Wanted:
        """The same with some rows more or other ones, and without some names and all below them."""
        rows = {**self.rows, **more}
        gone = [name for name, (mode, _) in more.items() if mode == GONE]
        for name in gone:
            del rows[name]
        for name in less:
            if name not in more:
                rows.pop(name, None)
                if name in self.directories:
                    below = f"{name}/"
                    for each in [each for each in rows if each.startswith(below) and each not in more]:
                        del rows[each]
        return Wanted(rows, self.directories.union(above(more)))


def above(names: Iterable[str]) -> set[str]:
    """The directories above these names."""
    found: set[str] = set()
    for name in names:
        parent = name.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found
