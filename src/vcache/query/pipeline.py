"""Steps of a query, from text to tree. docs/reference/query.md says what they do.

    step      = "count" [ "as" column ] [ by ]
              | "stats" call { "," call } [ by ]
              | "by" group { "," group }                    count by …
              | "histogram" duration [ by ]                 count by @time(duration), … | sort @time
              | "top" number name { "," name }              count by … | sort -count | limit …
              | "sort" key { "," key } | "limit" number | "first" number | "last" number
              | "fields" name { "," name } | "dedup" name { "," name } | "where" condition
    call      = function "(" [ name ] ")" [ "as" column ] | "p" "(" percent "," name ")" [ "as" column ]
    function  = "count" | "uniq" | "sum" | "avg" | "min" | "max" | "first" | "last" | "median" | "p" percent
    by        = "by" group { "," group }
    group     = name [ "(" duration ")" ] [ "as" column ]   a time, in buckets of that length
    key       = [ "-" | "+" ] name [ "asc" | "desc" ]

What is shorthand comes out as the steps of `vcache.query.syntax`. Behind an aggregation and `fields`, names
are those of columns, and others are an error.
"""

from __future__ import annotations

import re
from typing import Final, Literal, cast

from vcache.errors import UsageError
from vcache.kit.names import did_you_mean
from vcache.kit.units import nanoseconds
from vcache.query.conditions import Conditions, is_reserved
from vcache.query.lexer import Scanner, Token, complain, unquoted
from vcache.query.literals import TIMES
from vcache.query.syntax import Aggregate, Call, Dedup, Fields, Group, Last, Limit, Query, Sort, Stage, Where

__all__ = ["FUNCTIONS", "MOST_STAGES", "STAGES", "Pipeline", "call_name", "columns_after"]

FUNCTIONS: Final = ("count", "uniq", "sum", "avg", "min", "max", "p", "median", "first", "last")
"""What `stats` computes."""
STAGES: Final = (
    "by", "count", "dedup", "fields", "first", "histogram", "last", "limit", "sort", "stats", "top", "where",
)  # fmt: skip
"""Words that steps begin with."""
MOST_STAGES: Final = 50
"""A query has no more steps than this."""

_Function = Literal["count", "uniq", "sum", "avg", "min", "max", "p", "first", "last"]
_SAME: Final = {"head": "limit", "tail": "last", "table": "fields", "select": "fields", "filter": "where"}
_PERCENTILE: Final = re.compile(r"p([0-9]+(?:\.[0-9]+)?)")
_MOST_ROWS: Final = 10**9


def columns_after(query: Query) -> tuple[str, ...] | None:
    """The columns of what a query answers; None where it answers records."""
    columns: tuple[str, ...] | None = None
    for stage in query.stages:
        if isinstance(stage, Aggregate):
            columns = (*(group.name for group in stage.by), *(call.name for call in stage.calls))
        elif isinstance(stage, Fields):
            columns = stage.names
    return columns


def call_name(function: str, field: str, percent: float) -> str:
    """The column of a call that says no other: `count`, `avg(x)`, `p95(x)`."""
    if function == "count" and not field:
        return "count"
    return f"p{percent:g}({field})" if function == "p" else f"{function}({field})"


class Pipeline:
    """Reads the steps that a scanner stands at.

    Args:
        scanner: it is moved on, to the end.
        conditions: reads those of `where`, from the same scanner.
    """

    def __init__(self, scanner: Scanner, conditions: Conditions, *, now_ns: int) -> None:
        self._scanner, self._conditions, self._now_ns = scanner, conditions, now_ns

    def stages(self) -> tuple[Stage, ...]:
        """The steps up to the end.

        Raises:
            QueryError: something else stands here.
        """
        scanner = self._scanner
        found: list[Stage] = []
        while scanner.takes("sign", "|"):
            if len(found) >= MOST_STAGES:
                complain(scanner.text, scanner.now.at, f"more than {MOST_STAGES} steps")
            found += self._stage()
        if scanner.now.kind != "end":
            scanner.refuse("`|` or the end" if found else "`and`, `or`, `|` or the end")
        return tuple(found)

    def _stage(self) -> list[Stage]:
        token = self._scanner.now
        word = _SAME.get(token.text.lower(), token.text.lower())
        if token.kind != "word":
            self._scanner.refuse(f"a step ({', '.join(STAGES)})")
        if word not in STAGES:
            complain(self._scanner.text, token.at, f"no step {word!r:.80}{did_you_mean(word, STAGES)}")
        self._scanner.go_on()
        match word:
            case "count" | "stats" | "by" | "histogram" | "top":
                return self._counted(word, token)
            case "sort":
                return [self._sort()]
            case "limit" | "first":
                return [Limit(self._number())]
            case "last":
                return [Last(self._number())]
            case "dedup":
                return [Dedup(self._names())]
            case "where":
                return [self._where()]
        return [self._fields()]

    def _counted(self, word: str, token: Token) -> list[Stage]:
        count = Call("count", "", 0.0, "count")
        if word == "count":
            if self._scanner.takes("word", "as"):
                count = count._replace(name=self._column())
            return [self._aggregate(token, (count,), self._by())]
        if word == "stats":
            calls = self._calls()
            return [self._aggregate(token, calls, self._by())]
        if word == "by":
            return [self._aggregate(token, (count,), self._groups())]
        if word == "top":
            number = self._number()
            by = tuple(Group(name, 0, name) for name in self._names())
            made = self._aggregate(token, (count,), by)
            return [made, Sort((("count", True),)), Limit(number)]
        return self._histogram(token, count)

    def _histogram(self, token: Token, count: Call) -> list[Stage]:
        time = Group("@time", self._step(), "@time")
        self._conditions.known(token, "@time")
        made = self._aggregate(token, (count,), (time, *self._by()))
        return [made, Sort((("@time", False),))]

    def _aggregate(self, token: Token, calls: tuple[Call, ...], by: tuple[Group, ...]) -> Aggregate:
        columns = (*(group.name for group in by), *(call.name for call in calls))
        twice = next((name for at, name in enumerate(columns) if name in columns[:at]), None)
        if twice is not None:
            what = f"two columns are named {twice!r:.80}; give one another name with `as`"
            complain(self._scanner.text, token.at, what)
        self._conditions.narrow(columns)
        return Aggregate(calls, by)

    # --- calls and groups --------------------------------------------------------------------

    def _calls(self) -> tuple[Call, ...]:
        found = [self._call()]
        while self._scanner.takes("sign", ","):
            found.append(self._call())
        return tuple(found)

    def _call(self) -> Call:
        scanner = self._scanner
        token = scanner.now
        if token.kind != "word" or is_reserved(token):
            scanner.refuse(f"a function ({', '.join(FUNCTIONS)}, p95)")
        scanner.go_on()
        function, percent = self._function(token)
        if not scanner.takes("sign", "("):
            scanner.refuse("`(`")
        if function == "p" and not percent:
            percent = self._percent()
        field = "" if function == "count" and scanner.now.text == ")" else self._conditions.field()
        if not scanner.takes("sign", ")"):
            scanner.refuse("`)`")
        name = call_name(function, field, percent)
        if scanner.takes("word", "as"):
            name = self._column()
        return Call(function, field, percent, name)

    def _function(self, token: Token) -> tuple[_Function, float]:
        if token.text == "median":
            return "p", 50.0
        match = _PERCENTILE.fullmatch(token.text)
        if match is not None:
            return "p", self._checked(token, match[1])
        if token.text not in FUNCTIONS:
            what = f"no function {token.text!r:.80}{did_you_mean(token.text, FUNCTIONS)}"
            complain(self._scanner.text, token.at, what)
        return cast("_Function", token.text), 0.0

    def _percent(self) -> float:
        token = self._scanner.now
        if token.kind != "bare":
            self._scanner.refuse("a percentage, such as 99.9,")
        self._scanner.go_on()
        percent = self._checked(token, token.text)
        if not self._scanner.takes("sign", ","):
            self._scanner.refuse("`,` and a field")
        return percent

    def _checked(self, token: Token, text: str) -> float:
        try:
            percent = float(text)
        except ValueError:
            percent = 0.0
        if not 0 < percent <= 100 or float(f"{percent:g}") != percent:
            complain(self._scanner.text, token.at, f"{text:.80}: a percentage is above 0 and at most 100")
        return percent

    def _by(self) -> tuple[Group, ...]:
        return self._groups() if self._scanner.takes("word", "by") else ()

    def _groups(self) -> tuple[Group, ...]:
        found = [self._group()]
        while self._scanner.takes("sign", ","):
            found.append(self._group())
        return tuple(found)

    def _group(self) -> Group:
        scanner = self._scanner
        token = scanner.now
        name = column = self._conditions.field()
        step_ns = 0
        if scanner.now.text == "(" and scanner.now.kind == "sign":
            if name not in TIMES:
                what = f"{name!r:.80} is no time: only {' and '.join(sorted(TIMES))} are put in buckets"
                complain(scanner.text, token.at, what)
            scanner.go_on()
            step_ns = self._step()
            if not scanner.takes("sign", ")"):
                scanner.refuse("`)`")
        if scanner.takes("word", "as"):
            column = self._column()
        return Group(name, step_ns, column)

    def _step(self) -> int:
        token = self._scanner.now
        text = token.text
        try:
            found = nanoseconds(text) if token.kind == "bare" and not text.isdigit() else 0
        except UsageError:
            found = 0
        if found <= 0:
            self._scanner.refuse("a duration, such as 1m or 1h,")
        self._scanner.go_on()
        return found

    # --- names and numbers -------------------------------------------------------------------

    def _sort(self) -> Sort:
        keys = [self._key()]
        while self._scanner.takes("sign", ","):
            keys.append(self._key())
        return Sort(tuple(keys))

    def _key(self) -> tuple[str, bool]:
        is_down = self._scanner.takes("sign", "-")
        is_signed = is_down or self._scanner.takes("sign", "+")
        name = self._conditions.field()
        if not is_signed and not self._scanner.takes("word", "asc"):
            is_down = self._scanner.takes("word", "desc")
        return name, is_down

    def _number(self) -> int:
        token = self._scanner.now
        text = token.text
        if token.kind != "bare" or not (text.isascii() and text.isdigit()) or len(text) > 10:
            self._scanner.refuse("a number from 1")
        number = int(text)
        if not 1 <= number <= _MOST_ROWS:
            self._scanner.refuse(f"a number from 1 to {_MOST_ROWS:,}")
        self._scanner.go_on()
        return number

    def _fields(self) -> Fields:
        at = self._scanner.now
        names = self._names()
        if len(set(names)) < len(names):
            complain(self._scanner.text, at.at, "a column is named twice")
        self._conditions.narrow(names)
        return Fields(names)

    def _where(self) -> Where:
        return Where(self._conditions.either())

    def _names(self) -> tuple[str, ...]:
        found = [self._conditions.field()]
        while self._scanner.takes("sign", ","):
            found.append(self._conditions.field())
        return tuple(found)

    def _column(self) -> str:
        token = self._conditions.name("a name for the column")
        return unquoted(self._scanner.text, token)
