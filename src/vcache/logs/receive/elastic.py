"""Elasticsearch's `_bulk`: an action and a document, line by line. Needs orjson of the extra `logs`.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk. Logs only grow: `index` and
`create` are taken, `update` and `delete` are rejected, each in its own item as clients expect.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from vcache.errors import UsageError
from vcache.kit.data import NamedTuple
from vcache.logs.receive.base import Parsed, Rejection, Stream, as_text, unparsed
from vcache.logs.receive.bodies import BodyStream
from vcache.logs.receive.guess import level_in
from vcache.logs.receive.jsonlines import lenient_object
from vcache.logs.receive.mapping import record_of
from vcache.logs.record import Record

__all__ = ["Bulk", "Elastic", "Item", "answer", "bulk"]

_ACTIONS: Final = frozenset(("index", "create", "update", "delete"))


class Item(NamedTuple):
    """What became of one action.

    Attributes:
        action: "index", "create", "update" or "delete".
        index: where to.
        id: that the sender gave; "" for none.
        reason: why it was rejected; "" when it is a record.
    """

    action: str
    index: str  # type: ignore[assignment]  # instead of the method of a tuple
    id: str
    reason: str


class Bulk(NamedTuple):
    """What a body holds: `items` has one of each action in order; those without a reason are `records`."""

    records: list[Record]
    items: list[Item]


def bulk(data: bytes, *, now_ns: int, source: str = "", index: str = "") -> Bulk:
    """The records of a body.

    Args:
        source: of documents that say none; that of an index otherwise.
        index: of the path, for actions that name none.

    Raises:
        UsageError: its first line is no action.
    """
    lines = iter([line for line in data.split(b"\n") if line.strip()])
    found = Bulk([], [])
    for line in lines:
        action = _action(line)
        if action is None:
            if not found.items:
                raise UsageError(f"no bulk request: {line[:40]!r} is no action")
            # What follows a document and is no action is kept: where pairs begin again shows itself.
            found.records.append(unparsed(as_text(line), now_ns, source, level=level_in(as_text(line))))
            found.items.append(Item("index", index, "", ""))
            continue
        _take(action, index, lines, found, now_ns=now_ns, source=source)
    return found


def _action(line: bytes) -> tuple[str, dict[str, object]] | None:
    value = lenient_object(line)
    if value is None or len(value) != 1:
        return None
    (name, about), *_ = value.items()
    return (name, about if isinstance(about, dict) else {}) if name in _ACTIONS else None


def _take(
    action: tuple[str, dict[str, object]], index: str, lines: object, found: Bulk, *, now_ns: int, source: str
) -> None:
    name, about = action
    index = str(about.get("_index") or index)
    document_id = str(about.get("_id") or "")
    if name == "delete":
        found.items.append(Item(name, index, document_id, "logs are not deleted by id"))
        return
    line = next(lines, None)  # type: ignore[call-overload]  # an iterator of lines
    if name == "update":
        found.items.append(Item(name, index, document_id, "logs are not updated"))
    elif line is None:
        found.items.append(Item(name, index, document_id, "no document follows"))
    else:
        found.records.append(_record(line, index, now_ns, source))
        found.items.append(Item(name, index, document_id, ""))


def _record(line: bytes, index: str, now_ns: int, source: str) -> Record:
    document = lenient_object(line)
    if document is None:
        text = as_text(line)
        return unparsed(text, now_ns, source or index, level=level_in(text))
    if index and "index" not in document:
        document["index"] = index
    return record_of(document, now_ns, source or index)


def answer(items: Sequence[Item], *, ids: Sequence[str] = (), took_ms: int = 0) -> bytes:
    """The body of the response that clients take for success.

    Args:
        ids: of the records, in order; the answer has the sender's own where it gave one.
    """
    known = iter(ids)
    rows = [_row(item, next(known, "") if not item.reason else "", at) for at, item in enumerate(items)]
    is_bad = any(item.reason for item in items)
    # Without blanks: Vector looks for `"errors":true` as text (its src/sinks/elasticsearch/service.rs).
    said = {"took": took_ms, "errors": is_bad, "items": rows}
    return json.dumps(said, separators=(",", ":")).encode()


def _row(item: Item, record_id: str, at: int) -> dict[str, object]:
    row: dict[str, object] = {"_index": item.index, "_id": item.id or record_id or str(at)}
    if item.reason:
        row |= {"status": 400, "error": {"type": "illegal_argument_exception", "reason": item.reason}}
    else:
        shards = {"total": 1, "successful": 1, "failed": 0}
        row |= {"_version": 1, "result": "created", "_shards": shards, "_seq_no": at, "_primary_term": 1,
                "status": 201}  # fmt: skip
    return {item.action: row}


class Elastic:
    """The format `elastic`."""

    name = "elastic"

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        found = bulk(data, now_ns=now_ns, source=source)
        bad = [Rejection(f"item {at}", item.reason) for at, item in enumerate(found.items) if item.reason]
        return Parsed(found.records, bad)

    def stream(self, *, source: str = "") -> Stream:
        return BodyStream(self, source, has_lines=False)
