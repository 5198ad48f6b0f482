"""Elasticsearch's `_bulk` for who ships logs, and what such clients ask before they send anything.

Filebeat, Fluent Bit, Vector and the official clients look at the version, at the product header, and some
at licence and templates: these are answered as a server has them that needs no set-up. Nothing is searched
here.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Final

from vcache.server.logs.senders import told_to_wait
from vcache.server.phrases import CHALLENGE
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.logs.receive.base import Parsed
    from vcache.logs.receive.elastic import Item
    from vcache.logs.record import Record
    from vcache.server.dialect import Answer
    from vcache.server.exchange import Exchange
    from vcache.server.logs.taking import Taking

__all__ = ["ElasticBulk"]

_BASE: Final = "/elastic"
_VERSION: Final = "8.17.0"
_JSON: Final = "application/json"
_COMPATIBLE: Final = "application/vnd.elasticsearch+json;compatible-with={}"
_COMPATIBLE_WITH: Final = re.compile(r"compatible-with=([789])")
_BULK: Final = re.compile(
    r"(?:/([^/_][^/]*))?(?:/_doc)?/_bulk/?"
)  # Fluent Bit puts a slash before ?pipeline=
_INDEX: Final = re.compile(r"/([^/_][^/]*)/_(?:doc|create)(?:/([^/]+))?")
_SET_UP: Final = re.compile(
    r"/_(?:index_template|template|component_template|ilm/policy|ingest/pipeline|data_stream)(?:/[^/]*)?"
)
_PRODUCT: Final = ("x-elastic-product", "Elasticsearch")


class ElasticBulk:
    """Below `/elastic`, and where nobody else is: `/_bulk`, `/INDEX/_bulk` and `GET /`."""

    name = "elastic"

    def __init__(self, taking: Taking) -> None:
        self._taking = taking

    def claims(self, path: str) -> bool:
        """Whether a path is below the prefix, or one of those at the root that only this can mean."""
        return (
            path == _BASE
            or path.startswith(f"{_BASE}/")
            or path in ("/", "/_license", "/_cluster/health", "/_xpack")
            or (path.endswith(("/_bulk", "/_bulk/")) and _BULK.fullmatch(path) is not None)
            or ("/_doc" in path and _INDEX.fullmatch(path) is not None)
        )

    def needs_token(self, method: str, path: str) -> bool:
        """For all but to see whether anybody is there."""
        return path not in ("/", f"{_BASE}/", _BASE)

    async def answer(self, exchange: Exchange) -> None:
        """Take a request in, or say what a client wants to know.

        Raises:
            Refused: it is not taken, or nothing we answer.
        """
        path = exchange.path.removeprefix(_BASE) or "/"
        method = exchange.method
        if path == "/" and method == "GET" and "text/html" in (exchange.header("accept") or ""):
            await exchange.answer(302, b"", (("location", "/logs/"),))  # a person
            return
        if (match := _BULK.fullmatch(path)) is not None:
            _only(method, path, "POST", "PUT")
            await self._bulk(exchange, match[1] or "")
        elif (match := _INDEX.fullmatch(path)) is not None:
            _only(method, path, "POST", "PUT")
            await self._document(exchange, match[1], match[2] or "")
        elif method in ("GET", "HEAD"):
            await self._say(exchange, path)
        elif _SET_UP.fullmatch(path) and method == "PUT":
            await exchange.discard()
            await _give(exchange, 200, {"acknowledged": True})
        else:
            raise Refused(
                Refusal.METHOD, f"{method} {path!r:.200} means nothing here: only _bulk takes records"
            )

    # -- records ---------------------------------------------------------------------------

    async def _bulk(self, exchange: Exchange, index: str) -> None:
        from vcache.logs.receive import elastic

        started = time.monotonic()
        items: list[Item] = []

        def parse(body: bytes, now_ns: int) -> Parsed:
            found = elastic.bulk(body, now_ns=now_ns, index=index)
            items.extend(found.items)
            return _parsed(found.records)

        await self._taking.take(exchange, parse)
        took_ms = round((time.monotonic() - started) * 1000)
        body = elastic.answer(items, took_ms=took_ms)
        await exchange.answer(200, body, _headers(exchange))

    async def _document(self, exchange: Exchange, index: str, document_id: str) -> None:
        """One document, as clients send it that know no `_bulk`."""
        from vcache.logs.receive import elastic

        def parse(body: bytes, now_ns: int) -> Parsed:
            line = b"".join(body.splitlines())
            return _parsed(elastic.bulk(b'{"index":{}}\n' + line + b"\n", now_ns=now_ns, index=index).records)

        await self._taking.take(exchange, parse)
        said = {"_index": index, "_id": document_id or "0", "_version": 1, "result": "created"}
        await _give(exchange, 201, {**said, "_shards": {"total": 1, "successful": 1, "failed": 0}})

    # -- what clients ask ------------------------------------------------------------------

    async def _say(self, exchange: Exchange, path: str) -> None:
        known = _SAID.get(path)
        if known is not None:
            await _give(exchange, 200, known)
        elif _SET_UP.fullmatch(path) and path.count("/") > 1:
            # As if it stood: clients that find none want to make it, and change nothing by it.
            await _give(exchange, 200, {"index_templates": []})
        else:
            raise Refused(
                Refusal.ABSENT,
                f"{path!r:.200}: of Elasticsearch's API only _bulk is there; ask /api/v1/logs/query",
            )

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As Elasticsearch has errors; clients try again after 429 and 503."""
        status, headers = told_to_wait(refused)
        headers += [_PRODUCT, ("content-type", _JSON)]
        if refused.kind is Refusal.UNAUTHENTICATED:
            headers.append(CHALLENGE)
        if refused.kind is Refusal.METHOD:
            headers.append(("allow", "GET, HEAD, POST, PUT"))
        cause = {"type": _TYPES.get(refused.kind, "exception"), "reason": str(refused)}
        return (
            status,
            headers,
            json.dumps({"error": {"root_cause": [cause], **cause}, "status": status}).encode(),
        )


_TYPES: Final = {
    Refusal.MALFORMED: "illegal_argument_exception", Refusal.UNAUTHENTICATED: "security_exception",
    Refusal.FORBIDDEN: "security_exception", Refusal.ABSENT: "resource_not_found_exception",
    Refusal.CROWDED: "es_rejected_execution_exception", Refusal.TOO_LARGE: "content_too_long_exception",
}  # fmt: skip

_LICENCE: Final = {
    "status": "active",
    "uid": "vcache",
    "type": "basic",
    "mode": "basic",
    "expiry_date_in_millis": 1 << 52,
}
_SAID: Final[dict[str, dict[str, object]]] = {
    "/": {
        "name": "vcache", "cluster_name": "vcache", "cluster_uuid": "vcache-logs",
        "version": {
            "number": _VERSION, "build_flavor": "default", "build_type": "tar", "build_hash": "vcache",
            "build_date": "2025-01-01T00:00:00.000Z", "build_snapshot": False, "lucene_version": "9.12.0",
            "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    },
    "/_license": {"license": _LICENCE},
    "/_xpack": {"license": _LICENCE, "features": {"ilm": {"available": True, "enabled": True}}, "tagline": ""},
    "/_cluster/health": {"cluster_name": "vcache", "status": "green", "timed_out": False, "number_of_nodes": 1},
    "/_nodes": {"cluster_name": "vcache", "nodes": {}},
    "/_nodes/http": {"cluster_name": "vcache", "nodes": {}},
}  # fmt: skip


def _parsed(records: list[Record]) -> Parsed:
    from vcache.logs.receive.base import Parsed

    return Parsed(records, [])


def _only(method: str, path: str, *methods: str) -> None:
    if method not in methods:
        raise Refused(Refusal.METHOD, f"{method} {path}: one of {', '.join(methods)}")


def _headers(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """A client that asks for a compatible type wants it back."""
    wanted = _COMPATIBLE_WITH.search(exchange.header("accept") or "")
    kind = _COMPATIBLE.format(wanted[1]) if wanted else _JSON
    return _PRODUCT, ("content-type", kind)


async def _give(exchange: Exchange, status: int, said: dict[str, object]) -> None:
    await exchange.answer(status, json.dumps(said).encode(), _headers(exchange))
