"""Finds text in a column of texts: in all of it at once, then which rows that is.

What is found may lie across two rows, or be no whole word: such rows are looked at one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.logs.segment.values import Texts
from vcache.query.rows import test_of
from vcache.query.syntax import Contains, Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["text_mask"]

_FEW: Final = 48
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
    at = _places_in_any_case(text, needle) if is_words else _places(text, needle)
    found = np.zeros(len(column.ends), np.bool_)
    if not len(at):
        return found
    rows = np.searchsorted(column.ends, at, side="right")
    is_within = at + len(needle) <= column.ends[rows]
    if is_words:
        is_within &= _is_whole(text, needle, at, rows, column.ends)
    found[rows[is_within]] = True
    if _repeats_itself(needle):
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


def _places_in_any_case(text: bytes, needle: bytes) -> NDArray[np.int64]:
    """Where an ASCII text has another that is in lower case."""
    import numpy as np

    # Setting one bit makes letters small and leaves digits: a tenth of the time of `lower`. What else it makes
    # equal is told apart below.
    data = np.frombuffer(text, np.uint8)
    wanted = np.frombuffer(needle, np.uint8)
    if ((wanted | 0x20) != wanted).any() or _repeats_itself(needle):
        return _places(text.lower(), needle)
    at = _places((data | 0x20).tobytes(), needle)
    for place in np.flatnonzero((wanted < 0x61) | (wanted > 0x7A)).tolist():
        at = at[data[at + place] == wanted[place]]
    return at


def _is_whole(
    text: bytes, needle: bytes, at: NDArray[np.int64], rows: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    import numpy as np

    letters = np.zeros(256, np.bool_)
    letters[list(_WORDS)] = True
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
