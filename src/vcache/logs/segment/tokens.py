"""Which words are in a block: a Bloom filter over words of messages and over values of fields.

A word is one as the query language has them (`vcache.query.rows.words_in`). Those shorter than three bytes are left
out, since every block has them, and so are those longer than 256. Parameters: Bloom, "Space/Time Trade-offs in
Hash Coding with Allowable Errors" (1970); the bits of one hash by double hashing (Kirsch and Mitzenmacher, 2006).

The hash of a word is that of Rabin and Karp: the sum of its bytes times the powers of a number, modulo 2⁶⁴, here
mixed at the end as SplitMix64 does it. So all words of a text are hashed at once, without a Python object for any
of them: 0.3 of the time of splitting the text and hashing each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from vcache.hash import placement
from vcache.query.rows import words_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = ["filtered_words", "make_filter", "may_have", "pair_hash", "word_hash", "word_hashes"]

_WORD: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_BLANK: Final = 0x20
# Lower case, and a blank for all that parts words.
_TABLE: Final = bytes((bytes((byte,)).lower()[0] if byte in _WORD else _BLANK) for byte in range(256))
# Where words stand in lines, and only what is between them parts them.
_LINES: Final = bytes((_BLANK if byte == 0x0A else byte) for byte in range(256))
_LEAST, _MOST = 3, 256
_PIECE: Final = 1 << 17  # what the processor has at hand, as numbers of 64 bits
_BASE: Final = 0x9E3779B97F4A7C15
_MIX: Final = 0xBF58476D1CE4E5B9
_64: Final = (1 << 64) - 1
_BITS: Final = 8  # per word: 2.2 % of absent ones are taken for present
_PROBES: Final = 5


def word_hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """What stands for the different words of texts."""
    import numpy as np

    found = [np.zeros(0, np.uint64)]
    for data, table in _pieces(texts):
        found.append(_hashed(data, table))
    return _distinct(np.concatenate(found))


def word_hash(word: bytes) -> int:
    """What stands for one word, in lower case."""
    total, power = 0, 1
    for byte in word:
        total = total + byte * power & _64
        power = power * _BASE & _64
    total ^= total >> 29
    total = total * _MIX & _64
    return total ^ total >> 32


def filtered_words(text: str) -> list[bytes]:
    """The words of a text that a filter knows of."""
    words = (word.encode("utf-8", "surrogatepass") for word in words_in(text))
    return [word for word in words if _LEAST <= len(word) <= _MOST]


def pair_hash(name: str, value: str) -> int:
    """What stands for a field that has a text."""
    return placement(f"{name}\0{value}".encode("utf-8", "surrogatepass"))


def _pieces(texts: Sequence[str]) -> Iterator[tuple[bytes, bytes]]:
    """Texts in pieces that end with a word, and what parts words in each."""
    rows = 512
    for at in range(0, len(texts), rows):
        joined = "\n".join(texts[at : at + rows])
        if joined.isascii():
            data, table = joined.encode() + b"\n", _TABLE
        else:
            data, table = "\n".join((*words_in(joined), "")).encode("utf-8", "surrogatepass"), _LINES
        begin = 0
        while len(data) - begin > _PIECE:
            end = begin + _PIECE
            # A word that is longer than a piece is cut: no filter knows it.
            while end > begin and table[data[end - 1]] != _BLANK:
                end -= 1
            end = end if end > begin else begin + _PIECE
            yield data[begin:end], table
            begin = end
        yield data[begin:], table


def _hashed(data: bytes, table: bytes) -> NDArray[np.uint64]:
    import numpy as np

    letters = np.frombuffer(table, np.uint8)[np.frombuffer(data, np.uint8)]
    is_word = np.zeros(len(letters) + 2, np.int8)
    is_word[1:-1] = letters != _BLANK
    edges = np.flatnonzero(is_word[1:] != is_word[:-1])
    begins, ends = edges[::2], edges[1::2]
    is_kept = (ends - begins >= _LEAST) & (ends - begins <= _MOST)
    begins, ends = begins[is_kept], ends[is_kept]
    powers, inverses = _powers()
    # Each word's sum is a difference of sums; the power of where it begins is divided out.
    sums = np.zeros(len(letters) + 1, np.uint64)
    np.cumsum(letters.astype(np.uint64) * powers[: len(letters)], out=sums[1:])
    found = (sums[ends] - sums[begins]) * inverses[begins]
    found ^= found >> np.uint64(29)
    found *= np.uint64(_MIX)
    found ^= found >> np.uint64(32)
    return _distinct(found)


def _distinct(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each once: in half the time of `np.unique`, which is not sure to sort."""
    import numpy as np

    hashes = np.sort(hashes)
    is_new = np.ones(len(hashes), np.bool_)
    np.not_equal(hashes[1:], hashes[:-1], out=is_new[1:])
    return hashes[is_new]


@cache
def _powers() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The powers of the base, and what divides by them."""
    import numpy as np

    found = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        powers = np.full(_PIECE, base, np.uint64)
        powers[0] = 1
        found.append(np.cumprod(powers, dtype=np.uint64))
    return found[0], found[1]


def make_filter(hashes: NDArray[np.uint64]) -> bytes:
    """A filter that has all of those."""
    import numpy as np

    size_bits = np.uint64(max(64, -(-len(hashes) * _BITS // 64) * 64))
    bits = np.zeros(int(size_bits), np.bool_)
    low, high = hashes & np.uint64(0xFFFFFFFF), hashes >> np.uint64(32) | np.uint64(1)
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
