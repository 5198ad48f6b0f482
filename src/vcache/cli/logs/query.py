"""`vcache logs query` and `vcache logs export`: ask, and see or keep the answer."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from vcache.cli.logs.asking import question_of, when_options, words_argument
from vcache.cli.logs.runs import complete_run
from vcache.cli.logs.showing import (
    Wanted,
    look_of,
    names_in,
    output,
    say_gaps,
    say_seen,
    show_options,
    show_result,
)
from vcache.cli.logs.where import logs_option, opened
from vcache.cli.setup import Setup, shared_options
from vcache.logs.show.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from vcache.logs.base import LogStore, Result
    from vcache.logs.show.base import Look
    from vcache.query.syntax import Expression, Query

__all__ = ["export", "query"]


@click.command(short_help="Ask a store of logs.")
@words_argument
@when_options
@click.option(
    "--limit", "-l", metavar="N", type=click.IntRange(min=0), help="The first N rows of the answer."
)
@click.option(
    "--run",
    metavar="RUN",
    shell_complete=complete_run,
    help="What that run says, also of what was up to date: an id, its beginning or end, last, or -2.",
)
@click.option("--explain", is_flag=True, help="Say on standard error what was meant, and what it took.")
@show_options
@logs_option
@shared_options(json=True)
@click.pass_obj
def query(
    setup: Setup, words: tuple[str, ...], *, since: str | None, until: str | None, limit: int | None,
    run: str | None, explain: bool, wanted: Wanted, place: str | None,
) -> int:  # fmt: skip
    """Print what QUERY asks for: all records without one.

    \b
    vcache logs query 'level >= warning and message ~ "unused" | count by source, level | sort -count'
    vcache logs query --since 1h 'source = gcc | histogram 5m by level'

    Records come the oldest first. Text goes through $VCACHE_PAGER, $PAGER or less on a terminal, with
    colours as NO_COLOR and FORCE_COLOR say; what a message would do to a terminal is shown instead. Of the
    fields `action` and `text`, which builds write, are left out there unless --fields names them. Times are the reader's, or UTC with --utc; formats for programs always have UTC, to the nanosecond. --json is
    --format json: one object a line. Records that cannot be read any more are told on standard error, and
    with --with-gaps in the output.

    With --run the question is about all that a run of the build in this directory says, as `vcache logs
    show` prints it, also of what was up to date; `run = ID` in QUERY is about what was told while it ran.
    The exit code is 0, also when nothing was found; 2 for a query that is none.
    """  # noqa: D301 - click keeps such lines as they are
    asked = _limited(question_of(words, since=since, until=until), limit)
    if explain:
        _explain(asked)
    with opened(setup, place) as store:
        result = store.search(asked) if run is None else _of_run(setup, store, run, asked)
        count = -1  # as long as nobody knows: who quits the pager ends the block below
        with output(wanted) as sink:
            count = show_result(result, asked, sink, wanted)
        say_gaps(setup, result.gaps)
        if explain and count >= 0:
            say_seen(result.seen, count)
    if count == 0 and (names := _bare_words(asked.where)):
        setup.note(
            f"none has {' and '.join(f'a field `{name}`' for name in names)}: "
            f"for words of messages write them in quotes, such as '\"{' '.join(names)}\"'"
        )
    return 0


@click.command(short_help="Write an answer to a file.")
@words_argument
@when_options
@click.option(
    "--output", "-o", "path", metavar="FILE", required=True, help="The file; - for standard output."
)
@click.option(
    "--format", "-F", "format_", type=click.Choice(FORMATS), help="By default as the file's name ends."
)
@click.option("--fields", metavar="A,B", help="Of records, only these fields besides the message.")
@click.option("--utc", is_flag=True, help="In text and HTML: times in UTC instead of the local zone.")
@click.option("--raw-cells", is_flag=True, help="CSV without the guard against spreadsheets.")
@logs_option
@shared_options(json=True)
@click.pass_obj
def export(
    setup: Setup, words: tuple[str, ...], *, since: str | None, until: str | None, path: str,
    format_: str | None, fields: str | None, utc: bool, raw_cells: bool, place: str | None,
) -> int:  # fmt: skip
    """Write what QUERY asks for to FILE, which is there whole or not at all.

    \b
    vcache logs export -o warnings.parquet 'level >= warning'
    vcache logs export -o report.html --since yesterday '| count by source, level'

    The exit code is 1 when records could not be read: what could is written.
    """  # noqa: D301 - click keeps such lines as they are
    wanted = Wanted(
        format=format_ or _format_of(path),
        is_utc=utc,
        fields=None if fields is None else names_in(fields),
        has_pager=False,
        is_raw=raw_cells,
        colour="never",
    )
    asked = question_of(words, since=since, until=until)
    with opened(setup, place) as store:
        result = store.search(asked)
        if path == "-":
            with output(wanted) as sink:
                count = show_result(result, asked, sink, wanted)
        else:
            count = _to_file(path, lambda file: show_result(result, asked, file, wanted, _plain(wanted)))
        say_gaps(setup, result.gaps)
    setup.note(f"{count:,} rows written" + ("" if path == "-" else f" to {path}"))
    return 1 if result.gaps else 0


def _of_run(setup: Setup, store: LogStore, run: str, asked: Query) -> Result:
    from vcache.cli.logs.view import search_run  # with the journals of builds

    return search_run(setup, store, run, asked)[1]


def _format_of(path: str) -> str:
    """The format that a file's name ends in; JSON for none that is known."""
    ending = os.path.splitext(path)[1].lower().removeprefix(".")
    known = {"txt": "text", "log": "text", "jsonl": "json", "ndjson": "json", "htm": "html", "yml": "yaml"}
    ending = known.get(ending, ending)
    return ending if ending in FORMATS else "json"


def _plain(wanted: Wanted) -> Look:
    """How it is shown in a file: text in UTF-8, whatever the terminal has."""
    from vcache.kit.data import replace

    return replace(look_of(wanted), encoding="utf-8", is_shown=False)


def _to_file(path: str, work: Callable[[BinaryIO], int]) -> int:
    from vcache.kit.fs_atomic import atomic_file

    with atomic_file(path) as file:
        return work(file)


def _bare_words(where: Expression) -> list[str]:
    """The fields that are only asked to be there: words, perhaps, that were meant as such."""
    from vcache.query.syntax import And, Has

    items = where.items if isinstance(where, And) else (where,)
    return [item.field for item in items if isinstance(item, Has)]


def _limited(asked: Query, limit: int | None) -> Query:
    if limit is None:
        return asked
    from vcache.kit.data import replace
    from vcache.query.syntax import Limit

    return replace(asked, stages=(*asked.stages, Limit(limit)))


def _explain(asked: Query) -> None:
    from vcache.query.printing import unparse

    print(f"vcache: asked for: {unparse(asked)}", file=sys.stderr)
