"""Regular expressions that people send: which are none, and which could run for ever. Pure.

Python's search holds all threads of a process and cannot be stopped. It takes time exponential in the length
of a line where an unbounded repeat stands in another one and both can take the same text, as in `(a+)+b`:
those are refused, as are more than four repeats in a row of the same text. A repeat is atomic where it is
possessive (`a++`) or in `(?>…)`. What is left takes polynomial time; the text that is searched is bounded for
that (`vcache.query.rows.SEARCHED_CHARS`).
"""

from __future__ import annotations

import re
import warnings
from typing import Final

from vcache.kit.data import NamedTuple

__all__ = ["MOST_PATTERN_CHARS", "MOST_REPEATS", "Fault", "regex_fault"]

MOST_PATTERN_CHARS: Final = 1_000
"""A regular expression is no longer than this."""

MOST_REPEATS: Final = 4
"""So many unbounded repeats may follow each other that take the same characters."""

_REPEATS: Final = re.compile(r"[*+}].*[*+}]|\)\s*[*+{?]", re.DOTALL)  # one of one character takes no time


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
