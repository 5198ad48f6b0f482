"""One line for each row, for programs: JSON and logfmt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from vcache.kit.ansi import acts
from vcache.logs.base import Gap
from vcache.logs.record import Record
from vcache.logs.show.base import Column, Look, Row, Sink, put
from vcache.logs.show.values import iso, named, named_row

if TYPE_CHECKING:
    from vcache.logs.show.values import Plain

__all__ = ["JsonWriter", "LogfmtWriter", "gap_facts", "logfmt_pair", "namer"]

# What logfmt shows as it is: neither a space, a quote, an equals sign nor a control character.
_BARE: Final = re.compile(
    r'[^\x00-\x20"=\x7f-\xa0\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+'
)
_ACTING: Final = re.compile(
    r'[\x00-\x1f"\\\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)
_NO_NAME: Final = re.compile(
    r'[\x00-\x20"=\x7f-\xa0\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)  # fmt: skip
_ESCAPES: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def namer(columns: tuple[Column, ...] | None, look: Look) -> Callable[[Row], Plain]:
    """A row as names and values."""
    if columns is not None:
        return partial(named_row, columns)
    fields = look.fields
    return lambda row: named(cast("Record", row), fields)


def gap_facts(gap: Gap) -> dict[str, object]:
    """A gap for programs; what is not known is left out."""
    facts: dict[str, object] = {"place": gap.place, "reason": gap.reason}
    if gap.records >= 0:
        facts["records"] = gap.records
    if gap.first_ns or gap.last_ns:
        facts["first"], facts["last"] = iso(gap.first_ns), iso(gap.last_ns)
    return facts


class _LineWriter:
    def __init__(
        self, stream: Sink, columns: tuple[Column, ...] | None, look: Look, line: Callable[[Plain], str]
    ) -> None:
        self._stream = stream
        self._name = namer(columns, look)
        self._shows_gaps = look.shows_gaps
        self._line = line

    def write(self, rows: Iterable[Row]) -> None:
        name, line = self._name, self._line
        put(self._stream, (line(name(row)) for row in rows))


class JsonWriter(_LineWriter):
    """JSON objects, one a line. Bytes that are no UTF-8 are escapes of lone surrogates (PEP 383)."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...] | None, look: Look) -> None:
        super().__init__(stream, columns, look, _json_dump())

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        """A line with the name `@gap` for each gap, if they are wanted."""
        if self._shows_gaps:
            put(self._stream, (self._line({"@gap": gap_facts(gap)}) for gap in gaps))  # type: ignore[dict-item]


class LogfmtWriter(_LineWriter):
    """name=value pairs, quoted as Go's strconv.Quote has it where there is need."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...] | None, look: Look) -> None:
        super().__init__(stream, columns, look, _logfmt_line)

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        """A line that begins with `gap=` for each gap, if they are wanted."""
        for gap in gaps if self._shows_gaps else ():
            facts = {name: str(value) for name, value in gap_facts(gap).items()}
            put(self._stream, [self._line({"gap": facts.pop("place"), **facts})])


def _logfmt_line(row: Plain) -> str:
    return " ".join([logfmt_pair(name, value) for name, value in row.items() if value is not None]) + "\n"


def logfmt_pair(name: str, value: object) -> str:
    """One pair, on one line, without anything that acts."""
    if not _BARE.fullmatch(name):
        name = _NO_NAME.sub("_", name) or "_"
    if value is True or value is False:
        return f"{name}={str(value).lower()}"
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return (
        f"{name}={text}"
        if _BARE.fullmatch(text) and "\\" not in text
        else f'{name}="{_ACTING.sub(_escaped, text)}"'
    )


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    known = _ESCAPES.get(char)
    if known is not None:
        return known
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def _json_dump() -> Callable[[Plain], str]:
    """One line of JSON. With orjson, a fifth of the time."""
    import json

    def slow(value: Plain) -> str:
        return json.dumps(value) + "\n"  # in ASCII: lone surrogates have no encoding

    try:
        import orjson
    except ImportError:
        return slow

    def fast(value: Plain) -> str:
        try:
            line = orjson.dumps(value).decode()
        except TypeError:  # a lone surrogate
            return slow(value)
        return slow(value) if acts(line) else line + "\n"

    return fast
