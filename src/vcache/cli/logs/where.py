"""Which store of logs is meant, and opening it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.cli.setup import Setup
    from vcache.logs.base import LogStore

__all__ = ["logs_option", "opened", "place_of"]

F = TypeVar("F", bound=Callable[..., object])


def logs_option(function: F) -> F:
    """The option that says which store is meant."""
    return click.option(
        "--logs", "place", metavar="PLACE",
        help="The store: a directory, or http(s)://HOST[:PORT] of a server. By default what VCACHE_LOGS or the setting `logs` says.",
    )(function)  # fmt: skip


def place_of(setup: Setup, place: str | None) -> str:
    """The directory or address of the store."""
    if place:
        return os.path.expanduser(place)
    settings = setup.settings()
    # Where builds write nothing down there may be logs all the same.
    return settings.logs_place or os.path.join(settings.dir, "logs", settings.namespace or "default")


@contextmanager
def opened(setup: Setup, place: str | None, *, seals: bool = True) -> Iterator[LogStore]:
    """The store, while it is needed.

    Where it has segments, the cache keeps what a query makes of each, and brings back those that are away.

    Args:
        seals: full tails become segments in a thread of its own.

    Raises:
        ConfigError: an address makes no sense.
        StoreError: it cannot be opened.
    """
    where = place_of(setup, place)
    with ExitStack() as stack:
        store: LogStore
        if where.startswith(("http://", "https://")):
            from vcache.logs.remote import RemoteLogs

            store = RemoteLogs(where)
        else:
            from vcache.logs.disk import DiskLogs

            store = DiskLogs(where, cache=_cache(setup, where, stack), seals=seals)
        stack.callback(store.close)
        yield store


def _cache(setup: Setup, where: str, stack: ExitStack) -> Cache | None:
    """The cache, where it can be of use: opening it takes 20 ms."""
    try:
        with os.scandir(os.path.join(where, "segments")) as found:
            has_segments = any(True for _ in found)
    except OSError:
        has_segments = False
    settings = setup.settings()
    # The first segment goes to the tiers of other machines like all others.
    if not (has_segments or settings.remotes) or settings.is_disabled or settings.is_read_only:
        return None
    return stack.enter_context(setup.open())
