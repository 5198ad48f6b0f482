"""Apache Parquet with typed columns, written a row group at a time.

A column for each field of the first row group, by the type that its values have; what comes later and has
no column, or another type, is JSON in the column `@rest`. pyarrow comes with the extra `arrow`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

from vcache.errors import ConfigError
from vcache.logs.base import Gap
from vcache.logs.record import Record
from vcache.logs.show.base import Column, Look, Row, Sink
from vcache.logs.show.values import level_word, mark_words, plain

if TYPE_CHECKING:
    from vcache.query.syntax import Value

__all__ = ["ParquetWriter"]

_GROUP_ROWS: Final = 1 << 14
_GROUP_CHARS: Final = 16 << 20
_REST: Final = "@rest"
_MOST_COLUMNS: Final = 256
_OWN: Final = ("@time", "level", "severity_number", "source", "message", "@repeats", "@marks", "@seen", "@id")


class ParquetWriter:
    """See the module. Times are timestamps in nanoseconds, UTC."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...] | None, look: Look) -> None:
        self._arrow, self._parquet = _libraries()
        self._stream, self._columns, self._look = stream, columns, look
        self._held: list[dict[str, object]] = []
        self._n_chars = 0
        self._kinds: dict[str, str] = {}
        self._file: object = None

    def write(self, rows: Iterable[Row]) -> None:
        left = iter(rows)
        while chunk := list(islice(left, 256)):
            self._held.extend(map(self._named, chunk))
            if len(self._held) >= _GROUP_ROWS or self._n_chars >= _GROUP_CHARS:
                self._flush(is_last=False)

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        self._flush(is_last=True)
        self._file.close()  # type: ignore[attr-defined]  # pyarrow has no types

    def _named(self, row: Row) -> dict[str, object]:
        if self._columns is not None:
            pairs = zip(self._columns, row, strict=True)
            return {
                column.name: level_word(value) if column.kind == "level" and isinstance(value, int) else value
                for column, value in cast("Iterable[tuple[Column, Value]]", pairs)
            }
        record = cast("Record", row)
        self._n_chars += len(record.message)
        found: dict[str, object] = {
            "@time": record.at_ns, "level": level_word(record.level), "severity_number": record.level,
            "source": record.source, "message": record.message, "@repeats": record.repeats,
            "@marks": " ".join(mark_words(record.marks)), "@seen": record.seen_ns or None, "@id": record.id,
        }  # fmt: skip
        only = self._look.fields
        for name, value in record.fields.items():
            if only is None or name in only:
                while name in found:
                    name = f"fields.{name}"
                found[name] = value
        return found

    def _flush(self, *, is_last: bool) -> None:
        rows, self._held, self._n_chars = self._held, [], 0
        if self._file is None:
            self._kinds = self._kinds_of(rows, is_whole=is_last)
            schema = self._arrow.schema(
                [(_safe(name), self._type(kind)) for name, kind in self._kinds.items()]
            )
            self._file = self._parquet.ParquetWriter(_File(self._stream), schema, compression="zstd")
        if rows:
            self._file.write_table(self._table(rows))  # type: ignore[attr-defined]

    def _kinds_of(self, rows: Sequence[Mapping[str, object]], *, is_whole: bool) -> dict[str, str]:
        kinds: dict[str, str] = {}
        if self._columns is None:
            kinds = dict.fromkeys(_OWN, "string") | {
                "@time": "time", "@seen": "time", "severity_number": "int", "@repeats": "int"
            }  # fmt: skip
            kinds |= dict.fromkeys(self._look.fields or (), "")
        else:
            kinds = {column.name: "time" if column.kind == "time" else "" for column in self._columns}
        fixed = {name for name, kind in kinds.items() if kind}
        for row in rows:
            for name, value in row.items():
                if name in fixed or (name not in kinds and len(kinds) >= _MOST_COLUMNS):
                    continue
                kinds[name] = _common(kinds.get(name, ""), value)
        kinds = {name: kind or "string" for name, kind in kinds.items()}
        if not is_whole or (self._columns is None and len(kinds) >= _MOST_COLUMNS):
            kinds[_REST] = "string"
        return kinds

    def _table(self, rows: Sequence[Mapping[str, object]]) -> object:
        kinds = self._kinds
        columns: dict[str, list[object]] = {name: [] for name in kinds}
        for row in rows:
            rest = {}
            for name, kind in kinds.items():
                value = row.get(name)
                fits = _fitting(value, kind)
                columns[name].append(fits)
                if fits is None and value is not None:
                    rest[name] = value
            if _REST in kinds:
                rest |= {name: value for name, value in row.items() if name not in kinds}
                columns[_REST][-1] = (
                    json.dumps({name: plain(cast("Value", value)) for name, value in rest.items()})
                    if rest
                    else None
                )
        arrays = [self._array(columns[name], self._type(kind)) for name, kind in kinds.items()]
        return self._arrow.Table.from_arrays(arrays, names=[_safe(name) for name in kinds])

    def _array(self, values: list[object], type_: object) -> object:
        try:
            return self._arrow.array(values, type=type_)
        except UnicodeEncodeError:  # bytes that are no UTF-8
            return self._arrow.array(
                [_safe(each) if isinstance(each, str) else each for each in values], type=type_
            )

    def _type(self, kind: str) -> object:
        arrow = self._arrow
        if kind == "time":
            return arrow.timestamp("ns", tz="UTC")
        return {"int": arrow.int64(), "float": arrow.float64(), "bool": arrow.bool_()}.get(
            kind
        ) or arrow.string()


class _File:
    """A sink as pyarrow wants a file."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._n_bytes = 0

    def write(self, data: object) -> int:
        found = bytes(data)  # type: ignore[call-overload]  # a buffer of pyarrow's
        self._sink.write(found)
        self._n_bytes += len(found)
        return len(found)

    def tell(self) -> int:
        """How much was written."""
        return self._n_bytes

    def flush(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Whoever opened the stream closes it."""

    def readable(self) -> bool:
        """It is not."""
        return False

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is not."""
        return False


def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow as pa  # 60 ms
        from pyarrow import parquet
    except ImportError:
        raise ConfigError('Parquet needs the extra: python -m pip install "vcache[arrow]"') from None
    return pa, parquet


def _common(kind: str, value: object) -> str:
    """The narrowest type that holds what had a type so far, and a value."""
    if value is None:
        return kind
    found = {bool: "bool", int: "int", float: "float"}.get(value.__class__, "string")
    if kind in ("", found):
        return found
    return "float" if {kind, found} == {"int", "float"} else "string"


def _fitting(value: object, kind: str) -> object:
    """The value as a column of that type has it; None where it does not fit."""
    if value is None:
        return None
    if kind == "string":
        if isinstance(value, str):
            return value
        return ("true" if value else "false") if isinstance(value, bool) else str(value)
    found = value.__class__
    if kind == "bool":
        return value if found is bool else None
    if kind == "float":
        return float(value) if found in (int, float) else None  # type: ignore[arg-type]
    return value if found is int else None


def _safe(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
