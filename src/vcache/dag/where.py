"""Conditions over records: "level >= warning and file ~ 'src/' and not text ~ 'deprecated'".

    either   = both { "or" both }
    both     = no { "and" no }
    no       = "not" no | "(" either ")" | compared
    compared = field ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) literal
             | field "~" text | field [ "not" ] "in" "(" literal { "," literal } ")"
             | field                                  true if it is neither empty nor 0

A literal is text in quotes, a number, or, for `level`, one of the levels, which have an order. `~`
searches for a regular expression. Pure: it knows what fields a record has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from operator import attrgetter, eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any, Final, NoReturn

from vcache.dag.diagnostics import LEVELS
from vcache.errors import GraphError
from vcache.kit.data import dataclass
from vcache.kit.names import did_you_mean

if TYPE_CHECKING:
    from vcache.dag.capture import Record

__all__ = ["Condition", "condition"]

Condition = Callable[["Record"], bool]
"""Whether a record is meant."""

_FIELDS: Final = {
    **dict.fromkeys(("node", "stream", "text", "file", "message", "option"), str),
    **dict.fromkeys(("at_ns", "line", "column"), int),
    "level": str,
}
_RANK: Final = {level: rank for rank, level in enumerate(LEVELS)}
# Both sides are text, or both are numbers.
_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>-?\d+)|(?P<word>[A-Za-z_]\w*)"""
    r"""|(?P<sign>==|!=|<=|>=|[<>~(),]))"""
)
_QUOTED: Final = re.compile(r"\\(['\"])")
_DEPTH_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def condition(text: str) -> Condition:
    """The condition that a text states.

    Raises:
        GraphError: it states none; the message shows the place.
    """
    parser = _Parser(text)
    found = parser.either(0)
    if parser.now.kind != "end":
        parser.refuse("`and`, `or` or the end")
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    @property
    def now(self) -> _Token:
        return self._tokens[self._at]

    def either(self, depth: int) -> Condition:
        found = [self._both(depth)]
        while self._takes("word", "or"):
            found.append(self._both(depth))
        return found[0] if len(found) == 1 else lambda record: any(one(record) for one in found)

    def _both(self, depth: int) -> Condition:
        found = [self._no(depth)]
        while self._takes("word", "and"):
            found.append(self._no(depth))
        return found[0] if len(found) == 1 else lambda record: all(one(record) for one in found)

    def _no(self, depth: int) -> Condition:
        if depth > _DEPTH_MAX:
            _complain(self._text, self.now.at, "nested too deep")
        if self._takes("word", "not"):
            inner = self._no(depth + 1)
            return lambda record: not inner(record)
        if self._takes("sign", "("):
            found = self.either(depth + 1)
            if not self._takes("sign", ")"):
                self.refuse("`)`")
            return found
        return self._compared()

    def _compared(self) -> Condition:
        token = self.now
        if token.kind != "word" or token.text in ("and", "or", "in"):
            self.refuse(f"a field ({', '.join(_FIELDS)})")
        name = token.text
        if name not in _FIELDS:
            _complain(self._text, token.at, f"no field {name!r}{did_you_mean(name, _FIELDS)}")
        self._at += 1
        sign = self.now
        if sign.kind == "sign" and sign.text in _ORDERS:
            self._at += 1
            return self._order(name, _ORDERS[sign.text])
        if self._takes("sign", "~"):
            return self._search(name)
        is_not = sign.text == "not" and self._tokens[self._at + 1].text == "in"
        self._at += is_not
        if self._takes("word", "in"):
            return self._member(name, is_not=is_not)
        get = attrgetter(name)
        return lambda record: bool(get(record))

    def _order(self, name: str, holds: Callable[[object, object], bool]) -> Condition:
        get, wanted = attrgetter(name), self._literal(name)
        if name == "level":
            return lambda record: holds(_RANK.get(record.level, 1), wanted)
        return lambda record: holds(get(record), wanted)

    def _search(self, name: str) -> Condition:
        token = self.now
        if token.kind != "text":
            self.refuse("a regular expression in quotes")
        if _FIELDS[name] is int:
            _complain(self._text, token.at, f"{name} is a number: compare it with == or <")
        self._at += 1
        try:
            # As it stands: a backslash is the expression's own.
            search, get = re.compile(_QUOTED.sub(r"\1", token.text[1:-1])).search, attrgetter(name)
        except re.error as error:
            _complain(self._text, token.at + 1 + (error.pos or 0), f"no regular expression: {error.msg}")
        return lambda record: search(get(record)) is not None

    def _member(self, name: str, *, is_not: bool) -> Condition:
        if not self._takes("sign", "("):
            self.refuse("`(`")
        wanted = {self._literal(name)}
        while self._takes("sign", ","):
            wanted.add(self._literal(name))
        if not self._takes("sign", ")"):
            self.refuse("`,` or `)`")
        get = attrgetter(name)
        if name == "level":
            return lambda record: (_RANK.get(record.level, 1) in wanted) is not is_not
        return lambda record: (get(record) in wanted) is not is_not

    def _literal(self, name: str) -> str | int:
        token = self.now
        if name == "level":
            level = _unquoted(token.text) if token.kind == "text" else token.text
            if token.kind not in ("word", "text"):
                self.refuse(f"a level ({', '.join(LEVELS)})")
            if level not in _RANK:
                _complain(self._text, token.at, f"no level {level!r}{did_you_mean(level, LEVELS)}")
            self._at += 1
            return _RANK[level]
        wanted = "number" if _FIELDS[name] is int else "text"
        if token.kind != wanted:
            self.refuse("a number" if wanted == "number" else "text in quotes")
        self._at += 1
        return int(token.text) if wanted == "number" else _unquoted(token.text)

    def _takes(self, kind: str, text: str) -> bool:
        token = self.now
        if token.kind == kind and token.text == text:
            self._at += 1
            return True
        return False

    def refuse(self, wanted: str) -> NoReturn:
        found = "the end" if self.now.kind == "end" else f"{self.now.text!r}"
        _complain(self._text, self.now.at, f"{wanted} is wanted here, not {found}")


def _tokens(text: str) -> Iterable[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            what = "a quote that is not closed" if text[at] in "'\"" else f"{text[at]!r} means nothing here"
            hint = "; write ==" if text[at] == "=" else ""
            _complain(text, at, what + hint)
        kind = match.lastgroup or ""
        yield _Token(kind, match[kind], match.start(kind))
        at = match.end()
    yield _Token("end", "", end)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _complain(text: str, at: int, what: str) -> NoReturn:
    # On one line, so that the caret stands right.
    shown = re.sub(r"\s", " ", text)
    raise GraphError(f"{what}\n    {shown}\n    {' ' * at}^")
