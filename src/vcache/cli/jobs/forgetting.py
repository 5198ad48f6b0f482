"""`vcache jobs purge`: forget what has ended."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from vcache.cli.jobs.completing import kind_option
from vcache.cli.jobs.where import opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json
from vcache.errors import UsageError
from vcache.jobs.states import ENDED, State

if TYPE_CHECKING:
    from vcache.jobs.base import Queue

__all__ = ["purge", "purge_of"]


@click.command(short_help="Forget jobs that have ended.")
@click.option(
    "--state", "-s", required=True, type=click.Choice(sorted(map(str, ENDED))), help="Those in this state."
)
@kind_option("Of this kind only.")
@click.option("--before", metavar="TIME", help="What ended before then: 30d (ago), yesterday, 2026-11-21.")
@click.option("--yes", "-y", is_flag=True, help="Without asking.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def purge(setup: Setup, *, state: str, kind: str, before: str | None, yes: bool, address: str | None) -> int:
    """Forget completed, dead or cancelled jobs, with results and evidence. --json prints an object: `purged`.

    Completed ones go by themselves after a while, dead and cancelled ones do not.
    """
    return purge_of(setup, address, State(state), kind=kind, before=before, is_sure=yes)


def purge_of(
    setup: Setup, address: str | None, state: State, *, kind: str, before: str | None, is_sure: bool
) -> int:
    """Forget jobs in a state; the exit code."""
    from vcache.cli.logs.asking import moment_of

    before_ns = None if before is None else moment_of(before, "--before", now_ns=time.time_ns())
    with opened(setup, address) as queue:
        if not is_sure:
            _confirm(queue, state, kind)
        count = queue.purge(state, kind=kind, before_ns=before_ns)
    if setup.is_json:
        print_json({"purged": count})
    else:
        setup.note(f"{count:,} forgotten")
    return 0


def _confirm(queue: Queue, state: State, kind: str) -> None:
    """Ask; raises when the answer is no."""
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked: give --yes")
    which = f"those of kind {kind} among " if kind else ""
    count = queue.stats().by_state.get(state, 0)
    click.confirm(f"Forget {which}{count:,} {state} jobs and what is known of them?", abort=True, err=True)
