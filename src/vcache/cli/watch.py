"""`vcache build --watch`: builds again whenever something in the project changes."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

import click

from vcache.dag.events import INTERRUPTED, RunEnded
from vcache.dag.frozen import DIRECTORY
from vcache.errors import ConfigError, GraphError, VcacheError

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.cli.place import Place
    from vcache.dag.events import Event
    from vcache.dag.node import Node

__all__ = ["News", "watch_and_build"]

_DEBOUNCE_MS: Final = 200
_PATIENCE_MS: Final = 200


class News:
    """Tells a change that somebody made from what a build wrote itself. A listener of the builds.

    Args:
        base: the absolute directory that the nodes' paths are relative to.
    """

    def __init__(self, base: str, clock: Callable[[], int] = time.time_ns) -> None:
        self._base, self._clock = base, clock
        self._made: set[str] = set()
        self._echo: set[tuple[str, bool]] = set()  # paths, and whether they were there
        self._ended_ns = 0
        self._is_well = True

    def on_event(self, event: Event) -> None:
        """Take note of what is made, and whether all went well."""
        node: Node | None = getattr(event, "node", None)
        if node is not None:
            self._made.update(os.path.normpath(os.path.join(self._base, out)) for out in node.outs)
        elif isinstance(event, RunEnded):
            self._is_well = not event.status

    def ended(self) -> None:
        """A build is over, with all that it says: what changes from here on, somebody changed."""
        self._ended_ns = self._clock()

    def among(self, changes: Collection[tuple[int, str]]) -> list[str]:
        """The changed paths that call for a build, sorted.

        What changed while a build ran may be an edit or written by one of its commands: it calls for one
        more build, and not for another one after that.
        """
        found: dict[tuple[str, bool], bool] = {}
        for path in {path for _, path in changes}:
            try:
                status = os.lstat(path)
            except OSError:
                if len({kind for kind, each in changes if each == path}) > 1:
                    continue  # it came and went
                is_there = is_late = False
                is_own = path in self._made and not self._is_well
            else:
                is_there = True
                if stat.S_ISDIR(status.st_mode):
                    continue  # what is in it is told by itself
                is_late = status.st_ctime_ns > self._ended_ns
                is_own = path in self._made and not is_late
            if not is_own and (is_late or (path, is_there) not in self._echo):
                found[path, is_there] = is_late
        self._echo = set() if any(found.values()) else self._echo.union(found)
        return sorted(path for path, _ in found)


def watch_and_build(place: Place, cache: Cache, once: Callable[[], int], news: News) -> int:
    """Build, then again after each change below the root, until Ctrl-C; the exit code.

    Args:
        once: builds, told to `news`.

    Raises:
        ConfigError: the package that watches is not installed.
    """
    try:
        from watchfiles import watch
    except ImportError:
        raise ConfigError("--watch needs the package watchfiles: pip install 'vcache[watch]'") from None
    places = [os.path.join(place.root, name) for name in (".git", ".hg", ".svn", ".jj")]
    hidden = tuple(os.path.join(path, "") for path in (*places, os.path.join(place.base, DIRECTORY)))

    def counts(_change: object, path: str) -> bool:
        return not path.startswith(hidden) and f"{os.sep}{DIRECTORY}{os.sep}" not in path

    is_first = True
    try:
        # It yields once before anything changed: an edit during the first build is seen.
        for changes in watch(
            place.root, watch_filter=counts, debounce=_DEBOUNCE_MS, rust_timeout=_PATIENCE_MS,
            yield_on_timeout=True,
        ):  # fmt: skip
            found = news.among(changes)
            if not (found or is_first):
                continue
            if found and not is_first:
                more = f" and {len(found) - 1} more" if len(found) > 1 else ""
                click.echo(f"vcache: {os.path.relpath(found[0], place.root)}{more} changed", err=True)
            cache.digests.forget()
            if _build(once) == INTERRUPTED:
                break
            if is_first:
                click.echo("vcache: watching; Ctrl-C ends it", err=True)
            is_first = False
            news.ended()
    except KeyboardInterrupt:
        pass
    return INTERRUPTED


def _build(once: Callable[[], int]) -> int:
    """One build; a wrong build file is said, and waited for to be put right."""
    try:
        return once()
    except (GraphError, VcacheError) as error:
        click.echo(f"vcache: error: {error}", err=True)
        return 2
