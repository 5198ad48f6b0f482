"""What who asks for jobs does to the file: submit, cancel, requeue, purge. It must not know who works."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import UsageError
from vcache.jobs.models import Priority, Spec
from vcache.jobs.packing import pack_spec, unpack_spec
from vcache.jobs.sqlite.moves import Row, end, find, let_wait, put_ready, spec_data
from vcache.jobs.sqlite.schema import (
    BLOCKED,
    CANCELLED,
    CODES,
    COMPLETED,
    DEAD,
    HAS_DEADLINE,
    HAS_DEPENDENTS,
    HAS_NOTES,
    IS_UNIQUE,
    LAST_TURN,
    LAST_VERSION,
    LONG_SPEC,
    NOTE,
    READY,
    RETRY,
    SHELF,
    SUBMITTED,
    WHY,
    key_id,
)
from vcache.jobs.sqlite.schema import id_key as key_of
from vcache.jobs.states import Event, State
from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vcache.jobs.sqlite.ledger import Ledger

__all__ = ["Asked", "asked", "cancel", "forget_completed", "forget_part", "requeue", "submit", "swap"]

_PRIORITIES: Final = range(len(Priority))
_PLAIN: Final = Spec("", "")[5:]
_LONG_BYTES: Final = 1500  # a row is written anew at each step of its job; what is long is not
_INSERT: Final = "INSERT INTO jobs VALUES(?1,?2,?3,?4,?5,?6,?7,0,0,0,0,0,?8,NULL,NULL,?9)"
_INSERT_PLAIN: Final = (
    "INSERT INTO jobs VALUES(?1,?2,?3,?1,?4,?5,0,0,0,0,0,0,NULL,NULL,NULL,?6) ON CONFLICT(id) DO NOTHING"
)
_MADE: Final = "SELECT no FROM jobs WHERE no BETWEEN ? AND ?"
_TAKEN: Final = "SELECT id FROM uniques WHERE key=? AND (until_ns=0 OR until_ns>?)"
_TAKE: Final = "INSERT OR REPLACE INTO uniques VALUES(?,?,?)"
_EDGE: Final = "INSERT OR IGNORE INTO edges VALUES(?,?)"
_FLAG: Final = "UPDATE jobs SET flags=flags|? WHERE no=?"
_BLOCKERS: Final = "UPDATE jobs SET blockers=? WHERE no=?"
_NO_DEADLINE: Final = "UPDATE jobs SET deadline_ns=NULL WHERE no=?"


class Asked(NamedTuple):
    """A spec that was looked at and packed, before the file is touched."""

    spec: Spec
    key: bytes
    data: bytes
    is_plain: bool


def asked(specs: Iterable[Spec]) -> list[Asked]:
    """Specs as `submit` takes them.

    Raises:
        UsageError: one could not be kept.
    """
    return [_asked(spec) for spec in specs]


def _asked(spec: Spec) -> Asked:
    if spec.priority not in _PRIORITIES:
        raise UsageError(f"job {spec.kind!r}: priority={spec.priority!r}: give 0 (critical) to 3 (low)")
    if not (spec.id and spec.kind):
        raise UsageError(f"job {spec.kind!r} with the id {spec.id!r}: give both")
    data = pack_spec(spec)
    return Asked(spec, key_of(spec.id), data, spec[5:] == _PLAIN and len(data) <= _LONG_BYTES)


# --- submit ------------------------------------------------------------------------------------


def submit(ledger: Ledger, many: Sequence[Asked]) -> list[str]:
    """Keep jobs; the ids of those that are."""
    if all(each.is_plain for each in many):
        _add_plain(ledger, many)
        return [each.spec.id for each in many]
    return [_add(ledger, each) for each in many]


def _add_plain(ledger: Ledger, many: Sequence[Asked]) -> None:
    names = (many[0].spec.kind,) if len(many) == 1 else dict.fromkeys([each.spec.kind for each in many])
    numbers = {name: ledger.kind(name) for name in names}
    first = ledger.draw(LAST_TURN, len(many))
    rows = list(_plain_rows(many, numbers, first))
    before = ledger.db.total_changes()
    ledger.many(_INSERT_PLAIN, rows)
    if ledger.db.total_changes() - before < len(rows):  # the others are known
        made = ledger.run(_MADE, (first, first + len(rows) - 1)).fetchall()
        rows = [rows[no - first] for (no,) in made]
    counts = {(rows[0][3], rows[0][4]): 1} if len(rows) == 1 else Counter([row[3:5] for row in rows])
    for (kind, priority), count in counts.items():
        ledger.count(READY << 8 | priority, kind, count)
        ledger.count(SUBMITTED + priority, kind, count)
        ledger.wakes.add(kind)


def _plain_rows(many: Sequence[Asked], numbers: dict[str, int], no: int) -> Iterator[tuple[Any, ...]]:
    for spec, key, data, _ in many:
        kind, priority = numbers[spec.kind], spec.priority
        yield no, key, READY << SHELF | kind << 8 | priority, kind, int(priority), data
        no += 1


def _add(ledger: Ledger, one: Asked) -> str:
    spec = one.spec
    if find(ledger, one.key) is not None:
        return spec.id
    if spec.unique:
        taken = ledger.run(_TAKEN, (spec.unique, ledger.now_ns)).get
        if taken is not None:
            return key_id(taken)
    row = _insert(ledger, one, ledger.kind(spec.kind))
    if spec.unique:
        until_ns = ledger.now_ns + round(spec.unique_s * 1e9) if spec.unique_s else 0
        ledger.run(_TAKE, (spec.unique, one.key, until_ns))
    _stand(ledger, row, spec)
    return spec.id


def _insert(ledger: Ledger, one: Asked, kind: int) -> Row:
    """Put a job into the file as one that is blocked."""
    spec, no = one.spec, ledger.turn()
    is_long = len(one.data) > _LONG_BYTES
    flags = (
        (HAS_NOTES if is_long else 0)
        | (HAS_DEADLINE if spec.deadline_ns else 0)
        | (IS_UNIQUE if spec.unique and not spec.unique_s else 0)
    )
    shelf = BLOCKED << SHELF | kind
    values = (no, one.key, shelf, no, kind, int(spec.priority), flags, spec.deadline_ns or None)
    ledger.run(_INSERT, (*values, None if is_long else one.data))
    if is_long:
        ledger.note(no, LONG_SPEC, one.data)
    ledger.count(BLOCKED << 8, kind)
    ledger.count(SUBMITTED + spec.priority, kind)
    return Row(no, one.key, shelf, no, kind, int(spec.priority), flags, 0, 0, 0, 0, 0, None, None)


def _stand(ledger: Ledger, row: Row, spec: Spec) -> None:
    """Let a new job go where what it comes after lets it."""
    before = [found for found in (find(ledger, key_of(each)) for each in dict.fromkeys(spec.after)) if found]
    before = [each for each in before if each.no != row.no]
    for each in before:
        if each.code in (DEAD, CANCELLED):
            state = State.DEAD if each.code == DEAD else State.CANCELLED
            end(ledger, row, Event.CANCEL, f"it comes after job {key_id(each.id)}, which is {state}")
            return
    blockers = [each for each in before if each.code != COMPLETED]
    for each in blockers:
        ledger.run(_EDGE, (each.no, row.no))
        ledger.run(_FLAG, (HAS_DEPENDENTS, each.no))
    if blockers:
        ledger.run(_BLOCKERS, (len(blockers), row.no))
    else:
        let_wait(ledger, row, spec.not_before_ns)


_CELL: Final = "SELECT version FROM cells WHERE name=?"
_SET_CELL: Final = "INSERT OR REPLACE INTO cells VALUES(?,?,?)"
_DROP_CELL: Final = "DELETE FROM cells WHERE name=?"


def swap(ledger: Ledger, name: str, version: int, value: bytes | None, many: Sequence[Asked]) -> bool:
    """Change a cell and keep jobs, if the cell has that version; whether."""
    if (ledger.run(_CELL, (name,)).get or 0) != version:
        return False
    if value is None:
        ledger.run(_DROP_CELL, (name,))
    else:
        ledger.run(_SET_CELL, (name, ledger.draw(LAST_VERSION), bytes(value)))
    submit(ledger, many)
    return True


# --- cancel, requeue, purge --------------------------------------------------------------------


def cancel(ledger: Ledger, keys: Iterable[bytes], why: str) -> list[bytes]:
    """Cancel jobs and what waits for them; the keys of all that are."""
    done: list[bytes] = []
    for key in keys:
        row = find(ledger, key)
        if row is not None and row.code not in (COMPLETED, DEAD, CANCELLED):
            done += end(ledger, row, Event.CANCEL, why)
    return done


def requeue(ledger: Ledger, keys: Iterable[bytes], *, keep_attempts: bool) -> list[bytes]:
    """Let jobs run in spite of all; the keys of those that will."""
    return [key for key in keys if _requeued(ledger, find(ledger, key), keep_attempts=keep_attempts)]


def _requeued(ledger: Ledger, row: Row | None, *, keep_attempts: bool) -> bool:
    if row is None or row.code not in (RETRY, DEAD, CANCELLED):
        return False
    if row.code != RETRY and row.flags & IS_UNIQUE:
        unique = unpack_spec(spec_data(ledger, row.no)).unique
        if ledger.run(_TAKEN, (unique, ledger.now_ns)).get is not None:
            return False  # another one took its place
        ledger.run(_TAKE, (unique, row.id, 0))
    if row.flags & HAS_DEADLINE:
        ledger.run(_NO_DEADLINE, (row.no,))
    if row.flags & HAS_NOTES:
        ledger.unnote(row.no, WHY)
    row = row._replace(finished_ns=0)
    if not keep_attempts:
        row = row._replace(attempts=0, kills=0)
    put_ready(ledger, row)
    return True


_ENDED: Final = "SELECT no, flags FROM jobs WHERE shelf=? AND turn<? ORDER BY turn, no LIMIT ?"
_ENDED_KIND: Final = (
    "SELECT no, flags FROM jobs WHERE shelf=? AND turn<? AND kind=? ORDER BY turn, no LIMIT ?"
)
_FORGET: Final = "DELETE FROM jobs WHERE no=?"
_UNNOTE: Final = "DELETE FROM notes WHERE place BETWEEN ? AND ?"
_KINDS_OF: Final = "SELECT kind FROM counts WHERE what=? AND n>0"


def forget_part(ledger: Ledger, state: State, kind: str, before_ns: int, most: int) -> int:
    """Forget ended jobs, at most so many; how many."""
    (code,) = CODES[state]
    number = ledger.known_kind(kind) if kind else None
    if kind and number is None:
        return 0
    if code == COMPLETED:
        return forget_completed(ledger, most, before_ns=before_ns, kind=number)
    kinds = [number] if number else [each for (each,) in ledger.run(_KINDS_OF, (code << 8,)).fetchall()]
    count = 0
    for each in kinds:
        gone = ledger.run(_ENDED, (code << SHELF | each, before_ns, most - count)).fetchall()
        ledger.count(code << 8, each, -len(gone))
        _forget(ledger, gone)
        count += len(gone)
    return count


def forget_completed(ledger: Ledger, most: int, *, before_ns: int = 1 << 62, kind: int | None = None) -> int:
    """Forget the jobs that completed first; how many."""
    shelf = COMPLETED << SHELF
    if kind is None:
        gone = ledger.run(_ENDED, (shelf, before_ns, most)).fetchall()
    else:
        gone = ledger.run(_ENDED_KIND, (shelf, before_ns, kind, most)).fetchall()
    ledger.count(COMPLETED << 8, 0, -len(gone))
    _forget(ledger, gone)
    return len(gone)


def _forget(ledger: Ledger, gone: Sequence[tuple[int, int]]) -> None:
    ledger.many(_FORGET, [(no,) for no, _ in gone])
    noted = [(no << NOTE, no << NOTE | 7) for no, flags in gone if flags & HAS_NOTES]
    if noted:
        ledger.many(_UNNOTE, noted)
