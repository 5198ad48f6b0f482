"""Names for people: the one they probably meant, and one that fits a file name."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest", "slug"]


def nearest(word: str, choices: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """The choices that look most like a word, best first; none when nothing comes near."""
    import difflib  # 4 ms, paid only by who made a typing error

    by_folded = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=limit, cutoff=0.6)
    return tuple(by_folded[name] for name in found)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The tail of an error message: the nearest names, else all of them, else nothing."""
    names = sorted(choices)
    if found := nearest(word, names):
        return f"; did you mean {' or '.join(map(repr, found))}?"
    return f"; there is {', '.join(map(repr, names))}" if names else ""


def slug(text: str, *, max_chars: int = 60) -> str:
    """The text as lower-case ASCII letters, digits and single dashes; "x" when none is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    dashed = "".join(char if char.isalnum() else " " for char in plain)
    return "-".join(dashed.split())[:max_chars].strip("-") or "x"
