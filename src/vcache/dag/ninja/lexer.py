"""The tokens of ninja's language, one by one, and its error messages to the letter.

It follows the lexer of ninja 1.13 (src/lexer.in.cc): where a token ends decides where the caret of
an error stands. It knows no statements.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final, NoReturn

from vcache.dag.ninja.scope import Text
from vcache.errors import GraphError

__all__ = ["NAME", "VALUE", "Lexer", "Token", "expand"]

NAME: Final = r"[a-zA-Z0-9_.-]++"
"""A pattern: the name of a rule or variable."""

VALUE: Final = rf"(?:[^$\r\n\0]++|\$(?:[$ :]|\r?\n|\{{{NAME}\}}|[a-zA-Z0-9_-]++))*+"
"""A pattern: a variable's value up to the end of its line."""

_SHOWN_BYTES: Final = 72
"""How much of a line an error shows; a fault further right is not shown at all."""


class Token(Enum):
    """A kind of token; its value is what errors call it."""

    ERROR = "lexing error"
    BUILD = "'build'"
    COLON = "':'"
    DEFAULT = "'default'"
    EQUALS = "'='"
    IDENT = "identifier"
    INCLUDE = "'include'"
    INDENT = "indent"
    NEWLINE = "newline"
    PIPE2 = "'||'"
    PIPE = "'|'"
    PIPE_AT = "'|@'"
    POOL = "'pool'"
    RULE = "'rule'"
    SUBNINJA = "'subninja'"
    END = "eof"


# Alternatives are ordered by length: the longest match wins in ninja's lexer.
_COMMENTS: Final = re.compile(r"(?: *#[^\0\n]*+\n)++")
_TOKEN: Final = re.compile(
    r"(?P<NEWLINE> *\r?\n)|(?P<INDENT> +)|(?P<WORD>[a-zA-Z0-9_.-]+)"
    r"|(?P<EQUALS>=)|(?P<COLON>:)|(?P<PIPE_AT>\|@)|(?P<PIPE2>\|\|)|(?P<PIPE>\|)|(?P<END>\0)"
)
_KEYWORDS: Final = {
    "build": Token.BUILD,
    "default": Token.DEFAULT,
    "include": Token.INCLUDE,
    "pool": Token.POOL,
    "rule": Token.RULE,
    "subninja": Token.SUBNINJA,
}
_SPACE: Final = re.compile(r"(?: +|\$\r?\n)*+")
_IDENT: Final = re.compile(r"[a-zA-Z0-9_.-]+")
_ESCAPE: Final = r"\$(?:([$ :])|(\r?\n *+)|\{([a-zA-Z0-9_.-]+)\}|([a-zA-Z0-9_-]+))"
_ESCAPES: Final = re.compile(_ESCAPE)
_IN_PATH: Final = re.compile(r"([^$ :|\r\n\0]++)|" + _ESCAPE)
_IN_VALUE: Final = re.compile(r"([^$\r\n\0]++)|" + _ESCAPE)


class Lexer:
    """A position in one file. `text` ends with the one NUL that marks its end."""

    __slots__ = ("at", "last", "name", "text")

    def __init__(self, name: str, text: str, at: int = 0) -> None:
        self.name = name
        self.text = text
        self.at = at
        self.last = at
        """Where the token began that an error points to."""

    def read(self) -> Token:
        """The next token; spaces behind it are passed over."""
        text = self.text
        if comments := _COMMENTS.match(text, self.at):
            self.at = comments.end()
        self.last = self.at
        found = _TOKEN.match(text, self.at)
        if found is None:
            self.at += 1
            token = Token.ERROR
        else:
            self.at = found.end()
            kind = found.lastgroup or ""
            token = _KEYWORDS.get(found.group(), Token.IDENT) if kind == "WORD" else Token[kind]
        if token is not Token.NEWLINE and token is not Token.END:
            self._skip_space()
        return token

    def unread(self) -> None:
        """Go back to before the last token."""
        self.at = self.last

    def take(self, token: Token) -> bool:
        """Whether the next token is this one, which is passed over then."""
        if self.read() is token:
            return True
        self.unread()
        return False

    def expect(self, token: Token) -> None:
        """Pass over a token that must come next.

        Raises:
            GraphError: another one comes.
        """
        found = self.read()
        if found is not token:
            hint = " ($ also escapes ':')" if token is Token.COLON else ""
            self.fail(f"expected {token.value}, got {found.value}{hint}")

    def ident(self) -> str:
        """A name; "" where none stands."""
        found = _IDENT.match(self.text, self.at)
        self.last = self.at
        if found is None:
            return ""
        self.at = found.end()
        self._skip_space()
        return found.group()

    def path(self) -> Text:
        """What stands up to the next space, colon, bar or end of line; "" for nothing."""
        text = self._pieces(_IN_PATH)
        if self.text[self.at] not in " :|\r\n":
            self._fail_at_end()
        self._skip_space()
        return text

    def paths(self) -> list[Text]:
        """Paths up to the next mark."""
        found = []
        while text := self.path():
            found.append(text)
        return found

    def value(self) -> Text:
        """The rest of the line, which is passed over."""
        text = self._pieces(_IN_VALUE)
        if self.text[self.at] not in "\r\n":
            self._fail_at_end()
        self.at += 2 if self.text[self.at] == "\r" else 1
        return text

    def fail(self, message: str) -> NoReturn:
        """Raise what ninja says of a fault at the last token."""
        start = self.text.rfind("\n", 0, self.last) + 1
        line = 1 + self.text.count("\n", 0, start)
        head = f"{self.name}:{line}: {message}"
        column = len(_bytes(self.text[start : self.last]))
        if not 0 < column < _SHOWN_BYTES:
            raise GraphError(head)
        stop = re.compile(r"[\0\n]").search(self.text, start)
        shown = _bytes(self.text[start : stop.start() if stop else len(self.text)])
        more = "..." if len(shown) >= _SHOWN_BYTES else ""
        excerpt = shown[:_SHOWN_BYTES].decode("utf-8", "surrogateescape")
        raise GraphError(f"{head}\n{excerpt}{more}\n{' ' * column}^ near here")

    def fail_lexing(self) -> NoReturn:
        """Raise what ninja says of a character that begins no token."""
        is_tab = self.text.startswith("\t", self.last)
        self.fail("tabs are not allowed, use spaces" if is_tab else "lexing error")

    def _pieces(self, pattern: re.Pattern[str]) -> Text:
        """Text and variables, up to what ends them."""
        parts = [""]
        at, text = self.at, self.text
        while found := pattern.match(text, at):
            at = found.end()
            plain, sign, _, braced, bare = found.groups()
            if name := braced or bare:
                parts += (name, "")
            else:
                parts[-1] += plain or sign or ""
        self.at = self.last = at
        if text[at] == "\r" and text[at + 1] != "\n":
            self.fail_lexing()
        return parts[0] if len(parts) == 1 else tuple(parts)

    def _fail_at_end(self) -> NoReturn:
        """Raise for what stands where a text should have ended."""
        if self.text[self.at] == "\0":
            self.fail("unexpected EOF")
        self.fail("bad $-escape (literal $ must be written as $$)")

    def _skip_space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at


def expand(raw: str, lookup: Callable[[str], str]) -> str:
    """A text known to be well-formed, without its escapes and with its variables replaced."""

    def piece(found: re.Match[str]) -> str:
        sign, _, braced, bare = found.groups()
        return sign or (lookup(braced or bare) if braced or bare else "")

    return _ESCAPES.sub(piece, raw)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
