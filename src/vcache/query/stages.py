"""The steps of a query over rows, one after the other, as lazily as each allows. Pure.

Rows are whatever `getter_of` reads, such as records, until a step makes tuples of them. Memory is bounded by
what a step must keep: so many rows for `limit`, `last` and for `sort` with a `limit` behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, Final, TypeAlias

from vcache.errors import QueryError
from vcache.query.order import keyed, rank, rank_down
from vcache.query.rows import compiled
from vcache.query.syntax import Aggregate, Fields, Last, Limit, Sort, Stage, Value, Where
from vcache.query.totals import Totals

__all__ = ["MOST_KEPT", "GetterOf", "run", "tuple_getters"]

GetterOf: TypeAlias = Callable[[str], Callable[[Any], Value]]
"""For the name of a field, what gets its value from a row."""
Columns: TypeAlias = "tuple[str, ...] | None"

MOST_KEPT: Final = 2_000_000
"""More rows than this are neither sorted nor told apart: they would take all memory."""


def tuple_getters(columns: Sequence[str]) -> GetterOf:
    """For rows that are tuples with these columns; a name that is none of them has no value."""
    places = {name: at for at, name in reversed(list(enumerate(columns)))}

    def getter_of(name: str) -> Callable[[Any], Value]:
        at = places.get(name)
        return _none if at is None else itemgetter(at)

    return getter_of


def _none(row: object) -> Value:
    return None


def run(
    stages: Sequence[Stage],
    columns: tuple[str, ...] | None,
    rows: Iterable[Any],
    *,
    getter_of: GetterOf | None = None,
) -> tuple[tuple[str, ...] | None, Iterator[Any]]:
    """What the steps make of rows.

    Args:
        columns: of the rows, which are tuples; None where they are something else.
        getter_of: reads rows that have no columns.

    Returns:
        The columns (None where the rows are still what they were) and the rows, lazily.

    Raises:
        QueryError: while rows are read: more than can be kept.
    """
    found, at = iter(rows), 0
    while at < len(stages):
        stage, getters = stages[at], tuple_getters(columns) if columns is not None else getter_of
        assert getters is not None  # rows are tuples, or somebody can read them
        following = stages[at + 1] if at + 1 < len(stages) else None
        if isinstance(stage, Sort) and isinstance(following, Limit):
            found, at = _least(stage, following.count, found, getters), at + 2
            continue
        columns, found = _step(stage, columns, found, getters)
        at += 1
    return columns, found


def _step(
    stage: Stage, columns: Columns, rows: Iterator[Any], getters: GetterOf
) -> tuple[Columns, Iterator[Any]]:
    match stage:
        case Aggregate():
            totals = Totals(stage)
            return totals.columns, _aggregated(
                totals, rows, getters, is_timed=columns is None or "@time" in columns
            )
        case Fields():
            return stage.names, map(_picker([getters(name) for name in stage.names]), rows)
        case Where():
            return columns, filter(compiled(stage.condition, getters), rows)
        case Limit():
            return columns, islice(rows, stage.count)
        case Last():
            return columns, _last(stage.count, rows)
        case Sort():
            return columns, _sorted(stage, rows, getters)
    return columns, _distinct(rows, [getters(name) for name in stage.names])


def _aggregated(totals: Totals, rows: Iterator[Any], getters: GetterOf, *, is_timed: bool) -> Iterator[Any]:
    if is_timed:
        add = totals.adder(getters)
        for row in rows:
            add(row)
    else:
        # What has no time is in an order all the same.
        place = 0
        add = totals.adder(getters, at=lambda row: place)
        for place, row in enumerate(rows):  # noqa: B007 - `at` reads it
            add(row)
    yield from totals.rows()


def _picker(getters: list[Callable[[Any], Value]]) -> Callable[[Any], tuple[Value, ...]]:
    return lambda row: tuple([get(row) for get in getters])


def _last(count: int, rows: Iterator[Any]) -> Iterator[Any]:
    yield from deque(rows, maxlen=count)


def _sorted(stage: Sort, rows: Iterator[Any], getters: GetterOf) -> Iterator[Any]:
    kept = list(islice(rows, MOST_KEPT + 1))
    _check(len(kept), "sort", "put a `limit` behind it, or ask for fewer rows")
    for name, is_down in reversed(stage.keys):
        kept.sort(key=_key(getters(name), is_down=is_down), reverse=is_down)
    yield from kept


def _key(get: Callable[[Any], Value], *, is_down: bool) -> Callable[[Any], Any]:
    ranked = rank_down if is_down else rank
    return lambda row: ranked(get(row))


class _Down:
    """The other way round."""

    __slots__ = ("_rank",)

    def __init__(self, ranked: Any) -> None:
        self._rank = ranked

    def __lt__(self, other: _Down) -> bool:
        return bool(other._rank < self._rank)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and bool(self._rank == other._rank)

    __hash__ = None  # type: ignore[assignment]


def _least(stage: Sort, count: int, rows: Iterator[Any], getters: GetterOf) -> Iterator[Any]:
    """As if sorted and cut, with so many rows in memory."""
    from heapq import nsmallest  # only for queries that sort and cut

    keys = [(_key(getters(name), is_down=is_down), is_down) for name, is_down in stage.keys]

    def key(row: Any) -> list[Any]:
        return [_Down(get(row)) if is_down else get(row) for get, is_down in keys]

    if count > MOST_KEPT:
        yield from islice(_sorted(stage, rows, getters), count)
    else:
        yield from nsmallest(count, rows, key=key)


def _distinct(rows: Iterator[Any], getters: list[Callable[[Any], Value]]) -> Iterator[Any]:
    seen: set[tuple[Hashable, ...]] = set()
    for row in rows:
        key = tuple([keyed(get(row)) for get in getters])
        if key not in seen:
            _check(len(seen), "dedup", "ask for fewer rows")
            seen.add(key)
            yield row


def _check(count: int, step: str, remedy: str) -> None:
    if count > MOST_KEPT:
        raise QueryError(f"`{step}` over more than {MOST_KEPT:,} rows: {remedy}")
