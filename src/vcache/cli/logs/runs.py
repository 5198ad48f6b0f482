"""Which run of a build is meant, by what its records say in the field `run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError
from vcache.kit.ansi import safe_string

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from vcache.logs.base import LogStore
    from vcache.query.syntax import Query

__all__ = ["complete_run", "of_run", "run_of"]

_RUN: Final = "run"
_MOST_COMPLETED: Final = 50


def run_of(store: LogStore, word: str) -> str:
    """The run that a word means: an id, its beginning or end, "last", or -2 for the one before.

    Raises:
        UsageError: none, or more than one.
    """
    from vcache.dag.history import chosen
    from vcache.query.syntax import Compare, Limit, Query

    if any(True for _ in store.search(Query(Compare(_RUN, "=", word), (Limit(1),))).rows):
        return word
    ids = [str(run) for run, _ in store.search(_all_runs()).rows]  # type: ignore[misc]  # rows of two columns
    if not ids:
        raise UsageError(
            "no record in this store says of which run it is: `vcache build` writes here unless VCACHE_LOGS is off"
        )
    return chosen(safe_string(word), ids)


def complete_run(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The runs that begin so, the last first. A store that cannot be read completes nothing."""
    from click.shell_completion import CompletionItem

    from vcache.cli.logs.where import opened
    from vcache.cli.setup import Setup
    from vcache.errors import VcacheError

    try:
        with opened(ctx.find_object(Setup) or Setup(), ctx.params.get("place")) as store:
            ids = [str(row[0]) for row in store.search(_all_runs()).rows]
    except (OSError, VcacheError):
        return []
    words = ["last", *reversed(ids)]
    return [CompletionItem(word) for word in words if word.startswith(incomplete)][:_MOST_COMPLETED]


def of_run(run: str, node: str | None = None) -> Query:
    """The records of a run, or of one of its nodes."""
    from vcache.query.syntax import And, Compare, Query

    of = Compare(_RUN, "=", run)
    return Query(of if node is None else And((of, Compare("node", "=", node))))


def _all_runs() -> Query:
    """Runs, the oldest first."""
    from vcache.query.syntax import Aggregate, Call, Group, Has, Query, Sort

    first = Aggregate((Call("min", "@time", 0.0, "first"),), (Group(_RUN, 0, _RUN),))
    return Query(Has(_RUN), (first, Sort((("first", False),))))
