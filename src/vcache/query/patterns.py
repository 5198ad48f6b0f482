"""Regular expressions that people send: which are none, and which could run for ever. Pure.

Python's search holds all threads of a process and cannot be stopped. It takes time exponential in the length
of a line where an unbounded repeat stands in another one and both can take the same text, as in `(a+)+b`:
those are refused, as are more than four repeats in a row of the same text. A repeat is atomic where it is
possessive (`a++`) or in `(?>…)`. What is left takes polynomial time; the text that is searched is bounded for
that (`vcache.query.rows.SEARCHED_CHARS`).

A process that searches for strangers calls `search_in_linear_time` first: patterns with repeats are then
RE2's, whose time is bounded by the length of the text, but for one repeat in short texts, where `re` takes a tenth of its
time and cannot take long.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from vcache.errors import UsageError
from vcache.kit.data import NamedTuple

__all__ = [
    "MOST_PATTERN_CHARS", "MOST_REPEATS", "Fault", "linear_fault", "regex_fault", "search_in_linear_time", "searcher",
]  # fmt: skip

MOST_PATTERN_CHARS: Final = 1_000
"""A regular expression is no longer than this."""

MOST_REPEATS: Final = 4
"""So many unbounded repeats may follow each other that take the same characters."""

_REPEATS: Final = re.compile(r"[*+}].*[*+}]|\)\s*[*+{?]", re.DOTALL)  # one of one character takes no time


_BOUNDED: Final = re.compile(r"(?<!\\)\{\d*,?\d*\}")
# Not the mark of a group's beginning, nor that of a lazy repeat.
_OPTIONAL: Final = re.compile(r"(?<=[^\\(*+?}])\?(?![*+])")
_SHORT_CHARS: Final = 256
_RE2_BYTES: Final = 8 << 20
_is_linear = False


class Fault(NamedTuple):
    """What is wrong with a pattern, and where in it."""

    reason: str
    at: int


def regex_fault(pattern: str) -> Fault | None:
    """Why a pattern is not taken; None for one that is."""
    if len(pattern) > MOST_PATTERN_CHARS:
        return Fault(
            f"a regular expression of more than {MOST_PATTERN_CHARS:,} characters", MOST_PATTERN_CHARS
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what will mean something else some day, such as [[
            re.compile(pattern)
    except re.error as error:
        return Fault(f"no regular expression: {error.msg}", error.pos or 0)
    except (FutureWarning, DeprecationWarning) as warning:
        return Fault(f"no regular expression: {warning}", 0)
    except (OverflowError, RecursionError):
        return Fault("no regular expression: a number in it is too large, or it is nested too deep", 0)
    return _danger(pattern) if _REPEATS.search(pattern) else None


def _danger(pattern: str) -> Fault | None:
    from vcache.query.ambiguity import TooComplex, repeats_at_once  # only for what repeats

    try:
        repeats = repeats_at_once(pattern)
    except (TooComplex, RecursionError):
        return Fault("a regular expression too complex to be sure that it ends: make it shorter", 0)
    if repeats == float("inf"):
        remedy = "say what separates its parts, or make the inner one possessive, as in (a++)+"
        return Fault(
            f"a regular expression that could run for ever, as a repeat is within a repeat: {remedy}", 0
        )
    if repeats > MOST_REPEATS:
        what = f"more than {MOST_REPEATS} repeats that could share one text out among them, as in .*a.*b.*c"
        return Fault(f"a regular expression that could run for ever: {what}", 0)
    return None


# --- searching for strangers -----------------------------------------------------------------


def search_in_linear_time() -> None:
    """From here on this process searches in time that is bounded by the length of what is searched.

    Classes of letters and digits, and the bounds of words, are then of ASCII.
    """
    global _is_linear
    _is_linear = True


def linear_fault(pattern: str) -> Fault | None:
    """Why a pattern cannot be searched for in linear time; None for one that can."""
    if not _repeats(pattern):
        return None
    try:
        _re2(pattern)
    except UsageError as error:
        return Fault(str(error), 0)
    return None


def searcher(pattern: str) -> Callable[[str], bool]:
    """Whether a text has what a pattern, without fault, looks for.

    Raises:
        UsageError: it cannot be looked for in linear time, and this process must.
    """
    plain = re.compile(pattern, re.ASCII if _is_linear else re.NOFLAG).search
    repeats = _repeats(pattern) if _is_linear else 0
    if not repeats:
        return lambda text: plain(text) is not None
    linear = _re2(pattern).search

    def search(text: str) -> bool:
        if repeats == 1 and len(text) <= _SHORT_CHARS:
            return plain(text) is not None
        try:
            return linear(text) is not None
        except UnicodeEncodeError:  # lone surrogates, for bytes that are no UTF-8
            return linear(text.encode("utf-8", "replace").decode()) is not None

    return search


@lru_cache(maxsize=256)
def _repeats(pattern: str) -> float:
    """How many repeats may share one text; bounded ones count, as `(a?){40}b` takes 2 ** 40 steps as well."""
    from vcache.query.ambiguity import TooComplex, repeats_at_once

    widened = _OPTIONAL.sub("*", _BOUNDED.sub("*", pattern))
    try:
        return max(repeats_at_once(pattern), repeats_at_once(widened))
    except (TooComplex, RecursionError, re.error):
        return float("inf")


@lru_cache(maxsize=256)
def _re2(pattern: str) -> Any:
    try:
        import re2
    except ImportError as error:
        raise UsageError("regular expressions need google-re2 here: pip install 'vcache[serve]'") from error
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _RE2_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        raise UsageError(
            "a regular expression that cannot be searched for in bounded time: leave out look-around, back "
            f"references, possessive and long bounded repeats, or search for its parts ({_words(error)})"
        ) from None


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
