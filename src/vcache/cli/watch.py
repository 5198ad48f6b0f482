"""`vcache build --watch`: builds again whenever something in the project changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from vcache.dag.session import STATE
from vcache.errors import ConfigError, GraphError, VcacheError

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.cli.place import Place

__all__ = ["watch_and_build"]


def watch_and_build(place: Place, cache: Cache, once: Callable[[], int]) -> int:
    """Build, then again after each change below the root, until Ctrl-C.

    What a build writes itself is a change too: the run that follows finds nothing to do.

    Raises:
        ConfigError: the package that watches is not installed.
    """
    try:
        from watchfiles import watch
    except ImportError:
        raise ConfigError("--watch needs the package watchfiles: pip install 'vcache[watch]'") from None
    places = [os.path.join(place.root, name) for name in (".git", ".hg", ".svn", ".jj")]
    hidden = tuple(os.path.join(path, "") for path in (*places, os.path.join(place.base, STATE)))

    def counts(_change: object, path: str) -> bool:
        return not path.startswith(hidden) and f"{os.sep}{STATE}{os.sep}" not in path

    _build(once)
    click.echo("vcache: watching; Ctrl-C ends it", err=True)
    for changes in watch(place.root, watch_filter=counts, raise_interrupt=False, debounce=200):
        cache.digests.forget()
        names = sorted({os.path.relpath(path, place.root) for _, path in changes})
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        click.echo(f"vcache: {names[0]}{more} changed", err=True)
        _build(once)
    return 0


def _build(once: Callable[[], int]) -> None:
    """One build; a wrong build file is said, and waited for to be put right."""
    try:
        once()
    except (GraphError, VcacheError) as error:
        click.echo(f"vcache: error: {error}", err=True)
