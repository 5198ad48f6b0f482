"""Long text on a terminal goes through a pager, as `git log` has it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import subprocess

    from vcache.logs.show.base import Sink

__all__ = ["paged", "pager_of"]

# Quit when it fits a screen, keep colours, leave the text on the screen: what git sets too.
_LESS: Final = "FRX"
_NONE: Final = ("", "cat")


def pager_of(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The pager's command; empty for none."""
    words = environ.get("VCACHE_PAGER", environ.get("PAGER", "less"))
    return [] if words.strip() in _NONE else shlex.split(words)


@contextmanager
def paged(*, is_wanted: bool) -> Iterator[Sink]:
    """Where text goes: a pager if one is wanted, there is one, and somebody sits at a terminal.

    Who quits the pager has read enough: that ends the command well.
    """
    command = pager_of() if is_wanted and sys.stdout.isatty() else []
    process = _started(command) if command else None
    if process is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    assert process.stdin is not None
    try:
        yield process.stdin
    except BrokenPipeError:
        pass
    finally:
        _finish(process)


def _started(command: list[str]) -> subprocess.Popen[bytes] | None:
    import subprocess  # 8 ms, for who sits at a terminal

    environ = {"LESS": _LESS, **os.environ}
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=environ, bufsize=0)
    except OSError:
        return None  # a machine without `less`: the text comes as it is


def _finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the reader. Ctrl-C is the pager's from here on: it means "stop searching" there."""
    import signal

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert process.stdin is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
