"""`vcache stats`, `gc` and `verify`: the directory as a whole."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import pairs, print_json, progress, shown_name, table
from vcache.kit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from vcache.janitor import GcReport
    from vcache.report import Stats

__all__ = ["gc", "stats", "verify"]


@click.command(short_help="Hits, misses, sizes.")
@click.option("--zero", "-z", is_flag=True, help="Start counting anew, after printing.")
@shared_options(json=True)
@click.pass_obj
def stats(setup: Setup, *, zero: bool) -> int:
    """Say how often the cache answered, what that saved, and what it holds.

    Counts are of all processes since the directory was made or `--zero`.

    --json prints an object: `hits`, `misses`, `ratio` (0 to 1), `puts`, `stale`, `expired`,
    `corrupt`, `faults`, `evicted`, `saved_s`, `entries`, `size_bytes`, `disk_bytes`,
    `fetched` and `fetched_bytes` (what remotes gave, in records and bytes), and `tiers`, by name:
    `entries` and `size_bytes` of each.
    """
    with setup.open_upkeep() as upkeep:
        found = upkeep.stats()
        if zero:
            upkeep.zero()
    if setup.is_json:
        print_json(_stats_json(found))
    else:
        pairs(_stats_lines(found))
        if len(found.tiers) > 1:
            click.echo()
            columns = (("tier", "<"), ("entries", ">"), ("size", ">"))
            tiers = found.tiers.items()
            table(
                columns, [(name, f"{held.entries:,}", format_bytes(held.size_bytes)) for name, held in tiers]
            )
    return 0


def _stats_json(found: Stats) -> dict[str, object]:
    return {
        "hits": found.hits,
        "misses": found.misses,
        "ratio": round(found.ratio, 6),
        "puts": found.puts,
        "stale": found.stale,
        "expired": found.expired,
        "corrupt": found.corrupt,
        "faults": found.faults,
        "evicted": found.evicted,
        "saved_s": found.saved_s,
        "entries": found.entries,
        "size_bytes": found.size_bytes,
        "disk_bytes": found.disk_bytes,
        "fetched": found.fetched,
        "fetched_bytes": found.fetched_bytes,
        "tiers": {
            name: {"entries": held.entries, "size_bytes": held.size_bytes}
            for name, held in found.tiers.items()
        },
    }


def _stats_lines(found: Stats) -> list[tuple[str, str]]:
    rows = [
        ("hits", f"{found.hits:,}"),
        ("misses", f"{found.misses:,}"),
        ("hit ratio", f"{found.ratio:.1%}"),
        ("time saved", format_duration(found.saved_s)),
        ("entries", f"{found.entries:,}"),
        ("content", format_bytes(found.size_bytes)),
        ("on disk", format_bytes(found.disk_bytes)),
        ("stored", f"{found.puts:,}"),
    ]
    if found.fetched:
        rows.append(("from remotes", f"{found.fetched:,} ({format_bytes(found.fetched_bytes)})"))
    # What should not happen is shown where it did.
    rows += [
        (word, f"{getattr(found, word):,}")
        for word in ("expired", "stale", "evicted")
        if getattr(found, word)
    ]
    return rows + [
        (word, f"{getattr(found, word):,}") for word in ("corrupt", "faults") if getattr(found, word)
    ]


@click.command(short_help="Drop what is old or over budget.")
@click.option("--max-bytes", metavar="SIZE", help="Keep at most this, such as 10GB or 512MiB.")
@click.option("--max-age", metavar="TIME", help="Drop what was not used for this long, such as 30d.")
@click.option("--max-entries", metavar="N", type=click.IntRange(min=0), help="Keep at most so many entries.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@shared_options(json=True)
@click.pass_obj
def gc(
    setup: Setup, max_bytes: str | None, max_age: str | None, max_entries: int | None, *, dry_run: bool
) -> int:
    """Drop what has expired, is too old or over budget, and give its space back.

    Limits that are not given are those of the settings. What a reader holds stays.

    --json prints an object: `dropped_entries`, `kept_entries`, `freed_bytes`, `expired`, `aged`,
    `over_budget` (each a number of rows), `disk_before_bytes`, `disk_after_bytes`, `duration_s`,
    `is_dry_run`.
    """
    with setup.open(has_remotes=False) as cache, progress(setup, "collecting") as step:
        report = cache.gc(
            max_bytes=max_bytes, max_age=max_age, max_entries=max_entries, dry_run=dry_run, progress=step
        )
    if not dry_run:
        _sweep_records(setup)
    if setup.is_json:
        print_json({name: getattr(report, name) for name in report.__slots__})
    else:
        click.echo(_gc_words(report))
    return 0


def _sweep_records(setup: Setup) -> None:
    """The compiler wrapper's own records live beside the store, and are dropped with it."""
    from vcache.cc.records import budget_of, sweep

    settings = setup.settings()
    home = os.path.join(settings.dir, "cc")
    if os.path.isdir(home):
        sweep(home, budget_bytes=budget_of(settings.max_bytes), now_ns=time.time_ns())


def _gc_words(report: GcReport) -> str:
    verb, freed = ("would drop", "freeing about") if report.is_dry_run else ("dropped", "freed")
    return (
        f"{verb} {report.dropped_entries:,} of {report.dropped_entries + report.kept_entries:,} entries, "
        f"{freed} {format_bytes(report.freed_bytes)}: "
        f"{format_bytes(report.disk_before_bytes)} → {format_bytes(report.disk_after_bytes)} on disk "
        f"in {format_duration(report.duration_s)}"
    )


@click.command(short_help="Read everything, against its digests.")
@click.option("--repair", is_flag=True, help="Remove what is damaged, so that it is made anew.")
@shared_options(json=True)
@click.pass_obj
def verify(setup: Setup, *, repair: bool) -> int:
    """Read every byte that is stored, against its BLAKE3 digest. The exit code is 1 for damage.

    --json prints an object: `examined`, `faults` (each `key`, null where it cannot be read, and
    `what`), `is_repaired`.
    """
    with setup.open(has_remotes=False) as cache, progress(setup, "reading") as step:
        report = cache.verify(repair=repair, progress=step)
    names = [(None if fault.name is None else shown_name(fault.name), fault.what) for fault in report.faults]
    if setup.is_json:
        faults = [{"key": name, "what": what} for name, what in names]
        print_json({"examined": report.examined, "faults": faults, "is_repaired": report.is_repaired})
    else:
        for name, what in names:
            click.echo(f"{name or 'an unreadable entry'}: {what}")
        tail = ", removed" if names and report.is_repaired else ""
        if names and repair and not report.is_repaired:
            tail = ", not removed: the cache is read-only"
        click.echo(f"{report.examined:,} entries read, {len(names):,} damaged{tail}")
    return 1 if names else 0
