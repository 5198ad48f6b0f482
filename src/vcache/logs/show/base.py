"""What all writers share: the contract, what is told to them, and which columns an answer has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from vcache.kit.data import NamedTuple, dataclass
from vcache.logs.base import Gap
from vcache.logs.record import Record
from vcache.query.syntax import Aggregate, Fields, Query, Sort, Value

__all__ = ["HIDDEN", "Column", "Look", "Row", "Sink", "Writer", "columns_of", "put"]

Row: TypeAlias = Record | tuple[Value, ...]
"""A record, or the values of the columns."""

_CHUNK_CHARS: Final = 1 << 16


class Sink(Protocol):
    """Takes bytes: a binary file, a socket's, or a list in disguise."""

    def write(self, data: bytes, /) -> object: ...


class Writer(Protocol):
    """Shows one answer."""

    def write(self, rows: Iterable[Row]) -> None:
        """Show these; what is complete reaches the stream before the call returns, as far as the format can."""

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        """Show the end. The stream stays open."""


class Column(NamedTuple):
    """What a column holds.

    Attributes:
        kind: "time" for epoch nanoseconds, "level" for its number, "" for values as they are.
        step_ns: of times that are the beginnings of buckets: how long those are.
        is_ordered: … and whether rows come in the order of these times, a histogram's.
        is_count: it holds numbers of records.
    """

    name: str
    kind: str = ""
    step_ns: int = 0
    is_ordered: bool = False
    is_count: bool = False


HIDDEN: Final = frozenset(("action", "text"))
"""Fields of builds that say nothing to people: a digest, and once more what the message says."""


@dataclass(frozen=True, slots=True)
class Look:
    """What somebody wants to see, and where.

    Attributes:
        is_utc: times for people in UTC; otherwise in the local zone. Programs always get UTC.
        has_colour: levels and names are told by colours.
        keeps_colour: colours within messages are kept.
        fields: of records, only these besides time, level, source and message; None for all.
        hidden: fields that text for people leaves out, unless they are asked for by name.
        encoding: of text for people; what it cannot show is escaped.
        shows_gaps: gaps are told in the output too, where the format has a place for them.
        is_raw: cells of CSV are not guarded against spreadsheets.
        is_shown: somebody sees it on a terminal, on which nothing may act: CSV is shown then as text is.
    """

    is_utc: bool = False
    has_colour: bool = False
    keeps_colour: bool = False
    fields: tuple[str, ...] | None = None
    hidden: frozenset[str] = HIDDEN
    encoding: str = "utf-8"
    shows_gaps: bool = False
    is_raw: bool = False
    is_shown: bool = False


_KINDS: Final[Mapping[str, str]] = MappingProxyType({"@time": "time", "@seen": "time", "level": "level"})
_KEEPING_KIND: Final = ("min", "max", "first", "last")


def columns_of(query: Query, names: Sequence[str] | None) -> tuple[Column, ...] | None:
    """What the columns of an answer hold, by the query; None where its rows are records."""
    if names is None:
        return None
    known: dict[str, Column] = {}
    for stage in query.stages:
        if isinstance(stage, Fields):
            known = {name: known.get(name) or Column(name, _KINDS.get(name, "")) for name in stage.names}
        elif isinstance(stage, Aggregate):
            known = _columns_of_groups(stage, known)
    ordered = _ordered(query)
    found = (known.get(name) or Column(name) for name in names)
    return tuple(each._replace(is_ordered=each.name == ordered) for each in found)


def _ordered(query: Query) -> str:
    """The buckets that rows come in the order of, as of `histogram`, and nothing is left out of; "" for none."""
    match query.stages:
        case (Aggregate(by=(first, *_)), Sort(keys=((name, False), *_))) if (
            first.step_ns and name == first.name
        ):
            return name
    return ""


def _columns_of_groups(stage: Aggregate, before: Mapping[str, Column]) -> dict[str, Column]:
    def kind(field: str) -> str:
        return before[field].kind if field in before else _KINDS.get(field, "")

    found = {group.name: Column(group.name, kind(group.field), group.step_ns) for group in stage.by}
    for call in stage.calls:
        keeps = call.function in _KEEPING_KIND or (call.function == "p" and kind(call.field) == "time")
        found[call.name] = Column(
            call.name, kind(call.field) if keeps else "", is_count=call.function == "count"
        )
    return found


def put(stream: Sink, texts: Iterable[str], encoding: str = "utf-8") -> None:
    """Write texts in chunks; what the encoding cannot show, such as bytes that were no UTF-8, is escaped."""
    held: list[str] = []
    n_chars = 0
    for text in texts:
        held.append(text)
        n_chars += len(text)
        if n_chars >= _CHUNK_CHARS:
            stream.write("".join(held).encode(encoding, "backslashreplace"))
            held.clear()
            n_chars = 0
    if held:
        stream.write("".join(held).encode(encoding, "backslashreplace"))
