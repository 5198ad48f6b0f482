"""`vcache jobs log`: what a job said, from the store of logs."""

from __future__ import annotations

import click

from vcache.cli.jobs.completing import id_argument
from vcache.cli.jobs.where import opened as queue_opened
from vcache.cli.jobs.where import queue_option
from vcache.cli.logs.asking import question_of
from vcache.cli.logs.showing import Wanted, output, say_gaps, show_options, show_result
from vcache.cli.logs.tail import tail_of
from vcache.cli.logs.where import logs_option, opened
from vcache.cli.setup import Setup, shared_options
from vcache.errors import UsageError
from vcache.jobs.states import ENDED

__all__ = ["log"]


@click.command(short_help="What a job said.")
@id_argument()
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until the job has ended.")
@show_options
@logs_option
@queue_option
@shared_options(json=True)
@click.pass_obj
def log(
    setup: Setup, job_id: str, *, follow: bool, wanted: Wanted, place: str | None, address: str | None
) -> int:
    """Print what a job said in all its attempts, the oldest first: what its handler logged and printed.

    It is asked of the store of logs that workers write to, `vcache worker --log-store`; the same as
    `vcache logs query 'job = "ID"'`. The exit code is 0, also when it said nothing.
    """
    asked = question_of((f'job = "{_checked(job_id)}"',))
    if not follow:
        with opened(setup, place) as store:
            result = store.search(asked)
            with output(wanted) as sink:
                show_result(result, asked, sink, wanted)
            say_gaps(setup, result.gaps)
        return 0
    if wanted.format in ("html", "parquet"):
        raise UsageError(f"--format {wanted.format} has an end: it does not go with -f")
    with queue_opened(setup, address) as queue:

        def is_over() -> bool:
            job = queue.get([job_id])[0]
            return job is None or job.state in ENDED

        tail_of(setup, asked, wanted, place=place, count=_ALL, follows=True, is_over=is_over)
    return 0


_ALL = 1_000_000  # of what it said so far


def _checked(job_id: str) -> str:
    if not job_id or not all(char.isalnum() or char in "-_" for char in job_id):
        raise UsageError(f"{job_id!r:.80} is no id of a job")
    return job_id
