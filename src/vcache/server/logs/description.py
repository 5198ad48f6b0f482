"""What OpenAPI says of the API of logs: operations, schemas, parameters. Data only."""

from __future__ import annotations

from typing import Final

from vcache.server.api.openapi import Additions, Operation, Schema, object_schema

__all__ = ["LOGS"]

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_MOMENT: Final = {"type": "string", "description": "RFC 3339 in UTC, with nine digits; empty for none"}
_INT: Final = {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}
_BOUND: Final = {**_INT, "description": "UTC epoch nanoseconds"}
_LAST: Final = {"type": "integer", "minimum": 1, "maximum": 1_000_000}
_TIMEOUT: Final = {"type": "integer", "minimum": 1, "maximum": 300, "default": 30}
_FORMAT: Final = {"type": "string", "enum": ["json", "text", "csv", "logfmt"], "default": "json"}
_ASKED: Final = ("q", "from", "to", "timeout")

_OPERATIONS: Final = (
    Operation("post", "/logs", "take_logs", "Keep records: they survive a power loss when this is answered.",
              "Taken", body="records", parameters=("source", "body-format"), refusals=(413, 415, 429, 507)),
    Operation("get", "/logs/query", "query_logs",
              "What a query answers: a line for each row, the last one says what was seen.", "rows",
              parameters=(*_ASKED, "last", "format"), refusals=(429,)),
    Operation("post", "/logs/query", "query_logs_at_length", "The same, for queries too long for an address.",
              "rows", body="Wish", refusals=(413, 429)),
    Operation("get", "/logs/records/{id}", "find_record", "One record by its id.", "Record",
              refusals=(404, 413)),
    Operation("get", "/logs/stats", "log_stats", "What the caller's logs hold, by source and level.", "LogStats",
              refusals=(413, 429)),
    Operation("get", "/logs/histogram", "log_histogram", "How many records there are over time, by level.",
              "Histogram", parameters=(*_ASKED, "step"), refusals=(413, 429)),
    Operation("get", "/logs/tail", "tail_logs",
              "Records as they come, as server-sent events, or over WebSocket; ends when the client goes.", "events",
              parameters=("condition", "after", "last-event-id"), refusals=(413, 429)),
    Operation("post", "/logs/seal", "seal_logs", "Seal what is in the tail. For admins.", "Sealed",
              refusals=(409, 413)),
)  # fmt: skip

_GAPS: Final = {
    "type": "array",
    "items": {"type": "object", "properties": {"place": _TEXT, "reason": _TEXT, "records": _COUNT}},
}
_LEVELS: Final = {"type": "object", "additionalProperties": _COUNT}
_HELD: Final = object_schema({"records": _COUNT, "levels": _LEVELS, "first": _MOMENT, "last": _MOMENT})
_SCHEMAS: Final[dict[str, Schema]] = {
    "Taken": object_schema({"taken": _COUNT, "unparsed": _COUNT}, optional=("unparsed",)),
    "Wish": object_schema(
        {"q": _TEXT, "from": _BOUND, "to": _BOUND, "last": _LAST, "timeout": _TIMEOUT, "format": _FORMAT},
        optional=("q", "from", "to", "last", "timeout", "format"),
    ),
    "Record": {
        "type": "object",
        "properties": {"@id": _TEXT, "@time": _MOMENT, "@seen": _MOMENT, "level": _TEXT, "source": _TEXT,
                       "message": _TEXT, "repeats": _COUNT, "@marks": {"type": "array", "items": _TEXT}},
        "required": ["@id", "@time", "source", "message"],
    },
    "LogStats": object_schema({
        "records": _COUNT, "tail_records": _COUNT, "segments": _COUNT, "size_bytes": _COUNT,
        "first": _MOMENT, "last": _MOMENT, "gaps": _GAPS,
        "sources": {"type": "object", "additionalProperties": _HELD},
    }),
    "Histogram": object_schema({
        "step_ns": _COUNT, "from": _MOMENT, "to": _MOMENT, "gaps": _GAPS,
        "buckets": {"type": "array", "items": object_schema({"at": _MOMENT, "levels": _LEVELS})},
    }),
    "Sealed": {"type": "object", "additionalProperties": _COUNT},
}  # fmt: skip

_PARAMETERS: Final[dict[str, dict[str, object]]] = {
    "q": {"in": "query", "schema": _TEXT, "description": "a query: docs/reference/query.md; empty for all"},
    "condition": {"name": "q", "in": "query", "schema": _TEXT, "description": "a query without steps"},
    "from": {"in": "query", "schema": _BOUND, "description": "the first time, in UTC epoch nanoseconds"},
    "to": {"in": "query", "schema": _BOUND, "description": "the first time that is not wanted"},
    "last": {"in": "query", "schema": _LAST, "description": "of a query without steps, the last so many"},
    "timeout": {"in": "query", "schema": _TIMEOUT, "description": "seconds after which an answer is cut"},
    "format": {"in": "query", "schema": _FORMAT},
    "step": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": (1 << 63) - 1},
             "description": "the width of a bucket in nanoseconds; about 120 buckets without it"},
    "source": {"in": "query", "schema": {"type": "string", "maxLength": 256},
               "description": "of records that do not say theirs"},
    "body-format": {"name": "format", "in": "query", "schema": _TEXT, "description": "of the body: json, lines, …"},
    "after": {"in": "query", "schema": _TEXT, "description": "go on after the record with this id"},
    "last-event-id": {"in": "header", "schema": _TEXT, "description": "the same, as browsers send it"},
}  # fmt: skip

LOGS: Final = Additions(_OPERATIONS, _SCHEMAS, _PARAMETERS)
"""What is said of logs beside the rest of the API."""
