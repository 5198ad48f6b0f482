"""How a build looks while it runs: a live display on a terminal, plain lines in CI and in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from vcache.cli.ansi import Paint, is_live, wants_colour
from vcache.cli.lines import ALL, QUIET, VERBOSE, Lines

if TYPE_CHECKING:
    from vcache.cli.lines import Standing, WarningsOf

__all__ = ["ALL", "QUIET", "VERBOSE", "listener"]


def listener(
    stream: TextIO,
    *,
    verbosity: int = 0,
    durations: Mapping[str, int] | None = None,
    is_dry_run: bool = False,
    environ: Mapping[str, str] = os.environ,
    warnings: WarningsOf | None = None,
    standing: Standing | None = None,
) -> Lines:
    """The display that fits a stream. It is to be closed.

    Args:
        verbosity: `QUIET` for failures only, 0, `VERBOSE` for hits, reasons and whole commands too,
            or `ALL` for what is up to date as well.
        durations: by name of a node, how many nanoseconds it last took (`vcache.dag.durations.load`).
        is_dry_run: what is told would be done, and takes no time.
        warnings: asked at the run's end for how many there are.
        standing: gives at the run's end what is to be shown of what was up to date.
    """
    paint = Paint(is_on=wants_colour(stream, environ))
    if verbosity > QUIET and not is_dry_run and is_live(stream, environ):
        from vcache.cli.live import Live

        return Live(
            stream,
            paint,
            verbosity=verbosity,
            durations=durations or {},
            warnings=warnings,
            standing=standing,
        )
    return Lines(
        stream, paint, verbosity=verbosity, is_dry_run=is_dry_run, warnings=warnings, standing=standing
    )
