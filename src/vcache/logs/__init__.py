"""Logs: collect, store, query. The records of a step are an artifact; what happens live is a stream.

    receive (bytes ▷ records) ▷ collect (bounded queues) ▷ tail (D2, group commit) ▷ segments ▷ cache
    query text ▷ search (segments, tail) ▷ rows ▷ show

It must not know builds, jobs and HTTP servers. Formats: docs/design/logs.md.
"""

from __future__ import annotations

from vcache.kit.lazy import on_first_use

TYPE_CHECKING = False  # what mypy understands as well: importing typing costs 10 ms
if TYPE_CHECKING:
    from vcache.logs.front.context import context
    from vcache.logs.front.handler import Handler
    from vcache.logs.front.lanes import Sink
    from vcache.logs.front.logger import Logger
    from vcache.logs.front.secrets import Redactor
    from vcache.logs.front.setup import configure, flush, set_level
    from vcache.logs.front.sinks import CallSink, JsonSink, TextSink
    from vcache.logs.front.storing import StoreSink
    from vcache.logs.record import Record

__all__ = [
    "CallSink", "Handler", "JsonSink", "Logger", "Record", "Redactor", "Sink", "StoreSink", "TextSink", "configure",
    "context", "flush", "set_level",
]  # fmt: skip

# Loaded on first use: whoever reads logs needs no front end, and the other way round.
_HOMES = {
    "CallSink": "front.sinks",
    "Handler": "front.handler",
    "JsonSink": "front.sinks",
    "Logger": "front.logger",
    "Record": "record",
    "Redactor": "front.secrets",
    "Sink": "front.lanes",
    "StoreSink": "front.storing",
    "TextSink": "front.sinks",
    "configure": "front.setup",
    "context": "front.context",
    "flush": "front.setup",
    "set_level": "front.setup",
}

__getattr__ = on_first_use(globals(), _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
