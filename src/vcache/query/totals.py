"""Numbers of groups: added up from rows or from what columns say, kept, merged in any order. Pure.

    totals = Totals(aggregate)
    add = totals.adder(getter_of); add(row) …     row by row
    totals.add_count(("gcc", 13), 4711)           or from counters, where `is_counting`
    totals.merge(Totals.of_plain(aggregate, kept))
    totals.columns, totals.rows()

Levels are grouped by their words: the value of a group is the least number of its level.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final, TypeVar, cast

from vcache.errors import QueryError
from vcache.query.levels import LEVELS, level_of, word_of
from vcache.query.numbers import State, state_of, state_of_plain
from vcache.query.order import bare, keyed, rank
from vcache.query.syntax import Aggregate, Group, Value

__all__ = ["MOST_GROUPS", "Totals", "group_value"]

R = TypeVar("R")

_PLAIN: Final = frozenset((str, int, type(None)))

_VALUES: Final = frozenset((str, int, float, bool, type(None)))
MOST_GROUPS: Final = 200_000
"""More groups than this are an error: they would take all memory."""


def group_value(group: Group, value: Value) -> Value:
    """The value of the group that a row with this value of `group.field` belongs to."""
    if group.step_ns:
        return value - value % group.step_ns if type(value) is int else None
    if group.field == "level":
        number = level_of(value) if type(value) is str else value
        if type(number) is int:
            return LEVELS.get(word_of(number), 0)
    return value


class Totals:
    """The groups of an aggregation.

    Attributes:
        aggregate: what is computed.
        columns: the names of `rows`.
    """

    __slots__ = ("_groups", "_heads", "aggregate", "columns")

    def __init__(self, aggregate: Aggregate) -> None:
        self.aggregate = aggregate
        self.columns = (*(group.name for group in aggregate.by), *(call.name for call in aggregate.calls))
        self._groups: dict[tuple[Hashable, ...], list[State]] = {}
        self._heads = tuple(
            group if group.step_ns or group.field == "level" else None for group in aggregate.by
        )

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def is_counting(self) -> bool:
        """Whether `add_count` says all: every number is a count of rows."""
        return all(call.function == "count" and not call.field for call in self.aggregate.calls)

    @property
    def estimates(self) -> frozenset[str]:
        """The columns of which a number is an estimate (see `vcache.query.sketches`)."""
        return frozenset(
            call.name
            for states in self._groups.values()
            for call, state in zip(self.aggregate.calls, states, strict=True)
            if getattr(state, "is_estimate", False)
        )

    def adder(
        self, getter_of: Callable[[str], Callable[[R], Value]], *, at: Callable[[R], int] | None = None
    ) -> Callable[[R], None]:
        """What adds a row.

        Args:
            getter_of: for the name of a field, what gets its value from a row.
            at: the time of a row, for `first` and `last`; by default as `@time` says it.
        """
        heads = [_head(group, getter_of(group.field)) for group in self.aggregate.by]
        calls = [getter_of(call.field) if call.field else _nothing for call in self.aggregate.calls]
        if not any(call.function in ("first", "last") for call in self.aggregate.calls):
            at = _zero
        at = at or _time_from(getter_of("@time"))
        states_of = self._finder()
        if self.is_counting:

            def count(row: R) -> None:
                for state in states_of(tuple([get(row) for get in heads])):
                    state.add(None, 1, 0)

            return count

        def add(row: R) -> None:
            states, at_ns = states_of(tuple([get(row) for get in heads])), at(row)
            for state, get in zip(states, calls):  # noqa: B905 - checked where they are made
                state.add(get(row), 1, at_ns)

        return add

    def _finder(self) -> Callable[[tuple[Value, ...]], list[State]]:
        """`_states`, which is asked once for each group of plain values."""
        known: dict[tuple[Value, ...], list[State]] = {}
        is_plain, states_of = _PLAIN.issuperset, self._states

        def find(group: tuple[Value, ...]) -> list[State]:
            if not is_plain(map(type, group)):
                return states_of(group)  # to a dict, 1 and true are one
            states = known.get(group)
            if states is None:
                states = known[group] = states_of(group)
            return states

        return find

    def add_count(self, group: Sequence[Value], count: int) -> None:
        """So many rows of a group, for each `count()`."""
        for call, state in zip(self.aggregate.calls, self._states(group), strict=True):
            if call.function == "count" and not call.field:
                state.add(None, count, 0)

    def add_values(self, group: Sequence[Value], index: int, values: Iterable[Value]) -> None:
        """Values of a group's rows, for `aggregate.calls[index]`, which is neither `first` nor `last`."""
        add = self._states(group)[index].add
        for value in values:
            add(value, 1, 0)

    def add_pairs(self, group: Sequence[Value], index: int, pairs: Iterable[tuple[Value, int]]) -> None:
        """The same, of values with how many rows have each."""
        add = self._states(group)[index].add
        for value, count in pairs:
            add(value, count, 0)

    def add_timed(self, group: Sequence[Value], index: int, pairs: Iterable[tuple[Value, int]]) -> None:
        """Values with the time of each, UTC epoch ns."""
        add = self._states(group)[index].add
        for value, at_ns in pairs:
            add(value, 1, at_ns)

    def _states(self, group: Sequence[Value]) -> list[State]:
        key = tuple(
            keyed(value if head is None else group_value(head, value))
            for head, value in zip(self._heads, group, strict=True)
        )
        states = self._groups.get(key)
        return self._opened(key) if states is None else states

    def _opened(self, key: tuple[Hashable, ...]) -> list[State]:
        if len(self._groups) >= MOST_GROUPS:
            names = ", ".join(group.name for group in self.aggregate.by)
            raise QueryError(
                f"more than {MOST_GROUPS:,} groups by {names}: ask for fewer rows, or fewer columns"
            )
        made = self._groups[key] = [state_of(call) for call in self.aggregate.calls]
        return made

    def merge(self, other: Totals) -> None:
        """The other's rows, too; it is of the same aggregate, and not used again.

        Raises:
            QueryError: there are too many groups.
        """
        for key, states in other._groups.items():
            own = self._groups.get(key)
            if own is None:
                own = self._opened(key)
            for one, two in zip(own, states, strict=True):
                one.merge(two)

    def plain(self) -> list[object]:
        """Lists, numbers, texts and bytes, to be kept."""
        return [
            [[bare(each) for each in key], [state.plain() for state in states]]
            for key, states in self._groups.items()
        ]

    @classmethod
    def of_plain(cls, aggregate: Aggregate, plain: object) -> Totals:
        """What `plain` gave, for the same aggregate."""
        made = cls(aggregate)
        # What was kept may be of another program, or of another machine.
        for key, states in cast("list[tuple[list[Value], list[object]]]", plain):
            if len(key) != len(aggregate.by) or not _VALUES.issuperset(map(type, key)):
                raise ValueError(f"no group of rows: {key!r:.80}")
            made._groups[tuple(map(keyed, key))] = [
                state_of_plain(call, state) for call, state in zip(aggregate.calls, states, strict=True)
            ]
        return made

    def rows(self) -> Iterator[tuple[Value, ...]]:
        """A row for each group, in the order of what they have in common. One without `by` always has a row."""
        if not self._groups and not self.aggregate.by:
            yield tuple(state_of(call).result() for call in self.aggregate.calls)
        for key in sorted(self._groups, key=lambda key: [rank(bare(each)) for each in key]):
            yield (*map(bare, key), *(state.result() for state in self._groups[key]))


def _head(group: Group, get: Callable[[R], Value]) -> Callable[[R], Value]:
    return (lambda row: group_value(group, get(row))) if group.step_ns else get


def _nothing(row: object) -> Value:
    return None


def _zero(row: object) -> int:
    return 0


def _time_from(get: Callable[[R], Value]) -> Callable[[R], int]:
    def at(row: R) -> int:
        found = get(row)
        return found if type(found) is int else 0

    return at
