"""`vcache build`: make what a vcachefile.py or a build.ninja describes, from the cache where it can be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from vcache.cli.building import Words, carry_out, slots_of
from vcache.cli.place import find_place
from vcache.cli.setup import shared_options
from vcache.errors import UsageError

if TYPE_CHECKING:
    from vcache.cli.setup import Setup

__all__ = ["build", "defined"]


class _Spaced(click.Command):
    """Lets options with an optional value stand before other words: `--trace TARGET` names a target."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--trace=on" if word == "--trace" else word for word in args])


@click.command(cls=_Spaced, short_help="Make the targets of a build file.")
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--directory", "-C", metavar="DIR", help="Change to DIR first.")
@click.option("--file", "-f", metavar="FILE",
              help="The build file: *.py is a vcachefile, anything else a ninja file.")  # fmt: skip
@click.option("--jobs", "-j", metavar="N", type=click.IntRange(min=0),
              help="Run N commands at once; 0 for no bound. By default what the machine has.")  # fmt: skip
@click.option("--keep-going", "-k", is_flag=True, help="Go on with what does not need what failed.")
@click.option("--load", "-l", metavar="LOAD", type=float, help="Start no more while the load is above LOAD.")
@click.option(
    "--memory", metavar="SIZE", help="Start no more than fit into SIZE, by what steps say they take."
)
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be done.")
@click.option("--verbose", "-v", count=True, help="Show every command; twice: also what is up to date.")
@click.option("--define", "-D", "defines", metavar="NAME=VALUE", multiple=True,
              help="Set an option of the vcachefile.")  # fmt: skip
@click.option("--env", "-e", "env", metavar="NAME", multiple=True,
              help="An environment variable that counts for every command.")  # fmt: skip
@click.option("--trace", metavar="on|audit", type=click.Choice(["on", "audit"]),
              help="Observe what every command opens, and let it count; audit: name what was not declared.")  # fmt: skip
@click.option("--force", is_flag=True, help="Run everything, whatever is up to date or in the cache.")
@click.option("--no-cache", is_flag=True, help="Neither ask the cache nor fill it.")
@click.option(
    "--executor",
    metavar="URL",
    help="Where commands run: local, dask://HOST:PORT[?cache=ADDRESS], or queue://[QUEUE][?cache=ADDRESS].",
)
@click.option("--queue", metavar="URL",
              help="Where jobs of the build are asked for. By default what VCACHE_QUEUE or the setting `queue` says.")  # fmt: skip
@click.option("--profile", metavar="FILE", help="Write the run as a trace that Perfetto and Chrome show.")
@click.option("--metrics", metavar="FILE", help="Write the run's metrics as Prometheus text.")
@click.option(
    "--spans",
    metavar="FILE",
    help="Write a span per step as JSON lines; otel: send them to the exporter of OpenTelemetry.",
)
@click.option(
    "--warnings", is_flag=True, help="Show also what was up to date and had warned when it was made."
)
@click.option("--hard-links", is_flag=True,
              help="Restore large files as read-only links to the cache's own; reflinks need no asking.")  # fmt: skip
@click.option("--watch", is_flag=True, help="Build again whenever an input changes, until Ctrl-C.")
@shared_options(json=True, taken=("-n",))
@click.pass_obj
def build(
    setup: Setup, targets: tuple[str, ...], *, directory: str | None, file: str | None, jobs: int | None,
    keep_going: bool, load: float | None, memory: str | None, dry_run: bool, verbose: int,
    defines: tuple[str, ...], env: tuple[str, ...], trace: str | None, force: bool, no_cache: bool,
    executor: str | None, queue: str | None, profile: str | None, metrics: str | None, spans: str | None, watch: bool,
    warnings: bool, hard_links: bool,
) -> int:  # fmt: skip
    """Make each TARGET, or what the build file makes by default.

    A step whose inputs did not change is not run; one that ran before with the same inputs, here or
    in another checkout, is restored from the cache. The build file is vcachefile.py, or build.ninja
    as CMake, Meson and GN write it.

    Warnings count until what gave them is made anew: the last line says how many there are, and how many
    of them were said again from the cache, or by what was up to date, which --warnings shows.

    The exit code is 0 when all is made, 1 when something failed, 2 for a wrong build file or option,
    130 after Ctrl-C.
    """
    from vcache.dag.session import Options
    from vcache.kit.units import size_bytes

    place = find_place(directory, file)
    options = Options(
        jobs=slots_of(jobs),
        keep_going=0 if keep_going else 1,
        load_limit=load,
        memory_bytes=0 if memory is None else size_bytes(memory),
        is_dry_run=dry_run,
        trace=trace or "",
        is_forced=force,
        env=env,
        is_strict=not place.is_ninja,
        hard_links=hard_links,
    )
    # A report's place is where the caller stands, not where the build file is.
    profile, metrics, spans = (path and _absolute(path) for path in (profile, metrics, spans))
    words = Words(targets, defined(defines), verbose, profile, metrics, spans, executor, warnings, queue)
    return carry_out(setup, place, options, words, no_cache=no_cache, watch=watch)


def _absolute(path: str) -> str:
    return path if path == "otel" else os.path.abspath(path)


def defined(defines: Sequence[str]) -> dict[str, str]:
    """What options `-D` say.

    Raises:
        UsageError: one that is no NAME=VALUE.
    """
    pairs = {}
    for text in defines:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"-D {text}: write NAME=VALUE")
        pairs[name] = value
    return pairs
