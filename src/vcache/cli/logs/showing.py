"""How answers reach whoever asked: options of format, the pager, and what is said beside the rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar, cast

import click

from vcache.cli.ansi import wants_colour
from vcache.cli.logs.pager import paged
from vcache.kit.ansi import safe_string
from vcache.kit.data import dataclass
from vcache.logs.show.formats import FORMATS

if TYPE_CHECKING:
    from vcache.cli.setup import Setup
    from vcache.logs.base import Gap, Result, Seen
    from vcache.logs.show.base import Look, Row, Sink
    from vcache.query.syntax import Query

__all__ = ["Wanted", "look_of", "names_in", "output", "say_gaps", "say_seen", "show_options", "show_result"]

F = TypeVar("F", bound=Callable[..., object])
_MOST_SAID: Final = 5
_FIRST_ROWS: Final = 32  # so that somebody sees something soon
_ROWS: Final = 512


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options of format say."""

    format: str = "text"
    is_utc: bool = False
    fields: tuple[str, ...] | None = None
    colour: str = "auto"
    has_pager: bool = True
    shows_gaps: bool = False
    is_raw: bool = False


def show_options(function: F) -> F:
    """The options of format; together they are the argument `wanted`."""
    options = [
        click.option("--format", "-F", "format_", type=click.Choice(FORMATS), help="By default text."),
        click.option("--utc", is_flag=True, help="Times in UTC instead of the local zone."),
        click.option("--fields", metavar="A,B", help="Of records, only these fields besides the message."),
        click.option(
            "--color", "--colour", "colour", type=click.Choice(("auto", "always", "never")), default="auto",
            help="By default on a terminal, as NO_COLOR and FORCE_COLOR say.",
        ),
        click.option("--no-pager", is_flag=True, help="Text straight to the terminal."),
        click.option("--with-gaps", is_flag=True, help="What cannot be read is said in the output too."),
        click.option("--raw-cells", is_flag=True, help="CSV without the guard against spreadsheets."),
    ]  # fmt: skip

    def collected(*args: object, **given: object) -> object:
        setup = click.get_current_context().obj
        fields = given.pop("fields")
        given["wanted"] = Wanted(
            format=str(given.pop("format_") or ("json" if setup.is_json else "text")),
            is_utc=bool(given.pop("utc")),
            fields=None if fields is None else names_in(str(fields)),
            colour=str(given.pop("colour")),
            has_pager=not given.pop("no_pager"),
            shows_gaps=bool(given.pop("with_gaps")),
            is_raw=bool(given.pop("raw_cells")),
        )
        return function(*args, **given)

    collected.__doc__, collected.__name__ = function.__doc__, function.__name__
    # What was declared on the function before stays an option of the command.
    collected.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    found: Callable[..., object] = collected
    for option in reversed(options):
        found = option(found)
    return found  # type: ignore[return-value]  # takes what the function takes, but for `wanted`


def names_in(text: str) -> tuple[str, ...]:
    """Names that stand between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def look_of(wanted: Wanted) -> Look:
    """How it is shown, here and now."""
    from vcache.logs.show.base import Look

    is_text = wanted.format == "text"
    colour = wants_colour(sys.stdout) if wanted.colour == "auto" else wanted.colour == "always"
    return Look(
        is_utc=wanted.is_utc,
        has_colour=is_text and colour,
        keeps_colour=is_text and colour,
        fields=wanted.fields,
        encoding=sys.stdout.encoding or "ascii",
        shows_gaps=wanted.shows_gaps,
        is_raw=wanted.is_raw,
        is_shown=sys.stdout.isatty(),
    )


@contextmanager
def output(wanted: Wanted) -> Iterator[Sink]:
    """Where the answer goes: standard output, or a pager before it.

    Raises:
        UsageError: a terminal cannot show that format.
    """
    from vcache.logs.show.formats import is_binary

    if is_binary(wanted.format) and sys.stdout.isatty():
        raise click.UsageError(
            f"{wanted.format} is nothing for a terminal: give -o FILE, or redirect the output"
        )
    with paged(is_wanted=wanted.has_pager and not is_binary(wanted.format)) as sink:
        yield sink


def show_result(result: Result, query: Query, sink: Sink, wanted: Wanted, look: Look | None = None) -> int:
    """Show all of an answer; how many rows it has."""
    from vcache.logs.show.base import columns_of
    from vcache.logs.show.formats import writer

    shown = writer(wanted.format, sink, columns_of(query, result.columns), look=look or look_of(wanted))
    rows = iter(result.rows)
    count, size = 0, _FIRST_ROWS
    while chunk := list(islice(rows, size)):
        shown.write(cast("list[Row]", chunk))
        count, size = count + len(chunk), _ROWS
    shown.close(result.gaps)
    return count


def say_gaps(setup: Setup, gaps: Sequence[Gap]) -> None:
    """Tell on standard error what could not be read."""
    for gap in gaps[:_MOST_SAID]:
        many = f"{gap.records} records" if gap.records >= 0 else "some records"
        print(
            f"vcache: warning: {many} cannot be read: {safe_string(gap.place)}: {safe_string(gap.reason)}",
            file=sys.stderr,
        )
    if len(gaps) > _MOST_SAID:
        print(f"vcache: warning: and {len(gaps) - _MOST_SAID} more gaps", file=sys.stderr)


def say_seen(seen: Seen, count: int) -> None:
    """Tell on standard error what an answer took."""
    from vcache.kit.units import format_duration

    print(
        f"vcache: {count:,} rows of {seen.records:,} records in {format_duration(seen.took_ns / 1e9)}; "
        f"{seen.segments} segments ({seen.segments_kept} answered from the cache), "
        f"{seen.blocks_read} of {seen.blocks} blocks read",
        file=sys.stderr,
    )
