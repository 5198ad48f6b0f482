"""JSON, an object a line: the bulk format. Needs orjson of the extra `logs`.

A line that is no object is kept as it is, and marked: so is JSON that is laid out over several lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from vcache.errors import ConfigError
from vcache.logs.receive.base import MESSAGE_BYTES, Parsed, as_text, unparsed
from vcache.logs.receive.framing import LineFramer
from vcache.logs.receive.guess import level_in
from vcache.logs.receive.mapping import record_of, records_of
from vcache.logs.record import Mark, Record

__all__ = ["JsonLines", "JsonStream", "lenient_object", "loads", "parse_objects"]

_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * 19


@lru_cache(maxsize=1)
def loads() -> Callable[[bytes], Any]:
    """The parser of orjson.

    Raises:
        ConfigError: it is not there.
    """
    try:
        import orjson
    except ImportError as error:
        raise ConfigError("JSON logs need orjson: pip install 'vcache[logs]'") from error
    return orjson.loads


def parse_objects(data: bytes, *, now_ns: int, source: str = "") -> list[Record]:
    """A record of each line that is not empty."""
    lines = data.split(b"\n")
    if not lines[-1]:
        del lines[-1]
    try:
        objects = list(map(loads(), lines))
    except ValueError:
        objects = [None]
    if not {dict}.issuperset(map(type, objects)):
        return [_one(line, now_ns, source) for line in lines if line and not line.isspace()]
    return records_of(objects, now_ns, source, is_plain=_is_plain(data, len(objects)))


def _is_plain(data: bytes, objects: int) -> bool:
    """Whether no value can be other than text, a bool or a number of 64 bits.

    It costs less than a look at each value.
    """
    return (
        data.count(b"{") == objects
        and b"[" not in data
        and b"null" not in data
        and _LONG_NUMBER not in data.translate(_DIGITS)
    )


def _one(line: bytes, now_ns: int, source: str) -> Record:
    try:
        value = loads()(line)
    except ValueError:
        value = _lenient(line)
    if type(value) is dict:
        return records_of([value], now_ns, source, is_plain=False)[0]
    text = as_text(line).removesuffix("\r")
    marks = Mark.CUT if len(line) >= MESSAGE_BYTES else 0
    return unparsed(text, now_ns, source, level=level_in(text), marks=marks)


def lenient_object(data: bytes) -> dict[str, object] | None:
    """The object that JSON describes, with bytes that are no UTF-8 as lone surrogates; None for none."""
    try:
        value = loads()(data)
    except ValueError:
        value = _lenient(data)
    return value if type(value) is dict else None


def _lenient(line: bytes) -> object:
    """What the standard library makes of it: it takes bytes that are no UTF-8, lone surrogates and NaN."""
    if line.lstrip()[:1] != b"{":
        return None
    try:
        return json.loads(as_text(line))
    except (ValueError, RecursionError):
        return None


class JsonLines:
    """The format `json`."""

    name = "json"

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        if data.lstrip()[:1] == b"[" and (found := _array(data, now_ns, source)) is not None:
            return Parsed(found, [])
        return Parsed(parse_objects(data, now_ns=now_ns, source=source), [])

    def stream(self, *, source: str = "") -> JsonStream:
        return JsonStream(source)


def _array(data: bytes, now_ns: int, source: str) -> list[Record] | None:
    """The records of a list of objects, as some senders have it; None for anything else."""
    try:
        value = loads()(data)
    except ValueError:
        return None
    if type(value) is not list or not {dict}.issuperset(map(type, value)):
        return None
    return [record_of(each, now_ns, source) for each in value]


class JsonStream:
    """A stream of `json`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines = LineFramer()

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        return parse_objects(self._lines.feed(data), now_ns=now_ns, source=self._source)

    def flush(self, *, now_ns: int) -> list[Record]:
        return []

    def end(self, *, now_ns: int) -> list[Record]:
        return parse_objects(self._lines.end(), now_ns=now_ns, source=self._source)
