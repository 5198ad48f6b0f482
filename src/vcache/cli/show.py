"""How results look: JSON for programs, aligned columns for pipes, rich tables for people."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from vcache.cli.setup import Setup

__all__ = ["ago", "moment", "pairs", "print_json", "progress", "shown_name", "table"]

Column = tuple[str, str]
"""A heading, and to which side its cells go: "<" or ">"."""


def print_json(value: object) -> None:
    """One JSON document, in a line of its own."""
    import json  # 3 ms that most commands need not pay

    click.echo(json.dumps(value))  # in ASCII: a name may hold what no encoding takes


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Rows under headings. No colour and no frame unless a terminal shows it."""
    if _is_fancy(sys.stdout):
        _rich_table(columns, rows)
        return
    headings = [heading for heading, _ in columns]
    widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    for cells in (headings, *rows):
        padded = [
            f"{cell:{side}{width}}" for cell, width, (_, side) in zip(cells, widths, columns, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Names and what they stand for, in two columns."""
    width = max((len(name) for name, _ in rows), default=0)
    is_fancy = _is_fancy(sys.stdout)
    for name, value in rows:
        label = f"{name:<{width}}"
        click.echo(f"{click.style(label, dim=True) if is_fancy else label}  {value}".rstrip())


@contextmanager
def progress(setup: Setup, verb: str) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on standard error while work goes on; None where nobody would see it."""
    if setup.is_quiet or not _is_fancy(sys.stderr):
        yield None
        return
    from rich.console import Console  # 40 ms, for people at a terminal only
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=None)

        def step(phase: str, done: int, total: int) -> None:
            bar.update(task, description=f"{verb}: {phase}", completed=done, total=max(total, 1))

        yield step


def shown_name(name: str | bytes) -> str:
    """A name as an argument KEY takes it, on one line."""
    if isinstance(name, bytes):
        return f"hex:{name.hex()}"
    if name.startswith(("hex:", "str:")):
        name = f"str:{name}"
    return name if name.isprintable() else name.encode("unicode_escape", "surrogatepass").decode()


def moment(time_ns: int) -> str:
    """A point in time in the reader's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns / 1e9))


def ago(time_ns: int, now_ns: int) -> str:
    """How long a moment lies back, or ahead."""
    span_s = (now_ns - time_ns) / 1e9
    # Parts of a second interest nobody in an age.
    words = format_duration(float(round(abs(span_s))))
    return f"{words} ago" if span_s >= 0 else f"in {words}"


def _is_fancy(stream: TextIO) -> bool:
    """Whether colours and frames go to a terminal that shows them (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def _rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich import box  # 40 ms, for people at a terminal only
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, side in columns:
        drawn.add_column(heading, justify="left" if side == "<" else "right", overflow="fold")
    for cells in rows:
        drawn.add_row(*map(Text, cells))  # as text: a name may look like rich's markup
    Console().print(drawn)
