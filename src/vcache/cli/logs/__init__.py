"""`vcache logs`: collect, ask, follow and compare logs. Each command is loaded when it is asked for."""

from __future__ import annotations

from typing import Final

import click

from vcache.cli.lazy import LazyGroup

__all__ = ["logs"]

_HOMES: Final = {
    "ingest": "ingest",
    "collect": "collect",
    "query": "query",
    "tail": "tail",
    "show": "show_node",
    "templates": "templates",
    "diff": "compare",
    "stats": "stats",
    "export": "query",
    "seal": "upkeep",
    "gc": "upkeep",
    "purge": "upkeep",
    "verify": "upkeep",
}


@click.group(
    cls=LazyGroup,
    homes=_HOMES,
    package="vcache.cli.logs",
    short_help="Collect, ask, follow and compare logs.",
)
def logs() -> None:
    """Collect logs, ask about them, follow them, and compare those of builds.

    A store of logs is a directory, or http(s)://HOST[:PORT] of a server: --logs, else VCACHE_LOGS or the
    setting `logs`, else `logs/default` in the cache's directory (`logs/NAMESPACE` with --namespace).
    """
