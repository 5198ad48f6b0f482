"""The numbers of a run, and what a NINJA_STATUS format makes of them. No I/O, no clock of its own."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMAT", "Progress"]

FORMAT: Final = "[%f/%t] "
"""What a status line begins with unless NINJA_STATUS says otherwise."""


class Progress:
    """The numbers of a run, and the text of a NINJA_STATUS format made of them."""

    def __init__(self, template: str = FORMAT, slots: int = 1) -> None:
        self.n_started = 0
        self.n_finished = 0
        self.n_planned = 0
        self.n_running = 0
        self.began_ns = 0
        self.elapsed_ms = 0
        self._pieces = list(_pieces(template))
        self._ends_ms: deque[int] = deque(maxlen=max(slots, 1))
        self._last_rated = -1
        self._rate: float | None = None

    def pass_time(self, at_ns: int) -> None:
        """Let the clock be at `at_ns`."""
        self.elapsed_ms = max((at_ns - self.began_ns) // 1_000_000, 0)

    def text(self) -> str:
        """The format, with this moment's numbers."""
        return "".join(piece if isinstance(piece, str) else piece(self) for piece in self._pieces)

    def percent(self) -> str:
        """How much of what is planned is finished."""
        done = 100 * self.n_finished // self.n_planned if self.n_planned else 0
        return f"{done:3d}%"

    def overall_rate(self) -> str:
        """Finished per second, since the beginning."""
        return f"{self.n_finished * 1e3 / self.elapsed_ms:.1f}" if self.elapsed_ms else "?"

    def current_rate(self) -> str:
        """Finished per second, over as many as run at once."""
        if self.n_finished != self._last_rated:
            self._last_rated = self.n_finished
            self._ends_ms.append(self.elapsed_ms)
            if took := self._ends_ms[-1] - self._ends_ms[0]:
                self._rate = len(self._ends_ms) * 1e3 / took
        return "?" if self._rate is None else f"{self._rate:.1f}"

    def elapsed(self) -> str:
        """Seconds since the beginning."""
        return f"{self.elapsed_ms / 1e3:.3f}"

    def elapsed_for_people(self) -> str:
        """The same as a clock shows it."""
        return self._clock(self.elapsed_ms / 1e3)

    def remaining(self) -> str:
        """Seconds to the end, if the rest goes as what is finished went; "?" for not known."""
        left_s = self._left_s()
        return "?" if left_s is None else f"{left_s:.3f}"

    def remaining_for_people(self) -> str:
        """The same as a clock shows it."""
        left_s = self._left_s()
        return "?" if left_s is None else self._clock(left_s)

    def _left_s(self) -> float | None:
        if not self.n_finished or not self.n_planned:
            return None
        return self.elapsed_ms / 1e3 * (self.n_planned - self.n_finished) / self.n_finished

    def _clock(self, duration_s: float) -> str:
        minutes, seconds = divmod(int(duration_s), 60)
        if max(self.elapsed_ms / 1e3, self._left_s() or 0) < 3600:
            return f"{minutes:02d}:{seconds:02d}"
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


_PLACEHOLDERS: Final[dict[str, Callable[[Progress], str]]] = {
    "s": lambda p: str(p.n_started),
    "t": lambda p: str(p.n_planned),
    "p": Progress.percent,
    "P": Progress.percent,
    "r": lambda p: str(p.n_running),
    "u": lambda p: str(p.n_planned - p.n_started),
    "f": lambda p: str(p.n_finished),
    "o": Progress.overall_rate,
    "c": Progress.current_rate,
    "e": Progress.elapsed,
    "w": Progress.elapsed_for_people,
    "E": Progress.remaining,
    "W": Progress.remaining_for_people,
    "%": lambda p: "%",
}


def _pieces(template: str) -> list[str | Callable[[Progress], str]]:
    """The format in literal text and what is filled in.

    Raises:
        UsageError: it has a placeholder that ninja does not know.
    """
    pieces: list[str | Callable[[Progress], str]] = []
    letters = iter(template)
    for char in letters:
        if char != "%":
            pieces.append(char)
            continue
        name = next(letters, "")
        if name not in _PLACEHOLDERS:
            raise UsageError(f"unknown placeholder '%{name}' in $NINJA_STATUS")
        pieces.append(_PLACEHOLDERS[name])
    return pieces
