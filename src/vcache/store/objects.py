"""A record as one object of a foreign store: its name, its bytes. No I/O.

The formats are normative in docs/design/network.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from vcache.entry import FIXED, Key, Record, key_in
from vcache.errors import DecodeError
from vcache.hash import DIGEST_BYTES, digest

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "MAX_HEAD_BYTES",
    "PREFIX_BYTES",
    "frame",
    "frames",
    "head_of",
    "joined",
    "key_of",
    "name_of",
    "name_prefix",
    "pack",
    "unpack",
]

MAX_HEAD_BYTES: Final = 16 << 20
_MAGIC: Final = b"vcr\x01"
_START: Final = struct.Struct("<4sI32s")
PREFIX_BYTES: Final = _START.size
"""Bytes of an object before its head."""
_START_AND_KEY: Final = struct.Struct("<4sI32s4xI")  # and the length of the key, where a head keeps it
_LENGTH: Final = struct.Struct("<Q")
_PLAIN_KEY_BYTES: Final = 100
_LEAST_BYTES: Final = PREFIX_BYTES + FIXED.size


def name_of(key: Key) -> str:
    """The name of a key's object: at most 200 characters of `[0-9a-f~]`."""
    return key.hex() if len(key) <= _PLAIN_KEY_BYTES else "~" + digest(key).hex()


def key_of(name: str) -> Key | None:
    """The key that a name stands for; None for one that only the object's head tells.

    Raises:
        DecodeError: not the name of an object.
    """
    if name.startswith("~") and len(name) == 1 + 2 * DIGEST_BYTES:
        return None
    try:
        key = bytes.fromhex(name)
    except ValueError:
        raise DecodeError(f"{name!r:.80} is not the name of an object") from None
    if key.hex() != name or not key or len(key) > _PLAIN_KEY_BYTES:
        raise DecodeError(f"{name!r:.80} is not the name of an object")
    return key


def name_prefix(prefix: bytes) -> str:
    """With what the names of short keys begin that begin with a prefix."""
    return prefix[:_PLAIN_KEY_BYTES].hex()


def pack(record: Record) -> tuple[bytes, Buffer]:
    """The object of a record in two parts; the second is the record's own body."""
    head = record.head
    return _START.pack(_MAGIC, len(head), digest(head)) + head, record.body


def unpack(key: Key | None, data: Buffer) -> Record:
    """The record of an object. Its body is a view of the data, its content is not verified.

    Args:
        key: whose object it has to be; None for any.

    Raises:
        DecodeError: not an object, damaged, or another key's.
    """
    if type(data) is bytes and len(data) >= _LEAST_BYTES:
        # A batch has thousands of small ones: half of what the general way below takes.
        magic, size, seal, key_size = _START_AND_KEY.unpack_from(data)
        head = data[PREFIX_BYTES : PREFIX_BYTES + size]
        if (
            magic == _MAGIC
            and FIXED.size <= size == len(head) <= MAX_HEAD_BYTES
            and digest(head) == seal
            and (key is None or head[FIXED.size : FIXED.size + key_size] == key)
        ):
            return Record(head, memoryview(data)[PREFIX_BYTES + size :])
    view = memoryview(data)
    head = head_of(key, view)
    return Record(head, view[PREFIX_BYTES + len(head) :].toreadonly())


def head_of(key: Key | None, data: Buffer) -> bytes:
    """The verified head of an object, of which only the beginning need be given.

    Raises:
        DecodeError: as `unpack`, or the data ends before the head does.
    """
    view = memoryview(data)
    if len(view) < PREFIX_BYTES:
        raise DecodeError(f"an object of {len(view)} bytes is truncated")
    magic, size, seal = _START.unpack_from(view)
    if magic != _MAGIC:
        raise DecodeError(f"an object begins with {magic!r}, not {_MAGIC!r}")
    if not FIXED.size <= size <= MAX_HEAD_BYTES or PREFIX_BYTES + size > len(view):
        raise DecodeError(f"an object of {len(view)} bytes claims a head of {size}")
    head = bytes(view[PREFIX_BYTES : PREFIX_BYTES + size])
    if digest(head) != seal:
        raise DecodeError("the head of an object is damaged")
    if key is not None and key_in(head) != key:
        raise DecodeError(f"the object is another key's than {key!r:.80}")
    return head


def frame(record: Record) -> tuple[bytes, Buffer]:
    """An object behind its length, in two parts."""
    start, body = pack(record)
    return _LENGTH.pack(len(start) + memoryview(body).nbytes) + start, body


def frames(data: Buffer) -> Iterator[memoryview]:
    """The objects that `frame` joined.

    Raises:
        DecodeError: truncated.
    """
    view = memoryview(data)
    at = 0
    while at < len(view):
        if at + _LENGTH.size > len(view):
            raise DecodeError(f"a sequence of objects ends within a length, at {at}")
        (size,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        if at + size > len(view):
            raise DecodeError(f"an object at {at} claims {size} bytes, {len(view) - at} are there")
        yield view[at : at + size]
        at += size


def joined(parts: Iterable[tuple[bytes, Buffer]]) -> bytes:
    """Frames as one buffer."""
    return b"".join(piece for pair in parts for piece in pair)
