"""Questions over captured output, in the query language, and how their answers are written. Pure.

    "level >= warning | count by file, level | sort -count | limit 20"  over records ▷ rows

What records have is said in `vcache.dag.where`; what the language means, in docs/reference/query.md.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, overload

from vcache.dag.where import FIELDS, getter_of
from vcache.errors import GraphError, QueryError
from vcache.query.levels import word_of
from vcache.query.parser import parse
from vcache.query.printing import unparse
from vcache.query.rows import compiled
from vcache.query.stages import run

if TYPE_CHECKING:
    from vcache.dag.capture import Record
    from vcache.query.syntax import Value

__all__ = ["FORMATS", "Question", "Rows", "format_of", "rendered"]

FORMATS: Final = ("text", "csv", "json")
"""How rows can be written; JSON as one object a line."""

_ENDINGS: Final = {"csv": "csv", "json": "json", "jsonl": "json", "ndjson": "json"}
_CELL_CHARS: Final = 200

Answer = tuple[tuple[str, ...], list[tuple["Value", ...]]]
"""Columns, and rows as long."""


class Rows(Sequence[Mapping[str, "Value"]]):
    """The answer to a question: rows that give a value by the name of its column.

    Two answers are one if they hold the same, whatever logs they are of.

    Attributes:
        columns: in their order; those of a record where the question leaves records as they are.
    """

    __slots__ = ("_rows", "columns")

    def __init__(self, columns: tuple[str, ...], rows: Iterable[tuple[Value, ...]]) -> None:
        self.columns = columns
        self._rows = list(rows)

    def __vcache_key__(self) -> object:
        return (self.columns, self._rows)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Value]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Value]]: ...

    def __getitem__(self, index: int | slice) -> Mapping[str, Value] | Sequence[Mapping[str, Value]]:
        if isinstance(index, slice):
            return Rows(self.columns, self._rows[index])
        return dict(zip(self.columns, self._rows[index], strict=True))

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows):
            return (self.columns, self._rows) == (other.columns, other._rows)
        return list(self) == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {', '.join(self.columns)}>"


class Question:
    """A query over records.

    Args:
        text: a condition, steps, or both.

    Raises:
        GraphError: it is none; the message shows the place.
    """

    def __init__(self, text: str) -> None:
        try:
            self._query = parse(text, now_ns=0, fields=FIELDS)
            self.text = unparse(self._query)
        except QueryError as error:
            raise GraphError(str(error)) from None
        self._test = compiled(self._query.where, getter_of)

    def answer(self, records: Iterable[Record]) -> Answer:
        """Its answer.

        Raises:
            GraphError: it asks for more than can be kept.
        """
        try:
            columns, rows = run(self._query.stages, None, filter(self._test, records), getter_of=getter_of)
            if columns is None:
                columns, getters = FIELDS, [getter_of(name) for name in FIELDS]
                rows = (tuple([get(record) for get in getters]) for record in rows)
            return columns, _with_words(columns, rows)
        except QueryError as error:
            raise GraphError(str(error)) from None


def _with_words(columns: tuple[str, ...], rows: Iterable[Any]) -> list[tuple[Value, ...]]:
    """Rows whose levels are words."""
    if "level" not in columns:
        return list(rows)
    at = columns.index("level")
    return [
        (*row[:at], word_of(row[at]) if isinstance(row[at], int) else row[at], *row[at + 1 :]) for row in rows
    ]


# --- files ---------------------------------------------------------------------------------------


def format_of(path: str, said: str = "") -> str:
    """The format of a report: as somebody said, else as the file's name ends, else text.

    Raises:
        GraphError: there is no such format.
    """
    if said and said not in FORMATS:
        from vcache.kit.names import did_you_mean

        hint = did_you_mean(said, FORMATS) or f": write {', '.join(FORMATS)}"
        raise GraphError(f"no report is written as {said!r}{hint}")
    return said or _ENDINGS.get(path.rpartition(".")[2].lower(), "text")


def rendered(rows: Rows, form: str) -> str:
    """Rows as the text of a file."""
    return _RENDERED[form](rows)


def _csv(rows: Rows) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.columns)
    writer.writerows([["" if value is None else value for value in row.values()] for row in rows])
    return out.getvalue()


def _json(rows: Rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _text(rows: Rows) -> str:
    """Columns below their names, numbers to the right."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(rows.columns, *cells, strict=True)]
    is_right = [
        bool(rows) and all(isinstance(row[name], int | float | None) for row in rows) for name in rows.columns
    ]

    def line(words: Sequence[str]) -> str:
        pads = zip(words, widths, is_right, strict=True)
        return "  ".join(word.rjust(w) if right else word.ljust(w) for word, w, right in pads).rstrip()

    return "".join(f"{line(words)}\n" for words in (rows.columns, *cells))


def _cell(value: Value) -> str:
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"


_RENDERED: Final[Mapping[str, Callable[[Rows], str]]] = {"text": _text, "csv": _csv, "json": _json}
