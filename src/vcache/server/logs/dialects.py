"""Every dialect of logs, in the order in which they are asked for a path: docs/design/server.md."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from vcache.server.logs.api import LogsApi
from vcache.server.logs.elastic import ElasticBulk
from vcache.server.logs.senders import LokiPush, OtlpLogs

if TYPE_CHECKING:
    from vcache.server.dialect import Dialect
    from vcache.server.logs.desk import LogDesk

__all__ = ["log_dialects"]


def log_dialects(desk: LogDesk) -> tuple[Dialect, ...]:
    """All that speak of logs."""
    taking = desk.taking
    return (
        LogsApi(desk),
        OtlpLogs(taking),
        LokiPush(taking, version=version("vcache")),
        ElasticBulk(taking),
    )
