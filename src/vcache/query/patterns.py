"""Regular expressions that people send: which are none, and which could run for ever. Pure.

A search takes time exponential in the length of a line where an unbounded repeat stands in another one and
both can take the same text, as in `(a+)+b`: those are refused. A repeat is atomic where it is possessive
(`a++`) or in `(?>…)`, and those are not. What is left takes polynomial time; the text that is searched
is bounded for that (`vcache.query.rows.SEARCHED_CHARS`).
"""

from __future__ import annotations

import re
import warnings
from typing import Final

from vcache.kit.data import NamedTuple

__all__ = ["MOST_PATTERN_CHARS", "Fault", "regex_fault"]

MOST_PATTERN_CHARS: Final = 1_000
"""A regular expression is no longer than this."""


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
    return None
