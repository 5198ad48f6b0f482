"""`vcache audit`: what was changed on a server, and whether its log is whole."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import click

from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import moment, print_json, table

__all__ = ["audit"]


@click.group(short_help="Show and verify a server's audit log.")
def audit() -> None:
    """Show and verify the log of all changes that a server made for its clients."""


@audit.command(short_help="Show the latest changes.")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@shared_options(json=True, taken=("-n",))
@click.pass_obj
def show(setup: Setup, limit: int) -> int:
    """Show the latest changes, the last one last."""
    from vcache.server.audit import files_of

    rows: deque[dict[str, object]] = deque(maxlen=limit)
    for file in files_of(_path(setup)):
        if file.exists():
            with file.open("rb") as lines:
                rows.extend(row for line in lines if isinstance(row := _read(line), dict))
    if setup.is_json:
        print_json(list(rows))
        return 0
    columns = ("seq", "action", "dialect", "namespace", "name", "token")
    shown = [[moment(int(str(row["at_ns"]))), *(str(row.get(name, "")) for name in columns)] for row in rows]
    table([(name, "<") for name in ("when", *columns)], shown)
    return 0


@audit.command(short_help="Walk the log and say what is wrong with it.")
@click.option("--head", metavar="HASH", help="A seal that was written down: its line has to be there.")
@shared_options(json=True)
@click.pass_obj
def verify(setup: Setup, head: str | None) -> int:
    """Walk the log and say what is wrong with it. The exit code is 1 when something is."""
    from vcache.server.audit import verify as findings_of

    findings = list(findings_of(_path(setup), expected_head=head))
    if setup.is_json:
        print_json([finding._asdict() for finding in findings])
    for finding in [] if setup.is_json else findings:
        click.echo(f"{finding.file}:{finding.line}: {finding.words}")
    if not findings:
        setup.note("the audit log is whole")
    return 1 if findings else 0


@audit.command(short_help="Print the seal of the last line.")
@shared_options(json=False)
@click.pass_obj
def head(setup: Setup) -> int:
    """Print the seal of the last line: written down elsewhere, it proves later that nothing was cut off."""
    from vcache.server.audit import files_of

    for file in reversed(files_of(_path(setup))):
        if file.exists():
            with file.open("rb") as lines:
                last = deque(lines, maxlen=1)
            if last and isinstance(row := _read(last[0]), dict):
                click.echo(row["hash"])
                return 0
    setup.note("the audit log is empty")
    return 1


def _path(setup: Setup) -> Path:
    from vcache.server.office import audit_in

    return audit_in(Path(setup.settings().dir))


def _read(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None  # a line that is being written, or damaged: `verify` says so
