"""`vcache run`: any command, run once for the same inputs."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final, NoReturn, Self

import click

from vcache.cli.setup import Setup, shared_options
from vcache.errors import ConfigError, StoreError, UsageError

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.command import Command, Done
    from vcache.recipes import Why

__all__ = ["run"]

_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126
_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@click.command(
    short_help="Run a command, or replay it.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("argv", metavar="[--] COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--in", "-i", "ins", metavar="PATH", multiple=True, help="A file, directory or 'pattern' it reads."
)
@click.option("--out", "-o", "outs", metavar="FILE", multiple=True, help="A file it makes, below the root.")
@click.option("--env", "-e", "env", metavar="NAME", multiple=True, help="An environment variable it heeds.")
@click.option("--tool", "tools", metavar="PROGRAM", multiple=True, help="Another program that it runs.")
@click.option("--depfile", metavar="FILE", help="A Makefile rule it writes, naming what it read; an output.")
@click.option("--root", metavar="DIR", type=click.Path(exists=True, file_okay=False),
              help="What paths are relative to in keys; the working directory by default.")  # fmt: skip
@click.option(
    "--cwd", "is_bound", is_flag=True, help="The absolute working directory counts, as with gcc -g."
)
@click.option("--ttl", metavar="TIME", help="How long the result may be used, such as 10m or 7d.")
@click.option("--tag", "-t", "tags", metavar="TAG", multiple=True, help="A label to remove it by.")
@click.option("--explain", is_flag=True, help="Say what changed since the nearest earlier run, then go on.")
@click.option("--no-cache", is_flag=True, help="Only run it: nothing is looked up or kept.")
@shared_options(json=False)
@click.pass_obj
def run(
    setup: Setup, argv: tuple[str, ...], *, ins: tuple[str, ...], outs: tuple[str, ...], env: tuple[str, ...],
    tools: tuple[str, ...], depfile: str | None, root: str | None, is_bound: bool, ttl: str | None,
    tags: tuple[str, ...], explain: bool, no_cache: bool,
) -> int:  # fmt: skip
    """Run COMMAND, unless it ran before with the same inputs: then put its outputs back.

    What counts: the arguments, every --in by content, the program by content, each --env, the
    working directory below the root, the names of the outputs; with --depfile also every file that
    the command said it had read. On a hit outputs are restored with their modes, and standard
    output and standard error are replayed. A failure is passed on and not kept. The command's
    standard input is empty. Arguments are kept in clear, for `why`; values of --env never are.

    The exit code is the command's own (128 + n for signal n), 127 or 126 when it is not found or
    not executable, 1 when it did not make an --out, 2 for a usage error.
    """
    here = Path.cwd()
    top = here if root is None else Path(os.path.realpath(root))
    cache = None if no_cache else _opened(setup, top)
    if cache is None:
        _refuse_unsafe(top, here, (*outs, *((depfile,) if depfile else ())))
        _become(argv)
    with cache:
        from vcache.command import Command, spec_of
        from vcache.kit.units import nanoseconds

        if (status := _unrunnable(argv[0], here)) is not None:
            return status
        _require_inputs(ins, tools, here)
        command = Command(
            argv=argv,
            cwd=here,
            inputs=tuple(spec_of(path, cwd=here) for path in ins),
            outs=outs,
            env=env,
            tools=tools,
            depfile=depfile,
            is_bound_to_cwd=is_bound,
            ttl_ns=None if ttl is None else nanoseconds(ttl),
            tags=frozenset(tags),
        )
        return _report(setup, _carry_out(setup, cache, command, explain=explain), command, top)


def _carry_out(setup: Setup, cache: Cache, command: Command, *, explain: bool) -> Done:
    from vcache.command import CachedCommand

    cached = CachedCommand(cache, command)
    for dep in cached.base:
        if dep.kind in ("glob", "dir") and dep.note == "0 names":
            setup.note(f"--in {dep.name}: matches no file")
    if explain:
        _print_why(cached.explain())
    with _Forwarder() as forwarder:
        return cached(_to_terminal, on_start=forwarder.started, may_keep=lambda: not forwarder.was_used)


def _require_inputs(ins: tuple[str, ...], tools: tuple[str, ...], cwd: Path) -> None:
    """Say of what is not there how it was given, as its user knows no specs."""
    from vcache.fingerprint.globs import has_magic
    from vcache.fingerprint.tools import find_tool

    for path in ins:
        full = os.path.join(cwd, path)
        if not (os.path.exists(full) or (has_magic(path) and not path.endswith("/"))):
            raise UsageError(f"--in {path}: there is no such file or directory (looked at {full})")
    for tool in tools:
        if find_tool(os.path.join(cwd, tool) if "/" in tool else tool, os.environ) is None:
            where = "" if "/" in tool else " in PATH"
            raise UsageError(f"--tool {tool}: there is no such program{where}")


def _report(setup: Setup, done: Done, command: Command, root: Path) -> int:
    """The exit code; on the way, what a person should know."""
    if done.missing:
        names = ", ".join(done.missing)
        click.echo(f"vcache: error: promised and not made: {names}; the result is not kept", err=True)
        if command.depfile is not None and command.cwd is not None:
            from vcache.artifacts import output_name

            if output_name(root, os.path.join(command.cwd, command.depfile)) in done.missing:
                setup.note(f"gcc and clang write the depfile with -MMD -MF {shlex.quote(command.depfile)}")
        return 1
    if done.remark:
        setup.note(f"not kept: {done.remark}")
    return done.status


def _print_why(why: Why) -> None:
    from vcache import recipes

    if why.is_hit:
        lines = [f"hit: {why.name}"]
    elif why.nearest is None:
        lines = ["miss: no earlier run is known"]
    elif not why.changes:
        lines = [f"miss: nothing changed, but the result of {why.nearest} is gone or has expired"]
    else:
        lines = [line for change in why.changes for line in recipes.in_words(change)]
        lines.append(f"miss: compared with {why.nearest}")
    for line in lines:
        click.echo(f"vcache: {line}", err=True)


def _to_terminal(stream: int, data: bytes) -> None:
    """Write at once: what a command says may be all a person has to watch."""
    target = (sys.stdout if stream == 1 else sys.stderr).buffer
    target.write(data)
    target.flush()


def _opened(setup: Setup, root: Path) -> Cache | None:
    """The cache, or None where there is none to be had: then the command just runs."""
    try:
        cache = setup.open(root=root, heeds_disable=True)
    except ConfigError:
        raise
    except (StoreError, OSError) as error:
        setup.note(f"running without a cache: {error}")
        return None
    if cache.is_disabled:
        cache.close()
        return None
    return cache


def _refuse_unsafe(root: Path, cwd: Path, outs: tuple[str, ...]) -> None:
    """A name that is refused with a cache is refused without one."""
    from vcache.artifacts import output_name
    from vcache.fingerprint.outputs import safe_target

    for out in outs:
        safe_target(root, output_name(root, os.path.join(cwd, out)))


def _unrunnable(program: str, cwd: Path) -> int | None:
    """The exit code of what cannot be run, as a shell has it; None for what can."""
    from vcache.fingerprint.tools import find_tool

    path = os.path.join(cwd, program) if "/" in program else program
    if find_tool(path, os.environ) is not None:
        return None
    if "/" in program and os.path.lexists(path):
        click.echo(f"vcache: error: {program}: is not an executable file", err=True)
        return _NOT_EXECUTABLE
    where = "" if "/" in program else " in PATH"
    click.echo(f"vcache: error: {program}: there is no such program{where}", err=True)
    return _NOT_FOUND


def _become(argv: tuple[str, ...]) -> NoReturn:
    """Be the command: nothing of this process remains to stand in its way."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Python ignores these, and what is ignored stays so across exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        status = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        click.echo(f"vcache: error: {argv[0]}: {error.strerror}", err=True)
        raise SystemExit(status) from None


class _Forwarder:
    """Passes the signals that would end this process to the command's process group.

    Until there is one they end this process as ever, by way of everything that has to be undone.
    """

    def __init__(self) -> None:
        self.was_used = False
        self._group = 0
        self._before: list[tuple[signal.Signals, object]] = []

    def started(self, group: int) -> None:
        """Take note of the group that signals go to."""
        self._group = group

    def __enter__(self) -> Self:
        # A test runner may call this from a thread, where no handler can be set.
        if threading.current_thread() is threading.main_thread():
            self._before = [(number, signal.signal(number, self._forward)) for number in _FORWARDED]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if not self._group:
            raise SystemExit(128 + number)
        self.was_used = True
        try:
            os.killpg(self._group, number)
        except ProcessLookupError:
            pass  # it has just ended
