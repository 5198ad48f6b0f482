"""`vcache logs tail`: the last records, and those that come."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.logs.asking import question_of, when_options, words_argument
from vcache.cli.logs.showing import Wanted, look_of, output, say_gaps, show_options
from vcache.cli.logs.where import logs_option, opened
from vcache.cli.setup import Setup, shared_options
from vcache.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vcache.logs.base import Follower, LogStore
    from vcache.logs.record import Record
    from vcache.logs.show.base import Row, Sink, Writer
    from vcache.query.syntax import Query

__all__ = ["tail", "tail_of"]

_LOOK_S: Final = 0.5  # how often it is looked whether somebody still reads


@click.command(short_help="The last records, and those that come.")
@words_argument
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--lines", "-n", "count", metavar="N", type=click.IntRange(min=0), default=20, show_default=True,
              help="How many of the last.")  # fmt: skip
@when_options
@show_options
@logs_option
@shared_options(json=True, taken=("-n",))
@click.pass_obj
def tail(
    setup: Setup, words: tuple[str, ...], *, follow: bool, count: int, since: str | None, until: str | None,
    wanted: Wanted, place: str | None,
) -> int:  # fmt: skip
    """Print the last records that fulfil QUERY, a condition, and with -f those that come from here on.

    \b
    vcache logs tail -f 'level >= warning and source != "systemd"'

    What other processes append is seen as well. When somebody reads too slowly, it is said how many
    were left out. Ctrl-C ends it with exit code 130; the end of the reader (`| head -1`) with 141.
    """  # noqa: D301 - click keeps such lines as they are
    asked = question_of(words, since=since, until=until)
    if asked.stages:
        raise UsageError("tail shows records: leave the steps behind | to `vcache logs query`")
    if wanted.format in ("html", "parquet") and follow:
        raise UsageError(f"--format {wanted.format} has an end: it does not go with -f")
    tail_of(setup, asked, wanted, place=place, count=count, follows=follow)
    return 0


def tail_of(
    setup: Setup, asked: Query, wanted: Wanted, *, place: str | None, count: int, follows: bool,
    is_over: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Show the last records that are meant, and those that come.

    Args:
        is_over: whether nothing more comes. What was said before is still shown.
    """
    with opened(setup, place) as store:
        # Listening first: what comes between the two is in the answer, and is left out by its id below.
        follower = store.follow() if follows else None
        with output(wanted if not follows else _unpaged(wanted)) as sink:
            _Tail(setup, store, asked, sink, wanted, is_over).run(count, follower)


def _unpaged(wanted: Wanted) -> Wanted:
    from vcache.kit.data import replace

    return replace(wanted, has_pager=False)


class _Tail:
    def __init__(
        self,
        setup: Setup,
        store: LogStore,
        asked: Query,
        sink: Sink,
        wanted: Wanted,
        is_over: Callable[[], bool],
    ) -> None:
        from vcache.logs.show.formats import writer

        self._setup, self._store, self._asked, self._sink = setup, store, asked, sink
        self._is_over = is_over
        self._writer: Writer = writer(wanted.format, sink, look=look_of(wanted))

    def run(self, count: int, follower: Follower | None) -> None:
        known = self._show_last(count)
        if follower is None:
            return
        try:
            self._follow(follower, known)
        finally:
            follower.close()

    def _show_last(self, count: int) -> set[str]:
        """Show the last ones; their ids."""
        from vcache.kit.data import replace
        from vcache.query.syntax import Last

        result = self._store.search(replace(self._asked, stages=(Last(count),)))
        records: Sequence[Record] = list(result.rows)  # type: ignore[arg-type]  # no step makes rows of them
        self._show(records)
        say_gaps(self._setup, result.gaps)
        return {record.id for record in records}

    def _follow(self, follower: Follower, known: set[str]) -> None:
        is_meant = _test_of(self._asked)
        n_dropped, is_over = 0, False
        while not is_over and _is_read():
            is_over = self._is_over()  # before looking: what was said until then is seen
            records = [
                record for record in follower.wait(_LOOK_S) if is_meant(record) and record.id not in known
            ]
            if records:
                self._show(records)
            if follower.dropped > n_dropped:
                left_out, n_dropped = follower.dropped - n_dropped, follower.dropped
                print(f"vcache: {left_out:,} records came too fast to be shown", file=sys.stderr, flush=True)

    def _show(self, records: Sequence[Row]) -> None:
        self._writer.write(records)
        flush = getattr(self._sink, "flush", None)
        if flush is not None:
            flush()


def _test_of(asked: Query) -> Callable[[Record], bool]:
    from vcache.logs.fields import getter_of
    from vcache.query.rows import compiled

    return compiled(asked.where, getter_of)


def _is_read() -> bool:
    """Whether somebody reads what is written; raises as the system does when a pipe's reader is gone."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), select.POLLERR)
    except (OSError, ValueError):
        return True
    if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        raise BrokenPipeError
    return True
