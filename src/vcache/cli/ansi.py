"""Whether a stream is a terminal that shows colours, and what of a text goes to it (`vcache.kit.ansi`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vcache.kit.ansi import Paint, safe_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

__all__ = ["Paint", "is_live", "safe_text", "terminal_size", "wants_colour", "write"]


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether colours go to a stream: NO_COLOR, then FORCE_COLOR decide, else a terminal that has any.

    In the order that CPython has them, https://docs.python.org/3/using/cmdline.html#controlling-color.
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return environ.get("TERM") != "dumb" and _is_terminal(stream)


def is_live(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody watches who sees lines change in place. A CI's terminal is a file in disguise."""
    ci = environ.get("CI", "").lower() not in ("", "0", "false")
    return not ci and environ.get("TERM", "dumb") != "dumb" and _is_terminal(stream)


def write(stream: TextIO, text: str) -> None:
    """Write and flush, whatever the encoding of the stream can show."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal behind a stream; 80 and 24 where that is not known."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return 80, 24
    return size.columns or 80, size.lines or 24
