"""What the commands that ask have in common: a query in words, and when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from vcache.errors import UsageError

if TYPE_CHECKING:
    from vcache.query.syntax import Expression, Query

__all__ = ["both", "moment_of", "question_of", "when_options", "words_argument"]

F = TypeVar("F", bound=Callable[..., object])


def words_argument(function: F) -> F:
    """The query, in one word or in several."""
    return click.argument("words", metavar="[QUERY]", nargs=-1)(function)


def when_options(function: F) -> F:
    """The options that bound times."""
    since = click.option(
        "--since", "-S", metavar="TIME", help="From then on: 90m (ago), today, yesterday, 2026-11-21T10:00Z."
    )
    until = click.option("--until", "-U", metavar="TIME", help="Before then.")
    return since(until(function))


def question_of(
    words: tuple[str, ...], *, since: str | None = None, until: str | None = None, now_ns: int | None = None
) -> Query:
    """The query that is meant.

    Raises:
        UsageError: it is none; the message shows the place.
    """
    from vcache.kit.data import replace
    from vcache.query.parser import parse
    from vcache.query.syntax import Compare

    now_ns = time.time_ns() if now_ns is None else now_ns
    query = parse(" ".join(words), now_ns=now_ns)
    where = query.where
    if since is not None:
        where = both(Compare("@time", ">=", moment_of(since, "--since", now_ns=now_ns)), where)
    if until is not None:
        where = both(Compare("@time", "<", moment_of(until, "--until", now_ns=now_ns)), where)
    return query if where is query.where else replace(query, where=where)


def both(one: Expression, other: Expression) -> Expression:
    """What two conditions mean together."""
    from vcache.query.syntax import And, Everything

    items: list[Expression] = []
    for item in (one, other):
        items += item.items if isinstance(item, And) else () if isinstance(item, Everything) else (item,)
    return And(tuple(items)) if len(items) > 1 else items[0] if items else Everything()


def moment_of(text: str, option: str, *, now_ns: int) -> int:
    """The time that an option says; a duration alone lies back.

    Raises:
        UsageError: it says none.
    """
    from vcache.query.literals import time_of

    found = time_of(text, now_ns=now_ns)
    if found is None or (text[:1].isdigit() and text.isdigit() and len(text) < 9):
        found = time_of(f"-{text}", now_ns=now_ns) or found
    if found is None:
        raise UsageError(
            f"{option} {text!r} is no time: give 90m, 2h, 7d (ago), now, today, yesterday, "
            "2026-11-21 or 2026-11-21T10:00:00Z"
        )
    return found
