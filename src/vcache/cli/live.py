"""The live display of a build: painted ten times a second by a thread of its own, below what nodes wrote.

It must not know what is drawn (`vcache.cli.frame`), nor how a build works.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TextIO

from vcache.cli.ansi import terminal_size, write
from vcache.cli.frame import Forecast, frame, title
from vcache.cli.lines import VERBOSE, Lines
from vcache.dag.events import Finished, Hit, Output, RunEnded, Started, UpToDate

if TYPE_CHECKING:
    from vcache.cli.ansi import Paint
    from vcache.cli.lines import Standing, WarningsOf
    from vcache.dag.events import Event
    from vcache.kit.clock import Clock

__all__ = ["Live"]

_FIRST_PAINT_S: Final = 0.3  # a build that is quicker is told by its last line alone
_PAINT_S: Final = 0.1


class Live(Lines):
    """Lines for what is to stay, and a display below them of what goes on.

    Args:
        clock: what the running nodes' times are measured with; the same as the events'.
    """

    def __init__(
        self, stream: TextIO, paint: Paint, *, verbosity: int = 0, durations: Mapping[str, int],
        clock: Clock = time.time_ns, size: Callable[[TextIO], tuple[int, int]] = terminal_size,
        warnings: WarningsOf | None = None, standing: Standing | None = None,
    ) -> None:  # fmt: skip
        super().__init__(stream, paint, verbosity=verbosity, warnings=warnings, standing=standing)
        self._forecast = Forecast(durations)
        self._clock = clock
        self._size = size
        self._is_ascii = not (stream.encoding or "").lower().replace("-", "").startswith("utf")
        self._painted: list[str] = []
        # Guards the terminal and the counts: what is printed and what is painted must not mix.
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._painter: threading.Thread | None = None

    def on_event(self, event: Event) -> None:
        """Show an event."""
        if self._painter is None and isinstance(event, (Hit, Started)):
            self._painter = threading.Thread(target=self._keep_painting, name="vcache-display", daemon=True)
            self._painter.start()
        with self._lock:
            super().on_event(event)

    def close(self) -> None:
        """Take the display away."""
        self._is_over.set()
        if self._painter is not None and self._painter is not threading.current_thread():
            self._painter.join()
        with self._lock:
            self._clear()
            super().close()

    def paint(self) -> None:
        """Bring the display up to date."""
        with self._lock:
            if self._has_console is not None or not self._tally.started_ns or self._is_over.is_set():
                return
            lines = self._frame()
            if lines != self._painted:
                self._repaint("", lines)

    def _keep_painting(self) -> None:
        wait_s = _FIRST_PAINT_S
        while not self._is_over.wait(wait_s):
            wait_s = _PAINT_S
            try:
                self.paint()
            except (OSError, ValueError):  # the terminal went away, or was closed under us
                return

    def _frame(self) -> list[str]:
        columns, rows = self._size(self._stream)
        return frame(
            self._tally, self._forecast, self._clock(), columns=columns, rows=rows, paint=self._paint,
            is_ascii=self._is_ascii,
        )  # fmt: skip

    def _up_to_date(self, event: UpToDate) -> None:
        super()._up_to_date(event)
        self._forecast.spared(event.node.name)

    def _hit(self, event: Hit) -> None:
        self._forecast.spared(event.node.name, event.saved_ns)
        super()._hit(event)

    def _started(self, event: Started) -> None:
        super()._started(event)
        if self._has_console is not None:
            self._clear()

    def _end_of(self, event: Finished, words: str, reason: str) -> str:
        if not event.will_retry:
            self._forecast.ran(event.node.name, event.took_ns)
        return super()._end_of(event, words, reason)

    def _done(self, event: Finished, took: str, reason: str, words: str) -> str:
        # The display has shown it; a line stays only where somebody wants to read it later.
        return super()._done(event, took, reason, words) if self._verbosity >= VERBOSE else ""

    def _block(self, event: Output) -> str:
        text = super()._block(event)
        if not text or event.is_replayed or event.node in self._tally.failed or self._verbosity >= VERBOSE:
            return text
        return f"{self._paint('1', title(event.node))}\n{text}"

    def _run_ended(self, event: RunEnded) -> None:
        self._is_over.set()
        self._clear()
        super()._run_ended(event)

    def _print(self, text: str) -> None:
        self._repaint(text, self._frame() if self._painted else [])

    def _clear(self) -> None:
        if self._painted:
            self._repaint("", [])

    def _repaint(self, text: str, lines: list[str]) -> None:
        """Put text where the display was, and the display below it, in one write: nothing flickers."""
        parts = []
        if self._painted:
            parts.append(f"\x1b[{len(self._painted)}F")  # to the beginning of its first line
            if text or not lines:
                parts.append("\x1b[J")
        parts.append(text)
        # No wrapping while it is painted: a terminal that has just been made narrower would scroll.
        parts += ["\x1b[?7l", *(f"{line}\x1b[K\n" for line in lines), "\x1b[J\x1b[?7h"] if lines else []
        self._painted = lines
        write(self._stream, "".join(parts))
