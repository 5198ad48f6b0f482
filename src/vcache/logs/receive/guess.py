"""The level of a line that somebody wrote for people. Pure.

A guess: it heeds words in the places where tools put levels, so that "0 errors" is none.
"""

from __future__ import annotations

import re
from typing import Final

from vcache.query.levels import CRITICAL, DEBUG, ERROR, INFO, NOTE, TRACE, WARNING, level_of

__all__ = ["ANSI", "bare", "level_in"]

ANSI: Final = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,2048}(?:\x07|\x1b\\)|[@-Z\\-_])"
)
_LOOKED_AT: Final = 400  # characters: levels stand at the beginning
_CODES: Final = frozenset("/0123456789")
_LETTERS: Final = {"V": TRACE, "D": DEBUG, "I": INFO, "W": WARNING, "E": ERROR, "F": CRITICAL}
# "WARN" alone, in capitals, near the beginning: "2026-11-21 21:14:33,123 ERROR app: …", "[WARN] …".
_CAPITALS: Final = re.compile(
    r"(?:^|[\s\[<(|=\"])(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR!?|CRIT(?:ICAL)?|SEVERE|FATAL|PANIC|ALERT"
    r"|EMERG)(?=[\s\]>):|,\"]|$)"
)
# "error:", "warning[E0001]:", "error TS2304:", "fatal error: ", "[warn]", "level=warn".
_WORDS: Final = re.compile(
    r"(?:^|[\s:\[<(|])(trace|debug|info|note|notice|warn(?:ing)?|error|err|crit(?:ical)?|fatal|panic|severe|alert)"
    r"(?:\[[\w:-]{1,40}\])?(?:(?: [A-Z]{1,8}\d{1,6})? ?:(?!:)|[\]>)|])"
    r"|\b(?:level|lvl|severity)[\"']?[=:] ?[\"']?([a-z]{3,13})\b",
    re.IGNORECASE,
)
_CODED: Final = re.compile(r"([VDIWEF])(?:/[^\s(:]{1,80}[ (:]|\d{4} \d\d:\d\d:\d\d)")
_FATAL: Final = ("fatal error", "internal compiler error", "segmentation fault")
_BAD: Final = ("FAILED", "Traceback (most recent call last)", "panicked at", "*** [", "command not found",
               "undefined reference", "multiple definition")  # fmt: skip
# Parts of all that is looked for below: most lines have none.
_PARTS: Final = ("err", "warn", "info", "fa", "note", "notice", "debug", "trace", "crit", "panic", "severe",
                 "alert", "emerg", "undefined", "multiple", "*** [", "not found", "level", "lvl")  # fmt: skip


def bare(text: str) -> str:
    """The text without terminal colours and links."""
    return ANSI.sub("", text) if "\x1b" in text else text


def level_in(line: str) -> int:
    """The level that a line says, 0 when it says none. ANSI escapes are looked through."""
    line = bare(line[: _LOOKED_AT * 2])[:_LOOKED_AT] if "\x1b" in line else line[:_LOOKED_AT]
    if line[1:2] in _CODES and (match := _CODED.match(line)) is not None:
        return _LETTERS[match[1]]
    low = line.lower()
    for part in _PARTS:
        if part in low:
            return _level_of_words(line, low)
    return 0


def _level_of_words(line: str, low: str) -> int:
    if any(each in low for each in _FATAL):
        return CRITICAL
    if any(each in line for each in _BAD):
        return ERROR
    words, capitals = _WORDS.search(line), _CAPITALS.search(line[:120])
    match = words if capitals is None or (words and words.start() < capitals.start()) else capitals
    if match is None:
        return 0
    word = (match[1] or match[2]).rstrip("!").lower()
    return NOTE if word == "note" else level_of(word) or 0
