"""Takes a job from one state into another within the file, with all that hangs on it.

What may follow what says `vcache.jobs.states`; it must not know who asked, nor sessions beyond their counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.jobs.models import MOST_FAILURES, Failure
from vcache.jobs.packing import unpack_spec
from vcache.jobs.sqlite.schema import (
    BLOCKED,
    CANCELLED,
    COMPLETED,
    DEAD,
    DELAYED,
    FAILURES,
    HAS_DEADLINE,
    HAS_DEPENDENTS,
    HAS_NOTES,
    IS_UNIQUE,
    LONG_SPEC,
    READY,
    SHELF,
    STATES,
    SUSPECT,
    TOTAL,
    TOTALS,
    WHY,
    key_id,
)
from vcache.jobs.states import Event, State, after
from vcache.kit.data import NamedTuple
from vcache.serialize.plain import pack_plain, unpack_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vcache.jobs.sqlite.ledger import Ledger

__all__ = [
    "COLUMNS",
    "Row",
    "add_failure",
    "end",
    "find",
    "let_wait",
    "note_why",
    "place",
    "put_ready",
    "settle",
    "spec_data",
    "total",
    "work_ended",
]


class Row(NamedTuple):
    """A job as its table has it, without what is long."""

    no: int
    id: bytes
    shelf: int
    turn: int
    kind: int
    priority: int
    flags: int
    blockers: int
    attempts: int
    kills: int
    started_ns: int
    finished_ns: int
    deadline_ns: int | None
    worker: str | None

    @property
    def code(self) -> int:
        """Its state, as the file counts them."""
        return self.shelf >> SHELF


COLUMNS: Final = ", ".join(Row._fields)
_FIND: Final = f"SELECT {COLUMNS} FROM jobs WHERE id=?"  # noqa: S608 - names of ours
_AT: Final = f"SELECT {COLUMNS} FROM jobs WHERE no=?"  # noqa: S608
_SHELF: Final = "SELECT shelf FROM jobs WHERE no=?"
_MOVE: Final = "UPDATE jobs SET shelf=?, turn=?, flags=?, attempts=?, kills=?, finished_ns=? WHERE no=?"
_NO_DEADLINE: Final = "UPDATE jobs SET deadline_ns=NULL WHERE no=?"
_SPEC: Final = "SELECT spec FROM jobs WHERE no=?"
_FREE: Final = "DELETE FROM uniques WHERE key=? AND id=? AND until_ns=0"
_DEPENDENTS: Final = "DELETE FROM edges WHERE before=? RETURNING after"
_LESS_HELD: Final = "UPDATE sessions SET n_held=n_held-1, n_suspects=n_suspects-? WHERE no=?"
_REVOKE: Final = "INSERT INTO revoked VALUES(?,?)"
_REVOKED: Final = "UPDATE sessions SET n_revoked=n_revoked+1 WHERE no=?"
_UNBLOCK: Final = "UPDATE jobs SET blockers=blockers-1 WHERE no=? AND shelf=? RETURNING blockers"


def find(ledger: Ledger, key: bytes) -> Row | None:
    """The job with an id."""
    found = ledger.run(_FIND, (key,)).fetchone()
    return found and Row(*found)


def place(shelf: int, kind: int) -> tuple[int, int]:
    """Where the jobs of a shelf are counted."""
    code = shelf >> SHELF
    if code == READY:
        return code << 8 | shelf & 0xFF, kind
    return code << 8, 0 if code == COMPLETED else kind


def total(ledger: Ledger, kind: int, what: str) -> None:
    """Count what happened to a job, for ever."""
    ledger.count(TOTAL + TOTALS.index(what), kind)


def spec_data(ledger: Ledger, no: int) -> bytes:
    """The packed spec of a job."""
    return ledger.run(_SPEC, (no,)).get or ledger.noted(no, LONG_SPEC)


# --- into waiting ------------------------------------------------------------------------------


def put_ready(ledger: Ledger, row: Row, *, turn: int | None = None) -> None:
    """Let a job wait in its lane, as the last one.

    Args:
        row: as it is to be, but for shelf and turn.
        turn: where it stood, to stand there again.
    """
    lane = row.priority | (SUSPECT if row.kills else 0)
    _move(ledger, row, READY << SHELF | row.kind << 8 | lane, ledger.turn() if turn is None else turn)
    ledger.wakes.add(row.kind)


def let_wait(ledger: Ledger, row: Row, not_before_ns: int) -> None:
    """Let a job that nothing blocks wait: in its lane, or for its time."""
    if not_before_ns > ledger.now_ns:
        _move(ledger, row, DELAYED << SHELF | row.kind, not_before_ns)
        ledger.wakes.add(row.kind)  # who waits has to hear for how long
    else:
        put_ready(ledger, row)


def _move(ledger: Ledger, row: Row, shelf: int, turn: int) -> None:
    ledger.count(*place(row.shelf, row.kind), -1)
    ledger.count(*place(shelf, row.kind))
    ledger.run(_MOVE, (shelf, turn, row.flags, row.attempts, row.kills, row.finished_ns, row.no))


# --- into an end -------------------------------------------------------------------------------


def end(ledger: Ledger, row: Row, event: Event, why: str) -> list[bytes]:
    """Let a job that has not ended die or be cancelled, and cancel what waits for it; the keys of all of them."""
    ended: list[bytes] = []
    pending = [(row, event, why)]
    while pending:  # a loop: chains may be longer than the stack
        each, how, reason = pending.pop()
        state = _leave(ledger, each, how, reason)
        ended.append(each.id)
        because = f"it comes after job {key_id(each.id)}, which is {state}"
        pending += [(one, Event.CANCEL, because) for one in reversed(settle(ledger, each, state))]
        # A job may come after several of them: the second time it is cancelled already.
        while pending and not _is_blocked(ledger, pending[-1][0]):
            pending.pop()
    return ended


def _is_blocked(ledger: Ledger, row: Row) -> bool:
    return bool(ledger.run(_SHELF, (row.no,)).get == BLOCKED << SHELF | row.kind)


def _leave(ledger: Ledger, row: Row, event: Event, why: str) -> State:
    before = STATES[row.code]
    if before is State.RUNNING:
        work_ended(ledger, row, is_revoked=event is Event.CANCEL)
    row = row._replace(finished_ns=ledger.now_ns)
    if event is Event.GIVE_UP:
        before = after(before, Event.FAIL)
    state = after(before, event)
    code = DEAD if state is State.DEAD else CANCELLED
    total(ledger, row.kind, str(state))
    if why:
        row = note_why(ledger, row, why)
    _move(ledger, row, code << SHELF | row.kind, ledger.now_ns)
    return state


def work_ended(ledger: Ledger, row: Row, *, is_revoked: bool = False) -> None:
    """Take a job from the session that holds it."""
    session = row.shelf & (1 << SHELF) - 1
    ledger.run(_LESS_HELD, (1 if row.kills else 0, session))
    if is_revoked:
        ledger.run(_REVOKE, (session, row.id))
        ledger.run(_REVOKED, (session,))
    if row.kills:
        ledger.wakes.add(row.kind)  # the next suspect may come


def settle(ledger: Ledger, row: Row, state: State) -> list[Row]:
    """See to what hangs on a job that ended; what waits for it, and cannot run any more."""
    if row.flags & HAS_DEADLINE:
        ledger.run(_NO_DEADLINE, (row.no,))
    if row.flags & IS_UNIQUE:
        ledger.run(_FREE, (unpack_spec(spec_data(ledger, row.no)).unique, row.id))
    if not row.flags & HAS_DEPENDENTS:
        return []
    dependents = [no for (no,) in ledger.run(_DEPENDENTS, (row.no,)).fetchall()]
    if state is State.COMPLETED:
        for no in dependents:
            _unblock(ledger, no)
        return []
    rows = [Row(*found) for no in dependents for found in ledger.run(_AT, (no,)).fetchall()]
    return [one for one in rows if one.code == BLOCKED]


def _unblock(ledger: Ledger, no: int) -> None:
    found = ledger.run(_AT, (no,)).fetchone()
    if found is None:
        return
    row = Row(*found)
    left = ledger.run(_UNBLOCK, (no, BLOCKED << SHELF | row.kind)).get
    if left == 0:
        let_wait(ledger, row, unpack_spec(spec_data(ledger, no)).not_before_ns)


# --- evidence ----------------------------------------------------------------------------------


def add_failure(ledger: Ledger, row: Row, failure: Failure | None) -> Row:
    """Keep why an attempt came to nothing; the row with its flag."""
    if failure is None:
        return row
    kept = list(_failures(ledger.noted(row.no, FAILURES)))
    kept.append(list(failure))
    ledger.note(row.no, FAILURES, pack_plain(kept[-MOST_FAILURES:]))
    return row._replace(flags=row.flags | HAS_NOTES)


def _failures(data: bytes) -> Sequence[object]:
    found = unpack_plain(data) if data else []
    return found if isinstance(found, list) else []


def note_why(ledger: Ledger, row: Row, why: str) -> Row:
    """Keep why a job is dead or cancelled; the row with its flag."""
    ledger.note(row.no, WHY, pack_plain(why))
    return row._replace(flags=row.flags | HAS_NOTES)
