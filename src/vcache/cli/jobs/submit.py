"""`vcache jobs submit`: ask for a job, or for many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from vcache.cli.jobs.asking import batch_lines, moment_ahead, payload_of
from vcache.cli.jobs.completing import complete_kind
from vcache.cli.jobs.where import opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json
from vcache.errors import UsageError
from vcache.jobs.models import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vcache.jobs.front import Jobs
    from vcache.jobs.models import Plain, Spec

__all__ = ["submit"]

_PRIORITIES: Final = tuple(priority.name.lower() for priority in Priority)
# By what a line of a batch calls them; what is a time is made one below.
_OPTIONS: Final = (
    "priority", "delay", "at", "deadline", "timeout", "retries", "unique", "unique_for", "after", "parent", "tags",
)  # fmt: skip


@click.command(short_help="Ask for a job.")
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.argument("fields", metavar="[FIELD=VALUE]...", nargs=-1)
@click.option(
    "--payload", "-p", metavar="JSON|@FILE|-", help="An object of fields: in words, of a file, of a pipe."
)
@click.option(
    "--batch", metavar="FILE", help="One job for each line of FILE (- for a pipe): all of them or none."
)
@click.option("--priority", type=click.Choice(_PRIORITIES), default=None, help="By default medium.")
@click.option("--delay", metavar="TIME", help="Not before so long from now, such as 10s.")
@click.option(
    "--at", metavar="TIME", help="Not before then: 2026-11-21T10:00+01:00; UTC where no zone is said."
)
@click.option("--deadline", metavar="TIME", help="Not when it has not started by then, or in so long: 1h.")
@click.option("--timeout", metavar="TIME", help="How long an attempt may take; else as the handler says.")
@click.option(
    "--retries",
    metavar="N",
    type=click.IntRange(min=0),
    help="How many attempts may follow a failed one; else as the handler says.",
)
@click.option("--unique", metavar="KEY", help="While a job with this key lives, no second one is made.")
@click.option(
    "--unique-payload", is_flag=True, default=None, help="The same, with kind and payload as the key."
)
@click.option(
    "--unique-for",
    metavar="TIME",
    help="The key is taken for so long instead; without --unique, the payload is the key.",
)
@click.option(
    "--after", metavar="ID", multiple=True, help="When that job has completed; may be given several times."
)
@click.option("--parent", metavar="ID", help="What it is a part of.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="What it can be found by.")
@click.option("--wait", is_flag=True, help="Until it has ended: print its result in place of the id.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def submit(
    setup: Setup, /, kind: str | None, fields: tuple[str, ...], *, payload: str | None, batch: str | None, wait: bool,
    address: str | None, **given: object,
) -> int:  # fmt: skip
    """Ask for a job of KIND and print its id: that of the one that is, where a unique key is taken.

    \b
    vcache jobs submit email.send to=a@example.com subject='Hello' --retries 5
    vcache jobs submit resize width:=100 'sizes:=[1, 2]' --delay 10s
    vcache jobs submit report --payload @report.json --unique daily --unique-for 1d

    VALUE is text, a number, true, false or null; behind := it is JSON. With --batch, each line is the payload
    of one job of KIND; without KIND an object with `kind`, and perhaps `payload`, `priority`, `delay`, `at`,
    `deadline`, `timeout`, `retries`, `unique`, `unique_for`, `after`, `parent`, `tags`.

    --json prints an object: `id`; with --batch `ids`; with --wait what `show --json` does. With --wait the
    exit code is 1 when the job died or was cancelled.
    """  # noqa: D301 - click keeps such lines as they are
    from vcache.jobs.front import Jobs

    if batch is not None and (fields or payload is not None or wait):
        raise UsageError("--batch has the payloads in its file: give no others, and no --wait")
    if given["unique"] is not None and given["unique_payload"]:
        raise UsageError("--unique and --unique-payload are two keys: give one of them")
    if batch is None and kind is None:
        raise UsageError("which KIND? For example: vcache jobs submit email.send to=a@example.com")
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    with opened(setup, address) as queue:
        jobs = Jobs(queue)
        if batch is not None:
            # In one go, so that it is all or none, also when the queue fails.
            return _print_ids(setup, queue.submit(list(_of_batch(jobs, batch, kind, chosen))))
        spec = _spec(jobs, str(kind), payload_of(payload, fields), chosen)
        (job_id,) = queue.submit([spec])
        if wait:
            from vcache.cli.jobs.watch import wait_for

            return wait_for(setup, queue, job_id)
    if setup.is_json:
        print_json({"id": job_id})
    else:
        click.echo(job_id)
    return 0


def _print_ids(setup: Setup, ids: Sequence[str]) -> int:
    if setup.is_json:
        print_json({"ids": list(ids)})
    else:
        click.echo("".join(f"{job_id}\n" for job_id in ids), nl=False)
    return 0


def _of_batch(jobs: Jobs, path: str, kind: str | None, chosen: Mapping[str, object]) -> Iterator[Spec]:
    for where, line in batch_lines(path):
        try:
            if kind is not None:
                yield _spec(jobs, kind, line, chosen)
            else:
                yield _spec(jobs, *_read_line(line, chosen))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None


def _read_line(
    line: Mapping[str, Plain], chosen: Mapping[str, object]
) -> tuple[str, Mapping[str, Plain], Mapping[str, object]]:
    from vcache.kit.names import did_you_mean

    known = ("kind", "payload", *_OPTIONS)
    for name in line:
        if name not in known:
            raise UsageError(f"{name!r} means nothing of a job{did_you_mean(name, known)}")
    kind, payload = line.get("kind"), line.get("payload", {})
    if not (isinstance(kind, str) and kind):
        raise UsageError('the kind is missing: give KIND, or write "kind": "email.send"')
    if not isinstance(payload, dict):
        raise UsageError("the payload is no object of fields")
    return kind, payload, {**chosen, **{name: line[name] for name in _OPTIONS if name in line}}


def _spec(jobs: Jobs, kind: str, payload: Mapping[str, Plain], chosen: Mapping[str, object]) -> Spec:
    """The job that is meant, with times as times."""
    given = dict(chosen)
    if "at" in given:
        given["not_before"] = moment_ahead(str(given.pop("at")), "--at")
    if "deadline" in given:
        given["deadline"] = moment_ahead(str(given["deadline"]), "--deadline")
    if given.pop("unique_payload", None) or "unique_for" in given:
        given.setdefault("unique", True)
    return jobs.spec(kind, payload, **given)  # type: ignore[arg-type]  # it refuses what it does not take
