"""What may go to a terminal: text that does nothing but colour, and that only where it is wanted. Pure.

Programs whose output is kept, and whoever may send a log record, must not move the cursor, set the title,
answer for the user or hide what was said before. It must not know streams and whether they are terminals.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Paint", "acts", "cells_of", "safe_string", "safe_text"]

_RESET: Final = "\x1b[0m"
_SGR: Final = re.compile(r"\x1b\[[0-9;:]*m")
# What compilers add to colours, and what does no harm when it is left out: "erase to the end of the
# line", and links (OSC 8), whose text stays.
_IDLE: Final = re.compile(r"\x1b\[[0-2]?K|\x1b\]8;[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)")
_BREAK: Final = re.compile(r"\r+\n?")
# C0 without tab and line break, DEL, C1; marks that change the direction of text (CVE-2021-42574); the two
# separators that are line breaks to some.
_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)  # fmt: skip
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def safe_text(data: bytes, *, keeps_colour: bool) -> str:
    """Output as text that does nothing to a terminal but colour, and that only if it is wanted.

    Every other control character is shown as its picture ("␛"), a lone carriage return is a line
    break, bytes that are no UTF-8 are shown as escapes.
    """
    return _safe(data.decode("utf-8", "backslashreplace"), keeps_colour=keeps_colour)


def safe_string(text: str, *, keeps_colour: bool = False) -> str:
    """As `safe_text`, of a text in which bytes that are no UTF-8 are lone surrogates (PEP 383)."""
    if text.isprintable():  # one line without anything: the commonest
        return text
    return _safe(_SURROGATE.sub(_escape, text), keeps_colour=keeps_colour)


def acts(text: str) -> bool:
    """Whether something in a text would act on a terminal, tabs and line breaks aside."""
    return not text.isprintable() and _CONTROL.search(text) is not None


def _safe(text: str, *, keeps_colour: bool) -> str:
    if text.isprintable():
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


class Paint:
    """Puts text into colours, or leaves it as it is."""

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on

    def __call__(self, style: str, text: str) -> str:
        """The text in a style, such as "1;31" for bold red (ECMA-48, 8.3.117)."""
        return f"\x1b[{style}m{text}{_RESET}" if self.is_on and style and text else text


def cells_of(text: str) -> int:
    """How many columns a text takes: wide letters take two, combining marks none (UAX 11)."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _before_break(text: str, tail: str) -> str:
    body = text.rstrip("\n")
    return body + tail + text[len(body) :]
