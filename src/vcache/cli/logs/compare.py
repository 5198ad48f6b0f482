"""`vcache logs diff`: what one run says that another did not."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, cast

import click

from vcache.cli.journals import RunCommand
from vcache.cli.logs.runs import complete_run
from vcache.cli.logs.showing import Wanted, look_of, output, say_gaps, show_options
from vcache.cli.logs.view import search_run
from vcache.cli.logs.where import logs_option, opened
from vcache.cli.setup import Setup, shared_options
from vcache.kit.ansi import Paint, safe_string
from vcache.logs.show.values import level_style, level_word
from vcache.query.levels import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vcache.logs.base import LogStore
    from vcache.logs.diff import Change, Said
    from vcache.logs.show.base import Look, Row, Sink
    from vcache.query.syntax import Value

__all__ = ["diff"]

_STYLES: Final = {"new": "31", "more": "33", "fewer": "36", "gone": "32"}
_SIGNS: Final = {"new": "+", "more": ">", "fewer": "<", "gone": "-"}


@click.command(cls=RunCommand, short_help="What one run says that another did not.")
@click.argument("before", metavar="RUN", shell_complete=complete_run)
@click.argument("after", metavar="RUN", shell_complete=complete_run)
@click.option("--level", "-L", type=click.Choice(tuple(LEVELS)), help="Of that level and above only.")
@click.option(
    "--fail-on",
    type=click.Choice(tuple(LEVELS)),
    help="Exit with 1 when something new is of that level or above.",
)
@show_options
@logs_option
@shared_options(json=True)
@click.pass_obj
def diff(
    setup: Setup, before: str, after: str, *, level: str | None, fail_on: str | None, wanted: Wanted,
    place: str | None,
) -> int:  # fmt: skip
    """Compare what two runs said: what is new in the second, what is said more or less often, what is gone.

    Messages are the same when their templates are: numbers, hashes and paths are taken out. They are told
    by level, source and node. RUN as in `vcache logs show`, and what it says as there: `vcache logs diff -2 last`. Formats other than
    text have the columns `change`, `level`, `source`, `node`, `template`, `before`, `after`, `example`.
    """
    from vcache.logs.diff import compared

    with opened(setup, place) as store:
        least = LEVELS[level] if level else 0
        changes = compared(*(_said(setup, store, word, least) for word in (before, after)))
        with output(wanted) as sink:
            _show(changes, sink, wanted)
    fatal = LEVELS[fail_on] if fail_on else None
    return int(fatal is not None and any(each.how == "new" and each.level >= fatal for each in changes))


def _said(setup: Setup, store: LogStore, word: str, least: int) -> list[Said]:
    from vcache.logs.diff import question, said_of
    from vcache.query.syntax import Everything

    # Of what was up to date nothing is gone.
    _, result = search_run(setup, store, word, question(Everything(), least_level=least))
    said = said_of(cast("Iterator[tuple[Value, ...]]", result.rows))
    say_gaps(setup, result.gaps)
    return said


def _show(changes: Sequence[Change], sink: Sink, wanted: Wanted) -> None:
    look = look_of(wanted)
    if wanted.format == "text":
        from vcache.logs.show.base import put

        put(sink, _lines(changes, look), look.encoding)
        return
    from vcache.logs.show.base import Column
    from vcache.logs.show.formats import writer

    names = ("change", "level", "source", "node", "template", "before", "after", "example")
    shown = writer(
        wanted.format, sink, [Column(name, "level" if name == "level" else "") for name in names], look=look
    )
    rows: list[Row] = [cast("tuple[Value, ...]", tuple(each)) for each in changes]
    shown.write(rows)
    shown.close()


def _lines(changes: Sequence[Change], look: Look) -> Iterator[str]:
    paint = Paint(is_on=look.has_colour)
    if not changes:
        yield "nothing differs\n"
    for how, group in groupby(changes, key=lambda each: each.how):
        found = list(group)
        yield paint("1", f"{how} ({len(found)})") + "\n"
        for each in found:
            yield _line(each, paint)


def _line(each: Change, paint: Paint) -> str:
    word = level_word(each.level)
    node = f" {paint('1', _one_line(each.node))}" if each.node else ""
    times = {"new": f"{each.after}x", "gone": f"{each.before}x"}.get(
        each.how, f"{each.before}x, then {each.after}x"
    )
    level = paint(level_style(each.level), word) + " " * (8 - len(word))
    sign = paint(_STYLES[each.how], _SIGNS[each.how])
    source = f"{_one_line(each.source)}:" if each.source else ""
    from vcache.logs.diff import telling_line

    example = safe_string(telling_line(each.example, each.level))
    example += " …" if "\n" in each.example.strip() else ""
    return f"  {sign} {level} {source}{node} {example}  {paint('2', f'({times})')}\n"


def _one_line(text: str) -> str:
    first, *more = safe_string(text).split("\n", 1)
    return f"{first} …" if more and more[0].strip() else first
