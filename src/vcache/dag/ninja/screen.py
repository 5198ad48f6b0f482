"""Where status lines and output go: a terminal that is written over, or a plain stream.

It must not know what a build is. All text is bytes: what commands wrote is passed on as it is.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Protocol

from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Screen", "Sink", "Terminal", "elide", "strip_ansi"]

_ESCAPE: Final = re.compile(rb"\x1b(?:\[[^A-Za-z]*[A-Za-z]?)?")
_COLOUR: Final = re.compile(r"(\x1b\[[0-9;]*m)")
_DOTS: Final = "..."


class Sink(Protocol):
    """What bytes are written to, such as `sys.stdout.buffer`."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """What the stream can do.

    Attributes:
        is_smart: the last line can be written over.
        has_colour: escape codes may be passed on.
        columns: how wide it is at this moment; 0 when that is unknown.
    """

    is_smart: bool = False
    has_colour: bool = False
    columns: Callable[[], int] = lambda: 0

    @classmethod
    def of(cls, fileno: int, environ: Mapping[str, str]) -> Terminal:
        """What is behind a descriptor, by ninja's rules: TERM, and CLICOLOR_FORCE for colours."""
        is_smart = os.isatty(fileno) and environ.get("TERM", "dumb") != "dumb"
        return cls(
            is_smart=is_smart,
            has_colour=is_smart or environ.get("CLICOLOR_FORCE", "0") != "0",
            columns=lambda: _columns(fileno),
        )

    def as_plain(self) -> Terminal:
        """The same without writing over lines."""
        return Terminal(has_colour=self.has_colour)


def _columns(fileno: int) -> int:
    try:
        return os.get_terminal_size(fileno).columns
    except OSError:
        return 0


def strip_ansi(data: bytes) -> bytes:
    """The bytes without escape sequences, for streams that are no terminal."""
    return _ESCAPE.sub(b"", data) if b"\x1b" in data else data


def elide(text: str, columns: int) -> str:
    """The text, its middle replaced by dots if it is wider than so many columns.

    Colour codes take no room, and all of them stay: what follows the gap keeps its colour.
    """
    if "\x1b" not in text:
        if len(text) <= columns:
            return text
        left, right = _halves(columns)
        return text[:left] + _DOTS[:columns] + text[len(text) - right :]
    parts = _COLOUR.split(text)  # odd ones are codes
    width = sum(map(len, parts[::2]))
    if width <= columns:
        return text
    left, right = _halves(columns)
    kept, at, has_gap = [], 0, False
    for number, part in enumerate(parts):
        if number % 2:
            kept.append(part)
            continue
        end = at + len(part)
        kept.append(part[: max(left - at, 0)])
        if left <= end and not has_gap:  # the gap begins in this part, or with the code after it
            kept.append(_DOTS[:columns])
            has_gap = True
        kept.append(part[max(width - right - at, left - at, 0) :])
        at = end
    return "".join(kept)


def _halves(columns: int) -> tuple[int, int]:
    """How much of both ends stays beside the dots."""
    room = max(columns - len(_DOTS), 0)
    return room // 2, room - room // 2


class Screen:
    """A stream with at most one status line at its end. Used in one thread.

    While a command has the terminal for itself, what would be printed is held back.
    """

    def __init__(self, sink: Sink, terminal: Terminal) -> None:
        self.terminal = terminal
        self._sink = sink
        self._is_line_open = False  # the last line is a status line, or has no end
        self._is_status = False  # … and it is a status line, which may be written over
        self._is_lent = False
        self._held = bytearray()
        self._pending: str | None = None
        self._is_broken = False

    def status(self, line: str) -> None:
        """Show a status line: over the last one, or as a line of its own on a plain stream."""
        if self._is_lent:
            if not self.terminal.is_smart:
                self._settle()
            self._pending = line
        elif self.terminal.is_smart:
            columns = self.terminal.columns()
            # Output without an end of line must not be written over.
            start = b"" if self._is_status else self._line_end()
            shown = elide(line, columns) if columns else line
            self._write(start + b"\r" + os.fsencode(shown) + b"\x1b[K")
            self._is_line_open = self._is_status = True
        else:
            self._write(self._line_end() + os.fsencode(line) + b"\n")
            self._is_line_open = False

    def output(self, data: bytes) -> None:
        """Print bytes that stay, from the beginning of a line. Without any, just begin a line."""
        if self._is_lent:
            self._settle()
            self._hold(data)
            return
        self._write(self._line_end() + data)
        self._is_line_open = bool(data) and not data.endswith(b"\n")
        self._is_status = False

    def lend(self) -> None:
        """Leave the terminal to a command."""
        if not self._is_lent:
            self.output(b"")
            self._is_lent = True

    def take_back(self) -> None:
        """Have the terminal again, and print what was held back."""
        if not self._is_lent:
            return
        self._is_lent = False
        held, pending = bytes(self._held), self._pending
        self._held.clear()
        self._pending = None
        self.output(held)
        if pending is not None:
            self.status(pending)

    def flush(self) -> None:
        """Have the reader see what was printed."""
        if self._is_broken:
            return
        try:
            self._sink.flush()
        except OSError:
            self._is_broken = True

    def _line_end(self) -> bytes:
        return b"\n" if self._is_line_open else b""

    def _settle(self) -> None:
        """Make a held status line one that stays."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._hold(os.fsencode(pending) + b"\n")

    def _hold(self, data: bytes) -> None:
        if self._held and not self._held.endswith(b"\n"):
            self._held += b"\n"
        self._held += data

    def _write(self, data: bytes) -> None:
        if self._is_broken or not data:
            return
        try:
            self._sink.write(data)
        except OSError:  # nobody reads any more: the build goes on without a word
            self._is_broken = True
