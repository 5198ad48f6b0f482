"""The words of a query, one at a time: what a word is depends on whether a name or a value is wanted.

`@time >= 2026-11-21T10:00:00Z` and `message:timeout` both have a colon. Where a value may stand, the
parser asks for one, and gets all that is not a space, a quote, a bracket, a comma, a bar or a comparison.
Every text is taken apart in time proportional to its length. It must not know the grammar.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from vcache.errors import QueryError
from vcache.kit.data import NamedTuple

__all__ = ["MOST_CHARS", "Scanner", "Token", "complain", "quoted", "unquoted"]

MOST_CHARS: Final = 10_000
"""A query is no longer than this."""

_SPACE: Final = re.compile(r"\s*")
_QUOTES: Final = r"""(?P<text>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')"""
_NAME: Final = re.compile(
    _QUOTES
    + r"|(?P<name>`(?!`(?!`))[^`]*(?:``[^`]*)*`)|(?P<word>[^\W\d][\w.@/-]*|@[\w.@/-]+)|(?P<bare>\d[\w.:+-]*)"
    r"|(?P<sign>==|!=|!~|=~|<=|>=|<>|&&|\|\||[][=<>~(),|:*+!&;-])",
    re.DOTALL,
)
_VALUE: Final = re.compile(_QUOTES + r"|(?P<bare>[^\s()|,\"'`=<>~!]+)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_SHOWN_CHARS: Final = 100


class Token(NamedTuple):
    """A part of a query.

    Attributes:
        kind: "text" in quotes, "name" in backquotes, "word", "bare" (begins with a digit, or is a value),
            "sign", or "end".
        text: as it stands, with its quotes.
        at: where it begins.
    """

    kind: str
    text: str
    at: int


class Scanner:
    """A place in a query.

    Attributes:
        text: the query.
        now: what stands there.
    """

    __slots__ = ("end", "now", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MOST_CHARS:
            raise QueryError(f"a query of {len(text):,} characters: {MOST_CHARS:,} are the most there may be")
        self.end = 0  # of what stood before `now`
        self.now = self._read(0)

    def go_on(self) -> Token:
        """What stands here; the next is `now`."""
        token = self.now
        self.end = token.at + len(token.text)
        self.now = self._read(self.end)
        return token

    def value(self) -> Token | None:
        """The value that begins here, and go on; None where none begins."""
        at = self.now.at
        match = _VALUE.match(self.text, at)
        if match is None:
            return None
        kind = match.lastgroup or ""
        self.end = match.end()
        self.now = self._read(self.end)
        return Token(kind, match[0], at)

    def takes(self, kind: str, text: str) -> bool:
        """Whether this stands here, a word in any case of letters; if so, go on."""
        token = self.now
        if token.kind == kind and token.text.lower() == text:
            self.go_on()
            return True
        return False

    def ahead(self) -> Token:
        """What stands behind `now`."""
        return self._read(self.now.at + len(self.now.text))

    def refuse(self, wanted: str) -> NoReturn:
        """Say what is wanted here.

        Raises:
            QueryError: always.
        """
        found = "the end" if self.now.kind == "end" else f"{self.now.text!r:.80}"
        complain(self.text, self.now.at, f"{wanted} is wanted here, not {found}")

    def _read(self, at: int) -> Token:
        match = _SPACE.match(self.text, at)
        assert match is not None  # it takes nothing as well
        at = match.end()
        if at == len(self.text):
            return Token("end", "", at)
        match = _NAME.match(self.text, at)
        if match is None:
            char = self.text[at]
            if char in "'\"`":
                complain(self.text, at, "a quote that is not closed")
            # A value may begin with it, such as /usr; a name does not.
            return Token("sign", char, at)
        return Token(match.lastgroup or "", match[0], at)


def unquoted(query: str, token: Token) -> str:
    r"""The text of a token in quotes or backquotes, or of one without them: `\n`, `\t`, `\r`, `\\`, `\"`, `\'`.

    Raises:
        QueryError: another escape.
    """
    text = token.text
    if token.kind == "name":
        return text[1:-1].replace("``", "`")
    if token.kind != "text":
        return text
    if "\\" not in text:
        return text[1:-1]

    def plain(match: re.Match[str]) -> str:
        found = _ESCAPES.get(match[1])
        if found is None:
            what = f"{match[0]!r:.20} means nothing in a text; write \\\\ for a backslash"
            complain(query, token.at + 1 + match.start(), what)
        return found

    return _ESCAPE.sub(plain, text[1:-1])


def quoted(text: str) -> str:
    """The text as a query has it."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def complain(query: str, at: int, what: str) -> NoReturn:
    """Say what is wrong, with the query on a line and a caret under the place.

    Raises:
        QueryError: always.
    """
    begin = max(0, min(at - _SHOWN_CHARS * 3 // 4, len(query) - _SHOWN_CHARS))
    shown = query[begin : begin + _SHOWN_CHARS]
    # On one line, and nothing that moves a cursor, so that the caret stands right.
    shown = "".join(char if char.isprintable() else " " for char in shown)
    before = "…" if begin else ""
    after = "…" if begin + _SHOWN_CHARS < len(query) else ""
    error = QueryError(f"{what}\n    {before}{shown}{after}\n    {' ' * (len(before) + at - begin)}^")
    error.position = at
    raise error from None
