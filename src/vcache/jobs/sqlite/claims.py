"""Gives a session what may run, in the order that `vcache.jobs.base` promises, within the limits of each kind.

It must not know how attempts end.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

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
    from collections.abc import Iterable

    from vcache.jobs.sqlite.ledger import Ledger

__all__ = ["Claims", "Rooms", "lanes_of"]

_LANES: Final = (
    f"SELECT kind, what & 255, n FROM counts WHERE what BETWEEN {READY << 8} AND {READY << 8 | 255} AND n>0"  # noqa: S608 - numbers of ours
)
# Read, then changed by number: half the cost of UPDATE … RETURNING.
_HEADS: Final = (
    "SELECT turn, no, spec, attempts, kills, flags FROM jobs WHERE shelf=? AND (turn, no)>(?, ?) "
    "ORDER BY turn, no LIMIT ?"
)
_CLAIM: Final = "UPDATE jobs SET shelf=?1, turn=?2, attempts=attempts+1, started_ns=?3, finished_ns=0, worker=?4 WHERE no=?5"
_LONG: Final = "SELECT data FROM notes WHERE place=?"
_LIMITS: Final = "SELECT kind, rate, burst, running, level, at_ns FROM limits"
_SPENT: Final = "UPDATE limits SET level=?, at_ns=? WHERE kind=?"
_UNBOUNDED: Final = 1 << 60
_CHUNK: Final = 16  # of each of several lanes: what is read and not taken is read for nothing

Raw = tuple[bytes, int, int, int]
"""A claimed job: its packed spec, token, attempt, kills."""
Head = tuple[int, int, bytes | None, int, int, int]
"""One that may be: turn, number, packed spec (None for a long one), attempts, kills, flags."""


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

    def take(self, kind: int, count: int) -> None:
        """Count starts."""
        if kind not in self._rooms:
            return
        self._rooms[kind] -= count
        if kind in self._runs:
            self._runs[kind] -= count
        if kind in self._limits:
            rate, level = self._limits[kind]
            self._limits[kind] = (rate, level - count)

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

    __slots__ = ("_behind", "_ledger", "_shelf", "heads", "kind", "lane")

    def __init__(self, ledger: Ledger, kind: int, lane: int) -> None:
        self.kind, self.lane = kind, lane
        self.heads: deque[Head] = deque()
        self._ledger = ledger
        self._shelf = READY << SHELF | kind << 8 | lane
        self._behind = (-1, -1)

    def fill(self, most: int) -> bool:
        """Read the next ones, where none is left; whether there are any."""
        if not self.heads:
            rows = self._ledger.run(_HEADS, (self._shelf, *self._behind, most)).fetchall()
            if rows:
                self._behind = rows[-1][:2]
                self.heads.extend(rows)
        return bool(self.heads)


class Claims:
    """One exchange's claims.

    Args:
        lanes: as `lanes_of` gives them. What is claimed is taken off.
    """

    def __init__(self, ledger: Ledger, lanes: dict[tuple[int, int], int], rooms: Rooms) -> None:
        self._ledger = ledger
        self._left = lanes
        self._rooms = rooms
        self._lanes = [_Lane(ledger, *key) for key in sorted(lanes, key=_by_lane)]
        self._taken: list[Head] = []

    def claim(self, session: int, worker: str, want: int, *, may_suspect: bool) -> tuple[list[Raw], int]:
        """Up to so many jobs for a session, and how many suspects are among them."""
        if want <= 0 or not self._lanes:
            return [], 0
        n_suspects = int(may_suspect and self._take_suspect())
        first = turn = self._ledger.counted(LAST_CLAIM)
        while (left := want - len(self._taken)) > 0:
            lanes = self._open(0, SUSPECT - 1)
            if not lanes:
                break
            turn += self._take_some(lanes, turn + 1, left)
        self._ledger.count(LAST_CLAIM, 0, turn - first)
        return self._start(session, worker), n_suspects

    def _open(self, least: int, most: int) -> list[_Lane]:
        """Lanes of some numbers that have jobs which may start, by number."""
        return [
            each for each in self._lanes
            if least <= each.lane <= most and self._left[each.kind, each.lane] > 0 and self._rooms.room(each.kind) > 0
        ]  # fmt: skip

    def _take_suspect(self) -> bool:
        found = [each for each in self._open(SUSPECT, 255) if each.fill(1)]
        if found:
            self._take(min(found, key=lambda each: (each.lane, each.heads[0][:2])), 1)
        return bool(found)

    def _take_some(self, lanes: list[_Lane], turn: int, want: int) -> int:
        """Take what comes next, as long as it comes from one lane; how many."""
        if turn % TURNS:  # the highest priority, as far as the next one whose turn is another
            want = min(want, TURNS - turn % TURNS) if lanes[0].lane != lanes[-1].lane else want
            lanes = [each for each in lanes if each.lane == lanes[0].lane]
        elif len(lanes) > 1:
            want = 1
        if len(lanes) == 1:
            return self._take(lanes[0], want)
        filled = []
        for each in lanes:
            if each.fill(min(want, _CHUNK)):
                filled.append(each)
            else:
                self._left[each.kind, each.lane] = 0
        return self._take(min(filled, key=lambda each: each.heads[0][:2]), 1) if filled else 0

    def _take(self, lane: _Lane, want: int) -> int:
        key = (lane.kind, lane.lane)
        want = min(want, self._left[key], self._rooms.room(lane.kind))
        count = 0
        while count < want and lane.fill(want - count):
            self._taken.append(lane.heads.popleft())
            count += 1
        # A count that says more than there is would be asked for ever.
        self._left[key] = self._left[key] - count if count == want else 0
        self._rooms.take(lane.kind, count)
        self._ledger.count(READY << 8 | lane.lane, lane.kind, -count)
        self._ledger.count(RUNNING << 8, lane.kind, count)
        return count

    def _start(self, session: int, worker: str) -> list[Raw]:
        ledger, taken = self._ledger, self._taken
        if not taken:
            return []
        first = ledger.draw(LAST_TOKEN, len(taken))
        shelf, now_ns = RUNNING << SHELF | session, ledger.now_ns
        ledger.many(_CLAIM, [(shelf, first + at, now_ns, worker, head[1]) for at, head in enumerate(taken)])
        self._rooms.save({each.kind for each in self._lanes})
        return [self._raw(head, first + at) for at, head in enumerate(taken)]

    def _raw(self, head: Head, token: int) -> Raw:
        _, no, spec, attempts, kills, flags = head
        if flags & HAS_NOTES:
            self._ledger.unnote(no, PROGRESS)
        if spec is None:
            spec = self._ledger.run(_LONG, (no << NOTE | LONG_SPEC,)).get
        return spec, token, attempts + 1, kills


def _by_lane(key: tuple[int, int]) -> tuple[int, int]:
    return key[1], key[0]
