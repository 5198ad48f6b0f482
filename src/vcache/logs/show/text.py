"""Records for people: a line each, in colours where they are wanted; rows as a table.

2026-11-21 21:14:24.123  warning   gcc: unused variable 'x'  file=a.c line=3
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, cast

from vcache.kit.ansi import Paint, safe_string
from vcache.logs.base import Gap
from vcache.logs.record import Mark, Record
from vcache.logs.show.base import Column, Look, Row, Sink, put
from vcache.logs.show.lines import logfmt_pair
from vcache.logs.show.values import level_style, level_word, mark_words, moment

if TYPE_CHECKING:
    from vcache.logs.show.table import TableWriter

__all__ = ["TextWriter", "record_text"]

_LEVEL_CELLS: Final = 8  # "critical"
_INDENT: Final = "    "


class TextWriter:
    """See the module. Nothing in a record acts on the terminal."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...] | None, look: Look) -> None:
        self._stream, self._look = stream, look
        self._paint = Paint(is_on=look.has_colour)
        self._table: TableWriter | None = None
        if columns is not None:
            from vcache.logs.show.table import TableWriter

            self._table = TableWriter(stream, columns, look)

    def write(self, rows: Iterable[Row]) -> None:
        if self._table is not None:
            self._table.write(rows)
            return
        look, paint = self._look, self._paint
        records = cast("Iterable[Record]", rows)
        put(self._stream, (record_text(record, look, paint) for record in records), look.encoding)

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        if self._table is not None:
            self._table.close()


def record_text(record: Record, look: Look, paint: Paint) -> str:
    """A record in a line, or more where its message has more; with the line break."""
    word = level_word(record.level)
    level = paint(level_style(record.level), word) + " " * (_LEVEL_CELLS - len(word))
    source = paint("1", safe_string(record.source).replace("\n", " ")) + ": " if record.source else ""
    message = safe_string(record.message, keeps_colour=look.keeps_colour and look.has_colour)
    first, *more = message.rstrip("\n").split("\n")
    facts = " ".join(_facts(record, look))
    line = "".join((
        paint("2", moment(record.at_ns, is_utc=look.is_utc)), "  ", level, "  ", source, first,
        "  " + paint("2", facts) if facts else "", "\n",
    ))  # fmt: skip
    return line + "".join([f"{_INDENT}{text}\n" for text in more]) if more else line


def _facts(record: Record, look: Look) -> Iterator[str]:
    """What is known besides: how often, the marks, the fields."""
    if record.repeats != 1:
        yield f"({record.repeats}x)"
    for word in mark_words(record.marks & ~Mark.NO_TIME):  # the time that is shown is the best there is
        yield f"[{word}]"
    fields = record.fields
    hidden = look.hidden
    for name in [name for name in fields if name not in hidden] if look.fields is None else look.fields:
        if name in fields:
            yield logfmt_pair(name, fields[name])
