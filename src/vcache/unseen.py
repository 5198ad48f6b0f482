"""What traced runs of a step did out of sight, such as starting a program: told once, kept with the recipe.

It knows a small protocol of a cache, and nothing of what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from vcache.entry import Key
from vcache.kit.logs import logger
from vcache.outcome import Miss
from vcache.valuables import PLAIN, Conditions

if TYPE_CHECKING:
    from vcache.outcome import Hit

__all__ = ["Unseen", "conditions", "kept_with"]

_WORD: Final = "unseen"
_MOST: Final = 32  # a step that starts a program per file leaves thousands of equal meaning
_LONGEST_CHARS: Final = 200
_log = logger("vcache.step")


class Shelf(Protocol):
    """What this needs of a cache."""

    def peek_key(self, key: Key) -> Hit | Miss: ...


class Unseen:
    """What the latest run of one step did out of sight.

    Attributes:
        latest: in words, sorted.
    """

    __slots__ = ("_step", "_told", "latest")

    def __init__(self, step: str) -> None:
        self._step = step
        self._told: set[str] = set()
        self.latest: tuple[str, ...] = ()

    def note(self, blind: Iterable[str]) -> None:
        """Remember what a run did; a warning in the log for each kind that was not told yet."""
        self.latest = _words(blind)
        for word in self.latest:
            kind = word.partition(":")[0]
            if kind not in self._told:
                self._told.add(kind)
                _log.warning(
                    "%s: ran out of sight: %s; what it read so is no input of the result: declare it "
                    "with inputs=[…] or deps, or pass it as an argument",
                    self._step,
                    word,
                )


def conditions(blind: Iterable[str], meta: Mapping[str, str]) -> Conditions:
    """Under which the recipe of a run is kept, so that `kept_with` gives the words in any process.

    Args:
        meta: what else it is kept with.
    """
    words = _words(blind)
    meta = {**meta, _WORD: "\n".join(words)} if words else meta
    return Conditions(meta=meta) if meta else PLAIN


def kept_with(shelf: Shelf, recipe: Key) -> tuple[str, ...] | None:
    """What the run that left a recipe did out of sight; None where there is no such recipe."""
    found = shelf.peek_key(recipe)  # nobody's hit or miss: not counted
    if isinstance(found, Miss):
        return None
    return tuple(found.entry.meta.get(_WORD, "").splitlines())


def _words(blind: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({_clean(word) for word in blind})[:_MOST])


def _clean(word: str) -> str:
    """A word as a line that any head can hold."""
    line = " ".join(word.split()).encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= _LONGEST_CHARS else line[: _LONGEST_CHARS - 1] + "…"
