"""`vcache jobs`: hand in jobs, and see to them. Each command is loaded when it is asked for."""

from __future__ import annotations

from typing import Final

import click

from vcache.cli.lazy import LazyGroup

__all__ = ["jobs"]

_HOMES: Final = {
    "submit": "submit",
    "show": "looking",
    "list": "looking",
    "watch": "watch",
    "log": "log",
    "cancel": "ending",
    "retry": "ending",
    "dlq": "dlq",
    "purge": "forgetting",
    "stats": "stats",
    "limit": "limit",
}


@click.group(
    cls=LazyGroup, homes=_HOMES, package="vcache.cli.jobs", short_help="Hand in jobs, and see to them."
)
def jobs() -> None:
    """Hand in jobs for workers (`vcache worker`), and see to them.

    A queue is a directory, or redis://HOST:PORT/DB: --queue, else VCACHE_QUEUE or the setting `queue`, else
    `jobs` in the cache's directory. Jobs of one --namespace never meet those of another.
    """
