"""Finds text in a column of texts: in all of it at once, then which rows that is.

What is found may lie across two rows, or be no whole word: such rows are looked at one by one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from vcache.logs.segment.values import Texts
from vcache.query.rows import test_of
from vcache.query.syntax import Contains, Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["text_mask"]

_FEW: Final = 48
_LEAST_PAIRED: Final = 3
_SAMPLE: Final = 1024
_SMALL: Final = 0x20  # what sets small letters apart
_WORDS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def text_mask(leaf: Contains | Words, column: Texts) -> NDArray[np.bool_]:
    """Which rows have it."""
    import numpy as np

    is_words = isinstance(leaf, Words)
    # Where all is ASCII, bytes tell words as letters do.
    is_plain = not is_words or (leaf.text.isascii() and column.text.isascii())
    if not leaf.text or not is_plain:
        return column.mask(test_of(leaf))
    needle = (leaf.text.lower() if is_words else leaf.text).encode("utf-8", "surrogatepass")
    text = column.text
    at = _places_in_any_case(text, needle) if is_words else None
    is_sure = at is not None or not _repeats_itself(needle)
    if at is None:
        at = _places(text.lower() if is_words else text, needle)
    found = np.zeros(len(column.ends), np.bool_)
    if not len(at):
        return found
    rows = np.searchsorted(column.ends, at, side="right")
    is_within = at + len(needle) <= column.ends[rows]
    if is_words:
        is_within &= _is_whole(text, needle, at, rows, column.ends)
    found[rows[is_within]] = True
    if not is_sure:
        # One that does not count may hide another that begins within it.
        last = np.searchsorted(column.ends, np.minimum(at + len(needle), len(text) - 1), side="right")
        unsure = np.unique(np.concatenate((rows[~is_within], last[~is_within])))
        unsure = unsure[~found[unsure]]
        test = test_of(leaf)
        found[unsure] = [test(value) for value in column.take(unsure)]
    if column.present is not None:
        found &= column.present
    return found


def _places(text: bytes, needle: bytes) -> NDArray[np.int64]:
    """Where a text has another, without overlaps."""
    import numpy as np

    places: list[int] = []
    at = text.find(needle)
    while at >= 0 and len(places) < _FEW:
        places.append(at)
        at = text.find(needle, at + len(needle))
    if at < 0:
        return np.array(places, np.int64)
    lengths = list(map(len, text.split(needle)))
    ends = np.cumsum(np.array(lengths[:-1], np.int64))
    return ends + np.arange(len(ends)) * len(needle)


def _places_in_any_case(text: bytes, needle: bytes) -> NDArray[np.int64] | None:
    """All places where an ASCII text has another that is in lower case; None where that has to be found out otherwise.

    Wherever it is, one of two pairs of its bytes that overlap is at an even place of the text: the two that are
    rarest are looked for there, which leaves the interpreter to others, and the rest of it where they are. Setting one bit makes letters small and leaves digits: a tenth of the time of `lower`.
    """
    import numpy as np

    data, wanted = np.frombuffer(text, np.uint8), np.frombuffer(needle, np.uint8)
    if len(needle) < _LEAST_PAIRED or ((wanted | _SMALL) != wanted).any():
        return None
    words = data[: len(text) & ~1].view(np.uint16) | np.uint16(_SMALL << 8 | _SMALL)
    pairs = np.frombuffer(b"".join(needle[at : at + 2] for at in range(len(needle) - 1)), np.uint16)
    seen = np.count_nonzero(words[:_SAMPLE, None] == pairs, axis=0)
    first = int(np.argmin(seen[1:] + seen[:-1]))
    found = [np.flatnonzero(words == pairs[at]) * 2 - at for at in (first, first + 1)]
    at: NDArray[np.int64] = np.concatenate(found)
    at = at[(at >= 0) & (at + len(needle) <= len(text))]
    for place, byte in enumerate(wanted.tolist()):
        own = data[at + place]
        at = at[(own | _SMALL if 0x61 <= byte <= 0x7A else own) == byte]
    at.sort()
    return at


@cache
def _letters() -> NDArray[np.bool_]:
    import numpy as np

    letters = np.zeros(256, np.bool_)
    letters[list(_WORDS)] = True
    return letters


def _is_whole(
    text: bytes, needle: bytes, at: NDArray[np.int64], rows: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    import numpy as np

    letters = _letters()
    data = np.frombuffer(text, np.uint8)
    begins = np.concatenate((np.zeros(1, np.int64), ends))[rows]
    is_whole = np.ones(len(at), np.bool_)
    if needle[0] in _WORDS:
        is_whole &= (at == begins) | ~letters[data[np.maximum(at - 1, 0)]]
    if needle[-1] in _WORDS:
        behind = at + len(needle)
        is_whole &= (behind >= ends[rows]) | ~letters[data[np.minimum(behind, len(text) - 1)]]
    return is_whole


def _repeats_itself(needle: bytes) -> bool:
    """Whether one occurrence may begin within another."""
    return any(needle.startswith(needle[at:]) for at in range(1, len(needle)))
