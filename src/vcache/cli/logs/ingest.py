"""`vcache logs ingest`: what files, a pipe or a command say, into the store."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.logs.where import logs_option, opened, place_of
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json
from vcache.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vcache.cli.logs.reading import Ingested
    from vcache.logs.base import LogStore

__all__ = ["ingest"]

_STDIN: Final = "-"
# Those of `vcache.logs.receive.formats`; loading them all would take 20 ms.
_FORMATS: Final = ("auto", "json", "lines", "logfmt", "syslog", "journal", "otlp", "loki", "elastic")


class _WithCommand(click.Command):
    """Tells what stands behind -- from the files before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta["command"] = args[:at], tuple(args[at + 1 :])
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.command(cls=_WithCommand, short_help="Keep what files, a pipe or a command say.")
@click.argument("files", metavar="[FILE]", nargs=-1, type=click.Path())
@click.option(
    "--source", "-s", metavar="NAME", help="Of records that name none; by default the file, or the command."
)
@click.option("--input", "-i", "format_", type=click.Choice(_FORMATS), default="auto", show_default=True,
              help="Of what comes; auto looks at the beginning.")  # fmt: skip
@click.option(
    "--field", "-f", "fields", metavar="NAME=VALUE", multiple=True, help="What every record has besides."
)
@click.option("--tee/--no-tee", default=None, help="Pass on what comes; so it is by default with a COMMAND.")
@click.option("--follow", is_flag=True, help="Go on with what is added to one FILE, until Ctrl-C.")
@logs_option
@shared_options(json=True)
@click.pass_context
def ingest(
    ctx: click.Context, files: tuple[str, ...], *, source: str | None, format_: str, fields: tuple[str, ...],
    tee: bool | None, follow: bool, place: str | None,
) -> int:  # fmt: skip
    """Keep each line of the FILEs (- is standard input, and so is none) as a record.

    \b
    make 2>&1 | vcache logs ingest --source make
    vcache logs ingest --source make -- make -j4
    vcache logs ingest --input json /var/log/app/*.jsonl

    A COMMAND behind -- is run; its two streams are told apart by the field `stream`, its exit code is
    that of this command. When it ends, everything that it counted survives a power loss. The exit code
    is 1 when records could not be kept; it is said how many.
    """  # noqa: D301 - click keeps such lines as they are
    setup = ctx.ensure_object(Setup)
    command: tuple[str, ...] | None = ctx.meta.get("command")
    if command is not None and (files or not command):
        raise UsageError("a COMMAND behind -- and FILEs: give one of them")
    if follow and (command or len(files) != 1):
        raise UsageError("--follow goes with one FILE")
    said = _fields_in(fields)
    with opened(setup, place) as store:
        if command:
            done = _run(store, command, source, format_, said, tee=tee is not False)
        else:
            done = _read(store, files or (_STDIN,), source, format_, said, tee=bool(tee), follows=follow)
    return _report(setup, done, place_of(setup, place))


def _fields_in(pairs: Iterable[str]) -> Mapping[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--field {pair!r}: give NAME=VALUE")
        found[name] = value
    return found


def _run(
    store: LogStore, command: tuple[str, ...], source: str | None, format_: str, fields: Mapping[str, str],
    *, tee: bool,
) -> Ingested:  # fmt: skip
    from vcache.cli.logs.reading import Input, run_command

    name = source or os.path.basename(command[0])
    streams = [
        Input(name, format_, {"stream": stream, **fields}, out if tee else None)
        for stream, out in (("stdout", sys.stdout.fileno()), ("stderr", sys.stderr.fileno()))
    ]
    return run_command(store, command, streams)


def _read(
    store: LogStore, files: Iterable[str], source: str | None, format_: str, fields: Mapping[str, str],
    *, tee: bool, follows: bool,
) -> Ingested:  # fmt: skip
    from vcache.cli.logs.reading import Ingested, Input, read_fd

    done = Ingested()
    for path in files:
        is_stdin = path == _STDIN
        name = source or ("stdin" if is_stdin else os.path.basename(path))
        given = Input(name, format_, fields, sys.stdout.fileno() if tee else None, follows)
        fd = sys.stdin.fileno() if is_stdin else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            done = done.plus(read_fd(store, fd, given))
        finally:
            if not is_stdin:
                os.close(fd)
        if done.is_interrupted:
            break
    return done


def _report(setup: Setup, done: Ingested, place: str) -> int:
    lost = f"; {done.lost:,} could not be kept: {done.reason}" if done.lost else ""
    if setup.is_json:
        print_json({"records": done.kept, "lost": done.lost, "status": done.status})
    elif done.lost or not setup.is_quiet:
        print(f"vcache: {done.kept:,} records kept in {place}{lost}", file=sys.stderr, flush=True)
    if done.is_interrupted:
        return 130
    return done.status or (1 if done.lost else 0)
