"""Objects that clients send, before anybody believes them: opened, and compared with what they say.

Normative: docs/design/network.md. It must not know HTTP.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vcache.entry import Key, Record
from vcache.errors import DecodeError, SerializeError
from vcache.serialize import content_digest
from vcache.server.refused import Refusal, Refused
from vcache.store.objects import frames, name_of, unpack

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Mapped", "checked", "pieces"]


class Mapped:
    """A body as a buffer, wherever it is."""

    def __init__(self, content: bytes | Path) -> None:
        self._content = content

    def __enter__(self) -> Buffer:
        if isinstance(self._content, bytes):
            return self._content
        with self._content.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    def __exit__(self, *_: object) -> None:
        """The mapping goes with the last record that looks at it."""


def checked(key: Key | None, data: Buffer, name: str, *, limit_bytes: int) -> Record:
    """The record of an object, its content compared with what its head says.

    Args:
        limit_bytes: the longest content, unpacked: a packed one may be 255 times as long as it came.

    Raises:
        Refused: it is not that.
    """
    try:
        record = unpack(key, data)
        entry = record.entry()
        if entry.size_bytes > limit_bytes:
            raise Refused(
                Refusal.TOO_LARGE, f"a content of {entry.size_bytes} bytes; at most {limit_bytes} are taken"
            )
        found = content_digest(entry.encoding, record.body, size_bytes=entry.size_bytes)
    except SerializeError as error:
        raise Refused(Refusal.MALFORMED, f"no object: {error}") from None
    if found != entry.digest:
        raise Refused(Refusal.MALFORMED, "the content is not what the head says: its BLAKE3 is another")
    if name != "?" and name_of(entry.key) != name:
        raise Refused(Refusal.MALFORMED, f"the object is of {name_of(entry.key)}")
    if entry.encode() != record.head:
        raise Refused(Refusal.MALFORMED, "the head is not in its canonical form")
    return record


def pieces(data: Buffer) -> Iterator[memoryview]:
    """The objects of a batch.

    Raises:
        Refused: it is cut off.
    """
    try:
        yield from frames(data)
    except DecodeError as error:
        raise Refused(Refusal.MALFORMED, str(error)) from None
