"""Comma-separated values (RFC 4180), safe to open in a spreadsheet.

A text cell that begins with = + - @, a tab, a carriage return or ' gets a ' before it: without that a
spreadsheet takes it for a formula, and runs it (OWASP, "CSV Injection"). Whoever wants the text back takes
one leading ' away. Numbers are numbers.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Final, cast

from vcache.kit.ansi import safe_string
from vcache.logs.base import Gap
from vcache.logs.record import Record
from vcache.logs.show.base import Column, Look, Row, Sink, put
from vcache.logs.show.values import iso, level_word, mark_words, plain, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vcache.query.syntax import Value

__all__ = ["RISKY", "CsvWriter", "guarded"]

RISKY: Final = ("=", "+", "-", "@", "\t", "\r", "'", "\n=", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet might run; the last four are full-width forms, which some fold."""

_HEAD: Final = ("time", "level", "source", "message")
_TAIL: Final = ("repeats", "marks", "seen", "id")


def guarded(value: Value) -> Value:
    """A cell that no spreadsheet runs."""
    return f"'{value}" if isinstance(value, str) and value.startswith(RISKY) else value


class CsvWriter:
    """CSV with a heading. Fields of records that were not asked for by name are JSON in the last column."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...] | None, look: Look) -> None:
        self._stream, self._columns, self._look = stream, columns, look
        self._text = StringIO(newline="")
        self._csv = csv.writer(self._text)
        self._has_heading = False

    def write(self, rows: Iterable[Row]) -> None:
        put(self._stream, self._lines(rows))

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        self.write(())  # the heading, of no rows too

    def _lines(self, rows: Iterable[Row]) -> Iterator[str]:
        if not self._has_heading:
            self._has_heading = True
            yield self._line(self._heading())
        for row in rows:
            yield self._line(self._cells(row))

    def _line(self, cells: Iterable[Value]) -> str:
        self._text.seek(0)
        self._text.truncate()
        if not self._look.is_raw:
            cells = map(guarded, cells)
        if self._look.is_shown:
            cells = [safe_string(cell) if isinstance(cell, str) else cell for cell in cells]
        self._csv.writerow(cells)
        return self._text.getvalue()

    def _heading(self) -> Sequence[str]:
        if self._columns is None:
            fields = self._look.fields
            return (*_HEAD, *(("fields",) if fields is None else fields), *_TAIL)
        names = [column.name for column in self._columns]
        bare = [name.removeprefix("@") for name in names]
        return [short if bare.count(short) == 1 else name for name, short in zip(names, bare, strict=True)]

    def _cells(self, row: Row) -> Sequence[Value]:
        if self._columns is not None:
            pairs = zip(self._columns, cast("tuple[Value, ...]", row), strict=True)
            return [_cell(shown(column, value)) for column, value in pairs]
        record = cast("Record", row)
        names = self._look.fields
        fields: Iterable[Value]
        if names is None:
            fields = (
                json.dumps({name: plain(value) for name, value in record.fields.items()})
                if record.fields
                else "",
            )
        else:
            fields = [_cell(record.fields.get(name)) for name in names]
        return (
            iso(record.at_ns), level_word(record.level), record.source, record.message, *fields,
            record.repeats, " ".join(mark_words(record.marks)),
            iso(record.seen_ns) if record.seen_ns else "", record.id,
        )  # fmt: skip


def _cell(value: Value) -> Value:
    return ("true" if value else "false") if isinstance(value, bool) else value
