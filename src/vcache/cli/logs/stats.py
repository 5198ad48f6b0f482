"""`vcache logs stats`: what a store of logs holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vcache.cli.logs.showing import say_gaps
from vcache.cli.logs.where import logs_option, opened, place_of
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import pairs, print_json, table
from vcache.kit.ansi import safe_string
from vcache.kit.units import format_bytes
from vcache.logs.show.values import iso, level_word, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcache.logs.base import LogStats

__all__ = ["stats"]


@click.command(short_help="What a store of logs holds.")
@click.option(
    "--format", "-F", "format_", type=click.Choice(("text", "json", "yaml", "ini")), help="By default text."
)
@click.option("--utc", is_flag=True, help="Times in UTC instead of the local zone.")
@logs_option
@shared_options(json=True)
@click.pass_obj
def stats(setup: Setup, *, format_: str | None, utc: bool, place: str | None) -> int:
    """Print how many records the store holds, of which sources and levels, from when to when, and its size.

    --json prints an object: `records`, `tail_records` (not sealed yet), `segments`, `size_bytes`, `first`,
    `last`, `gaps` and `sources`, by name `records`, `first`, `last` and `levels`. The exit code is 1 when
    something cannot be read any more.
    """
    with opened(setup, place) as store:
        found = store.stats()
    format_ = format_ or ("json" if setup.is_json else "text")
    if format_ == "text":
        _print(found, place_of(setup, place), is_utc=utc)
    else:
        _dump(format_, described(found))
    say_gaps(setup, found.gaps)
    return 1 if found.gaps else 0


def described(found: LogStats) -> dict[str, object]:
    """The figures for programs."""
    return {
        "records": found.records,
        "tail_records": found.tail_records,
        "segments": found.segments,
        "size_bytes": found.size_bytes,
        "first": iso(found.first_ns) if found.records else None,
        "last": iso(found.last_ns) if found.records else None,
        "gaps": len(found.gaps),
        "sources": {
            name: {
                "records": source.records,
                "first": iso(source.first_ns),
                "last": iso(source.last_ns),
                "levels": _by_word(source.by_level),
            }
            for name, source in sorted(found.sources.items())
        },
    }


def _by_word(by_level: Mapping[int, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for level, count in sorted(by_level.items()):
        word = level_word(level) or "unset"
        found[word] = found.get(word, 0) + count
    return found


def _print(found: LogStats, place: str, *, is_utc: bool) -> None:
    span = (
        f"{moment(found.first_ns, is_utc=is_utc)} to {moment(found.last_ns, is_utc=is_utc)}"
        if found.records
        else "-"
    )
    pairs([
        ("store", place),
        ("records", f"{found.records:,} ({found.tail_records:,} not sealed yet)"),
        ("segments", f"{found.segments:,}"),
        ("size", format_bytes(found.size_bytes)),
        ("times", span),
    ])  # fmt: skip
    if not found.sources:
        return
    rows = [
        [
            safe_string(name).replace("\n", " ") or "-", f"{source.records:,}",
            " ".join(f"{word}={count:,}" for word, count in _by_word(source.by_level).items()),
            moment(source.last_ns, is_utc=is_utc, step_ns=10**9),
        ]
        for name, source in sorted(found.sources.items(), key=lambda item: -item[1].records)
    ]  # fmt: skip
    click.echo()
    table([("source", "<"), ("records", ">"), ("levels", "<"), ("last", "<")], rows)


def _dump(format_: str, facts: dict[str, object]) -> None:
    if format_ == "json":
        print_json(facts)
        return
    from vcache.kit.tables import ini_section, yaml_document

    if format_ == "yaml":
        click.echo(yaml_document(facts), nl=False)
        return
    sources = facts.pop("sources")
    assert isinstance(sources, dict)
    text = ini_section("logs", {name: "" if value is None else str(value) for name, value in facts.items()})
    for name, source in sources.items():
        levels = source.pop("levels")
        values = source | {f"level.{word}": count for word, count in levels.items()}
        title = safe_string(name).replace("]", ")").replace("\n", " ")
        text += ini_section(f"source {title}", {key: str(value) for key, value in values.items()})
    click.echo(text, nl=False)
