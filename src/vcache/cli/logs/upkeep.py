"""`vcache logs seal`, `gc`, `purge`, `verify`: compress what is full, drop what is old, remove, examine."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.logs.asking import moment_of
from vcache.cli.logs.where import logs_option, opened
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import moment, print_json
from vcache.errors import UsageError
from vcache.kit.units import format_bytes, seconds, size_bytes

if TYPE_CHECKING:
    from vcache.logs.base import LogStore
    from vcache.logs.disk import DiskLogs
    from vcache.logs.dropping import Dropped
    from vcache.logs.retention import Rules

__all__ = ["gc", "purge", "seal", "verify"]

_WAIT_S: Final = 60.0


@click.command(short_help="Compress what is in the tail.")
@logs_option
@shared_options(json=True)
@click.pass_obj
def seal(setup: Setup, *, place: str | None) -> int:
    """Make compressed, self-checking segments of what was appended, and merge small ones.

    A program that goes on writing keeps its own tail. This also happens by itself, as tails become full.
    """
    with opened(setup, place) as store:
        report = _of_disk(store).seal(timeout_s=_WAIT_S)
    if setup.is_json:
        print_json(report._asdict())
    else:
        setup.note(
            f"{report.records:,} records sealed into {report.segments} segments, {report.merged} merged"
        )
    return 0


@click.command(short_help="Drop what is too old or too much.")
@click.option("--keep", "rules", metavar="SOURCE=BOUNDS", multiple=True,
              help="Of each source that the pattern fits: an age, a size, a number, such as gcc=30d or "
              "'nginx*=7d,2GB,1000000'. The first rule that fits counts.")  # fmt: skip
@click.option("--max-age", metavar="TIME", help="Of all sources: drop what is older.")
@click.option("--max-bytes", metavar="SIZE", help="Of all sources together: drop the oldest beyond it.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and drop nothing.")
@logs_option
@shared_options(json=True)
@click.pass_obj
def gc(
    setup: Setup, *, rules: tuple[str, ...], max_age: str | None, max_bytes: str | None, dry_run: bool,
    place: str | None,
) -> int:  # fmt: skip
    """Drop records by age, size and number, per source, the oldest first.

    \b
    vcache logs gc --keep 'gcc=30d' --keep 'debug-*=1d,100MB' --max-bytes 10GB

    Without options the settings logs_keep, logs_max_age and logs_max_bytes hold. What is in the tail is
    sealed before. Never more goes than was asked for; a few records among younger ones may stay for an
    eighth of the age longer, a day at most.
    """  # noqa: D301 - click keeps such lines as they are
    wanted = _rules(setup, rules, max_age, max_bytes)
    with opened(setup, place) as store:
        disk = _of_disk(store)
        gone = _planned(disk, wanted) if dry_run else disk.retain(wanted, timeout_s=_WAIT_S)
    _report(setup, gone, is_dry=dry_run)
    return 0


@click.command(short_help="Remove the records of a source or a time.")
@click.option("--source", "-s", metavar="PATTERN", help="Of the sources that it fits, such as 'debug-*'.")
@click.option("--before", metavar="TIME", help="Said before then: 30d (ago), yesterday, 2026-11-21.")
@click.option("--yes", "-y", is_flag=True, help="Without asking.")
@logs_option
@shared_options(json=True)
@click.pass_obj
def purge(setup: Setup, *, source: str | None, before: str | None, yes: bool, place: str | None) -> int:
    """Remove exactly the records of PATTERN's sources, said before a time: what must not be kept.

    The segments that have some are written anew. What a running program holds in its tail is left: end it
    first.
    """
    if source is None and before is None:
        raise UsageError("a purge of everything: give --source, --before, or both")
    before_ns = None if before is None else moment_of(before, "--before", now_ns=time.time_ns())
    with opened(setup, place) as store:
        disk = _of_disk(store)
        if not yes:
            _confirm(disk, source, before_ns)
        gone = disk.purge(source=source, before_ns=before_ns, timeout_s=_WAIT_S)
    _report(setup, gone, is_dry=False)
    return 0


@click.command(short_help="Examine what is sealed.")
@click.option("--repair", is_flag=True, help="Fetch what is damaged from the cache's network tiers.")
@logs_option
@shared_options(json=True)
@click.pass_obj
def verify(setup: Setup, *, repair: bool, place: str | None) -> int:
    """Read every byte of every segment and say which are damaged.

    With --repair a damaged segment is fetched anew from a network tier of the cache that has it; what none
    has stays a gap. The exit code is 1 when something is damaged.
    """
    with opened(setup, place) as store:
        rows = [{"segment": name, "fault": fault} for name, fault in _of_disk(store).verify(repair=repair)]
    faults = sum(row["fault"] is not None for row in rows)
    if setup.is_json:
        print_json({"segments": rows, "damaged": faults})
    else:
        for row in rows:
            if row["fault"] is not None:
                click.echo(f"{row['segment']}: {row['fault']}")
        setup.note(f"{len(rows):,} segments, {faults:,} damaged")
    return 1 if faults else 0


def _of_disk(store: LogStore) -> DiskLogs:
    from vcache.logs.disk import DiskLogs

    if not isinstance(store, DiskLogs):
        raise UsageError("that is done where the store's directory is")
    return store


def _rules(setup: Setup, keep: tuple[str, ...], max_age: str | None, max_bytes: str | None) -> Rules:
    """What bounds the logs: the options, and where there are none the settings.

    Raises:
        UsageError: nothing does, or one of them is none.
    """
    from vcache.logs.retention import Rules
    from vcache.logs.settings import rule_of, rules_of

    if keep or max_age is not None or max_bytes is not None:
        return Rules(
            tuple(map(rule_of, keep)),
            max_bytes=None if max_bytes is None else size_bytes(max_bytes),
            max_age_s=None if max_age is None else seconds(max_age),
        )
    settings = setup.settings()
    rules = rules_of(settings.logs_keep, max_bytes=settings.logs_max_bytes, max_age_s=settings.logs_max_age_s)
    if not rules.is_bounded:
        raise UsageError(
            "nothing bounds the logs: give --keep, --max-age or --max-bytes, or the settings logs_keep, "
            "logs_max_age, logs_max_bytes"
        )
    return rules


def _planned(disk: DiskLogs, wanted: Rules) -> Dropped:
    """What `retain` would drop of what is sealed."""
    from vcache.logs.dropping import planned

    return planned(disk.contents()[1], wanted, now_ns=time.time_ns())


def _confirm(disk: DiskLogs, source: str | None, before_ns: int | None) -> None:
    """Ask; raises when the answer is no."""
    from fnmatch import fnmatchcase

    found = {
        name: stats.records
        for name, stats in disk.stats().sources.items()
        if source is None or fnmatchcase(name, source)
    }
    when = f" said before {moment(before_ns)}" if before_ns is not None else ""
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked: give --yes")
    click.confirm(
        f"Remove the records{when} of {len(found)} sources, which have {sum(found.values()):,}?",
        abort=True,
        err=True,
    )


def _report(setup: Setup, gone: Dropped, *, is_dry: bool) -> None:
    if setup.is_json:
        print_json({"records": gone.records, "size_bytes": gone.size_bytes, "is_dry_run": is_dry})
        return
    verb = "would go" if is_dry else "dropped"
    setup.note(f"{gone.records:,} records {verb}, {format_bytes(gone.size_bytes)}")
