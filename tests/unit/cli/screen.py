"""A terminal for tests."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterable

from vcache.cli.lines import Lines
from vcache.dag.events import Event


class Screen(io.StringIO):
    """A terminal of 60 columns: knows text, line breaks and the few escapes that a display needs."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = [""]
        self.row = 0
        self.was_written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\n|[^\x1b\n]+", text):
            if part == "\n":
                self.row += 1
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif part.endswith("F") and part[0] == "\x1b":
                self.row -= int(part[2:-1])
                assert self.row >= 0
            elif part == "\x1b[J":
                del self.rows[self.row + 1 :]
                self.rows[self.row] = ""
            elif part == "\x1b[K" or re.fullmatch(r"\x1b\[(\?7[lh]|[0-9;]*m)", part):
                pass
            else:
                assert part[0] != "\x1b", part
                self.rows[self.row] = part
        self.was_written.set()
        return len(text)

    @property
    def shown(self) -> list[str]:
        return [row.rstrip() for row in self.rows if row.strip()]


def tell(shown: Lines, events: Iterable[Event]) -> None:
    for event in events:
        shown.on_event(event)
