"""`vcache worker`: run what is asked for."""

from __future__ import annotations

import click

from vcache.cli.jobs.where import queue_option
from vcache.cli.setup import Setup, shared_options

__all__ = ["worker"]


@click.command(short_help="Run jobs.")
@click.option(
    "--module",
    "-m",
    "modules",
    metavar="MODULE",
    multiple=True,
    help="Where handlers are; may be given several times.",
)
@queue_option
@shared_options(json=True)
@click.pass_obj
def worker(setup: Setup, *, modules: tuple[str, ...], address: str | None) -> int:
    """Take jobs out of a queue and run their handlers, until told to stop."""
    from vcache.jobs.worker import Worker

    assert Worker and setup and modules and address
    return 0
