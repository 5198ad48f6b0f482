"""`vcache jobs watch`: how far a job is, or a whole queue, until it ends."""

from __future__ import annotations

import gc
import sys
import time
from typing import TYPE_CHECKING, Final, TextIO

import click

from vcache.cli.ansi import is_live, terminal_size, write
from vcache.cli.jobs.completing import id_argument
from vcache.cli.jobs.looking import jobs_of
from vcache.cli.jobs.showing import ended_words, failure_lines, plain_text, say_unknown, shown
from vcache.cli.jobs.stats import state_rows
from vcache.cli.jobs.takers import Takers
from vcache.cli.jobs.where import opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json
from vcache.errors import StoreError, UsageError
from vcache.jobs.facts import job_facts, stats_facts
from vcache.jobs.states import ENDED, State
from vcache.kit.ansi import safe_string
from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vcache.jobs.base import Queue, QueueStats
    from vcache.jobs.models import Job

__all__ = ["Board", "wait_for", "watch"]

_LOOK_S: Final = 0.2
_LOOK_ALL_S: Final = 1.0
_MOST_RUNNING: Final = 10  # of them that are shown one by one


@click.command(short_help="How far a job is, until it ends.")
@id_argument(State.RUNNING, State.QUEUED, State.RETRY, State.BLOCKED, required=False)
@click.option("--all", "-a", "all_", is_flag=True, help="The whole queue, until Ctrl-C.")
@click.option("--until-empty", is_flag=True, help="With --all: until nothing waits or runs.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def watch(setup: Setup, job_id: str | None, *, all_: bool, until_empty: bool, address: str | None) -> int:
    """Show how far a job is, until it has ended, and then its result or its failures.

    On a terminal a line changes in place; elsewhere there is one for each change. --json prints an object
    for each change, as `vcache jobs show --json` does (with --all as `vcache jobs stats --json`).

    The exit code is 0 for a job that completed, 1 for one that died, was cancelled or is not known.
    """
    if (job_id is None) != all_:
        raise UsageError("what? Give the ID of a job, or --all")
    gc.enable()  # commands are short-lived, and have it off; this one may take days
    with opened(setup, address) as queue:
        if job_id is not None:
            return _watch_job(setup, queue, job_id)
        return _watch_all(setup, queue, until_empty=until_empty)


def wait_for(setup: Setup, queue: Queue, job_id: str) -> int:
    """Wait until a job has ended, print what came of it; the exit code."""
    takers = Takers(queue, setup.note)
    while (job := queue.get([job_id])[0]) is not None and job.state not in ENDED:
        takers.look(job)
        time.sleep(_LOOK_S)
    if job is None:
        say_unknown(queue, job_id)
        return 1
    if setup.is_json:
        print_json(job_facts(job))
    elif job.state is State.COMPLETED:
        click.echo(plain_text(job.result))
    else:
        _say_why(job)
    return 0 if job.state is State.COMPLETED else 1


class Board:
    """A few lines that change in place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._n_shown = stream, 0

    def show(self, lines: Sequence[str]) -> None:
        """Show these in place of what was shown."""
        columns, rows = terminal_size(self._stream)
        seen = [line[: columns - 1] for line in lines][: rows - 1]
        write(self._stream, self._back() + "".join(f"{line}\n" for line in seen))
        self._n_shown = len(seen)

    def clear(self) -> None:
        """Leave nothing of it."""
        write(self._stream, self._back())
        self._n_shown = 0

    def _back(self) -> str:
        return f"\x1b[{self._n_shown}F\x1b[J" if self._n_shown else ""


def _watch_job(setup: Setup, queue: Queue, job_id: str) -> int:
    board = Board(sys.stderr) if is_live(sys.stderr) and not (setup.is_json or setup.is_quiet) else None
    last = ""

    def say(text: str) -> None:
        if board is not None:
            board.clear()  # it stays above what changes
        setup.note(text)

    takers = Takers(queue, say)
    try:
        while True:
            job = queue.get([job_id])[0]
            if job is None:
                break
            takers.look(job)
            if board is not None:
                board.show([_line(job, queue.now_ns())])
            elif (news := _news(job)) != last:
                last = news
                _say(setup, job, news)
            if job.state in ENDED:
                break
            time.sleep(_LOOK_S)
    finally:
        if board is not None:
            board.clear()
    if job is None:
        say_unknown(queue, job_id)
        return 1
    _say_end(setup, job)
    return 0 if job.state is State.COMPLETED else 1


def _say(setup: Setup, job: Job, news: str) -> None:
    if setup.is_json:
        print_json(job_facts(job))
        sys.stdout.flush()
    elif job.state not in ENDED:
        setup.note(f"{shown(job.kind)} {news}")


def _news(job: Job) -> str:
    """What is told again when it changes."""
    words = f"{job.state} {ended_words(job)}".rstrip()
    return f"{words}, attempt {job.attempts}" if job.attempts > 1 else words


def _line(job: Job, now_ns: int) -> str:
    began_ns = job.started_ns if job.state is State.RUNNING else job.spec.created_ns
    age = format_duration(max(0, round((now_ns - began_ns) / 1e9)))
    return f"{shown(job.kind)} {_news(job)}  {age}"


def _say_end(setup: Setup, job: Job) -> None:
    if setup.is_json:
        return
    if job.state is State.COMPLETED:
        took_s = max(0, job.finished_ns - job.started_ns) / 1e9
        setup.note(f"{shown(job.kind)} completed in {format_duration(took_s)}")
        if job.result is not None:
            click.echo(plain_text(job.result))
    else:
        _say_why(job)


def _say_why(job: Job) -> None:
    """Tell on standard error how a job came to nothing."""
    for line in failure_lines(job.failures):
        click.echo(safe_string(line), err=True)
    why = f": {shown(job.why)}" if job.why else ""
    click.echo(f"vcache: error: job {job.id} is {job.state}{why}", err=True)


def _watch_all(setup: Setup, queue: Queue, *, until_empty: bool) -> int:
    board = Board(sys.stdout) if is_live(sys.stdout) and not setup.is_json else None
    last, is_reached = "", True
    while True:
        try:
            found = queue.stats()
            lines = [] if board is None else _board_lines(queue, found)
        except StoreError as error:
            # Who watches wants to see that it comes back, too.
            if not error.retryable:
                raise
            if is_reached:
                setup.note(str(error))
            is_reached = False
        else:
            is_reached = True
            if board is not None:
                board.show(lines)
            elif (news := _summary(found)) != last:
                last = news
                print_json(stats_facts(found)) if setup.is_json else click.echo(news)
                sys.stdout.flush()
            if until_empty and not _left(found):
                return 0
        time.sleep(_LOOK_ALL_S)


def _left(found: QueueStats) -> int:
    return sum(count for state, count in found.by_state.items() if state not in ENDED)


def _summary(found: QueueStats) -> str:
    counts = ((state, found.by_state.get(state, 0)) for state in State if state is not State.FAILED)
    words = " ".join(f"{state} {count:,}" for state, count in counts)
    return f"{words} workers {len(found.sessions)}"


def _board_lines(queue: Queue, found: QueueStats) -> list[str]:
    now_ns = queue.now_ns()
    lines = [f"{name:<16} {words:>12}" for name, words in state_rows(found, now_ns)]
    lines += [f"{'workers':<16} {len(found.sessions):>12,}", ""]
    for job, _ in zip(jobs_of(queue, State.RUNNING), range(_MOST_RUNNING), strict=False):
        lines.append(f"{job.id}  {_line(job, now_ns)}")
    return lines
