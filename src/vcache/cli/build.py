"""`vcache build`: make what a vcachefile.py or a build.ninja describes, from the cache where it can be."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.place import VCACHEFILE, Place, find_place
from vcache.cli.running import opened, stopping
from vcache.cli.setup import Setup, shared_options
from vcache.errors import GraphError, UsageError

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.dag.dask import DaskExecutor
    from vcache.dag.events import Listener, RunEnded
    from vcache.dag.session import Build, Options

__all__ = ["build", "defined"]

_WRONG_FILE: Final = 2


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
    "--executor", metavar="URL", help="Where commands run: local, or dask://HOST:PORT[?cache=ADDRESS]."
)
@click.option("--profile", metavar="FILE", help="Write the run as a trace that Perfetto and Chrome show.")
@click.option("--metrics", metavar="FILE", help="Write the run's metrics as Prometheus text.")
@click.option(
    "--spans",
    metavar="FILE",
    help="Write a span per step as JSON lines; otel: send them to the exporter of OpenTelemetry.",
)
@click.option("--watch", is_flag=True, help="Build again whenever an input changes, until Ctrl-C.")
@shared_options(json=True, taken=("-n",))
@click.pass_obj
def build(
    setup: Setup, targets: tuple[str, ...], *, directory: str | None, file: str | None, jobs: int | None,
    keep_going: bool, load: float | None, memory: str | None, dry_run: bool, verbose: int,
    defines: tuple[str, ...], env: tuple[str, ...], trace: str | None, force: bool, no_cache: bool,
    executor: str | None, profile: str | None, metrics: str | None, spans: str | None, watch: bool,
) -> int:  # fmt: skip
    """Make each TARGET, or what the build file makes by default.

    A step whose inputs did not change is not run; one that ran before with the same inputs, here or
    in another checkout, is restored from the cache. The build file is vcachefile.py, or build.ninja
    as CMake, Meson and GN write it.

    The exit code is 0 when all is made, 1 when something failed, 2 for a wrong build file or option,
    130 after Ctrl-C.
    """
    from vcache.dag.session import Options
    from vcache.kit.units import size_bytes

    place = find_place(directory, file)
    options = Options(
        jobs=(jobs or 4_096) if jobs is not None else None,
        keep_going=0 if keep_going else 1,
        load_limit=load,
        memory_bytes=0 if memory is None else size_bytes(memory),
        is_dry_run=dry_run,
        trace=trace or "",
        is_forced=force,
        env=env,
        is_strict=not place.is_ninja,
    )
    # A report's place is where the caller stands, not where the build file is.
    profile, metrics, spans = (path and _absolute(path) for path in (profile, metrics, spans))
    words = _Words(targets, defined(defines), verbose, profile, metrics, spans, executor)
    os.chdir(place.base)
    with opened(setup, place.root, no_cache=no_cache) as cache:
        if watch:
            from vcache.cli.watch import watch_and_build

            return watch_and_build(place, cache, lambda: _once(setup, place, cache, options, words))
        return _once(setup, place, cache, options, words)


def _absolute(path: str) -> str:
    return path if path == "otel" else os.path.abspath(path)


@dataclass(frozen=True, slots=True)
class _Words:
    """What was asked for besides the runner's own options."""

    targets: tuple[str, ...]
    defines: dict[str, str]
    verbosity: int
    profile: str | None
    metrics: str | None
    spans: str | None
    executor: str | None


def _once(setup: Setup, place: Place, cache: Cache, options: Options, words: _Words) -> int:
    """One run."""
    from vcache.dag.session import Build, run_id

    run = run_id()
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(_closing(each)) for each in _listeners(setup, place, run, options, words)
        ]
        executor = _executor(words.executor, cache, options, stack)
        if executor is not None:  # it must know what others make, to bring it to its workers
            listeners.append(executor)
        work = Build(cache, base=place.base, listeners=listeners, options=options, executor=executor, run=run)
        with stopping(work):
            try:
                ended = _carry_out(work, place, words)
            except GraphError:
                if setup.is_quiet or setup.is_json:
                    raise
                return _WRONG_FILE  # the display has said why it stopped
    if setup.is_json:
        from vcache.cli.show import print_json

        print_json(_as_json(run, ended))
    return ended.status


def _carry_out(work: Build, place: Place, words: _Words) -> RunEnded:
    if place.is_ninja:
        if words.defines:
            raise UsageError(f"-D sets options of a {VCACHEFILE}: {place.file} has none")
        return work.ninja(place.file, words.targets)
    return work.vcachefile(place.file, words.targets, defines=words.defines)


def _as_json(run: str, ended: RunEnded) -> dict[str, object]:
    return {
        "run": run,
        "status": ended.status,
        "run_count": ended.n_run,
        "hit_count": ended.n_hit,
        "up_to_date_count": ended.n_up_to_date,
        "failed_count": ended.n_failed,
        "saved_s": ended.saved_ns / 1e9,
        "error": ended.error,
    }


def _listeners(setup: Setup, place: Place, run: str, options: Options, words: _Words) -> Iterator[Listener]:
    from vcache.cli import progress
    from vcache.dag import durations
    from vcache.dag.journal import Journal

    verbosity = -1 if setup.is_quiet else words.verbosity
    yield progress.listener(
        sys.stderr if setup.is_json else sys.stdout,
        verbosity=verbosity,
        durations=durations.load(place.base),
        is_dry_run=options.is_dry_run,
    )
    if not options.is_dry_run:
        yield Journal(place.base, run)
    if words.profile is not None:
        from vcache.dag.profile import Profile

        yield Profile(words.profile)
    if words.metrics is not None:
        from vcache.dag.telemetry import Metered
        from vcache.metrics import Metrics

        yield Metered(Metrics(is_required=True), words.metrics)
    if words.spans is not None:
        from vcache.dag.telemetry import Traced, span_sink

        yield Traced([span_sink(words.spans)])


@contextmanager
def _closing(listener: Listener) -> Iterator[Listener]:
    try:
        yield listener
    finally:
        close = getattr(listener, "close", None)
        if close is not None:
            close()


def _executor(url: str | None, cache: Cache, options: Options, stack: ExitStack) -> DaskExecutor | None:
    """Where commands run; None for this machine."""
    if url in (None, "local") or options.is_dry_run:
        return None
    scheme = url.partition(":")[0]
    if scheme != "dask":
        raise UsageError(f"--executor {url!r}: write local, or dask://HOST:PORT")
    from vcache.dag.dask import DaskExecutor

    executor = DaskExecutor(url, cache=cache, slots=options.jobs, env=options.env)
    stack.callback(executor.close)
    return executor


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
