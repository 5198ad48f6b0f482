"""How attempts end: completed, failed, given back, lost with their worker, or too late to begin.

It must not know claims.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from vcache.errors import UsageError
from vcache.jobs.base import KILLS, Finished
from vcache.jobs.models import Failure
from vcache.jobs.packing import pack_result
from vcache.jobs.sqlite.asking import forget_completed
from vcache.jobs.sqlite.moves import (
    COLUMNS,
    Row,
    add_failure,
    end,
    find,
    place,
    put_ready,
    settle,
    total,
    work_ended,
)
from vcache.jobs.sqlite.schema import (
    COMPLETED,
    DELAYED,
    LAST_TURN,
    READY,
    RETRY,
    RUNNING,
    SHELF,
    SUSPECT,
    TOTAL,
    TOTALS,
    key_id,
)
from vcache.jobs.sqlite.schema import id_key as key_of
from vcache.jobs.states import Event, State
from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vcache.jobs.sqlite.ledger import Ledger

__all__ = ["Ended", "ended", "expire", "finish", "let_due", "lose", "lose_all"]

_OTHERS: Final = (Event.TRY_AGAIN, Event.GIVE_UP, Event.RELEASE, Event.LOSE)
# Read, then changed by number: half the cost of UPDATE … RETURNING by shelf and turn.
_HELD_BETWEEN: Final = (
    "SELECT turn, no, id, kind, flags, kills FROM jobs WHERE shelf=? AND turn BETWEEN ? AND ?"
)
_COMPLETE: Final = (
    f"UPDATE jobs SET shelf={COMPLETED << SHELF}, turn=?1, finished_ns=?1, result=?2 WHERE no=?3"  # noqa: S608
)
_AT_TURN: Final = f"SELECT {COLUMNS} FROM jobs WHERE shelf=? AND turn=? AND id=?"  # noqa: S608
_HELD: Final = f"SELECT {COLUMNS} FROM jobs WHERE shelf=? ORDER BY turn"  # noqa: S608
_LESS_HELD: Final = "UPDATE sessions SET n_held=n_held-?, n_suspects=n_suspects-? WHERE no=?"
_RETRY: Final = "UPDATE jobs SET shelf=?, turn=?, flags=?, finished_ns=? WHERE no=?"
_LATE: Final = (
    f"SELECT {COLUMNS} FROM jobs INDEXED BY jobs_by_deadline "  # noqa: S608
    f"WHERE deadline_ns<=? AND shelf NOT BETWEEN {RUNNING << SHELF} AND {(RUNNING + 1 << SHELF) - 1} ORDER BY deadline_ns, no LIMIT ?"
)
_DUE: Final = f"SELECT {COLUMNS} FROM jobs WHERE shelf=? AND turn<=? ORDER BY turn LIMIT ?"  # noqa: S608
_TOO_LATE: Final = "it was not started before its deadline"


class Ended(NamedTuple):
    """What a worker said of attempts, looked at and packed before the file is touched.

    Attributes:
        completed: result, token, key of each.
        others: token, key and what was said of each.
    """

    completed: Sequence[tuple[bytes | None, int, bytes]] = ()
    others: Sequence[tuple[int, bytes, Finished]] = ()


def ended(finished: Iterable[Finished]) -> Ended:
    """What was finished, as `finish` takes it.

    Raises:
        UsageError: an attempt does not end so.
        EncodeError: a result is no plain value.
    """
    completed, others = [], []
    for each in finished:
        claimed = each.claimed
        key = key_of(claimed.spec.id)
        if each.event is Event.COMPLETE:
            result = None if each.result is None else pack_result(each.result)
            completed.append((result, claimed.token, key))
        elif each.event in _OTHERS:
            others.append((claimed.token, key, each))
        else:
            words = ", ".join((Event.COMPLETE, *_OTHERS))
            raise UsageError(f"an attempt does not end with {each.event}: give one of {words}")
    return Ended(completed, others)


def finish(ledger: Ledger, session: int, told: Ended, *, keep_ended: int) -> list[str]:
    """Record how attempts ended; the ids of those whose tokens do not count."""
    refused = _complete(ledger, session, told.completed, keep_ended) if told.completed else []
    shelf = RUNNING << SHELF | session
    for token, key, each in told.others:
        found = ledger.run(_AT_TURN, (shelf, token, key)).fetchone()
        if found is None:
            refused.append(each.claimed.spec.id)
        else:
            _end_other(ledger, Row(*found), each)
    return refused


def _complete(
    ledger: Ledger, session: int, completed: Sequence[tuple[bytes | None, int, bytes]], keep_ended: int
) -> list[str]:
    tokens = [token for _, token, _ in completed]
    held = ledger.run(_HELD_BETWEEN, (RUNNING << SHELF | session, min(tokens), max(tokens))).fetchall()
    by_token = {row[0]: row for row in held}
    done, changes, refused = [], [], []
    for result, token, key in completed:
        row = by_token.pop(token, None)
        if row is None or row[2] != key:
            refused.append(key_id(key))
        else:
            done.append(row)
            changes.append((ledger.now_ns, result, row[1]))
    if done:
        ledger.many(_COMPLETE, changes)
        _count_completed(ledger, session, done)
        if (excess := ledger.counted(COMPLETED << 8) - keep_ended) > 0:
            forget_completed(ledger, excess)
    return refused


def _count_completed(
    ledger: Ledger, session: int, done: Sequence[tuple[int, int, bytes, int, int, int]]
) -> None:
    for kind, count in Counter([row[3] for row in done]).items():
        ledger.count(RUNNING << 8, kind, -count)
        ledger.count(TOTAL + TOTALS.index("completed"), kind, count)
    ledger.count(COMPLETED << 8, 0, len(done))
    n_suspects = 0
    for _, no, key, kind, flags, kills in done:
        if flags:
            settle(ledger, Row(no, key, 0, 0, kind, 0, flags, 0, 0, kills, 0, 0, None, None), State.COMPLETED)
        if kills:
            n_suspects += 1
            ledger.wakes.add(kind)  # the next suspect may come
    ledger.run(_LESS_HELD, (len(done), n_suspects, session))


def _end_other(ledger: Ledger, row: Row, each: Finished) -> None:
    event, failure = each.event, each.failure
    if event is Event.RELEASE:
        work_ended(ledger, row)
        # The number that it was given when it was asked for stands before all that came since.
        put_ready(ledger, row._replace(attempts=row.attempts - 1), turn=row.no)
    elif event is Event.LOSE:
        lose(ledger, row, failure)
    elif event is Event.GIVE_UP:
        total(ledger, row.kind, "failed")
        why = failure.message if failure else ""
        end(ledger, add_failure(ledger, row, failure), event, why)
    else:
        total(ledger, row.kind, "failed")
        total(ledger, row.kind, "retried")
        row = add_failure(ledger, row, failure)
        work_ended(ledger, row)
        due_ns = ledger.now_ns + round(each.delay_s * 1e9)
        ledger.count(*place(row.shelf, row.kind), -1)
        ledger.count(RETRY << 8, row.kind)
        ledger.run(_RETRY, (RETRY << SHELF | row.kind, due_ns, row.flags, ledger.now_ns, row.no))


def lose(ledger: Ledger, row: Row, failure: Failure | None) -> None:
    """Take a job from a worker that was lost: to be tried as a suspect, or the third time to die."""
    now_ns, kills = ledger.now_ns, row.kills + 1
    message = f"its worker {row.worker} was lost"
    row = add_failure(
        ledger, row, failure or Failure(now_ns, row.attempts, "killed", message, worker=row.worker or "")
    )
    if kills >= KILLS:
        # `end` takes it from its session as the suspect that it was; the kill counts after it.
        ledger.run("UPDATE jobs SET kills=? WHERE no=?", (kills, row.no))
        end(ledger, row, Event.QUARANTINE, f"{message}, for the {kills}. time")
        ledger.run("UPDATE jobs SET kills=? WHERE no=?", (kills, row.no))
        return
    work_ended(ledger, row)
    put_ready(ledger, row._replace(kills=kills, finished_ns=now_ns))


def lose_all(ledger: Ledger, session: int) -> list[bytes]:
    """Take from a session all that it holds; the keys."""
    rows = [Row(*found) for found in ledger.run(_HELD, (RUNNING << SHELF | session,)).fetchall()]
    for row in rows:
        lose(ledger, row, None)
    return [row.id for row in rows]


# --- what time brings --------------------------------------------------------------------------


def expire(ledger: Ledger, most: int) -> int:
    """Let those die that were not started before their deadline; how many."""
    late = [key for _, key, *_ in ledger.run(_LATE, (ledger.now_ns, most)).fetchall()]
    count = 0
    for key in late:
        row = find(ledger, key)  # anew: one may have taken others with it
        if row is None or row.deadline_ns is None:
            continue
        failure = Failure(ledger.now_ns, row.attempts, "expired", _TOO_LATE)
        end(ledger, add_failure(ledger, row, failure), Event.EXPIRE, _TOO_LATE)
        count += 1
    return count


def let_due(ledger: Ledger, kinds: Iterable[int], most: int) -> int:
    """Let those wait in their lanes whose time has come; how many."""
    count = 0
    for kind in kinds:
        rows = [
            Row(*found)
            for code in (DELAYED, RETRY)
            for found in ledger.run(_DUE, (code << SHELF | kind, ledger.now_ns, most)).fetchall()
        ]
        if rows:
            rows.sort(key=lambda row: (row.turn, row.no))
            _make_ready(ledger, rows, kind)
            count += len(rows)
    return count


_READY: Final = "UPDATE jobs SET shelf=?, turn=? WHERE no=?"


def _make_ready(ledger: Ledger, rows: Sequence[Row], kind: int) -> None:
    turn = ledger.draw(LAST_TURN, len(rows))
    moves = []
    for number, row in enumerate(rows):
        lane = row.priority | (SUSPECT if row.kills else 0)
        moves.append((READY << SHELF | kind << 8 | lane, turn + number, row.no))
        ledger.count(READY << 8 | lane, kind)
        ledger.count(row.code << 8, kind, -1)
    ledger.many(_READY, moves)
    ledger.wakes.add(kind)
