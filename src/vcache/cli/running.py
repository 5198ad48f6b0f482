"""What every command that builds shares: a cache that may fail, and signals that stop a run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.cli.setup import Setup
    from vcache.dag.session import Build

__all__ = ["opened", "stopping"]

_HANDLED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def opened(setup: Setup, root: Path, *, no_cache: bool = False) -> Iterator[Cache]:
    """The cache; one that is never asked where it cannot be opened: a build goes on without.

    Raises:
        ConfigError: a setting is wrong.
    """
    from vcache.errors import ConfigError, StoreError

    if not no_cache:
        try:
            cache = setup.open(root=root, heeds_disable=True)
        except ConfigError:
            raise
        except StoreError as error:
            setup.note(f"goes on without a cache: {error}")
        else:
            with cache:
                yield cache
            return
    from vcache.cache import Cache

    with Cache(disabled=True, root=root) as nothing:
        yield nothing


@contextmanager
def stopping(work: Build) -> Iterator[None]:
    """Signals stop the build: what runs is ended, and what is half-written is removed."""
    before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def stop(signum: int, _frame: FrameType | None) -> None:
        work.stop(signum)

    for number in _HANDLED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
