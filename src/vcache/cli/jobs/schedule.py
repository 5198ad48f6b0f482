"""`vcache schedule`: jobs that time brings."""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.jobs.asking import payload_of
from vcache.cli.jobs.completing import complete_kind
from vcache.cli.jobs.showing import plain_text, shown, when_words
from vcache.cli.jobs.where import log_store, opened, queue_option
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import ago, pairs, print_json, table
from vcache.jobs.facts import priority_word
from vcache.jobs.models import Priority
from vcache.jobs.plainjson import jsonable
from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from types import FrameType

    from click.shell_completion import CompletionItem

    from vcache.jobs.schedules import Schedule

__all__ = ["schedule"]

_PRIORITIES: Final = tuple(priority.name.lower() for priority in Priority)


@click.group(short_help="Jobs that time brings.")
def schedule() -> None:
    """Ask for jobs again and again, when their time comes.

    Schedules are kept in the queue, and fired by `vcache schedule run`: of any number of those, on any number of
    machines, one fires each tick. WHEN is "every 30s", "daily 02:00", "weekly mon 09:30", "monthly 1 06:00", a
    cron expression of five fields (or six, seconds first), or @hourly and its like.
    """


def _complete_name(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The schedules that begin so. A queue that cannot be asked completes nothing."""
    from click.shell_completion import CompletionItem

    from vcache.errors import VcacheError
    from vcache.jobs.schedules import Schedules

    try:
        with opened(ctx.find_object(Setup) or Setup(), ctx.params.get("address")) as queue:
            names = [each.name for each in Schedules(queue).list()]
    except (OSError, VcacheError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_name_argument = click.argument("name", shell_complete=_complete_name)


@schedule.command(short_help="Make or change a schedule.")
@_name_argument
@click.argument("when")
@click.argument("kind", shell_complete=complete_kind)
@click.argument("fields", metavar="[FIELD=VALUE]...", nargs=-1)
@click.option(
    "--payload", "-p", metavar="JSON|@FILE|-", help="An object of fields: in words, of a file, of a pipe."
)
@click.option("--zone", metavar="ZONE", default="UTC", show_default=True, help="Whose clock: Europe/Berlin.")
@click.option(
    "--misfire",
    type=click.Choice(["skip", "once", "all"]),
    default="once",
    show_default=True,
    help="For ticks while no scheduler ran: no job, one, or one for each.",
)
@click.option(
    "--overlap",
    type=click.Choice(["skip", "allow"]),
    default="skip",
    show_default=True,
    help="For a tick while the job before has not ended: no job, or one all the same.",
)
@click.option("--spread", metavar="TIME", default="0s", help="Each job starts up to so much later.")
@click.option(
    "--priority", type=click.Choice(_PRIORITIES), default="medium", show_default=True, help="Of the jobs."
)
@click.option("--timeout", metavar="TIME", default="0s", help="How long an attempt may take.")
@click.option("--retries", metavar="N", type=click.IntRange(min=0), help="How many may follow a failed one.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="What its jobs can be found by.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def add(
    setup: Setup, name: str, when: str, kind: str, fields: tuple[str, ...], *, payload: str | None, zone: str,
    misfire: str, overlap: str, spread: str, priority: str, timeout: str, retries: int | None, tags: tuple[str, ...],
    address: str | None,
) -> int:  # fmt: skip
    """Make the schedule NAME, or change it: jobs of KIND, whenever WHEN says.

    \b
    vcache schedule add nightly 'daily 02:00' report.make day=yesterday --zone Europe/Berlin
    vcache schedule add beat 'every 30s' health.check
    vcache schedule add weekdays '*/15 8-17 * * mon-fri' mail.fetch

    What of it was fired before is not fired again. Prints when it comes next; --json prints an object, as
    `vcache schedule show --json` does.
    """  # noqa: D301 - click keeps such lines as they are
    from vcache.jobs.schedules import Schedules, make_schedule

    made = make_schedule(
        name, kind, payload_of(payload, fields), when=when, zone=zone, priority=priority, misfire=misfire,
        overlap=overlap, spread=spread, timeout=timeout, retries=retries, tags=tags,
    )  # fmt: skip
    with opened(setup, address) as queue:
        _say(setup, Schedules(queue).put(made))
    return 0


@schedule.command("list", short_help="All schedules.")
@queue_option
@shared_options(json=True)
@click.pass_obj
def list_(setup: Setup, *, address: str | None) -> int:
    """List the schedules of a queue, and when each comes next. --json prints one object a line."""
    from vcache.jobs.schedules import Schedules, next_tick

    with opened(setup, address) as queue:
        found = Schedules(queue).list()
    if setup.is_json:
        for each in found:
            print_json(_facts(each))
        return 0
    if not found:
        setup.note("there is no schedule")
        return 0
    now_ns = time.time_ns()
    rows = []
    for each in found:
        next_ns = next_tick(each)
        coming = "paused" if next_ns is None else ago(next_ns, now_ns)
        rows.append([each.name, each.when, each.zone, shown(each.kind), coming, f"{each.n_fired:,}"])
    columns = [(name, "<") for name in ("name", "when", "zone", "kind", "next")]
    table([*columns, ("fired", ">")], rows)
    return 0


@schedule.command(short_help="All about a schedule.")
@_name_argument
@queue_option
@shared_options(json=True)
@click.pass_obj
def show(setup: Setup, name: str, *, address: str | None) -> int:
    """Say all about the schedule NAME. The exit code is 1 when there is none.

    --json prints an object: `name`, `when`, `zone`, `kind`, `payload`, `next_ns`, `last_job`, `n_fired`,
    `n_missed` (nobody saw the tick in time), `n_skipped` (the job before had not ended), and the options.
    """
    from vcache.jobs.schedules import Schedules

    with opened(setup, address) as queue:
        found = Schedules(queue).get(name)
        place = queue.info.name
    if found is None:
        click.echo(f"vcache: error: there is no schedule {shown(name)!r} in {place}", err=True)
        return 1
    if setup.is_json:
        print_json(_facts(found))
    else:
        pairs(list(_described(found)))
    return 0


@schedule.command(short_help="Let ticks pass.")
@_name_argument
@queue_option
@shared_options(json=True)
@click.pass_obj
def pause(setup: Setup, name: str, *, address: str | None) -> int:
    """Let the ticks of NAME pass without a job, until `vcache schedule resume`."""
    from vcache.jobs.schedules import Schedules

    with opened(setup, address) as queue:
        _say(setup, Schedules(queue).pause(name))
    return 0


@schedule.command(short_help="Fire again.")
@_name_argument
@queue_option
@shared_options(json=True)
@click.pass_obj
def resume(setup: Setup, name: str, *, address: str | None) -> int:
    """Fire NAME again, from its next tick on."""
    from vcache.jobs.schedules import Schedules

    with opened(setup, address) as queue:
        _say(setup, Schedules(queue).resume(name))
    return 0


@schedule.command(short_help="Submit its job at once.")
@_name_argument
@queue_option
@shared_options(json=True)
@click.pass_obj
def fire(setup: Setup, name: str, *, address: str | None) -> int:
    """Submit the job of NAME at once, whatever the time, also while it is paused. Prints the job's id."""
    from vcache.jobs.schedules import Schedules

    with opened(setup, address) as queue:
        job_id = Schedules(queue).run_now(name)
    if setup.is_json:
        print_json({"id": job_id})
    else:
        click.echo(job_id)
    return 0


@schedule.command(short_help="Forget a schedule.")
@_name_argument
@queue_option
@shared_options(json=False)
@click.pass_obj
def rm(setup: Setup, name: str, *, address: str | None) -> int:
    """Forget the schedule NAME; its jobs stay. The exit code is 1 when there is none."""
    from vcache.jobs.schedules import Schedules

    with opened(setup, address) as queue:
        if Schedules(queue).remove(name):
            return 0
        click.echo(f"vcache: error: there is no schedule {shown(name)!r} in {queue.info.name}", err=True)
    return 1


@schedule.command("next", short_help="When it would come.")
@click.argument("when")
@click.option(
    "--count", "-c", metavar="N", type=click.IntRange(1, 1000), default=5, show_default=True, help="So many."
)
@click.option("--zone", metavar="ZONE", default="UTC", show_default=True, help="Whose clock: Europe/Berlin.")
@shared_options(json=True)
@click.pass_obj
def next_(setup: Setup, when: str, *, count: int, zone: str) -> int:
    """Print the coming times of WHEN in its zone, without a schedule. --json prints a list of nanoseconds."""
    from vcache.jobs.schedules import next_after, parse_when

    parsed, at_ns, found = parse_when(when, zone), time.time_ns(), []
    for _ in range(count):
        at_ns = next_after(parsed, at_ns)
        found.append(at_ns)
    if setup.is_json:
        print_json(found)
        return 0
    from datetime import datetime
    from zoneinfo import ZoneInfo

    for at_ns in found:
        click.echo(datetime.fromtimestamp(at_ns // 10**9, ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M:%S %z"))
    return 0


@schedule.command(short_help="Fire what is due.")
@queue_option
@shared_options(json=False)
@click.pass_obj
def run(setup: Setup, *, address: str | None) -> int:
    """Submit the jobs of all schedules when their ticks come, until SIGTERM or Ctrl-C.

    May run on several machines at once: each tick is fired by one of them, which prints a line with the tick's time,
    the schedule and the job's id, and writes the same into the store of logs, where builds and workers have one.
    """
    from vcache.cli.jobs.firing import teller
    from vcache.jobs.schedules import Scheduler, Schedules

    setup.speak_up()
    with ExitStack() as stack:
        queue = stack.enter_context(opened(setup, address))
        scheduler = Scheduler(queue, on_fired=teller(_say_line, log_store(setup, None, stack)))
        count = len(Schedules(queue).list())
        setup.note(f"{count} schedule{'' if count == 1 else 's'} in {queue.info.name}; Ctrl-C ends it")
        gc.enable()  # commands are short-lived, and have it off; this one is not
        with _ended_by_signals(scheduler.stop):
            scheduler.run()
    return 0


def _say_line(text: str) -> None:
    print(text, flush=True)  # whoever reads a pipe reads it when it happens


@contextmanager
def _ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    def handle(_signum: int, _frame: FrameType | None) -> None:
        stop()

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _facts(found: Schedule) -> dict[str, object]:
    from vcache.jobs.schedules import schedule_facts

    facts = schedule_facts(found)
    return {**facts, "payload": jsonable(facts["payload"])}


def _say(setup: Setup, found: Schedule) -> None:
    from vcache.jobs.schedules import next_tick

    if setup.is_json:
        print_json(_facts(found))
        return
    next_ns = next_tick(found)
    click.echo(f"{found.name}: {'paused' if next_ns is None else when_words(next_ns, time.time_ns())}")


def _described(found: Schedule) -> Iterator[tuple[str, str]]:
    from vcache.jobs.schedules import next_tick

    now_ns = time.time_ns()
    next_ns = next_tick(found)
    rows = [
        ("name", found.name),
        ("when", f"{found.when} ({found.zone})"),
        ("kind", shown(found.kind)),
        ("payload", plain_text(found.payload)),
        ("priority", priority_word(found.priority)),
        ("next", "paused" if next_ns is None else when_words(next_ns, now_ns)),
        ("misfire", str(found.misfire)),
        ("overlap", str(found.overlap)),
        ("spread", format_duration(found.spread_s) if found.spread_s else ""),
        ("timeout", format_duration(found.timeout_s) if found.timeout_s else ""),
        ("retries", str(found.retries) if found.retries >= 0 else ""),
        ("tags", shown(" ".join(found.tags))),
        ("last job", found.last_job),
        ("fired", f"{found.n_fired:,}"),
        ("missed", f"{found.n_missed:,}" if found.n_missed else ""),
        ("skipped", f"{found.n_skipped:,}" if found.n_skipped else ""),
        ("made", when_words(found.created_ns, now_ns)),
    ]
    return (row for row in rows if row[1])
