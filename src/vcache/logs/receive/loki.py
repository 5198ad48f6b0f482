"""Loki's push, in JSON or in snappy-compressed protobuf. The latter needs the extra `serve`.

https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs. Labels and structured metadata
become fields; a line stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vcache.errors import ConfigError, UsageError
from vcache.logs.receive.base import Parsed, Stream, as_text
from vcache.logs.receive.bodies import BodyStream
from vcache.logs.receive.guess import level_in
from vcache.logs.receive.jsonlines import lenient_object
from vcache.logs.receive.mapping import fields_of
from vcache.logs.receive.otlp import wire
from vcache.logs.receive.times import iso_ns, time_ns
from vcache.logs.record import Mark, Record
from vcache.query.levels import level_of

__all__ = ["BODY_BYTES", "Loki", "labels_of", "of_json", "of_protobuf", "unsnapped"]

BODY_BYTES: Final = 256 << 20
"""The most that a compressed body may become."""
_SOURCES: Final = ("source", "job", "service_name", "app")
_LEVELS: Final = ("level", "detected_level", "severity", "severity_text")
_RATIO: Final = 32  # snappy has at most 64 bytes for 3
_NS_BOUND: Final = 1 << 63
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


class Loki:
    """The format `loki`: a body in either encoding, told apart by how it begins."""

    name = "loki"

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        if data.lstrip()[:1] == b"{" and lenient_object(data) is not None:
            return of_json(data, now_ns=now_ns, source=source)
        return of_protobuf(unsnapped(data), now_ns=now_ns, source=source)

    def stream(self, *, source: str = "") -> Stream:
        return BodyStream(self, source)


def unsnapped(data: bytes, most_bytes: int = BODY_BYTES) -> bytes:
    """What a snappy block holds.

    Raises:
        UsageError: it is none, or holds more than that.
        ConfigError: cramjam is not there.
    """
    try:
        import cramjam
    except ImportError as error:
        raise ConfigError("snappy needs cramjam: pip install 'vcache[serve]'") from error
    claimed = _claimed(data)
    if claimed > most_bytes:
        raise UsageError(f"a snappy block of {claimed} bytes: at most {most_bytes} are taken")
    if claimed < 0 or claimed > len(data) * _RATIO:  # nothing is allocated for a mere claim
        raise UsageError(f"no snappy block: {data[:20]!r}")
    try:
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise UsageError(f"no snappy block: {error}") from error


def _claimed(data: bytes) -> int:
    """How long the block says its content is; -1 when it does not say."""
    found = 0
    for at, byte in enumerate(data[:5]):
        found |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return found
    return -1


def labels_of(text: str) -> dict[str, str]:
    """The labels of `{app="x", job="y"}`, quoted as in Go; what cannot be read is left out."""
    found: dict[str, str] = {}
    at = text.find("{") + 1
    while (equals := text.find('="', at)) > 0:
        name = text[at:equals].strip(" ,")
        at = equals + 2
        value: list[str] = []
        while at < len(text) and text[at] != '"':
            if text[at] == "\\" and at + 1 < len(text):
                at += 1
                value.append(_ESCAPES.get(text[at], text[at]))
            else:
                value.append(text[at])
            at += 1
        found[name] = "".join(value)
        at += 1
    return found


def _record(
    at_ns: int | None, line: str, labels: Mapping[str, object], metadata: object, source: str, now_ns: int
) -> Record:
    fields: dict[str, object] = {**labels, **metadata} if isinstance(metadata, dict) else dict(labels)
    named = next((name for name in _SOURCES if fields.get(name)), None)
    said_by = str(fields.pop(named)) if named else source
    level = None
    for name in _LEVELS:
        value = fields.get(name)
        if type(value) is str and (level := level_of(value)) is not None:
            del fields[name]
            break
    if "level" in fields:
        fields["severity_text"] = fields.pop("level")
    values, is_cut = fields_of(fields)
    marks = (Mark.CUT if is_cut else 0) | (Mark.NO_TIME if at_ns is None else 0)
    return Record(
        now_ns if at_ns is None else at_ns, level or level_in(line), said_by, line, values, int(marks)
    )


# --- protobuf --------------------------------------------------------------------------------


def of_protobuf(data: bytes, *, now_ns: int, source: str = "") -> Parsed:
    """The records of a PushRequest that is no longer compressed.

    Raises:
        UsageError: it is none.
        ConfigError: protobuf is not there.
    """
    messages = wire()
    from vcache.wire.text import from_bytes

    try:
        request = from_bytes(messages.PushRequest, data)
    except ValueError as error:
        raise UsageError(f"no push of Loki's: {error}") from error
    found: list[Record] = []
    for stream in request.streams:
        labels = labels_of(as_text(stream.labels))
        for entry in stream.entries:
            at_ns = entry.timestamp.seconds * 10**9 + entry.timestamp.nanos
            is_time = entry.HasField("timestamp") and -_NS_BOUND <= at_ns < _NS_BOUND
            metadata = {as_text(pair.name): as_text(pair.value) for pair in entry.structured_metadata}
            line = as_text(entry.line)
            found.append(_record(at_ns if is_time else None, line, labels, metadata, source, now_ns))
    return Parsed(found, [])


# --- JSON ------------------------------------------------------------------------------------


def of_json(data: bytes, *, now_ns: int, source: str = "") -> Parsed:
    """The records of a push in JSON, of today's shape or of the first one (`labels`, `entries`).

    Raises:
        UsageError: it is none.
    """
    body = lenient_object(data)
    streams = body.get("streams") if body is not None else None
    if not isinstance(streams, list):
        raise UsageError(f"no push of Loki's: {data[:40]!r} has no list streams")
    found: list[Record] = []
    for stream in streams:
        if isinstance(stream, dict):
            found += _of_stream(stream, now_ns, source)
    return Parsed(found, [])


def _of_stream(stream: Mapping[str, object], now_ns: int, source: str) -> list[Record]:
    labels = stream.get("stream")
    if not isinstance(labels, dict):
        labels = labels_of(str(stream.get("labels", "")))
    found: list[Record] = []
    for value in _list(stream.get("values")):
        if isinstance(value, list) and len(value) >= 2:
            metadata = value[2] if len(value) > 2 else None
            found.append(_record(_nanoseconds(value[0]), _line(value[1]), labels, metadata, source, now_ns))
        else:
            found.append(_unparsed(value, labels, source, now_ns))
    for entry in _list(stream.get("entries")):
        if isinstance(entry, dict):
            found.append(
                _record(time_ns(entry.get("ts")), _line(entry.get("line", "")), labels, None, source, now_ns)
            )
        else:
            found.append(_unparsed(entry, labels, source, now_ns))
    return found


def _unparsed(value: object, labels: Mapping[str, object], source: str, now_ns: int) -> Record:
    made = _record(None, _line(value), labels, None, source, now_ns)
    return made._replace(marks=int(made.marks | Mark.UNPARSED))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _line(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _nanoseconds(value: object) -> int | None:
    """A time of Loki's: nanoseconds as text, whatever their number; some senders write ISO."""
    if isinstance(value, str):
        if not (value.removeprefix("-").isdecimal() and value.isascii() and len(value) < 21):
            return iso_ns(value)
        value = int(value)
    return value if type(value) is int and -_NS_BOUND <= value < _NS_BOUND else None
