"""`vcache cc` as it is listed; `vcache.__main__` answers it before any group of commands is loaded."""

from __future__ import annotations

import os
import sys

import click

from vcache.cli.setup import Setup

__all__ = ["cc"]


@click.command(
    short_help="Run a compiler, or replay it.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("words", metavar="[--explain] COMPILER [ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def cc(setup: Setup, words: tuple[str, ...]) -> int:
    """Run gcc or clang, or answer from the cache what it once made: CC="vcache cc gcc" make.

    `--stats` says how often that was, and why commands were run as they are; `--zero-stats` starts
    counting anew; `--launchers` prints a directory with a gcc, a clang, … for the front of PATH;
    `--explain` says of one command whether and why it is answered. VCACHE_CC_LOG=FILE notes what
    became of each.

    The exit code is the compiler's own.
    """
    given = {"VCACHE_DIR": setup.directory, "VCACHE_NAMESPACE": setup.namespace}
    if any(given.values()):
        # Records are found by what the process was started with.
        environ = {**os.environ, **{name: os.fspath(value) for name, value in given.items() if value}}
        os.execve(sys.executable, [sys.executable, "-m", "vcache", "cc", *words], environ)  # noqa: S606 - no shell is what is wanted
    from vcache.cc import full

    return full.main(list(words))
