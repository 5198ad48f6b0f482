"""Length-prefixed parts of bytes, as statements and envelopes are made of. No I/O."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Reader", "part"]

_LENGTH: Final = struct.Struct("<I")


def part(data: bytes) -> bytes:
    """A part behind its length."""
    return _LENGTH.pack(len(data)) + data


class Reader:
    """Takes parts from the front of a buffer. Nothing is copied that does not fit the bound given."""

    __slots__ = ("_at", "_view")

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B").toreadonly()
        self._at = 0

    def take(self, size_bytes: int) -> memoryview:
        """The next so many bytes.

        Raises:
            DecodeError: there are fewer.
        """
        end = self._at + size_bytes
        if end > len(self._view):
            raise DecodeError(
                f"{size_bytes} bytes are wanted at {self._at}, {len(self._view) - self._at} are there"
            )
        taken = self._view[self._at : end]
        self._at = end
        return taken

    def part(self, max_bytes: int) -> bytes:
        """The next part.

        Raises:
            DecodeError: truncated, or longer than it may be.
        """
        (size,) = _LENGTH.unpack(self.take(_LENGTH.size))
        if size > max_bytes:
            raise DecodeError(f"a part of {size} bytes, where at most {max_bytes} may be")
        return bytes(self.take(size))

    def rest(self) -> memoryview:
        """What is left."""
        return self.take(len(self._view) - self._at)
