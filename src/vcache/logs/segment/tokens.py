"""Which words are in a block: a Bloom filter over tokens of messages and over values of fields.

A token is a word as the query language has them (`vcache.query.rows.words_in`). Numbers of up to three bytes are left
out: every block has them. Parameters: Bloom, "Space/Time Trade-offs in Hash Coding with
Allowable Errors" (1970); the bits of one hash by double hashing (Kirsch and Mitzenmacher, 2006).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from vcache.hash import placement
from vcache.query.rows import words_in

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["filtered_words", "make_filter", "may_have", "pair_hash", "token_hashes", "token_set"]

_WORD: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
# Lower case, and a blank for all that parts words.
_TABLE: Final = bytes((bytes((byte,)).lower()[0] if byte in _WORD else 0x20) for byte in range(256))
_BITS: Final = 8  # per token: 2.2 % of absent ones are taken for present
_PROBES: Final = 5
_SHORT: Final = 3


def token_set(text: str) -> set[bytes]:
    """The different words of a text, as `vcache.query.rows` has them."""
    if text.isascii():
        return set(text.encode().translate(_TABLE).split())
    return {word.encode("utf-8", "surrogatepass") for word in words_in(text)}


def filtered_words(text: str) -> list[bytes]:
    """The words of a text that a filter knows of."""
    return [
        word.encode("utf-8", "surrogatepass")
        for word in words_in(text)
        if len(word) > _SHORT or not word.isdigit()
    ]


def token_hashes(tokens: Iterable[bytes]) -> list[int]:
    """What stands for tokens in a filter; -1 for those that are left out."""
    return [placement(token) if len(token) > _SHORT or not token.isdigit() else -1 for token in tokens]


def pair_hash(name: str, value: bytes) -> int:
    """What stands for a field that has a value."""
    return placement(name.encode("utf-8", "surrogatepass") + b"\0" + value)


def make_filter(hashes: Sequence[int]) -> bytes:
    """A filter that has all of those."""
    import numpy as np

    found = np.array(hashes, np.uint64)
    size_bits = np.uint64(max(64, -(-len(found) * _BITS // 64) * 64))
    bits = np.zeros(int(size_bits), np.bool_)
    low, high = found & np.uint64(0xFFFFFFFF), found >> np.uint64(32) | np.uint64(1)
    for _ in range(_PROBES):
        bits[low % size_bits] = True
        low = low + high & np.uint64(0xFFFFFFFF)
    return np.packbits(bits, bitorder="little").tobytes()


def may_have(data: Buffer, value: int) -> bool:
    """Whether a filter has that hash; never false for one that was put in."""
    view = memoryview(data)
    size_bits = len(view) * 8
    low, high = value & 0xFFFFFFFF, value >> 32 | 1
    for _ in range(_PROBES):
        bit = low % size_bits
        if not view[bit >> 3] >> (bit & 7) & 1:
            return False
        low = low + high & 0xFFFFFFFF
    return True
