"""What a run says: what was told while it ran, and of what it had not to do again, what that had said when it was made.

The first is in the log store, the second with the results in the cache (`vcache.cli.records`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vcache.cli.journals import base_of
from vcache.cli.logs.asking import both
from vcache.cli.logs.runs import of_run, run_of
from vcache.dag import journal
from vcache.errors import UsageError
from vcache.kit.data import replace

if TYPE_CHECKING:
    from vcache.cli.setup import Setup
    from vcache.logs.base import LogStore, Result
    from vcache.logs.record import Record
    from vcache.query.syntax import Query

__all__ = ["search_run"]


def search_run(
    setup: Setup, store: LogStore, word: str, asked: Query, *, node: str | None = None
) -> tuple[str, Result]:
    """The id of the run that a word means, and the answer over what it says, or one of its nodes.

    Where the run has no journal in the build of this directory, that is what the store has.

    Raises:
        UsageError: no run is meant, or more than one.
    """
    journals = dict(journal.runs(base := base_of(None)))
    run = _run_of(store, word, tuple(journals))
    live = of_run(run, node)
    if run not in journals:
        return run, store.search(replace(asked, where=both(live.where, asked.where)))
    from vcache.logs.scan import scan

    told = store.search(live)
    records = _whole(cast("Iterator[Record]", told.rows), _artifacts(setup, base, run, node))
    result = scan(asked, records)
    result.gaps += told.gaps
    return run, result


def _run_of(store: LogStore, word: str, known: Sequence[str]) -> str:
    """The run that is meant, of the store, or of those that have a journal here."""
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


def _whole(told: Iterable[Record], artifacts: Iterable[Record]) -> list[Record]:
    """Of each node what is known more of: retention may have thinned out the store, and the cache what it kept."""
    live, kept = _by_node(told), _by_node(artifacts)
    found: list[Record] = []
    for node in dict.fromkeys((*live, *kept)):
        said, was_said = live.get(node, []), kept.get(node, [])
        found += was_said if len(was_said) > len(said) else said  # with their ids, where it is the same
    return found


def _by_node(records: Iterable[Record]) -> dict[object, list[Record]]:
    """Records by node; of none under None."""
    found: dict[object, list[Record]] = {}
    for record in records:
        # What is told of a node, such as that it failed, is none of what it said.
        node = None if "event" in record.fields else record.fields.get("node")
        found.setdefault(node, []).append(record)
    return found
