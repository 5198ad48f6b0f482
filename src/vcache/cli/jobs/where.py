"""Which queue is meant, and which store of logs, and opening them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from vcache.cli.setup import Setup
    from vcache.jobs.base import Queue
    from vcache.logs.base import LogStore

__all__ = ["address_of", "log_store", "opened", "queue_option"]

F = TypeVar("F", bound=Callable[..., object])


def queue_option(function: F) -> F:
    """The option that says which queue is meant."""
    return click.option(
        "--queue", "address", metavar="URL",
        help="redis://HOST:PORT/DB, sqlite:DIR or a directory. By default what VCACHE_QUEUE or the setting `queue` says.",
    )(function)  # fmt: skip


def address_of(setup: Setup, address: str | None) -> str:
    """The address of the queue that is meant."""
    return address or setup.settings().queue_address


@contextmanager
def opened(setup: Setup, address: str | None) -> Iterator[Queue]:
    """The queue, while it is needed.

    Raises:
        ConfigError: an address makes no sense, or what it needs is not installed.
        StoreError: it cannot be opened, or does not answer.
    """
    from vcache.errors import StoreUnavailable
    from vcache.jobs.opening import open_queue

    try:
        queue = open_queue(address_of(setup, address), namespace=setup.settings().namespace)
        try:
            yield queue
        finally:
            queue.close()
    except StoreUnavailable as error:
        words = str(error).rstrip(".")
        raise StoreUnavailable(
            f"{words}: start it, or name another one (who named this one: {_origin(setup, address)})"
        ) from error


def log_store(setup: Setup, place: str | None, stack: ExitStack) -> LogStore | None:
    """Where what jobs say is kept; None for nowhere.

    Args:
        place: what was said of it: None for what the settings say, "off" for nowhere.
        stack: what closes it.
    """
    from vcache.cli.logs.where import opened as logs_opened

    settings = setup.settings()
    if place == "off" or (place in (None, "on") and not settings.logs_place):
        return None
    return stack.enter_context(logs_opened(setup, None if place == "on" else place))


def _origin(setup: Setup, address: str | None) -> str:
    """Who said which queue it is."""
    return (
        "--queue"
        if address
        else setup.settings().origins.get("queue", "nobody, it is in the cache's directory")
    )
