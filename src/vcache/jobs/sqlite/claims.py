"""Gives a session what may run, in the order that `vcache.jobs.base` promises, within the limits of each kind.

It must not know how attempts end.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from vcache.jobs.base import TURNS
from vcache.jobs.sqlite.schema import (
    HAS_NOTES,
    LAST_CLAIM,
    LAST_TOKEN,
    LONG_SPEC,
    N_LIMITS,
    NOTE,
    PROGRESS,
    READY,
    RUNNING,
    SHELF,
    SUSPECT,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vcache.jobs.sqlite.ledger import Ledger

__all__ = ["Claims", "Rooms", "lanes_of"]

_LANES: Final = (
    f"SELECT kind, what & 255, n FROM counts WHERE what BETWEEN {READY << 8} AND {READY << 8 | 255} AND n>0"  # noqa: S608 - numbers of ours
)
_HEADS: Final = "SELECT turn, no FROM jobs WHERE shelf=? AND (turn, no)>(?, ?) ORDER BY turn, no LIMIT ?"
_CLAIM: Final = (
    "UPDATE jobs SET shelf=?1, turn=?2, attempts=attempts+1, started_ns=?3, finished_ns=0, worker=?4 WHERE no=?5 "
    "RETURNING no, turn, spec, attempts, kills, flags"
)
_LONG: Final = "SELECT data FROM notes WHERE place=?"
_LIMITS: Final = "SELECT kind, rate, burst, running, level, at_ns FROM limits"
_SPENT: Final = "UPDATE limits SET level=?, at_ns=? WHERE kind=?"
_UNBOUNDED: Final = 1 << 60
_CHUNK: Final = 64

Raw = tuple[bytes, int, int, int]
"""A claimed job: its packed spec, token, attempt, kills."""


def lanes_of(ledger: Ledger, kinds: Iterable[int]) -> dict[tuple[int, int], int]:
    """How many wait in the lanes of kinds, by kind and lane; none that are empty."""
    asked = frozenset(kinds)
    return {(kind, lane): n for kind, lane, n in ledger.run(_LANES).fetchall() if kind in asked}


class Rooms:
    """How many of each kind may start, by what workers together may do of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._limits: dict[int, tuple[float, float]] = {}  # by kind: rate, level
        self._rooms: dict[int, int] = {}
        self._runs: dict[int, int] = {}
        if ledger.counted(N_LIMITS):
            for row in ledger.run(_LIMITS).fetchall():
                self._look(*row)

    def _look(self, kind: int, rate: float, burst: float, running: int, level: float, at_ns: int) -> None:
        room = _UNBOUNDED
        if running:
            room = self._runs[kind] = max(0, running - self._ledger.counted(RUNNING << 8, kind))
        if rate:
            most = burst or max(1.0, rate)
            level = min(most, level + max(0, self._ledger.now_ns - at_ns) * rate / 1e9)
            self._limits[kind] = (rate, level)
            room = min(room, int(level + rate * 1e-6))  # less than a microsecond is rounding
        self._rooms[kind] = room

    def room(self, kind: int) -> int:
        """How many may start at once."""
        return self._rooms.get(kind, _UNBOUNDED)

    def take(self, kind: int) -> None:
        """Count a start."""
        if kind not in self._rooms:
            return
        self._rooms[kind] -= 1
        if kind in self._runs:
            self._runs[kind] -= 1
        if kind in self._limits:
            rate, level = self._limits[kind]
            self._limits[kind] = (rate, level - 1)

    def lacking_s(self, kind: int) -> float | None:
        """How long the next start has to wait; None for until another one has ended."""
        if self.room(kind) > 0:
            return 0.0
        if self._runs.get(kind, 1) <= 0 or kind not in self._limits:
            return None
        rate, level = self._limits[kind]
        return max(0.0, (1 - level) / rate)

    def save(self, kinds: Iterable[int]) -> None:
        """Write what was spent of rates."""
        now_ns = self._ledger.now_ns
        for kind in kinds:
            if kind in self._limits:
                self._ledger.run(_SPENT, (self._limits[kind][1], now_ns, kind))


class _Lane:
    """The jobs of one kind and priority that wait, foremost first."""

    __slots__ = ("_behind", "_heads", "_ledger", "_shelf", "kind", "lane")

    def __init__(self, ledger: Ledger, kind: int, lane: int) -> None:
        self.kind, self.lane = kind, lane
        self._ledger = ledger
        self._shelf = READY << SHELF | kind << 8 | lane
        self._heads: deque[tuple[int, int]] = deque()
        self._behind = (-1, -1)

    def head(self, want: int) -> tuple[int, int] | None:
        """Turn and number of the first; None at the end."""
        if not self._heads:
            found = self._ledger.run(_HEADS, (self._shelf, *self._behind, max(1, min(want, _CHUNK))))
            self._heads.extend(found.fetchall())
        return self._heads[0] if self._heads else None

    def take(self) -> int:
        """The number of the first, which the next call does not give again."""
        self._behind = self._heads.popleft()
        return self._behind[1]


class Claims:
    """One exchange's claims.

    Args:
        lanes: as `lanes_of` gives them. What is claimed is taken off.
    """

    def __init__(self, ledger: Ledger, lanes: dict[tuple[int, int], int], rooms: Rooms) -> None:
        self._ledger = ledger
        self._left = lanes
        self._rooms = rooms
        self._lanes = {key: _Lane(ledger, *key) for key in lanes}
        self._taken: list[int] = []

    def claim(self, session: int, worker: str, want: int, *, may_suspect: bool) -> tuple[list[Raw], int]:
        """Up to so many jobs for a session, and how many suspects are among them."""
        n_suspects = int(may_suspect and want > 0 and self._take_suspect())
        turn = self._ledger.counted(LAST_CLAIM)
        first = turn
        while len(self._taken) < want:
            lane = self._next(turn + 1, want - len(self._taken))
            if lane is None:
                break
            turn += 1
            self._take(lane)
        self._ledger.count(LAST_CLAIM, 0, turn - first)
        return self._start(session, worker), n_suspects

    def _open(self, least: int, most: int) -> list[_Lane]:
        """Lanes of some numbers that have jobs which may start."""
        return [
            lane for (kind, number), lane in self._lanes.items()
            if least <= number <= most and self._left[kind, number] > 0 and self._rooms.room(kind) > 0
        ]  # fmt: skip

    def _take_suspect(self) -> bool:
        found = [(lane.lane, head, lane) for lane in self._open(SUSPECT, 255) if (head := lane.head(1))]
        if found:
            self._take(min(found, key=lambda each: each[:2])[2])
        return bool(found)

    def _next(self, turn: int, want: int) -> _Lane | None:
        """The lane whose first is next: the longest waiting of the highest priority, or each `TURNS`th time of all."""
        lanes = self._open(0, SUSPECT - 1)
        if turn % TURNS and lanes:
            foremost = min(lane.lane for lane in lanes)
            lanes = [lane for lane in lanes if lane.lane == foremost]
        if len(lanes) == 1:
            return lanes[0] if lanes[0].head(want) else None
        heads = [(head, lane) for lane in lanes if (head := lane.head(want))]
        return min(heads, key=lambda each: each[0])[1] if heads else None

    def _take(self, lane: _Lane) -> None:
        self._taken.append(lane.take())
        key = (lane.kind, lane.lane)
        self._left[key] -= 1
        self._rooms.take(lane.kind)
        self._ledger.count(READY << 8 | lane.lane, lane.kind, -1)
        self._ledger.count(RUNNING << 8, lane.kind)

    def _start(self, session: int, worker: str) -> list[Raw]:
        ledger = self._ledger
        if not self._taken:
            return []
        token = ledger.draw(LAST_TOKEN, len(self._taken))
        shelf, now_ns = RUNNING << SHELF | session, ledger.now_ns
        rows = [(shelf, token + at, now_ns, worker, no) for at, no in enumerate(self._taken)]
        self._rooms.save({kind for kind, _ in self._lanes})
        return [self._raw(row) for row in ledger.many(_CLAIM, rows)]

    def _raw(self, row: Sequence[Any]) -> Raw:
        no, token, spec, attempts, kills, flags = row
        if flags & HAS_NOTES:
            self._ledger.unnote(no, PROGRESS)
            if spec is None:
                spec = self._ledger.run(_LONG, (no << NOTE | LONG_SPEC,)).get
        return spec, token, attempts, kills
