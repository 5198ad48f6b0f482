"""The OpenAPI description of the API: one table of operations, from which routes are made too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from vcache.kit.data import NamedTuple

__all__ = ["BASE", "OPERATIONS", "Additions", "Operation", "Schema", "describe", "object_schema"]

BASE: Final = "/api/v1"
Schema = Mapping[str, object]


class Operation(NamedTuple):
    """One method of one path.

    Attributes:
        handler: the name of what answers it, which is its `operationId`.
        summary: what it does.
        answer: the schema of a success; empty for none; "binary" for a value's content, "rows" and
            "events" for what is no single JSON document.
        status: of a success.
        body: the schema of the request's body; empty for none; "binary" and "records" for other than JSON.
        parameters: beside those of the path.
        refusals: other statuses that it answers with.
    """

    method: str
    path: str
    handler: str
    summary: str
    answer: str
    status: int = 200
    body: str = ""
    parameters: Sequence[str] = ()
    refusals: Sequence[int] = ()


class Additions(NamedTuple):
    """What another part of the server has in the API.

    Attributes:
        schemas, parameters: what its operations name. A parameter may say a `name` of its own.
    """

    operations: Sequence[Operation]
    schemas: Mapping[str, Schema]
    parameters: Mapping[str, Mapping[str, object]]


_PAGING: Final = ("limit", "cursor")
_NAME: Final = "/values/{name}"

OPERATIONS: Final = (
    Operation("get", "/whoami", "whoami", "Who the caller is.", "Caller"),
    Operation("get", "/values", "list_values", "A page of the caller's values, in the order of names.", "Values",
              parameters=("prefix", *_PAGING)),
    Operation("get", _NAME, "get_value", "The content of a value, or a part of it.", "binary",
              parameters=("range", "if-range", "if-none-match"), refusals=(206, 304, 404, 416)),
    Operation("head", _NAME, "head_value", "Whether there is a value, its length and its tag.", "",
              refusals=(304, 404)),
    Operation("put", _NAME, "put_value", "Keep a value.", "", 201, "binary",
              ("ttl", "tags", "if-match", "if-none-match"), (204, 411, 412, 413, 507)),
    Operation("delete", _NAME, "delete_value", "Forget a value.", "", 204, parameters=("if-match",),
              refusals=(404, 412)),
    Operation("get", "/describe/{name}", "describe_value", "All that is known of a value but its content.",
              "Value", refusals=(404,)),
    Operation("get", "/artifacts", "list_artifacts", "A page of what build tools keep here.", "Artifacts",
              parameters=("realm", *_PAGING)),
    Operation("get", "/usage", "usage", "What the caller's namespace holds, and may hold.", "Usage"),
    Operation("get", "/namespaces", "list_namespaces", "A page of all namespaces. For admins.", "Namespaces",
              parameters=_PAGING),
    Operation("get", "/tokens", "list_tokens", "A page of the tokens. For admins.", "Tokens", parameters=_PAGING,
              refusals=(409,)),
    Operation("post", "/tokens", "make_token", "A new token; its secret is shown this once. For admins.",
              "NewToken", 201, "TokenWish", refusals=(409, 413)),
    Operation("delete", "/tokens/{id}", "revoke_token", "Make a token worthless for good. For admins.", "Token",
              refusals=(404, 409)),
    Operation("get", "/audit", "list_audit", "A page of the audit log, the oldest first. For admins.", "Audit",
              parameters=_PAGING),
    Operation("post", "/collect", "collect", "Collect garbage now. For admins.", "Collected"),
)  # fmt: skip

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TIME: Final = {"type": "integer", "minimum": 0, "description": "UTC epoch nanoseconds; 0 for never"}
_WORDS: Final = {"type": "object", "additionalProperties": _TEXT}
_ROLE: Final = {"type": "string", "enum": ["reader", "writer", "builder", "admin"]}
_SPACE: Final = {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"}


def object_schema(members: Mapping[str, Schema], *, optional: Sequence[str] = ()) -> Schema:
    """An object with these members and no others."""
    return {
        "type": "object",
        "properties": members,
        "required": [name for name in members if name not in optional],
        "additionalProperties": False,
    }


def _page(of: str) -> Schema:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{of}"}}
    following = {"type": ["string", "null"], "description": "the cursor of the next page"}
    return object_schema({"items": items, "next": following})


_COMMON: Final[Mapping[str, Schema]] = {
    "name": _TEXT,
    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "BLAKE3 of the content"},
    "size_bytes": _COUNT,
    "created_ns": _TIME,
    "cost_ns": _COUNT,
}
_TOKEN: Final[Mapping[str, Schema]] = {
    "id": _TEXT, "role": _ROLE, "namespace": _SPACE, "note": _TEXT,
    "created_ns": _TIME, "expires_ns": _TIME, "revoked_ns": _TIME,
}  # fmt: skip
_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Problem": object_schema(
        {
            "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT,
            "position": {"type": "integer", "minimum": -1, "description": "where in a query, in characters"},
        },
        optional=("position",),
    ),
    "Caller": object_schema({
        "token": _TEXT, "role": _ROLE, "namespace": _TEXT, "may_write_results": {"type": "boolean"},
    }),
    "Value": object_schema({
        **_COMMON, "type": _TEXT, "codec": _TEXT, "tags": {"type": "array", "items": _TEXT},
        "expires_ns": _TIME, "meta": _WORDS,
    }),
    "Values": _page("Value"),
    "Artifact": object_schema({**_COMMON, "realm": _TEXT, "meta": _WORDS}),
    "Artifacts": _page("Artifact"),
    "Usage": object_schema({
        "namespace": _TEXT, "entries": _COUNT, "size_bytes": _COUNT,
        "quota_bytes": {"type": ["integer", "null"], "minimum": 0},
        "realms": {
            "type": "object", "additionalProperties": object_schema({"entries": _COUNT, "size_bytes": _COUNT}),
        },
    }),
    "Namespaces": _page("Usage"),
    "Token": object_schema(_TOKEN),
    "Tokens": _page("Token"),
    "TokenWish": object_schema(
        {
            "namespace": _SPACE, "role": _ROLE, "note": {"type": "string", "maxLength": 200},
            "expires": {
                "type": "string", "pattern": "^[1-9][0-9]{0,3}[smhdw]$", "description": "how long it holds",
            },
        },
        optional=("role", "expires", "note"),
    ),
    "NewToken": object_schema({"secret": _TEXT, **_TOKEN}),
    "Change": {
        "type": "object",
        "properties": {"seq": _COUNT, "at_ns": _TIME, "action": _TEXT, "prev": _TEXT, "hash": _TEXT},
        "required": ["seq", "at_ns", "action", "prev", "hash"],
    },
    "Audit": _page("Change"),
    "Collected": {"type": "object", "additionalProperties": _COUNT},
}  # fmt: skip

_QUERY: Final[Mapping[str, Mapping[str, object]]] = {
    "limit": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
    "cursor": {"in": "query", "schema": _TEXT, "description": "the `next` of the page before"},
    "prefix": {"in": "query", "schema": _TEXT, "description": "with what names begin"},
    "realm": {"in": "query", "schema": _TEXT, "description": "such as `cas`, `gradle`, `turbo`"},
    "ttl": {"in": "query", "schema": _TEXT, "description": "how long it may be used, such as 7d"},
    "tags": {"in": "query", "schema": _TEXT, "description": "labels, joined by commas"},
    "range": {"in": "header", "schema": _TEXT, "description": "RFC 9110: one range of bytes"},
    "if-range": {"in": "header", "schema": _TEXT, "description": "a part only of what has this tag"},
    "if-match": {"in": "header", "schema": _TEXT, "description": "only if the value has one of these tags"},
    "if-none-match": {"in": "header", "schema": _TEXT, "description": "only if it has none of these tags"},
}


def describe(version: str, *, more: Sequence[Additions] = ()) -> dict[str, object]:
    """The description as OpenAPI 3.1 has it.

    Args:
        version: of the server.
        more: what other parts of it add.
    """
    paths: dict[str, dict[str, object]] = {}
    schemas = dict(_SCHEMAS)
    for added in (Additions(OPERATIONS, {}, _QUERY), *more):
        schemas |= added.schemas
        for operation in added.operations:
            said = _operation(operation, added.parameters)
            paths.setdefault(BASE + operation.path, {})[operation.method] = said
    return {
        "openapi": "3.1.0",
        "info": {"title": "vcache", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "security": [{"token": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, known: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    parameters: list[dict[str, object]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in ("name", "id")
        if f"{{{name}}}" in operation.path
    ]
    parameters += [{"name": name, **known[name]} for name in operation.parameters]
    answers: dict[str, object] = {str(operation.status): _success(operation)}
    for status in (*operation.refusals, 400, 401, 403, 500, 503):
        answers[str(status)] = _other(status, operation)
    found: dict[str, object] = {
        "operationId": operation.handler,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": answers,
    }
    if operation.body:
        found["requestBody"] = {
            "required": operation.body != "records",  # none is as good as an empty one
            "content": _content(operation.body),
        }
    return found


def _success(operation: Operation) -> dict[str, object]:
    answer: dict[str, object] = {"description": operation.summary}
    if operation.answer:
        answer["content"] = _content(operation.answer)
    return answer


def _other(status: int, operation: Operation) -> dict[str, object]:
    if status < 400:
        answer: dict[str, object] = {"description": "done, or as it was"}
        if status == 206:
            answer["content"] = _content("binary")
        return answer
    if operation.method == "head":
        return {"description": "not done"}
    problem = {"$ref": "#/components/schemas/Problem"}
    return {"description": "not done, and why", "content": {"application/problem+json": {"schema": problem}}}


_MEDIA: Final[Mapping[str, Mapping[str, Schema]]] = {
    "binary": {"application/octet-stream": {}},
    "records": {"text/plain": {"type": "string"}, "application/octet-stream": {}},
    "rows": {"application/x-ndjson": {}, "text/plain": {}, "text/csv": {}},
    "events": {"text/event-stream": {}},
}


def _content(name: str) -> dict[str, object]:
    media = _MEDIA.get(name)
    if media is not None:
        return {kind: {"schema": schema} for kind, schema in media.items()}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
