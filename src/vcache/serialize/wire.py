"""The marks of typed msgpack: which extension code means what, and the protocols around them.

Content of the codecs "msgpack", "numpy", "arrow" and "error" is one of three shapes:

    plain    one msgpack document. No extension in it; any msgpack reader understands it.
    typed    C1 01, then one msgpack document with extensions.
    buffers  C1 02 00 00, count (u32), document length (u64), count x buffer length (u64),
             the document, then each buffer at the next multiple of 64 bytes from the start
             of the content. Padding is zero. All integers are little-endian.

C1 is the one byte that never starts a msgpack document, hence the mark. A value of a type
that msgpack lacks is either a *leaf*, an extension whose data is the value, or an array whose
first element is an extension, the *head*, which says what the array's rest is to become. Heads
keep nested values in one document: an extension that held a document would be copied once
per level on the way in and on the way out.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

__all__ = ["ALIGNMENT_BYTES", "BUFFERS", "TYPED", "Code", "Sink", "Source", "class_number", "padding_bytes"]

MARK: Final = 0xC1
TYPED: Final = b"\xc1\x01"
BUFFERS: Final = b"\xc1\x02"
BUFFERS_HEAD: Final = struct.Struct("<2sHIQ")
# A cache line, and what Arrow recommends for its buffers.
ALIGNMENT_BYTES: Final = 64


class Code:
    """Extension codes. A number is never used for anything else, once it was written to a disk."""

    # Heads of arrays: no data.
    TUPLE: Final = 1
    SET: Final = 2
    FROZENSET: Final = 3
    DEQUE: Final = 4  # maximum length, items
    ORDERED_DICT: Final = 5  # key, value, key, value
    COUNTER: Final = 6  # key, count, key, count
    DEFAULT_DICT: Final = 7  # name of the factory, key, value
    DATETIME: Final = 8  # ISO text without zone, fold, zone
    TIME: Final = 9  # ISO text without zone, fold, zone
    TIMEZONE: Final = 10  # offset, name
    FRACTION: Final = 11  # numerator, denominator
    RANGE: Final = 12  # start, stop, step
    NDARRAY: Final = 13  # dtype description, order, buffer number, lengths
    NUMPY_SCALAR: Final = 14  # dtype description, bytes
    ARROW: Final = 15  # kind, buffer number
    FOREIGN: Final = 16  # name of a registered codec, its bytes
    EXCEPTION: Final = 17  # class reference, name, arguments, attributes, message, traceback
    # Leaves: the data is the value.
    BIG_INT: Final = 32  # two's complement, big-endian
    COMPLEX: Final = 33  # two doubles, little-endian
    BYTEARRAY: Final = 34
    DATE: Final = 35  # ISO text
    TIMEDELTA: Final = 36  # days, seconds, microseconds as i32, little-endian
    DECIMAL: Final = 37  # its text
    UUID: Final = 38  # 16 bytes
    PATH: Final = 39  # p, w, P or W (pure, concrete; POSIX, Windows), then the path in UTF-8
    ZONE: Final = 40  # a key of the IANA data base
    UTC: Final = 41
    # Heads that stand for a class.
    CLASS: Final = 64  # kind, module:qualified.name, field names, separated by NUL
    CLASS_AGAIN: Final = 65  # number of an earlier CLASS of the document: u8, from 256 on u32 little-endian


class Sink(Protocol):
    """What the rule that encodes a value may ask for."""

    def add_buffer(self, parts: Sequence[Buffer]) -> int:
        """Keep a buffer, made of pieces, beside the document; its number."""

    def sort_key(self, value: object) -> bytes:
        """Bytes that order values of any type, the same in every process."""


class Source(Protocol):
    """What the rule that rebuilds a value may ask for."""

    def buffer(self, number: object) -> memoryview:
        """A buffer that was kept beside the document, without a copy."""

    def exception(self, parts: list[object]) -> Exception:
        """The exception that consisted of these parts."""


def class_number(number: int) -> bytes:
    """The data of a CLASS_AGAIN."""
    return bytes((number,)) if number < 256 else number.to_bytes(4, "little")


def padding_bytes(size_bytes: int) -> int:
    """How many bytes lead from an offset to the next aligned one."""
    return -size_bytes % ALIGNMENT_BYTES
