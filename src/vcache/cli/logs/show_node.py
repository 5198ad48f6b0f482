"""`vcache logs show`: the records of a node of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vcache.cli.journals import RunCommand
from vcache.cli.logs.runs import complete_run, of_run
from vcache.cli.logs.showing import Wanted, look_of, output, say_gaps, show_options, show_result
from vcache.cli.logs.view import search_run
from vcache.cli.logs.where import logs_option, opened
from vcache.cli.setup import Setup, shared_options
from vcache.errors import UsageError
from vcache.kit.data import replace
from vcache.logs.show.base import HIDDEN

if TYPE_CHECKING:
    from vcache.logs.base import LogStore

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
    is marked `[replayed]`, with the run that wrote it in the field `origin`. So is what a node that was up to date
    had said before: it is found by the journals of the build in this directory, and in the cache. `vcache
    logs query --run RUN` asks about the same. The exit code is 1 when there is nothing.
    """
    from vcache.query.syntax import Everything, Query

    with opened(setup, place) as store:
        asked = Query(Everything())
        run_id, result = search_run(setup, store, run, asked, node=node)
        look = replace(look_of(wanted), hidden=HIDDEN | {"run", "node"} if node else HIDDEN | {"run"})
        with output(wanted) as sink:
            count = show_result(result, asked, sink, wanted, look)
        say_gaps(setup, result.gaps)
        if not count and node is not None:
            _complain(store, run_id, node)
    return 0 if count else 1


def _complain(store: LogStore, run: str, node: str) -> None:
    """Raises with the nearest of the names that the run has."""
    from vcache.kit.names import did_you_mean
    from vcache.query.syntax import Aggregate, Call, Group

    names = Aggregate((Call("count", "", 0.0, "count"),), (Group("node", 0, "node"),))
    rows = store.search(replace(of_run(run), stages=(names,))).rows
    known = [name for name, _ in rows if isinstance(name, str)]  # type: ignore[misc]  # rows of two columns
    if node not in known:
        raise UsageError(f"run {run} has no records of a node {node!r}{did_you_mean(node, known[:5000])}")
