"""`vcache jobs cancel` and `vcache jobs retry`."""

from __future__ import annotations

import click

from vcache.cli.jobs.completing import id_argument
from vcache.cli.jobs.showing import refused
from vcache.cli.jobs.where import opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json
from vcache.jobs.states import State

__all__ = ["cancel", "report", "retry"]


@click.command(short_help="Let jobs not run, or stop.")
@id_argument(State.RUNNING, State.QUEUED, State.RETRY, State.BLOCKED, many=True)
@click.option("--why", metavar="TEXT", default="", help="Is shown with them.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def cancel(setup: Setup, ids: tuple[str, ...], *, why: str, address: str | None) -> int:
    """Cancel jobs that have not ended, and what waits for them. One that runs is stopped by its worker.

    Prints the ids of all that are now cancelled (--json: an object with `cancelled`). The exit code is 1
    when one of IDS was not: it has ended, or is not known.
    """
    with opened(setup, address) as queue:
        done = queue.cancel(ids, why=why)
        report(setup, "cancelled", done)
        return refused(queue, ids, done, "cancelled")


@click.command(short_help="Let dead or cancelled jobs run.")
@id_argument(State.DEAD, State.RETRY, State.CANCELLED, many=True)
@click.option("--keep-attempts", is_flag=True, help="Attempts that were made go on counting.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def retry(setup: Setup, ids: tuple[str, ...], *, keep_attempts: bool, address: str | None) -> int:
    """Let jobs run that are dead or cancelled, or that wait for their next attempt: now, and with all attempts.

    Prints the ids of all that are now queued (--json: an object with `queued`). The exit code is 1 when one
    of IDS is not.
    """
    with opened(setup, address) as queue:
        done = queue.requeue(ids, keep_attempts=keep_attempts)
        report(setup, "queued", done)
        return refused(queue, ids, done, "retried")


def report(setup: Setup, word: str, ids: object) -> None:
    """Print the ids of jobs to which something was done."""
    assert isinstance(ids, list | tuple)
    if setup.is_json:
        print_json({word: list(ids)})
    else:
        for job_id in ids:
            click.echo(job_id)
