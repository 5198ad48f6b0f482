"""Conditions of a query, from text to tree. docs/reference/query.md has the grammar and what it means.

    either    = both { "or" both }
    both      = no { [ "and" ] no }
    no        = "not" no | "(" either ")" | "*" | text | compared
    compared  = field                                       it is there, and neither empty, 0 nor false
              | field ( "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
              | field ( "~" | "!~" ) value                  a regular expression, somewhere in it
              | field ":" value                             whole words, in any case of letters
              | field [ "not" ] "contains" value            this text, somewhere in it
              | field [ "not" ] "in" "(" value { "," value } ")"
    field     = word | "`" name "`"
    value     = text | whatever has no space, quote, bracket, comma, bar or comparison in it

Words such as `and` are that in any case of letters. A text in quotes on its own is looked for in `message`, as with ":".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final, NoReturn, cast

from vcache.errors import UsageError
from vcache.kit.names import did_you_mean
from vcache.query.levels import LEVELS, word_of
from vcache.query.lexer import Scanner, Token, complain, unquoted
from vcache.query.literals import TIMES, day_of, is_measure, levels_of, measured, number_in, time_of
from vcache.query.logic import all_of, any_of, none_of
from vcache.query.patterns import regex_fault
from vcache.query.syntax import (
    KNOWN,
    And,
    Compare,
    Contains,
    Everything,
    Expression,
    Has,
    In,
    Operator,
    Regex,
    Words,
)

__all__ = ["RESERVED", "Conditions", "is_reserved"]

RESERVED: Final = frozenset(("and", "or", "not", "in", "by", "as"))
"""Words, in any case of letters, that are no names and no values unless quoted."""


_Literal = str | int | float | bool
_DEPTH_MAX: Final = 100
_ORDERS: Final = {"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_OTHERWISE: Final = {
    "=~": "write ~", "<>": "write !=", "&&": "write and", "&": "write and", "||": "write or", "!": "write not",
    "-": "write not",
}  # fmt: skip
_EMPTY: Final = "an empty text is everywhere: say what to look for"
_TIME_FORMS: Final = "a time (now, -1h, today, yesterday, 2026-11-21, 2026-11-21T10:00:00Z)"


class Conditions:
    """Reads conditions of what a scanner stands at.

    Args:
        scanner: it is moved on.
        now_ns: what -1h and `today` are measured from.
        fields: names that may be asked for; None for any.
    """

    def __init__(self, scanner: Scanner, *, now_ns: int, fields: Collection[str] | None) -> None:
        self.scanner, self._now_ns, self.fields = scanner, now_ns, fields
        self.is_of_columns = False

    def narrow(self, columns: tuple[str, ...]) -> None:
        """From here on, names are those of columns."""
        self.fields, self.is_of_columns = columns, True

    def either(self, depth: int = 0) -> Expression:
        """The condition that begins here.

        Raises:
            QueryError: none does.
        """
        found = [self._both(depth)]
        while self.scanner.takes("word", "or"):
            found.append(self._both(depth))
        return any_of(found)

    def _both(self, depth: int) -> Expression:
        found = [self._no(depth)]
        while self.scanner.takes("word", "and") or self._begins():
            found.append(self._no(depth))
        return all_of(found)

    def _begins(self) -> bool:
        token = self.scanner.now
        if token.kind == "word":
            return token.text.lower() == "not" or not is_reserved(token)
        return token.kind in ("text", "name") or (token.kind == "sign" and token.text in ("(", "*"))

    def _no(self, depth: int) -> Expression:
        scanner = self.scanner
        if depth > _DEPTH_MAX:
            complain(scanner.text, scanner.now.at, "nested too deep")
        if scanner.takes("word", "not"):
            return none_of(self._no(depth + 1))
        if scanner.takes("sign", "("):
            found = self.either(depth + 1)
            if not scanner.takes("sign", ")"):
                scanner.refuse("`)`")
            return found
        if scanner.takes("sign", "*"):
            return Everything()
        if scanner.now.kind == "text":
            return self._text()
        return self._compared()

    def _text(self) -> Expression:
        token = self.scanner.go_on()
        after = self.scanner.now
        if after.kind == "sign" and (after.text in _ORDERS or after.text in (":", "~", "!~")):
            name = unquoted(self.scanner.text, token)
            complain(self.scanner.text, token.at, f"a field is wanted here: write `{name}`, in backquotes")
        return Words("message", self._filled(token))

    def name(self, wanted: str = "a field") -> Token:
        """The name that stands here, checked.

        Raises:
            QueryError: none does, or it is not among `fields`.
        """
        token = self.scanner.now
        if token.kind == "sign" and token.text in _OTHERWISE:
            self._complain(token, f"{token.text!r} means nothing here; {_OTHERWISE[token.text]}")
        if token.kind == "word" and token.text.lower() == "by":
            complain(self.scanner.text, token.at, "`by` belongs to a step, and steps stand behind `|`")
        if token.kind not in ("word", "name") or is_reserved(token):
            self.scanner.refuse(wanted)
        return self.scanner.go_on()

    def field(self, wanted: str = "") -> str:
        """The name of a field that there is, or of a column, such as avg(x).

        Raises:
            QueryError: none stands here, or there is no such one.
        """
        scanner = self.scanner
        token = self.name(wanted or ("a column" if self.is_of_columns else "a field"))
        name = unquoted(scanner.text, token)
        after = scanner.now
        if self.is_of_columns and token.kind == "word" and after.text == "(" and after.at == scanner.end:
            scanner.go_on()
            name = f"{name}({unquoted(scanner.text, self.name())})"
            if not scanner.takes("sign", ")"):
                scanner.refuse("`)`")
        return self.known(token, name)

    def known(self, token: Token, name: str) -> str:
        """The name, which is one that may be asked for.

        Raises:
            QueryError: it is not.
        """
        if self.fields is None and token.kind == "word" and name[0] == "@" and name not in KNOWN:
            what = f"no {name:.80}{did_you_mean(name, KNOWN)}; a field of that name stands in backquotes"
            complain(self.scanner.text, token.at, what)
        if self.fields is not None and name not in self.fields:
            noun = "column" if self.is_of_columns else "field"
            complain(self.scanner.text, token.at, f"no {noun} {name!r:.80}{did_you_mean(name, self.fields)}")
        return name

    def _compared(self) -> Expression:
        scanner = self.scanner
        field = self.field("a field, or a text in quotes," if self.fields is None else self._wanted())
        sign = scanner.now
        if sign.kind == "sign":
            if sign.text in _ORDERS:
                scanner.go_on()
                return self._order(field, cast("Operator", _ORDERS[sign.text]))
            if sign.text in ("~", "!~", ":"):
                self._check_is_searched(field, sign)
                scanner.go_on()
                found = self._phrase(field) if sign.text == ":" else self._regex(field)
                return self._is(found, is_not=sign.text == "!~")
            if sign.text in _OTHERWISE:
                complain(scanner.text, sign.at, f"{sign.text!r} means nothing here; {_OTHERWISE[sign.text]}")
        is_not = sign.kind == "word" and sign.text.lower() == "not"
        is_not = is_not and scanner.ahead().text.lower() in ("in", "contains")
        if is_not:
            scanner.go_on()
        word = scanner.now
        if scanner.takes("word", "contains"):
            self._check_is_searched(field, word)
            return self._is(self._part(field), is_not=is_not)
        if scanner.takes("word", "in"):
            return self._is(self._member(field), is_not=is_not)
        return Has(field)

    def _wanted(self) -> str:
        names = sorted(self.fields or ())
        return f"a field ({', '.join(names)})" if len(names) <= 20 else "a field, or a text in quotes,"

    def _is(self, found: Expression, *, is_not: bool) -> Expression:
        return none_of(found) if is_not else found

    def _value(self, wanted: str = "a value") -> Token:
        now = self.scanner.now
        if is_reserved(now):
            self.scanner.refuse(f"{wanted} (in quotes where it is such a word)")
        token = self.scanner.value()
        if token is None:
            self.scanner.refuse(wanted)
        # "http://host?a=b" without its quotes would otherwise be cut in two.
        after = self.scanner.now
        is_stuck = after.at == self.scanner.end and after.kind != "end" and after.text not in (")", ",", "|")
        if is_stuck:
            self._complain(after, f"{after.text!r:.80} means nothing here; put the whole value in quotes")
        return token

    def _filled(self, token: Token) -> str:
        text = unquoted(self.scanner.text, token)
        if not text:
            self._complain(token, _EMPTY)
        return text

    def _regex(self, field: str) -> Expression:
        token = self._value("a regular expression in quotes")
        # As it stands: a backslash is the expression's own, but for that of a quote.
        text = _quotes_freed(token.text[1:-1]) if token.kind == "text" else token.text
        if not text:
            self._complain(token, _EMPTY)
        fault = regex_fault(text)
        if fault is not None:
            at = token.at + (token.kind == "text") + min(fault.at, len(token.text))
            complain(self.scanner.text, at, fault.reason)
        return self._of_words(field, token, re.compile(text).search) or Regex(field, text)

    def _phrase(self, field: str) -> Expression:
        token = self._value()
        text = self._filled(token)
        if field == "level":
            return In(field, tuple(self._levels(token, text)))
        self._check_no_wildcard(field, token)
        return Words(field, text)

    def _part(self, field: str) -> Expression:
        token = self._value()
        text = self._filled(token)
        return self._of_words(field, token, lambda word: text in word) or Contains(field, text)

    def _of_words(self, field: str, token: Token, matches: Callable[[str], object]) -> Expression | None:
        """The levels of whose words that holds: records have numbers. None for other fields."""
        if field != "level":
            return None
        numbers = tuple(number for number in range(25) if matches(word_of(number)))
        if not numbers:
            self._complain(token, f"no level ({', '.join(LEVELS)}) has that in it")
        return In(field, numbers)

    def _check_is_searched(self, field: str, sign: Token) -> None:
        if field in TIMES:
            self._complain(sign, f"{field} is a time, no text: compare it with =, <, <=, > or >=")

    def _check_no_wildcard(self, field: str, token: Token) -> None:
        if token.kind == "text" or "*" not in token.text:
            return
        if not token.text.strip("*"):
            self._complain(
                token, f"* means nothing here; write {field:.80} on its own, or quotes around a text"
            )
        pattern = ".*".join(map(re.escape, token.text.split("*")))
        what = f'* means nothing in a value; write {field:.80} ~ "^{pattern:.80}$", or quotes around a text'
        self._complain(token, what)

    # --- values of a field -------------------------------------------------------------------

    def _order(self, field: str, operator: Operator) -> Expression:
        token = self._value(_wanted_for(field))
        if operator in ("=", "!="):
            return self._is_equal(field, token, operator)
        text = unquoted(self.scanner.text, token)
        if field == "level":
            numbers = self._levels(token, text)
            return Compare(field, operator, numbers[-1] if operator in (">", "<=") else numbers[0])
        if field in TIMES:
            return Compare(field, operator, self._time(token, text))
        value = self._plain(field, token, text)
        if isinstance(value, str) and token.kind != "text" and is_measure(value):
            what = f"{value}: the name of {field!r:.80} does not end in a unit; write a number, or quotes around a text"
            complain(self.scanner.text, token.at, what)
        return Compare(field, operator, value)

    def _is_equal(self, field: str, token: Token, operator: Operator) -> Expression:
        found = self._equal(field, token)
        if isinstance(found, Compare):
            return Compare(field, operator, found.value)
        return self._is(found, is_not=operator == "!=")

    def _equal(self, field: str, token: Token) -> Expression:
        text = unquoted(self.scanner.text, token)
        if field == "level":
            numbers = tuple(self._levels(token, text))
            return In(field, numbers) if len(numbers) > 1 else Compare(field, "=", numbers[0])
        if field in TIMES:
            day = day_of(text, now_ns=self._now_ns)
            if day is not None:
                return And((Compare(field, ">=", day.start), Compare(field, "<", day.stop)))
            return Compare(field, "=", self._time(token, text))
        return Compare(field, "=", self._plain(field, token, text))

    def _member(self, field: str) -> Expression:
        if not self.scanner.takes("sign", "("):
            self.scanner.refuse("`(`")
        values: dict[tuple[type, _Literal], None] = {}
        others: list[Expression] = []
        while True:
            found = self._equal(field, self._value())
            if isinstance(found, Compare):
                values[type(found.value), found.value] = None
            elif isinstance(found, In):
                values.update(dict.fromkeys((type(each), each) for each in found.values))
            else:
                others.append(found)
            if not self.scanner.takes("sign", ","):
                break
        if not self.scanner.takes("sign", ")"):
            self.scanner.refuse("`,` or `)`")
        plain = [In(field, tuple(value for _, value in values))] if values else []
        return any_of([*plain, *others])

    def _levels(self, token: Token, text: str) -> range:
        found = levels_of(text)
        if found is not None:
            return found
        number = number_in(text)
        if not isinstance(number, int) or not 0 <= number <= 24:
            self._complain(token, f"no level {text!r:.80}{did_you_mean(text, LEVELS)}")
        return range(number, number + 1)

    def _time(self, token: Token, text: str) -> int:
        found = time_of(text, now_ns=self._now_ns)
        if found is None:
            earlier = time_of(f"-{text}", now_ns=self._now_ns)
            hint = f"; did you mean -{text:.80}?" if earlier is not None else f"; give {_TIME_FORMS}"
            self._complain(token, f"no time: {text!r:.80}{hint}")
        return found

    def _plain(self, field: str, token: Token, text: str) -> _Literal:
        if token.kind == "text":
            return text
        self._check_no_wildcard(field, token)
        if text in ("true", "false"):
            return text == "true"
        number = number_in(text)
        if number is not None:
            return number
        try:
            found = measured(field, text)
        except UsageError as error:
            self._complain(token, str(error))
        return text if found is None else found

    def _complain(self, token: Token, what: str) -> NoReturn:
        complain(self.scanner.text, token.at, what)


def is_reserved(token: Token) -> bool:
    """Whether it is one of the words that are no names."""
    return token.kind == "word" and token.text.lower() in RESERVED


def _wanted_for(field: str) -> str:
    if field == "level":
        return f"a level ({', '.join(LEVELS)})"
    return _TIME_FORMS if field in TIMES else "a value"


def _quotes_freed(text: str) -> str:
    if "\\" not in text:
        return text
    found, at = [], 0
    while at < len(text):
        pair = text[at : at + 2]
        if pair[0] == "\\" and len(pair) == 2:
            found.append(pair[1] if pair[1] in "'\"" else pair)
            at += 2
        else:
            found.append(pair[0])
            at += 1
    return "".join(found)
