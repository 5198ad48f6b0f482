"""The command `vcache-ninja`: takes ninja's place, and answers from the cache where it can.

Flags, tools, lines and exit codes are ninja 1.13's. It needs neither click nor rich: generators
start it many times.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vcache.cli.ninja_flags import Flags, Stop, read

if TYPE_CHECKING:
    from vcache.dag.events import Listener
    from vcache.dag.ninja.stats import Stats
    from vcache.dag.ninja.status import Status
    from vcache.dag.session import Options

__all__ = ["main"]

_BROKEN_PIPE = 141  # what a shell says of ninja when nobody reads what it prints


def main(words: Sequence[str] | None = None) -> int:
    """Do what the words say; the exit status."""
    from vcache.errors import VcacheError

    try:
        return _carry_out(sys.argv[1:] if words is None else words)
    except Stop as stop:
        sys.stdout.write(stop.out)
        sys.stdout.flush()
        sys.stderr.write(stop.err)
        return stop.status
    except VcacheError as error:
        _complain(f"ninja: error: {error}")
        return 1
    except BrokenPipeError:
        # The interpreter flushes at exit, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        print("ninja: build stopped: interrupted by user.", flush=True)
        return 130


def _carry_out(words: Sequence[str]) -> int:
    flags = read(words)
    for line in flags.warnings:
        _complain(line)
    if flags.directory:
        _enter(flags)
    if flags.tool:
        from vcache.cli import ninja_tools

        return ninja_tools.run(flags)
    return _build(flags)


def _enter(flags: Flags) -> None:
    # In these words, with these quotes, Emacs and others know that the directory has changed.
    if not flags.tool and flags.verbosity != "quiet":
        print(f"ninja: Entering directory `{flags.directory}'", flush=True)
    try:
        os.chdir(flags.directory)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise Stop(1, err=f"ninja: fatal: chdir to '{flags.directory}' - {why}\n") from None


def _build(flags: Flags) -> int:
    from vcache.cli.appending import appender
    from vcache.cli.recording import Recorder
    from vcache.cli.running import opened, stopping
    from vcache.cli.setup import Setup
    from vcache.dag.journal import Journal
    from vcache.dag.ninja.project import project_root
    from vcache.dag.session import Build, run_id
    from vcache.errors import VcacheError

    base = os.path.realpath(".")
    _require_manifest(flags, base)
    status, stats, run, setup = _status(flags, os.environ), _stats(flags), run_id(), Setup()
    journal, recorder = Journal(base, run), Recorder(base, run, opens=lambda: appender(setup))
    listeners: list[Listener] = [status, journal, *([stats] if stats else [])]
    if not flags.is_dry_run:
        listeners.append(recorder)
    with opened(setup, Path(project_root(base))) as cache:
        work = Build(cache, base=base, listeners=listeners, options=_options(flags), run=run)
        try:
            with stopping(work):
                work.ninja(flags.file, flags.words)
        except VcacheError:
            if not status.exit_status:  # it was not told as an event
                raise
        finally:
            journal.close()
            recorder.close()
    if stats:
        print(*stats.lines(), sep="\n", flush=True)
    return status.exit_status


def _require_manifest(flags: Flags, base: str) -> None:
    """Say at once that there is no such file, before a directory is made for what is remembered.

    Raises:
        Stop: there is none.
        GraphError: it has a fault that was asked to be one.
    """
    path = os.path.join(base, flags.file)
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise Stop(1, err=f"ninja: error: loading '{flags.file}': {why}\n") from None
    if flags.is_phonycycle_error:
        from vcache.dag.ninja.load import load

        load(flags.file, base=base, is_phonycycle_error=True).targets(flags.words)


def _options(flags: Flags) -> Options:
    from vcache.dag.session import Options

    return Options(
        jobs=flags.jobs,
        keep_going=flags.keep_going,
        load_limit=flags.load_limit,
        is_dry_run=flags.is_dry_run,
        keep_rsp="keeprsp" in flags.modes,
        keep_depfile="keepdepfile" in flags.modes,
    )


def _status(flags: Flags, environ: Mapping[str, str]) -> Status:
    """What prints the build.

    Raises:
        Stop: NINJA_STATUS is wrong.
    """
    from vcache.dag.ninja.progress import FORMAT, Progress
    from vcache.dag.ninja.screen import Screen, Terminal
    from vcache.dag.ninja.status import Status
    from vcache.errors import UsageError

    terminal = Terminal.of(sys.stdout.fileno(), environ)
    # Lines of its own would confuse who reads ninja's: a person gets one, a program when it asks.
    has_summary = environ.get("VCACHE_NINJA_SUMMARY", "1" if terminal.is_smart else "0") not in {"", "0"}
    if flags.verbosity != "normal":
        terminal = terminal.as_plain()
    template = environ.get("NINJA_STATUS", FORMAT)
    try:
        Progress(template)
    except UsageError as error:
        raise Stop(1, err=f"ninja: fatal: {error}\n") from None
    return Status(
        Screen(sys.stdout.buffer, terminal),
        _complain,
        template=template,
        verbosity=flags.verbosity,
        keep_going=flags.keep_going,
        explains="explain" in flags.modes,
        has_output=not flags.is_dry_run,
        has_summary=has_summary and flags.verbosity != "quiet",
    )


def _stats(flags: Flags) -> Stats | None:
    if "stats" not in flags.modes:
        return None
    from vcache.dag.ninja.stats import Stats

    return Stats()


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
