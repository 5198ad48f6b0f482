"""Records to put into stores under test."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from vcache.entry import Dep, Encoding, Entry, Key, Record, make_key
from vcache.hash import digest

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


def make_record(key: Key, body: bytes = b"content", **fields: Unpack[EntryFields]) -> Record:
    """A record of a body, with its true digest and size unless it is packed."""
    fields.setdefault("created_ns", CREATED_NS)
    return Record(Entry(key=key, digest=digest(body), size_bytes=len(body), **fields).encode(), body)


def named(name: str | bytes) -> tuple[Key, Record]:
    """A key and a small record that differs from that of every other name."""
    key = make_key(name)
    return key, make_record(key, b"content of " + key)


def body_of(size_bytes: int, *, seed: int = 0) -> bytes:
    """Bytes that do not compress, the same for the same arguments."""
    return random.Random(seed).randbytes(size_bytes)
