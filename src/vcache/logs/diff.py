"""What one run says that another does not: by the shape of messages, level and node. Pure.

Numbers, hashes and paths differ from run to run, so messages are compared by their templates
(`vcache.query.shapes`), of those of several lines by the line that tells; how often one was said counts as
well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias, cast

from vcache.kit.data import NamedTuple
from vcache.logs.receive.guess import level_in
from vcache.query.shapes import shape
from vcache.query.syntax import Aggregate, And, Call, Compare, Expression, Group, Query, Value

__all__ = ["COLUMNS", "Change", "How", "Said", "compared", "question", "said_of", "telling_line"]

How: TypeAlias = Literal["new", "more", "fewer", "gone"]
_ORDER: Final[dict[How, int]] = {"new": 0, "more": 1, "fewer": 2, "gone": 3}

_BY: Final = (Group("level", 0, "level"), Group("source", 0, "source"), Group("node", 0, "node"),
              Group("@template", 0, "template"))  # fmt: skip
_CALLS: Final = (
    Call("sum", "@repeats", 0.0, "count"),
    Call("first", "message", 0.0, "example"),
    Call("first", "text", 0.0, "text"),
)
COLUMNS: Final = (*(group.name for group in _BY), *(call.name for call in _CALLS))
"""The columns of an answer to `question`."""


class Said(NamedTuple):
    """What a run said in one shape.

    Attributes:
        count: how often.
        example: the first message of that shape; the lines it was made of, where the record has them.
    """

    level: int
    source: str
    node: str
    template: str
    count: int  # type: ignore[assignment]  # instead of the method of a tuple
    example: str


class Change(NamedTuple):
    """How two runs differ in one shape. `before` and `after` are how often it was said."""

    how: How
    level: int
    source: str
    node: str
    template: str
    before: int
    after: int
    example: str


def question(where: Expression, *, least_level: int = 0) -> Query:
    """The query whose answer is what `said_of` takes.

    Args:
        where: which records are of the run.
    """
    if least_level:
        where = And((where, Compare("level", ">=", least_level)))
    return Query(where, (Aggregate(_CALLS, _BY),))


def said_of(rows: Iterable[Sequence[Value]]) -> list[Said]:
    """What the rows of an answer to `question` say."""
    return [
        Said(
            cast("int", level or 0), str(source or ""), "" if node is None else str(node),
            _shape(str(template or ""), str(example or ""), cast("int", level or 0)),
            int(cast("int", count or 0)), str(text or example or ""),
        )
        for level, source, node, template, count, example, text in rows
    ]  # fmt: skip


def telling_line(message: str, level: int) -> str:
    """Of a message of several lines the first that says why it has its level, else the first.

    gcc begins with the function and ends with the source: neither makes a warning another one.
    """
    lines = message.split("\n")
    if len(lines) == 1 or not level:
        return lines[0]
    return next((line for line in lines if level_in(line) == level), lines[0])


def _shape(template: str, example: str, level: int) -> str:
    return shape(telling_line(example, level)) if "\n" in example else template


def compared(before: Iterable[Said], after: Iterable[Said]) -> list[Change]:
    """How two runs differ: what is new first, and of that the gravest; what is equal is left out."""
    one, two = _by_shape(before), _by_shape(after)
    changes = []
    for kind in {**one, **two}:
        old, new = one.get(kind), two.get(kind)
        n_old, n_new = old.count if old else 0, new.count if new else 0
        if n_old == n_new:
            continue
        how: How = "new" if old is None else "gone" if new is None else "more" if n_new > n_old else "fewer"
        example = (new or cast("Said", old)).example
        changes.append(Change(how, *kind, before=n_old, after=n_new, example=example))
    changes.sort(
        key=lambda each: (_ORDER[each.how], -each.level, each.source, each.node, -each.after, each.template)
    )
    return changes


def _by_shape(said: Iterable[Said]) -> dict[tuple[int, str, str, str], Said]:
    found: dict[tuple[int, str, str, str], Said] = {}
    for each in said:
        shape = (each.level, each.source, each.node, each.template)
        known = found.get(shape)
        found[shape] = each if known is None else known._replace(count=known.count + each.count)
    return found
