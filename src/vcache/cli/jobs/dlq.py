"""`vcache jobs dlq`: what is dead, why, and what becomes of it."""

from __future__ import annotations

from itertools import islice

import click

from vcache.cli.jobs.completing import id_argument, kind_option
from vcache.cli.jobs.ending import report
from vcache.cli.jobs.forgetting import purge_of
from vcache.cli.jobs.looking import job_table, jobs_of, show_one
from vcache.cli.jobs.showing import refused
from vcache.cli.jobs.where import opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json
from vcache.errors import UsageError
from vcache.jobs.facts import job_facts
from vcache.jobs.states import State

__all__ = ["dlq"]


@click.group(invoke_without_command=True, short_help="The dead-letter queue.")
@queue_option
@shared_options(json=True)
@click.pass_context
def dlq(ctx: click.Context, *, address: str | None) -> int:
    """What is dead: jobs that failed for the last time, that do not fit their handler, that were not started
    in time, or that killed their workers. Without a word it lists them.
    """
    if ctx.invoked_subcommand is None:
        return _list(ctx.ensure_object(Setup), address, "", 100)
    return 0


@dlq.command("list", short_help="List what is dead.")
@kind_option("Of this kind.")
@click.option(
    "--limit", "-l", metavar="N", type=click.IntRange(min=1), default=100, show_default=True, help="At most."
)
@queue_option
@shared_options(json=True)
@click.pass_obj
def list_(setup: Setup, *, kind: str, limit: int, address: str | None) -> int:
    """List what is dead, with the last words of each. --json prints one object a line."""
    return _list(setup, _address(address), kind, limit)


def _list(setup: Setup, address: str | None, kind: str, limit: int) -> int:
    with opened(setup, address) as queue:
        found = list(islice(jobs_of(queue, State.DEAD, kind), limit))
        if setup.is_json:
            for job in found:
                print_json(job_facts(job))
        else:
            job_table(found, queue.now_ns())
            if not found:
                setup.note("nothing is dead")
    return 0


@dlq.command(short_help="The evidence.")
@id_argument(State.DEAD)
@queue_option
@shared_options(json=True)
@click.pass_obj
def show(setup: Setup, job_id: str, *, address: str | None) -> int:
    """Show a job with its failures and their tracebacks, as `vcache jobs show` does."""
    with opened(setup, _address(address)) as queue:
        return show_one(setup, queue, job_id)


@dlq.command(short_help="Let dead jobs run again.")
@id_argument(State.DEAD, many=True, required=False)
@click.option("--all", "-a", "all_", is_flag=True, help="All that are dead.")
@kind_option("All dead ones of this kind.")
@click.option("--keep-attempts", is_flag=True, help="Attempts that were made go on counting.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def retry(
    setup: Setup, ids: tuple[str, ...], *, all_: bool, kind: str, keep_attempts: bool, address: str | None
) -> int:
    """Let dead jobs run again: those with these IDS, those of a kind, or all.

    Prints the ids of all that are now queued (--json: an object with `queued`).
    """
    if bool(ids) == bool(all_ or kind):
        raise UsageError("which ones? Give IDs, --kind KIND or --all")
    with opened(setup, _address(address)) as queue:
        wanted = ids or tuple(job.id for job in jobs_of(queue, State.DEAD, kind))
        done = queue.requeue(wanted, keep_attempts=keep_attempts)
        report(setup, "queued", done)
        return refused(queue, wanted, done, "retried") if ids else 0


@dlq.command(short_help="Forget what is dead.")
@kind_option("Of this kind only.")
@click.option("--before", metavar="TIME", help="What died before then: 30d (ago), yesterday, 2026-11-21.")
@click.option("--yes", "-y", is_flag=True, help="Without asking.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def purge(setup: Setup, *, kind: str, before: str | None, yes: bool, address: str | None) -> int:
    """Forget dead jobs with all evidence. --json prints an object: `purged`, a number."""
    return purge_of(setup, _address(address), State.DEAD, kind=kind, before=before, is_sure=yes)


def _address(address: str | None) -> str | None:
    """The queue that is meant: also one that was named before the word behind `dlq`."""
    above = click.get_current_context().parent
    return address or (above.params.get("address") if above else None)
