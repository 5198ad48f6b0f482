"""The tree of a query. Frozen data; what it means is said where it is evaluated, in `vcache.query.rows`.

Names of fields: `level`, `source` and `message` are every record's own; `@time`, `@seen`, `@id`,
`@marks`, `@template` and `@repeats` are what is known of it; all others are its fields.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from vcache.kit.data import NamedTuple, dataclass

__all__ = [
    "KNOWN", "Aggregate", "And", "Call", "Compare", "Contains", "Dedup", "Everything", "Expression", "Fields", "Group",
    "Has", "In", "Last", "Limit", "Not", "Operator", "Or", "Query", "Regex", "Sort", "Stage", "Value", "Where",
    "Words",
]  # fmt: skip

Value: TypeAlias = str | int | float | bool | None
"""What a field of a record holds; None where it has no such field."""

KNOWN: Final = ("@time", "@seen", "@id", "@marks", "@template", "@repeats")
"""What is known of every record. Another name with an @ is a field's, and stands in backquotes."""

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Everything:
    """Every record."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A field against a literal. Of `level` the value is its number, of `@time` and `@seen` epoch ns."""

    field: str
    operator: Operator
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class In:
    """A field is one of several literals."""

    field: str
    values: tuple[str | int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """A text is somewhere in a field, in this case of letters."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression, as Python's `re` has them, matches somewhere in a field."""

    field: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Words:
    """A phrase of whole words is in a field, in any case of letters."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Has:
    """A field is there, and neither empty, 0 nor false."""

    field: str


@dataclass(frozen=True, slots=True)
class Not:
    """Whatever is not meant by the other."""

    item: Expression


@dataclass(frozen=True, slots=True)
class And:
    """What all of several mean; at least two."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """What any of several means; at least two."""

    items: tuple[Expression, ...]


Expression: TypeAlias = Everything | Compare | In | Contains | Regex | Words | Has | Not | And | Or


class Call(NamedTuple):
    """One number of a group.

    Attributes:
        function: count, uniq, sum, avg, min, max, p (a percentile), first, last.
        field: of what; "" for `count()`, which counts records; `count(f)` counts those that have `f`.
        percent: of a percentile, above 0 and at most 100.
        name: of its column.
    """

    function: Literal["count", "uniq", "sum", "avg", "min", "max", "p", "first", "last"]
    field: str
    percent: float
    name: str


class Group(NamedTuple):
    """What a group has in common.

    Attributes:
        field: whose value.
        step_ns: for times: the length of a bucket, from the epoch on; 0 for the value as it is.
        name: of its column.
    """

    field: str
    step_ns: int
    name: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Groups, and numbers of each. Columns: those of `by`, then those of `calls`; order undefined until sorted."""

    calls: tuple[Call, ...]
    by: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Sort:
    """By columns, (name, is descending), equal ones as they came. None goes last."""

    keys: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """The first so many."""

    count: int


@dataclass(frozen=True, slots=True)
class Last:
    """The last so many, in their order."""

    count: int


@dataclass(frozen=True, slots=True)
class Fields:
    """Only these columns, in this order. Records become rows."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """Only those rows; names are of columns."""

    condition: Expression


@dataclass(frozen=True, slots=True)
class Dedup:
    """The first of those that agree in these columns."""

    names: tuple[str, ...]


Stage: TypeAlias = Aggregate | Sort | Limit | Last | Fields | Where | Dedup


@dataclass(frozen=True, slots=True)
class Query:
    """Which records, and what is done with them.

    Records are in the order of `@time`, the oldest first, equal ones in the order of their ids.
    """

    where: Expression
    stages: tuple[Stage, ...] = ()
