"""OpenTelemetry's logs, as OTLP/HTTP brings them: protobuf or JSON. Protobuf needs the extra `serve`.

https://opentelemetry.io/docs/specs/otlp/#otlphttp, https://opentelemetry.io/docs/specs/otel/logs/data-model/.
Gzip is the server's.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from vcache.errors import ConfigError, UsageError
from vcache.logs.receive.base import Parsed, Stream, as_text
from vcache.logs.receive.bodies import BodyStream
from vcache.logs.receive.jsonlines import lenient_object
from vcache.logs.receive.mapping import fields_of
from vcache.logs.record import Mark, Record
from vcache.query.levels import level_of

__all__ = ["Otlp", "answer", "of_json", "of_protobuf", "wire"]

_NS_BOUND: Final = 1 << 63
_DEPTH: Final = 32  # of values within values


class Otlp:
    """The format `otlp`: a body in either encoding, told apart by how it begins."""

    name = "otlp"

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        # No message of ours begins with "{" (a group of field 15), but one may with a newline.
        if data[:1] == b"{":
            return of_json(data, now_ns=now_ns, source=source)
        try:
            return of_protobuf(data, now_ns=now_ns, source=source)
        except UsageError:
            if data.lstrip()[:1] == b"{":
                return of_json(data, now_ns=now_ns, source=source)
            raise

    def stream(self, *, source: str = "") -> Stream:
        return BodyStream(self, source)


def wire() -> ModuleType:
    """The messages of `logs.proto`.

    Raises:
        ConfigError: protobuf is not there.
    """
    try:
        from vcache.wire import logs_pb2
    except ImportError as error:
        raise ConfigError("logs as protobuf need protobuf: pip install 'vcache[serve]'") from error
    return logs_pb2


def answer(rejected: int = 0, reason: str = "", *, is_json: bool = False) -> bytes:
    """The body of an ExportLogsServiceResponse: everything was taken, or all but so many."""
    if is_json:
        partial = {"rejectedLogRecords": str(rejected), "errorMessage": reason}
        return json.dumps({"partialSuccess": partial} if rejected or reason else {}).encode()
    messages = wire()
    response = messages.ExportLogsServiceResponse()
    if rejected or reason:
        response.partial_success.rejected_log_records = rejected
        response.partial_success.error_message = reason.encode("utf-8", "replace")
    return bytes(response.SerializeToString())


# --- both encodings --------------------------------------------------------------------------


def _record(log: Mapping[str, Any], shared: Mapping[str, object], source: str, now_ns: int) -> Record:
    """The record of one log record, in the names and types of Python."""
    at_ns, marks = _time(log, now_ns)
    fields: dict[str, object] = {**shared, **log["attributes"]}
    said_by = fields.pop("service.name", None) or source or fields.get("scope.name", "")
    number, text = log["severity_number"], log["severity_text"]
    named = level_of(text)
    level = number if 1 <= number <= 24 else named or 0
    if named is None:
        fields["severity_text"] = text
    for name in ("trace_id", "span_id", "trace_flags", "event.name", "dropped_attributes_count"):
        if log[name]:
            fields[name] = log[name]
    values, is_cut = fields_of(fields)
    if is_cut or log["dropped_attributes_count"]:
        marks |= Mark.CUT
    return Record(at_ns, level, str(said_by), _body(log["body"]), values, int(marks))


def _time(log: Mapping[str, Any], now_ns: int) -> tuple[int, int]:
    for name in ("time", "observed"):
        if 0 < log[name] < _NS_BOUND:
            return log[name], 0
    return now_ns, Mark.NO_TIME


def _body(value: object) -> str:
    if type(value) is str:
        return value
    return "" if value is None else json.dumps(value, default=str, ensure_ascii=False)


# --- protobuf --------------------------------------------------------------------------------


def of_protobuf(data: bytes, *, now_ns: int, source: str = "") -> Parsed:
    """The records of an ExportLogsServiceRequest.

    Raises:
        UsageError: it is none.
        ConfigError: protobuf is not there.
    """
    messages = wire()
    from vcache.wire.text import from_bytes

    try:
        request = from_bytes(messages.ExportLogsServiceRequest, data)
    except ValueError as error:
        raise UsageError(f"no OTLP request: {error}") from error
    found: list[Record] = []
    for of_resource in request.resource_logs:
        resource = _pairs(of_resource.resource.attributes)
        for of_scope in of_resource.scope_logs:
            shared = resource | _scope(of_scope.scope)
            found += [_record(_plain(log), shared, source, now_ns) for log in of_scope.log_records]
    return Parsed(found, [])


def _scope(scope: Any) -> dict[str, object]:
    found = _pairs(scope.attributes)
    if scope.name:
        found["scope.name"] = as_text(scope.name)
    if scope.version:
        found["scope.version"] = as_text(scope.version)
    return found


def _plain(log: Any) -> dict[str, Any]:
    return {
        "time": log.time_unix_nano,
        "observed": log.observed_time_unix_nano,
        "severity_number": log.severity_number,
        "severity_text": as_text(log.severity_text),
        "body": _value(log.body, 0),
        "attributes": _pairs(log.attributes),
        "trace_id": log.trace_id.hex(),
        "span_id": log.span_id.hex(),
        "trace_flags": log.flags,
        "event.name": as_text(log.event_name),
        "dropped_attributes_count": log.dropped_attributes_count,
    }


def _pairs(pairs: Iterable[Any], depth: int = 0) -> dict[str, object]:
    return {as_text(pair.key): _value(pair.value, depth) for pair in pairs}


def _value(value: Any, depth: int) -> object:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    held = getattr(value, kind)
    if kind in ("string_value", "bytes_value"):
        return as_text(held)
    if kind == "array_value":
        return [_value(each, depth + 1) for each in held.values]
    return _pairs(held.values, depth + 1) if kind == "kvlist_value" else held


# --- JSON ------------------------------------------------------------------------------------


def of_json(data: bytes, *, now_ns: int, source: str = "") -> Parsed:
    """The records of an ExportLogsServiceRequest in JSON, as OTLP maps it: ids are hexadecimal.

    What is not of the right shape inside counts as absent.

    Raises:
        UsageError: it is none.
    """
    body = lenient_object(data)
    groups = _get(body, "resourceLogs", "resource_logs") if body is not None else None
    if not isinstance(groups, list) and body != {}:
        raise UsageError(f"no OTLP request: {data[:40]!r} has no list resourceLogs")
    found: list[Record] = []
    for of_resource in _objects(groups):
        resource = _json_pairs(_object(of_resource.get("resource")).get("attributes"))
        for of_scope in _objects(_get(of_resource, "scopeLogs", "scope_logs")):
            shared = resource | _json_scope(_object(of_scope.get("scope")))
            logs = _objects(_get(of_scope, "logRecords", "log_records"))
            found += [_record(_json_plain(log), shared, source, now_ns) for log in logs]
    return Parsed(found, [])


def _get(value: Mapping[str, object], name: str, other: str) -> object:
    return value[name] if name in value else value.get(other)


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _json_scope(scope: Mapping[str, object]) -> dict[str, object]:
    found = _json_pairs(scope.get("attributes"))
    for name in ("name", "version"):
        if scope.get(name):
            found[f"scope.{name}"] = str(scope[name])
    return found


def _json_plain(log: Mapping[str, object]) -> dict[str, Any]:
    return {
        "time": _number(_get(log, "timeUnixNano", "time_unix_nano")),
        "observed": _number(_get(log, "observedTimeUnixNano", "observed_time_unix_nano")),
        "severity_number": _severity(_get(log, "severityNumber", "severity_number")),
        "severity_text": str(_get(log, "severityText", "severity_text") or ""),
        "body": _json_value(log.get("body"), 0),
        "attributes": _json_pairs(log.get("attributes")),
        "trace_id": str(_get(log, "traceId", "trace_id") or "").lower(),
        "span_id": str(_get(log, "spanId", "span_id") or "").lower(),
        "trace_flags": _number(log.get("flags")),
        "event.name": str(_get(log, "eventName", "event_name") or ""),
        "dropped_attributes_count": _number(_get(log, "droppedAttributesCount", "dropped_attributes_count")),
    }


def _severity(value: object) -> int:
    """A number, or the name of one: "SEVERITY_NUMBER_WARN2"."""
    if isinstance(value, str) and value.startswith("SEVERITY_NUMBER_"):
        word = value.removeprefix("SEVERITY_NUMBER_")
        return (level_of(word.rstrip("234")) or 0) + (
            int(word[-1]) - 1 if word[-1:] in ("2", "3", "4") else 0
        )
    return _number(value)


def _number(value: object) -> int:
    if type(value) is int:
        return value
    if isinstance(value, float) and abs(value) < _NS_BOUND:
        return int(value)
    if isinstance(value, str) and len(value) < 21 and value.removeprefix("-").isdecimal() and value.isascii():
        return int(value)
    return 0


def _json_pairs(pairs: object, depth: int = 0) -> dict[str, object]:
    return {str(pair.get("key", "")): _json_value(pair.get("value"), depth) for pair in _objects(pairs)}


def _json_value(value: object, depth: int) -> object:
    """The value of an AnyValue; what is none is taken as it is."""
    if not isinstance(value, dict) or len(value) != 1 or depth > _DEPTH:
        return value or None if value == {} else value
    (kind, held), *_ = value.items()
    name = kind.replace("_v", "V")
    if name == "intValue":
        return _number(held) if isinstance(held, str) else held
    if name == "arrayValue":
        values = _object(held).get("values")
        return [_json_value(each, depth + 1) for each in values] if isinstance(values, list) else []
    if name == "kvlistValue":
        return _json_pairs(_object(held).get("values"), depth + 1)
    if name == "bytesValue" and isinstance(held, str):
        try:
            return as_text(binascii.a2b_base64(held.encode("utf-8", "replace")))
        except ValueError:
            return held
    return held if name in ("stringValue", "boolValue", "doubleValue") else value
