"""Records to put into stores under test."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from vcache.entry import Dep, Encoding, Entry, Key, Record, make_key
from vcache.errors import UsageError
from vcache.hash import digest
from vcache.serialize import pack

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SIZES", "body_of", "make_record", "named"]

SIZES: Final = (
    0, 1, 4095, 4096, 4097, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 1 << 20, 5 << 20,
)  # fmt: skip
"""Lengths of bodies, at and beside the places where a store may change how it keeps them."""

CREATED_NS: Final = 1_704_067_200_000_000_000


class EntryFields(TypedDict, total=False):
    """The fields of an `Entry` that a test may set."""

    codec: str
    encoding: Encoding
    created_ns: int
    expires_ns: int
    stale_until_ns: int
    cost_ns: int
    tags: frozenset[str]
    deps: tuple[Dep, ...]
    meta: Mapping[str, str]
    is_error: bool
    is_pinned: bool


def make_record(key: Key, content: bytes = b"content", **fields: Unpack[EntryFields]) -> Record:
    """A record of a content, with its true digest and size, packed as `encoding` says.

    Raises:
        UsageError: a packed content has to be one that packing makes smaller.
    """
    fields.setdefault("created_ns", CREATED_NS)
    head = Entry(key=key, digest=digest(content), size_bytes=len(content), **fields).encode()
    encoding = fields.get("encoding", Encoding.IDENTITY)
    if encoding is Encoding.IDENTITY:
        return Record(head, content)
    packed, body = pack([content], len(content), compress="lz4" if encoding is Encoding.LZ4 else "zstd")
    if packed is not encoding:
        raise UsageError(f"{content!r:.40} of {len(content)} bytes is not smaller as {encoding.name}")
    return Record(head, bytes(body))


def named(name: str | bytes) -> tuple[Key, Record]:
    """A key and a small record that differs from that of every other name."""
    key = make_key(name)
    return key, make_record(key, b"content of " + key)


def body_of(size_bytes: int, *, seed: int = 0) -> bytes:
    """Bytes that do not compress, the same for the same arguments."""
    return random.Random(seed).randbytes(size_bytes)
