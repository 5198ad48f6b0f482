"""`vcache logs show`: the records of a node of a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vcache.cli.journals import RunCommand, base_of
from vcache.cli.logs.runs import complete_run, of_run, run_of
from vcache.cli.logs.showing import Wanted, look_of, output, say_gaps, show_options, show_result
from vcache.cli.logs.where import logs_option, opened
from vcache.cli.setup import Setup, shared_options
from vcache.dag import journal
from vcache.errors import UsageError
from vcache.kit.data import replace
from vcache.logs.show.base import HIDDEN

if TYPE_CHECKING:
    from vcache.logs.base import LogStore
    from vcache.logs.record import Record

__all__ = ["show"]


@click.command(cls=RunCommand, short_help="The records of a node of a run.")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.argument("node", metavar="[NODE]", required=False)
@show_options
@logs_option
@shared_options(json=True)
@click.pass_obj
def show(setup: Setup, run: str, node: str | None, *, wanted: Wanted, place: str | None) -> int:
    """Print what NODE wrote in RUN, or all nodes of it.

    RUN is an id, its beginning or end, `last`, or -2 for the one before the last. What came from the cache
    is marked `[replayed]`, with the run that wrote it in the field `origin`. What the store does not have, of what
    was up to date or where nothing is kept, is found by the journals of the build in this directory and in
    the cache. The exit code is 1 when there is nothing.
    """
    base = base_of(None)
    journals = dict(journal.runs(base))
    with opened(setup, place) as store:
        run_id = _run_of(store, run, tuple(journals))
        asked = of_run(run_id, node)
        result = store.search(asked)
        rows = iter(result.rows)
        first = next(rows, None)
        if first is None and run_id in journals:
            rows = iter(_artifacts(setup, base, run_id, node))
        result.rows = rows if first is None else chain((first,), rows)  # type: ignore[assignment]
        look = replace(look_of(wanted), hidden=HIDDEN | {"run", "node"} if node else HIDDEN | {"run"})
        with output(wanted) as sink:
            count = show_result(result, asked, sink, wanted, look)
        say_gaps(setup, result.gaps)
        if not count and node is not None:
            _complain(store, run_id, node)
    return 0 if count else 1


def _run_of(store: LogStore, word: str, known: Sequence[str]) -> str:
    """The run that is meant, of the store, or of those that have a journal here.

    Raises:
        UsageError: none, or more than one.
    """
    try:
        return run_of(store, word)
    except UsageError:
        if not known:
            raise
        from vcache.dag.history import chosen

        return chosen(word, known)


def _artifacts(setup: Setup, base: str, run: str, node: str | None) -> list[Record]:
    """What a run said, of what the cache keeps."""
    from vcache.cli.records import records_of_node, records_of_run

    with setup.open(root=Path(base)) as cache:
        if node is None:
            return list(records_of_run(base, cache, run))
        return records_of_node(base, cache, run, node)


def _complain(store: LogStore, run: str, node: str) -> None:
    """Raises with the nearest of the names that the run has."""
    from vcache.kit.names import did_you_mean
    from vcache.query.syntax import Aggregate, Call, Group

    names = Aggregate((Call("count", "", 0.0, "count"),), (Group("node", 0, "node"),))
    rows = store.search(replace(of_run(run), stages=(names,))).rows
    known = [name for name, _ in rows if isinstance(name, str)]  # type: ignore[misc]  # rows of two columns
    if node not in known:
        raise UsageError(f"run {run} has no records of a node {node!r}{did_you_mean(node, known[:5000])}")
