"""What an aggregation keeps of each group for each of its numbers. Pure.

Merging is associative and commutative: sums are exact, ties of `first` and `last` are broken by value.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, Self, cast

from vcache.query.literals import number_of
from vcache.query.order import Rank, rank
from vcache.query.sketches import Percentiles, Unique
from vcache.query.syntax import Call, Value

__all__ = ["State", "number", "state_of", "state_of_plain"]

_INT_BOUND: Final = 1 << 63
_MOST_SHIFT: Final = 1_074  # of the least float


class State(Protocol):
    """What is known of one column of a group."""

    def add(self, value: Value, count: int, at_ns: int) -> None:
        """A row's value, of so many rows of that time; None where a row has none."""

    def merge(self, other: Self) -> None:
        """The other's rows, too."""

    def result(self) -> Value:
        """The number."""

    def plain(self) -> object:
        """Lists, numbers, texts and bytes, to be kept."""

    @classmethod
    def of_plain(cls, plain: Any, call: Call) -> Self:
        """What `plain` gave."""


def number(value: Value) -> int | float | None:
    """The finite number that a value is or, being text, says."""
    kind = type(value)
    if kind is int:
        return value  # type: ignore[return-value]
    if kind is float:
        return value if abs(value) < float("inf") else None  # type: ignore[arg-type,return-value]
    return number_of(value) if kind is str else None  # type: ignore[arg-type]


def _is_rather(value: Value, *, is_equal: bool) -> bool:
    """Of 1 and 1.0, whichever comes first, 1 is the answer."""
    return is_equal and type(value) is int


def _whole(plain: object) -> int:
    """A number of a kept answer, which may be of another program."""
    if type(plain) is int and 0 <= plain < _INT_BOUND:
        return plain
    raise ValueError(f"no number of rows: {plain!r:.40}")


class _Count:
    __slots__ = ("_count", "_is_of_all")

    def __init__(self, call: Call) -> None:
        self._count, self._is_of_all = 0, not call.field

    def add(self, value: Value, count: int, at_ns: int) -> None:
        if value is not None or self._is_of_all:
            self._count += count

    def merge(self, other: Self) -> None:
        self._count += other._count

    def result(self) -> Value:
        return self._count

    def plain(self) -> object:
        return self._count

    @classmethod
    def of_plain(cls, plain: Any, call: Call) -> Self:
        made = cls(call)
        made._count = _whole(plain)
        return made


class _Sum:
    """Exact: `_total` / 2 ** `_shift`. So rows may be summed in any order, and rounded once."""

    __slots__ = ("_count", "_is_float", "_shift", "_total")

    def __init__(self, call: Call) -> None:
        self._total = self._shift = self._count = 0
        self._is_float = False  # one of them was

    def add(self, value: Value, count: int, at_ns: int) -> None:
        found = number(value)
        if found is None:
            return
        self._count += count
        if type(found) is int and not self._shift:
            self._total += found * count
            return
        self._is_float |= type(found) is float
        over, under = found.as_integer_ratio()
        self._raise(over * count, under.bit_length() - 1)

    def _raise(self, total: int, shift: int) -> None:
        most = max(self._shift, shift)
        self._total = (self._total << most - self._shift) + (total << most - shift)
        self._shift = most

    def merge(self, other: Self) -> None:
        self._count += other._count
        self._is_float |= other._is_float
        self._raise(other._total, other._shift)

    def result(self) -> Value:
        if not self._count:
            return None
        is_int = not self._is_float and -_INT_BOUND <= self._total < _INT_BOUND
        return self._total if is_int else _divided(self._total, 1 << self._shift)

    def plain(self) -> object:
        # In hex: sums exceed 64 bits.
        return [f"{self._total:x}", self._shift, self._count, int(self._is_float)]

    @classmethod
    def of_plain(cls, plain: Any, call: Call) -> Self:
        made = cls(call)
        made._total, made._shift, made._count = int(plain[0], 16), _whole(plain[1]), _whole(plain[2])
        if made._shift > _MOST_SHIFT:
            raise ValueError(f"a sum of 2**-{made._shift}")
        made._is_float = bool(plain[3])
        return made


class _Average(_Sum):
    __slots__ = ()

    def result(self) -> Value:
        return _divided(self._total, self._count << self._shift) if self._count else None


def _divided(over: int, under: int) -> float:
    try:
        return over / under  # of integers: rounded correctly
    except OverflowError:
        return float("inf") if over > 0 else float("-inf")


class _Least:
    __slots__ = ("_rank", "_value")

    def __init__(self, call: Call) -> None:
        self._rank: Rank | None = None
        self._value: Value = None

    def add(self, value: Value, count: int, at_ns: int) -> None:
        if value is None or value != value:
            return
        found = rank(value)
        if (
            self._rank is None
            or self._is_before(found, self._rank)
            or _is_rather(value, is_equal=found == self._rank)
        ):
            self._rank, self._value = found, value

    def _is_before(self, one: Rank, other: Rank) -> bool:
        return one < other

    def merge(self, other: Self) -> None:
        self.add(other._value, 1, 0)

    def result(self) -> Value:
        return self._value

    def plain(self) -> object:
        return self._value

    @classmethod
    def of_plain(cls, plain: Any, call: Call) -> Self:
        made = cls(call)
        made.add(plain, 1, 0)
        return made


class _Most(_Least):
    __slots__ = ()

    def _is_before(self, one: Rank, other: Rank) -> bool:
        return one > other


class _First:
    __slots__ = ("_key", "_value")

    def __init__(self, call: Call) -> None:
        self._key: tuple[int, Rank] | None = None
        self._value: Value = None

    def add(self, value: Value, count: int, at_ns: int) -> None:
        if value is None or value != value:
            return
        if self._key is not None and at_ns != self._key[0] and (at_ns < self._key[0]) is not self._IS_FIRST:
            return
        found = (at_ns, rank(value))
        if found == self._key:
            if _is_rather(value, is_equal=True):
                self._value = value
        elif self._key is None or (found < self._key) is self._IS_FIRST:
            self._key, self._value = found, value

    def merge(self, other: Self) -> None:
        if other._key is not None:
            self.add(other._value, 1, other._key[0])

    def result(self) -> Value:
        return self._value

    def plain(self) -> object:
        return [] if self._key is None else [self._key[0], self._value]

    @classmethod
    def of_plain(cls, plain: Any, call: Call) -> Self:
        made = cls(call)
        if plain:
            at_ns, value = plain
            if type(at_ns) is not int:
                raise TypeError(f"no time: {at_ns!r:.40}")
            made.add(value, 1, at_ns)
        return made

    _IS_FIRST = True


class _LastOne(_First):
    __slots__ = ()
    _IS_FIRST = False


class _Unique:
    __slots__ = ("_known",)

    def __init__(self, call: Call) -> None:
        self._known = Unique()

    @property
    def is_estimate(self) -> bool:
        return self._known.is_estimate

    def add(self, value: Value, count: int, at_ns: int) -> None:
        self._known.add(value)

    def merge(self, other: Self) -> None:
        self._known.merge(other._known)

    def result(self) -> Value:
        return self._known.count()

    def plain(self) -> object:
        return self._known.plain()

    @classmethod
    def of_plain(cls, plain: Any, call: Call) -> Self:
        made = cls(call)
        made._known = Unique.of_plain(plain)
        return made


class _Percentile:
    __slots__ = ("_known", "_percent")

    def __init__(self, call: Call) -> None:
        self._known, self._percent = Percentiles(), call.percent

    @property
    def is_estimate(self) -> bool:
        return self._known.is_estimate

    def add(self, value: Value, count: int, at_ns: int) -> None:
        found = number(value)
        if found is not None:
            self._known.add(found, count)

    def merge(self, other: Self) -> None:
        self._known.merge(other._known)

    def result(self) -> Value:
        return self._known.at(self._percent)

    def plain(self) -> object:
        return self._known.plain()

    @classmethod
    def of_plain(cls, plain: Any, call: Call) -> Self:
        made = cls(call)
        made._known = Percentiles.of_plain(plain)
        return made


_STATES: Final[dict[str, Any]] = {
    "count": _Count, "uniq": _Unique, "sum": _Sum, "avg": _Average, "min": _Least, "max": _Most, "p": _Percentile,
    "first": _First, "last": _LastOne,
}  # fmt: skip


def state_of(call: Call) -> State:
    """Nothing yet."""
    return cast("State", _STATES[call.function](call))


def state_of_plain(call: Call, plain: object) -> State:
    """What `State.plain` gave."""
    return cast("State", _STATES[call.function].of_plain(plain, call))
