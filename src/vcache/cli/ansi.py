"""What may go to a terminal: colours where they are wanted, and no escape that does more than colour.

A build's output is written by programs that a cache may have got from elsewhere: it must not move the
cursor, set the title, answer for the user or hide what was said before it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

__all__ = ["Paint", "is_live", "safe_text", "terminal_size", "wants_colour", "write"]

_RESET: Final = "\x1b[0m"
_SGR: Final = re.compile(r"\x1b\[[0-9;:]*m")
# What compilers add to colours, and what does no harm when it is left out: "erase to the end of the
# line", and links (OSC 8), whose text stays.
_IDLE: Final = re.compile(r"\x1b\[[0-2]?K|\x1b\]8;[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)")
_BREAK: Final = re.compile(r"\r+\n?")
# C0 without tab and line break, DEL, C1; marks that change the direction of text (CVE-2021-42574).
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


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


def safe_text(data: bytes, *, keeps_colour: bool) -> str:
    """Output as text that does nothing to a terminal but colour, and that only if it is wanted.

    Every other control character is shown as its picture ("␛"), a lone carriage return is a line
    break, bytes that are no UTF-8 are shown as escapes.
    """
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():  # one line without anything: the commonest
        return text
    text = _BREAK.sub("\n", _IDLE.sub("", text))
    if "\x1b" not in text:
        return _CONTROL.sub(_picture, text)
    colours = _SGR.findall(text) if keeps_colour else []
    parts = [_CONTROL.sub(_picture, part) for part in _SGR.split(text)]
    if not colours:
        return "".join(parts)
    shown = parts[0] + "".join(colour + part for colour, part in zip(colours, parts[1:], strict=True))
    # What was left switched on must not colour what others write.
    return shown if colours[-1] in ("\x1b[m", _RESET) else _before_break(shown, _RESET)


def write(stream: TextIO, text: str) -> None:
    """Write and flush, whatever the encoding of the stream can show."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


class Paint:
    """Puts text into colours, or leaves it as it is."""

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on

    def __call__(self, style: str, text: str) -> str:
        """The text in a style, such as "1;31" for bold red (ECMA-48, 8.3.117)."""
        return f"\x1b[{style}m{text}{_RESET}" if self.is_on and style and text else text


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _before_break(text: str, tail: str) -> str:
    body = text.rstrip("\n")
    return body + tail + text[len(body) :]


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal behind a stream; 80 and 24 where that is not known."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return 80, 24
    return size.columns or 80, size.lines or 24
