"""Diagnostics of gcc and clang: their text, or gcc's JSON and SARIF, as records. Pure; it opens nothing.

What the text looks like: https://gcc.gnu.org/onlinedocs/gcc/Diagnostic-Message-Formatting-Options.html,
https://clang.llvm.org/docs/UsersManual.html#formatting-of-diagnostics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from vcache.kit.data import dataclass

__all__ = ["LEVELS", "Diagnostic", "parse", "plain"]

LEVELS: Final = ("debug", "info", "note", "warning", "error", "critical")
"""All levels, from the least."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message of a compiler or linker.

    Attributes:
        level: one of `LEVELS`.
        message: what it says, without the place.
        file, line, column: the place; "" and 0 where it has none.
        option: what switches it off, such as "-Wunused-variable"; "" when it does not say.
        within: the places that include the file, the nearest first: "src/a.c:1".
        first, last: which lines of the text it takes, from 0: `last` is that of its source excerpt.
    """

    level: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    option: str = ""
    within: tuple[str, ...] = ()
    first: int = 0
    last: int = 0


_ANSI: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_WORDS: Final[Mapping[str, str]] = {
    "note": "note",
    "remark": "note",
    "warning": "warning",
    "error": "error",
    "fatal error": "critical",
    "internal compiler error": "critical",
    "sorry, unimplemented": "error",
}
_LEVEL: Final = "|".join(sorted(_WORDS, key=len, reverse=True))
# A quick "no" for the thousands of lines that say nothing.
_HINT: Final = re.compile(rf"(?:{_LEVEL}):|undefined reference|multiple definition|ld: |ld\.\w+: |collect2")
_PLACED: Final = re.compile(
    rf"(?P<file>(?:[A-Za-z]:)?[^:\n]+?):(?P<line>\d+):(?:(?P<column>\d+):)? (?P<level>{_LEVEL}): (?P<message>.*)"
)
_BARE: Final = re.compile(rf"(?:(?P<file>[^:\s][^:\n]*): )?(?P<level>{_LEVEL}): (?P<message>.*)")
_LINKED: Final = re.compile(
    r"(?:\S*\b(?:ld|gold|lld|mold)(?:\.\w+)?: )?(?:[^:\n]+\.[oa]\)?:)?"
    r"(?P<file>[^:\n]+?)(?::(?P<line>\d+)|:\([^)]*\)|:)?: "
    r"(?P<message>(?:undefined reference|multiple definition|relocation|first defined here|more undefined).*)"
)
_LINKER: Final = re.compile(
    r"(?:\S*/)?(?:ld|gold|lld|mold|collect2)(?:\.\w+)?: (?:(?P<level>warning|error|fatal error): )?(?P<message>.*)"
)
_INCLUDED: Final = re.compile(
    r"(?:In file included|                ) from (?P<place>[^:\n]+:\d+)(?::\d+)?[,:]$"
)
_OPTION: Final = re.compile(r" \[(?P<option>-W[^\],]*)[^\]]*\]$")
# What belongs to the message above: excerpts behind line numbers (gcc), fix-it lines, notes of lld.
_EXCERPT: Final = re.compile(r"\s*\d* *\|.*|>>> .*|\s+\S.*")
# What stands below an excerpt without line numbers (clang).
_CARET: Final = re.compile(r"[\s~]*\^[\s~^]*")
_IN_FUNCTION: Final = re.compile(r"[^:\n]+: (?:In|At) .*:$")


def plain(text: str) -> str:
    """The text without terminal colours and links."""
    return _ANSI.sub("", text) if "\x1b" in text else text


def parse(text: str) -> list[Diagnostic]:
    """The diagnostics in what a compiler or linker wrote; none for anything else.

    Args:
        text: its whole output: text, or gcc's `-fdiagnostics-format=json` or `sarif-stderr`.
    """
    if _may_be_json(text) and (found := _of_json(text)) is not None:
        return found
    if _HINT.search(text) is None:
        return []
    return list(_Reader(plain(text).split("\n")))


class _Reader:
    """One pass over lines."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._within: list[str] = []
        self._head = -1  # the first line of what leads to the next message

    def __iter__(self) -> Iterator[Diagnostic]:
        lines, at = self._lines, 0
        while at < len(lines):
            line = lines[at].rstrip("\r")
            if (included := _INCLUDED.match(line)) is not None:
                self._begin(at)
                self._within.append(included["place"])
            elif (found := self._message(line, at)) is not None:
                last = self._end_of_excerpt(at)
                yield _at(found, last)
                self._within, self._head = [], -1
                at = last
            elif _IN_FUNCTION.match(line):
                self._begin(at)
            else:
                self._within, self._head = [], -1
            at += 1

    def _begin(self, at: int) -> None:
        if self._head < 0:
            self._head = at

    def _message(self, line: str, at: int) -> Diagnostic | None:
        first = self._head if self._head >= 0 else at
        if (match := _PLACED.match(line)) is not None:
            return _said(
                match["level"], match["message"], match["file"], int(match["line"]), int(match["column"] or 0),
                tuple(self._within), first,
            )  # fmt: skip
        if (match := _LINKED.match(line)) is not None:
            level = "note" if match["message"].startswith(("first defined", "more undefined")) else "error"
            return _said(level, match["message"], match["file"], int(match["line"] or 0), 0, (), first)
        if (match := _LINKER.match(line)) is not None and not match["message"].endswith("':"):
            # "ld: a.o: in function `main':" leads to the next line, which has the message.
            message = match["message"]
            if ": in function" in message:
                return None
            return _said(match["level"] or "error", message, "", 0, 0, (), first)
        if (match := _BARE.match(line)) is not None:
            file = match["file"] or ""
            # "gcc: error: …" and "cc1: warning: …" name the program, not a file.
            is_file = "." in file or "/" in file
            return _said(match["level"], match["message"], file if is_file else "", 0, 0, (), first)
        return None

    def _end_of_excerpt(self, at: int) -> int:
        while self._belongs(at + 1):
            at += 1
        return at

    def _belongs(self, at: int) -> bool:
        """Whether a line is part of the message above it."""
        line = self._line(at)
        if not line or _INCLUDED.match(line) or _PLACED.match(line):
            return False
        return bool(_EXCERPT.fullmatch(line) or _CARET.fullmatch(self._line(at + 1)))

    def _line(self, at: int) -> str:
        return self._lines[at].rstrip("\r") if at < len(self._lines) else ""


def _said(
    level: str, message: str, file: str, line: int, column: int, within: tuple[str, ...], first: int
) -> Diagnostic:
    option = ""
    if message.endswith("]") and (match := _OPTION.search(message)) is not None:
        option, message = match["option"].rstrip("="), message[: match.start()]
    return Diagnostic(_WORDS.get(level, level), message, file, line, column, option, within, first, first)


def _at(found: Diagnostic, last: int) -> Diagnostic:
    if found.last == last:
        return found
    return Diagnostic(
        found.level, found.message, found.file, found.line, found.column, found.option, found.within,
        found.first, last,
    )  # fmt: skip


# -- machine formats --------------------------------------------------------------------------------


def _may_be_json(text: str) -> bool:
    start = text.lstrip()[:1]
    return start in ("[", "{") and ('"kind"' in text or '"runs"' in text)


def _of_json(text: str) -> list[Diagnostic] | None:
    """Diagnostics of gcc's JSON (one array per compiled file) or of SARIF; None for other text."""
    import json  # 5 ms, for who asks for these formats

    decoder, at = json.JSONDecoder(), 0
    found: list[Diagnostic] = []
    while at < len(text):
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            return None
        number = text.count("\n", 0, at)
        last = text.count("\n", 0, end)
        try:
            found += _of_value(value, number, last)
        except (KeyError, TypeError, AttributeError, IndexError):
            return None  # somebody else's JSON
        at = end
    return found


def _of_value(value: object, first: int, last: int) -> Iterator[Diagnostic]:
    if isinstance(value, dict):
        for run in value["runs"]:
            for result in run.get("results", ()):
                yield _of_sarif(result, first, last)
    elif isinstance(value, list):
        yield from _of_gcc(value, first, last)


def _of_gcc(items: Iterable[Mapping[str, object]], first: int, last: int) -> Iterator[Diagnostic]:
    for item in items:
        locations = item.get("locations")
        caret: Mapping[str, object] = {}
        if isinstance(locations, list) and locations:
            caret = locations[0]["caret"]
        yield Diagnostic(
            _WORDS.get(str(item["kind"]), "error"), str(item["message"]), str(caret.get("file", "")),
            _number(caret.get("line")), _number(caret.get("column", caret.get("display-column"))),
            str(item.get("option", "")), (), first, last,
        )  # fmt: skip
        children = item.get("children")
        if isinstance(children, list):
            yield from _of_gcc(children, first, last)


def _of_sarif(result: Mapping[str, object], first: int, last: int) -> Diagnostic:
    message = result["message"]
    assert isinstance(message, Mapping)
    locations = result.get("locations")
    where: Mapping[str, Mapping[str, object]] = {}
    if isinstance(locations, list) and locations:
        where = locations[0]["physicalLocation"]
    region = where.get("region", {})
    rule = str(result.get("ruleId", ""))
    level = str(result.get("level", "warning"))
    return Diagnostic(
        _WORDS.get(level, "info"), str(message["text"]), str(where.get("artifactLocation", {}).get("uri", "")),
        _number(region.get("startLine")), _number(region.get("startColumn")),
        rule if rule.startswith("-W") else "", (), first, last,
    )  # fmt: skip


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
