"""Rows under headings, aligned; with bars where a number is counted over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from vcache.kit.ansi import Paint, cells_of, safe_string
from vcache.logs.show.base import Column, Look, Row, Sink, put
from vcache.logs.show.buckets import Quiet
from vcache.logs.show.values import level_style, level_word, moment

if TYPE_CHECKING:
    from vcache.query.syntax import Value

__all__ = ["TableWriter"]

_SAMPLE: Final = 1000
"""How many rows decide how wide the columns are; those that follow may be wider."""
_WIDEST: Final = 60
_BAR_CELLS: Final = 30
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"


class TableWriter:
    """Shows rows. The first thousand are kept until it is known how wide they are."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...], look: Look) -> None:
        self._stream, self._columns, self._look = stream, columns, look
        self._paint = Paint(is_on=look.has_colour)
        self._quiet = Quiet(columns)
        self._held: list[tuple[Value, ...]] = []
        self._widths: list[int] = []
        self._is_right: list[bool] = []
        self._bar: tuple[int, float] | None = None  # of which column, and the most of it

    def write(self, rows: Iterable[Row]) -> None:
        left = self._quiet.filled(cast("Iterable[tuple[Value, ...]]", rows))
        if self._widths:
            self._show(left)
            return
        self._held.extend(islice(left, _SAMPLE - len(self._held)))
        if len(self._held) == _SAMPLE:
            self._begin()
            self._show(left)

    def close(self) -> None:
        """Show what is still kept."""
        if not self._widths:
            self._begin()

    def _begin(self) -> None:
        held, self._held = self._held, []
        names = [_one_line(column.name) for column in self._columns]
        cells = [self._cells(row) for row in held]
        columns = zip(names, *cells, strict=True)
        self._widths = [min(_WIDEST, max(map(cells_of, column))) for column in columns]
        self._is_right = [
            any(_is_number(row[at]) for row in held) and not column.kind
            for at, column in enumerate(self._columns)
        ]
        self._bar = self._bar_of(held)
        heading = self._line(names, [self._paint("1", name) for name in names])
        put(self._stream, [heading], self._look.encoding)
        self._show(held)

    def _bar_of(self, rows: Sequence[tuple[Value, ...]]) -> tuple[int, float] | None:
        """Of the first number that stands beside buckets of time."""
        if not any(column.step_ns for column in self._columns):
            return None
        at = next((at for at, is_right in enumerate(self._is_right) if is_right), None)
        if at is None:
            return None
        most = max((float(row[at]) for row in rows if _is_number(row[at])), default=0.0)  # type: ignore[arg-type]
        return (at, most) if most > 0 else None

    def _show(self, rows: Iterable[tuple[Value, ...]]) -> None:
        put(self._stream, map(self._row, rows), self._look.encoding)

    def _row(self, row: tuple[Value, ...]) -> str:
        cells = self._cells(row)
        bar = ""
        if self._bar is not None:
            at, most = self._bar
            value = row[at]
            bar = self._drawn(float(value) / most) if _is_number(value) else ""  # type: ignore[arg-type]
        return self._line(
            cells, [self._painted(*pair) for pair in zip(cells, self._columns, row, strict=True)], bar
        )

    def _line(self, cells: Sequence[str], painted: Sequence[str], bar: str = "") -> str:
        parts = []
        for cell, text, width, is_right in zip(cells, painted, self._widths, self._is_right, strict=True):
            room = " " * (width - cells_of(cell))
            parts.append(room + text if is_right else text + room)
        return ("  ".join(parts) + ("  " + bar if bar else "")).rstrip() + "\n"

    def _cells(self, row: Sequence[Value]) -> list[str]:
        is_utc = self._look.is_utc
        return [_cell(column, value, is_utc=is_utc) for column, value in zip(self._columns, row, strict=True)]

    def _painted(self, cell: str, column: Column, value: Value) -> str:
        if column.kind == "level" and isinstance(value, int):
            return self._paint(level_style(value), cell)
        return self._paint("2", cell) if column.kind == "time" else cell

    def _drawn(self, share: float) -> str:
        if not self._look.encoding.lower().replace("-", "").startswith("utf"):
            return "#" * round(share * _BAR_CELLS)
        eighths = max(0, min(round(share * _BAR_CELLS * 8), _BAR_CELLS * 8))
        return self._paint("36", (_BLOCKS[8] * (eighths // 8) + _BLOCKS[eighths % 8]).rstrip())


def _cell(column: Column, value: Value, *, is_utc: bool) -> str:
    kind = value.__class__
    if value is None:
        return "-"
    if kind is int:
        if column.kind == "time":
            return moment(value, is_utc=is_utc, step_ns=column.step_ns or 1)  # type: ignore[arg-type]
        return level_word(value) or "unset" if column.kind == "level" else str(value)
    if kind is float:
        return f"{value:.6g}"
    return ("true" if value else "false") if kind is bool else _one_line(str(value))


def _one_line(text: str) -> str:
    return text if text.isprintable() else safe_string(text).replace("\n", "⏎").replace("\t", " ")


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
