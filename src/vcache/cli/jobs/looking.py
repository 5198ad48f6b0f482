"""`vcache jobs show` and `vcache jobs list`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.jobs.completing import id_argument, kind_option
from vcache.cli.jobs.showing import (
    describe,
    ended_words,
    failure_lines,
    say_unknown,
    shown,
)
from vcache.cli.jobs.where import opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import ago, pairs, print_json, table
from vcache.jobs.facts import job_facts, priority_word
from vcache.jobs.states import State
from vcache.kit.ansi import safe_string

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vcache.jobs.base import Queue
    from vcache.jobs.models import Job

__all__ = ["job_table", "jobs_of", "list_", "show", "show_one"]

# What somebody wants to see first.
_ORDER: Final = (
    State.RUNNING, State.QUEUED, State.RETRY, State.BLOCKED, State.DEAD, State.CANCELLED, State.COMPLETED,
)  # fmt: skip
_PAGE: Final = 500


@click.command(short_help="All about a job.")
@id_argument()
@queue_option
@shared_options(json=True)
@click.pass_obj
def show(setup: Setup, job_id: str, *, address: str | None) -> int:
    """Say all that the queue knows of a job: state, times, attempts, result, each failure with its traceback.

    --json prints an object: `id`, `kind`, `state`, `payload`, `priority`, `attempts`, `kills`, times in
    nanoseconds, `progress`, `result`, `failures`, `why`, and `log`, the query of the log store. The exit code
    is 1 for a job that the queue does not know.
    """
    with opened(setup, address) as queue:
        return show_one(setup, queue, job_id)


def show_one(setup: Setup, queue: Queue, job_id: str) -> int:
    """Show a job; the exit code."""
    job = queue.get([job_id])[0]
    if job is None:
        say_unknown(queue, job_id)
        return 1
    if setup.is_json:
        print_json(job_facts(job))
        return 0
    pairs(list(describe(job, queue.now_ns())))
    for line in failure_lines(job.failures):
        click.echo(safe_string(line))
    return 0


@click.command("list", short_help="Jobs by state.")
@click.option(
    "--state", "-s", "states", multiple=True, type=click.Choice([str(state) for state in _ORDER]),
    help="In this state; may be given several times. By default all.",
)  # fmt: skip
@kind_option("Of this kind.")
@click.option(
    "--limit", "-l", metavar="N", type=click.IntRange(min=1), default=100, show_default=True, help="At most."
)
@click.option(
    "--format", "-F", "format_", type=click.Choice(["text", "json"]), default=None, help="By default text."
)
@queue_option
@shared_options(json=True)
@click.pass_obj
def list_(
    setup: Setup, *, states: tuple[str, ...], kind: str, limit: int, format_: str | None, address: str | None
) -> int:
    """List jobs: those that run first, then those that wait, then those that have ended.

    --json prints one object a line, as `vcache jobs show --json` does.
    """
    wanted = tuple(map(State, states)) or _ORDER
    with opened(setup, address) as queue:
        found = islice((job for state in wanted for job in jobs_of(queue, state, kind)), limit)
        if format_ == "json" or (setup.is_json and format_ is None):
            for job in found:
                print_json(job_facts(job))
        else:
            job_table(list(found), queue.now_ns())
    return 0


def jobs_of(queue: Queue, state: State, kind: str = "") -> Iterator[Job]:
    """All jobs of a state, fetched in pages as they are wanted."""
    cursor = ""
    while True:
        page = queue.list(state, kind=kind, cursor=cursor, limit=_PAGE)
        yield from page.jobs
        cursor = page.next
        if not cursor:
            return


def job_table(jobs: list[Job], now_ns: int) -> None:
    """Jobs in a table; nothing for none."""
    if not jobs:
        return
    rows = [
        [
            job.id,
            shown(job.kind),
            str(job.state),
            priority_word(job.spec.priority),
            str(job.attempts),
            ago(_when_ns(job, now_ns), now_ns),
            _cut(ended_words(job)),
        ]
        for job in jobs
    ]
    sides = {"attempts": ">"}
    names = ("id", "kind", "state", "priority", "attempts", "when", "")
    table([(name, sides.get(name, "<")) for name in names], rows)


def _when_ns(job: Job, now_ns: int) -> int:
    """The time that says most of a job in its state."""
    if job.state in (State.QUEUED, State.RETRY) and job.due_ns > now_ns:
        return job.due_ns
    if job.state is State.RUNNING:
        return job.started_ns
    return job.finished_ns or job.spec.created_ns


def _cut(text: str, *, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
