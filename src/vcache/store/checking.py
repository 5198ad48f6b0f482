"""Whether a record is what it claims to be, for whoever reads across a trust boundary. No I/O."""

from __future__ import annotations

from vcache.entry import Key, Record
from vcache.errors import SerializeError
from vcache.serialize import content_digest

__all__ = ["verified"]


def verified(key: Key, record: Record) -> Record | None:
    """The record if it is the key's and its content has the digest that its head claims, or None."""
    try:
        entry = record.entry()
        found = content_digest(entry.encoding, record.body, size_bytes=entry.size_bytes)
    except SerializeError:
        return None
    return record if entry.key == key and found == entry.digest else None
