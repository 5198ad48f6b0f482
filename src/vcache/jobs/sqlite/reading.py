"""What a queue's file says, read on a connection of its own: no writer waits for it, nor it for one.

It must not know how jobs come to be where they are.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final, cast

from vcache.errors import StoreClosed, UsageError
from vcache.jobs.base import Cell, Claimed, KindTotals, Page, QueueStats, Session
from vcache.jobs.models import Failure, Job, Limits
from vcache.jobs.packing import unpack_progress, unpack_result, unpack_spec
from vcache.jobs.sqlite.connecting import connect
from vcache.jobs.sqlite.ledger import Kinds
from vcache.jobs.sqlite.moves import COLUMNS, Row
from vcache.jobs.sqlite.schema import (
    CODES,
    COMPLETED,
    DELAYED,
    FAILURES,
    HAS_NOTES,
    LAST_TURN,
    LONG_SPEC,
    NOTE,
    PROGRESS,
    READY,
    RETRY,
    RUNNING,
    SHELF,
    STATES,
    SUBMITTED,
    SUSPECT,
    TOTAL,
    TOTALS,
    WHY,
)
from vcache.jobs.sqlite.schema import id_key as key_of
from vcache.jobs.states import State
from vcache.serialize.plain import unpack_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vcache.jobs.sqlite.trouble import Trouble

__all__ = ["Reader"]

_JOB: Final = f"SELECT {COLUMNS}, result, spec FROM jobs"  # noqa: S608 - names of ours
_BY_ID: Final = f"{_JOB} WHERE id=?"
_BY_NO: Final = f"{_JOB} WHERE no=?"
_NOTES: Final = "SELECT place & 7, data FROM notes WHERE place BETWEEN ? AND ?"
_COUNTS: Final = "SELECT what, kind, n FROM counts"
_KIND_NAMES: Final = "SELECT no, name FROM kinds"
_SESSIONS: Final = "SELECT id, worker, beats, lease_s, n_held, kinds, no FROM sessions"
_HEAD: Final = "SELECT turn, no FROM jobs WHERE shelf=? ORDER BY turn, no LIMIT 1"
_OVERDUE: Final = (
    "SELECT priority, count(*) FROM (SELECT priority FROM jobs WHERE shelf=? AND turn<=? ORDER BY turn LIMIT 10000) "
    "GROUP BY priority"
)
_HELD: Final = "SELECT no, turn, spec, attempts, kills FROM jobs WHERE shelf=? ORDER BY turn"
_LIMITS: Final = "SELECT kinds.name, rate, burst, running FROM limits JOIN kinds ON kinds.no=limits.kind"
_CELLS: Final = "SELECT name, version, value FROM cells WHERE name>=? ORDER BY name"


class Reader:
    """See the module. One thread at a time reads; each sees one moment.

    Args:
        path: the queue's file.
        trouble: what turns SQLite's errors into ours.
    """

    def __init__(self, path: str, trouble: Trouble) -> None:
        self._path = path
        self._trouble = trouble
        self._is_closed = False
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._db: Any = None
        self._kinds = Kinds()

    @contextlib.contextmanager
    def _view(self) -> Iterator[Any]:
        with self._trouble, self._lock:
            if self._is_closed:
                raise StoreClosed(f"the queue {self._path} was closed")
            if self._db is None:
                self._db = connect(self._path, is_reader=True)
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def version(self) -> int:
        """A number that changes with each commit of others."""
        with self._view() as db:
            return int(db.execute("PRAGMA data_version").get)

    # --- jobs -------------------------------------------------------------------------------

    def get(self, ids: Sequence[str]) -> list[Job | None]:
        """Jobs by id."""
        with self._view() as db:
            rows = [db.execute(_BY_ID, (key_of(each),)).fetchone() for each in ids]
            return [_job(db, row) if row else None for row in rows]

    def page(self, state: State, kind: str, cursor: str, limit: int) -> Page:
        """A part of the jobs of a state, by shelf after shelf's order."""
        from heapq import merge
        from itertools import islice

        if limit < 1:
            raise UsageError(f"a list of at most {limit!r} jobs: give 1 or more")
        behind = _place_of(cursor)
        with self._view() as db:
            number = self._kinds.number(db, kind) if kind else None
            if kind and number is None:
                return Page([])
            shelves = _shelves(db, state, number)
            only = number if state in (State.RUNNING, State.COMPLETED) else None
            found = [_walk(db, shelf, behind, limit + 1, only) for shelf in shelves]
            places = list(islice(merge(*found), limit + 1))
            jobs = [_job(db, db.execute(_BY_NO, (no,)).fetchone()) for _, no in places[:limit]]
        last = places[limit - 1] if len(places) > limit else None
        return Page(jobs, f"{last[0]}.{last[1]}" if last else "")

    def held(self, session: str) -> list[Claimed] | None:
        """What a session holds; None where it is not known."""
        with self._view() as db:
            no = db.execute("SELECT no FROM sessions WHERE id=?", (session,)).get
            if no is None:
                return None
            rows = db.execute(_HELD, (RUNNING << SHELF | no,)).fetchall()
            return [
                Claimed(unpack_spec(spec or _notes(db, number)[LONG_SPEC]), token, attempts, kills)
                for number, token, spec, attempts, kills in rows
            ]

    # --- the queue --------------------------------------------------------------------------

    def stats(self, now_ns: int) -> QueueStats:
        """What the queue holds."""
        with self._view() as db:
            counts = {(what, kind): n for what, kind, n in db.execute(_COUNTS) if n}
            self._kinds.keep({name: no for no, name in db.execute(_KIND_NAMES)})
            _count_due(db, counts, now_ns)
            oldest_ns = _oldest_ns(db, counts)
            sessions = _sessions(db)
        names = self._kinds.names
        by_state = dict.fromkeys(State, 0)
        waiting: dict[tuple[str, int], int] = {}
        totals: dict[int, list[int]] = {}
        submitted: dict[tuple[str, int], int] = {}
        for (what, kind), n in counts.items():
            if what < TOTAL:
                by_state[STATES[what >> 8]] += n
            elif what < TOTAL + len(TOTALS):
                totals.setdefault(kind, [0] * (1 + len(TOTALS)))[1 + what - TOTAL] = n
            elif SUBMITTED <= what < LAST_TURN:
                totals.setdefault(kind, [0] * (1 + len(TOTALS)))[0] += n
                submitted[names[kind], what - SUBMITTED] = n
            if what >> 8 == READY:
                key = (names[kind], what & (SUSPECT - 1))
                waiting[key] = waiting.get(key, 0) + n
        delayed = sum(n for (what, _), n in counts.items() if what >> 8 == DELAYED)
        by_kind = {names[kind]: KindTotals(*each) for kind, each in totals.items()}
        return QueueStats(waiting, delayed, by_state, by_kind, oldest_ns, sessions, submitted)

    def has_ready(self, kinds: Sequence[str]) -> bool:
        """Whether anything waits of some kinds."""
        with self._view() as db:
            numbers = {self._kinds.number(db, kind) for kind in kinds}
            low, high = READY << 8, READY << 8 | 255
            rows = db.execute("SELECT kind FROM counts WHERE what BETWEEN ? AND ? AND n>0", (low, high))
            return any(kind in numbers for (kind,) in rows)

    def sessions(self) -> list[Session]:
        """The sessions that are open."""
        with self._view() as db:
            return _sessions(db)

    def limits(self) -> dict[str, Limits]:
        """What is limited, by kind."""
        with self._view() as db:
            return {name: Limits(rate, burst, running) for name, rate, burst, running in db.execute(_LIMITS)}

    def boot_offset(self, boot: str) -> int | None:
        """What is added to the steady clock in a boot; None where nobody said it."""
        with self._view() as db:
            found: int | None = db.execute("SELECT offset_ns FROM boots WHERE boot=?", (boot,)).get
            return found

    def cells(self, prefix: str) -> Mapping[str, Cell]:
        """Cells whose names begin so."""
        found: dict[str, Cell] = {}
        with self._view() as db:
            for name, version, value in db.execute(_CELLS, (prefix,)):
                if not name.startswith(prefix):
                    break
                found[name] = Cell(version, value)
        return found

    # --- connections ------------------------------------------------------------------------

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close(True)

    def close(self) -> None:
        """Release everything. May be called again."""
        with self._lock:
            self._is_closed = True
            self._disconnect()

    def pause(self, timeout_s: float) -> bool:
        """Let go of the file for a fork; whether that was possible in time. `resume` or `renew` follows."""
        if not self._lock.acquire(timeout=timeout_s):
            return False
        self._disconnect()
        return True

    def resume(self) -> None:
        """Go on after a fork, in the parent."""
        self._lock.release()

    def renew(self) -> None:
        """Begin anew after a fork, in the child."""
        self._renew()


def _job(db: Any, found: Sequence[Any]) -> Job:
    *fields, result, data = found
    row = Row(*fields)
    notes = _notes(db, row.no) if row.flags & HAS_NOTES else {}
    state, due_ns = STATES[row.code], row.turn if row.code in (DELAYED, RETRY) else 0
    failures = cast("list[list[Any]]", unpack_plain(notes[FAILURES])) if FAILURES in notes else []
    return Job(
        unpack_spec(data if data is not None else notes[LONG_SPEC]), state, row.attempts, row.kills, due_ns,
        row.started_ns, row.finished_ns, row.worker or "", row.turn if row.code == RUNNING else 0,
        unpack_progress(notes[PROGRESS]) if PROGRESS in notes else None,
        unpack_result(result) if result is not None else None,
        tuple(Failure(*each) for each in failures), str(unpack_plain(notes[WHY])) if WHY in notes else "",
    )  # fmt: skip


def _notes(db: Any, no: int) -> dict[int, bytes]:
    return dict(db.execute(_NOTES, (no << NOTE, no << NOTE | 7)).fetchall())


def _sessions(db: Any) -> list[Session]:
    return [
        Session(each, worker, beats, lease_s, n_held, tuple(cast("list[str]", unpack_plain(kinds))))
        for each, worker, beats, lease_s, n_held, kinds, _ in db.execute(_SESSIONS)
    ]


def _shelves(db: Any, state: State, kind: int | None) -> list[int]:
    shelves: list[int] = []
    for code in CODES[state]:
        if code == COMPLETED:
            shelves.append(code << SHELF)
        elif code == RUNNING:
            shelves += [code << SHELF | row[-1] for row in db.execute(_SESSIONS)]
        else:
            rows = db.execute(
                "SELECT what, kind FROM counts WHERE what BETWEEN ? AND ? AND n>0",
                (code << 8, code << 8 | 255),
            )
            found = [(what & 255, each) for what, each in rows if kind in (None, each)]
            shelves += [code << SHELF | (each << 8 | lane if code == READY else each) for lane, each in found]
    return shelves


def _walk(db: Any, shelf: int, behind: tuple[int, int], most: int, kind: int | None) -> list[tuple[int, int]]:
    sql = "SELECT turn, no FROM jobs WHERE shelf=? AND (turn, no)>(?, ?)"
    values: tuple[int, ...] = (shelf, *behind)
    if kind is not None:
        sql, values = sql + " AND kind=?", (*values, kind)
    found: list[tuple[int, int]] = db.execute(f"{sql} ORDER BY turn, no LIMIT ?", (*values, most)).fetchall()
    return found


def _place_of(cursor: str) -> tuple[int, int]:
    turn, _, no = cursor.partition(".")
    if not cursor:
        return -1, -1
    if not (turn.isdecimal() and no.isdecimal() and len(cursor) < 40):
        raise UsageError(f"not a cursor of a list: {cursor!r:.80}; give what the page before had in `next`")
    return int(turn), int(no)


def _count_due(db: Any, counts: dict[tuple[int, int], int], now_ns: int) -> None:
    """Count those as waiting whose time has come, and that no exchange has let wait yet."""
    for what, kind in list(counts):
        if what >> 8 not in (DELAYED, RETRY) or what >= TOTAL:
            continue
        for priority, n in db.execute(_OVERDUE, (what >> 8 << SHELF | kind, now_ns)):
            counts[what, kind] -= n
            lane = (READY << 8 | priority, kind)
            counts[lane] = counts.get(lane, 0) + n


def _oldest_ns(db: Any, counts: dict[tuple[int, int], int]) -> int:
    shelves = [READY << SHELF | kind << 8 | what & 255 for what, kind in counts if what >> 8 == READY]
    heads = [row for shelf in shelves for row in db.execute(_HEAD, (shelf,)).fetchall()]
    if not heads:
        return 0
    row = db.execute(_BY_NO, (min(heads)[1],)).fetchone()
    return _job(db, row).spec.created_ns
