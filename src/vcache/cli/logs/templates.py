"""`vcache logs templates`: what kinds of messages there are, which are new, which come together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

import click

from vcache.cli.logs.asking import moment_of, question_of, when_options, words_argument
from vcache.cli.logs.showing import Wanted, look_of, output, say_gaps, show_options, show_result
from vcache.cli.logs.where import logs_option, opened
from vcache.cli.setup import Setup, shared_options
from vcache.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vcache.logs.base import LogStore
    from vcache.logs.show.base import Row
    from vcache.query.syntax import Expression, Query, Value

__all__ = ["templates"]

_COLUMNS: Final = ("count", "level", "source", "first", "last", "template")


@click.command(short_help="The kinds of messages there are.")
@words_argument
@when_options
@click.option("--limit", "-l", metavar="N", type=click.IntRange(min=1), default=50, show_default=True,
              help="The N that come most often.")  # fmt: skip
@click.option("--new-since", metavar="TIME", help="Only those that were never said before.")
@click.option(
    "--together", metavar="FIELD", help="Which are said with the same FIELD, such as run, job or trace_id."
)
@click.option("--examples", is_flag=True, help="With the first message of each.")
@show_options
@logs_option
@shared_options(json=True)
@click.pass_obj
def templates(
    setup: Setup, words: tuple[str, ...], *, since: str | None, until: str | None, limit: int,
    new_since: str | None, together: str | None, examples: bool, wanted: Wanted, place: str | None,
) -> int:  # fmt: skip
    """Print the templates of the messages that fulfil QUERY: numbers, hashes and paths taken out.

    \b
    vcache logs templates --new-since yesterday 'level >= warning'     what is new
    vcache logs templates --together run 'level >= error'              which lines fail together

    With --together, pairs that are said in the same places, by the share of the places in which one of
    them is said.
    """  # noqa: D301 - click keeps such lines as they are
    asked = question_of(words, since=since, until=until)
    if asked.stages:
        raise UsageError("templates counts by itself: leave the steps behind | to `vcache logs query`")
    with opened(setup, place) as store:
        if together is not None:
            _show_pairs(setup, store, asked.where, together, limit, wanted)
            return 0
        asked = _counted(asked.where, limit, new_since, examples=examples)
        result = store.search(asked)
        with output(wanted) as sink:
            show_result(result, asked, sink, wanted)
        say_gaps(setup, result.gaps)
    return 0


def _counted(where: Expression, limit: int, new_since: str | None, *, examples: bool) -> Query:
    from vcache.query.syntax import Aggregate, Call, Compare, Fields, Group, Limit, Query, Sort, Stage, Where

    calls = [
        Call("sum", "@repeats", 0.0, "count"), Call("min", "@time", 0.0, "first"),
        Call("max", "@time", 0.0, "last"),
    ]  # fmt: skip
    if examples:
        calls.append(Call("first", "message", 0.0, "example"))
    by = (Group("level", 0, "level"), Group("source", 0, "source"), Group("@template", 0, "template"))
    stages: list[Stage] = [Aggregate(tuple(calls), by)]
    if new_since is not None:
        since_ns = moment_of(new_since, "--new-since", now_ns=time.time_ns())
        stages.append(Where(Compare("first", ">=", since_ns)))
    stages += [Sort((("count", True), ("template", False))), Limit(limit)]
    stages.append(Fields((*_COLUMNS, "example") if examples else _COLUMNS))
    return Query(where, tuple(stages))


def _show_pairs(
    setup: Setup, store: LogStore, where: Expression, field: str, limit: int, wanted: Wanted
) -> None:  # fmt: skip
    from vcache.logs.compare import question, together
    from vcache.logs.show.base import Column
    from vcache.logs.show.formats import writer

    result = store.search(question(where, field))
    pairs = together(cast("Iterator[tuple[Value, ...]]", result.rows))[:limit]
    with output(wanted) as sink:
        columns = [Column(name) for name in ("share", "both", "one", "other")]
        shown = writer(wanted.format, sink, columns, look=look_of(wanted))
        rows: list[Row] = [(round(pair.share, 3), pair.both, pair.one, pair.other) for pair in pairs]
        shown.write(rows)
        shown.close(result.gaps)
    say_gaps(setup, result.gaps)
