"""What workers do to the file: sessions, exchanges, progress; and what upkeep does. It must not know who asks for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.errors import SessionLost
from vcache.jobs.packing import pack_progress
from vcache.jobs.sqlite.claims import Claims, Raw, Rooms, lanes_of
from vcache.jobs.sqlite.ends import expire, finish, let_due, lose_all
from vcache.jobs.sqlite.schema import (
    DELAYED,
    HAS_NOTES,
    LAST_SESSION,
    N_LIMITS,
    PROGRESS,
    RETRY,
    RUNNING,
    SHELF,
    SUSPECT,
    key_id,
)
from vcache.kit.data import NamedTuple
from vcache.serialize.plain import pack_plain, unpack_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vcache.jobs.models import Limits, Progress
    from vcache.jobs.sqlite.ends import Ended
    from vcache.jobs.sqlite.ledger import Ledger

__all__ = [
    "Brought",
    "agree_on_offset",
    "end_session",
    "exchange",
    "keep_up",
    "open_session",
    "report",
    "set_limits",
]

_OPEN: Final = "INSERT INTO sessions VALUES(?,?,?,0,?,0,0,0,?)"
_SESSION: Final = "SELECT no, worker, n_suspects, n_revoked FROM sessions WHERE id=?"
_BEAT: Final = (
    "UPDATE sessions SET beats=beats+1, n_held=n_held+?, n_suspects=n_suspects+?, n_revoked=0 WHERE no=?"
)
_REVOKED: Final = "DELETE FROM revoked WHERE session=? RETURNING id"
_TO_END: Final = "SELECT no, beats, kinds FROM sessions WHERE id=?"
_DROP: Final = "DELETE FROM sessions WHERE no=?"
_SOON: Final = "SELECT min(turn) FROM jobs WHERE shelf=?"
_WAIT_KINDS: Final = (
    f"SELECT DISTINCT kind FROM counts WHERE what IN ({DELAYED << 8}, {RETRY << 8}) AND n>0 ORDER BY kind"  # noqa: S608
)
_HELD_BY: Final = "SELECT no FROM jobs WHERE shelf=? AND turn=? AND id=?"
_NOTED: Final = f"UPDATE jobs SET flags=flags|{HAS_NOTES} WHERE no=? AND flags&{HAS_NOTES}=0"  # noqa: S608
_OVER: Final = "DELETE FROM uniques WHERE until_ns>0 AND until_ns<=?"
_LIMIT: Final = (
    "INSERT INTO limits VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT DO UPDATE SET running=?4, "
    "level=iif(rate=?2 AND burst=?3, level, ?5), at_ns=iif(rate=?2 AND burst=?3, at_ns, ?6), rate=?2, burst=?3"
)
_UNLIMIT: Final = "DELETE FROM limits WHERE kind=?"
_N_LIMITS: Final = "SELECT count(*) FROM limits"
_MOST_DUE: Final = 1_000  # at one exchange: who waits for its jobs does not wait for all others


class Brought(NamedTuple):
    """What an exchange brought, before it is unpacked."""

    claimed: Sequence[Raw]
    refused: Sequence[str]
    revoked: Sequence[str]
    next_due_s: float | None


def open_session(ledger: Ledger, session: str, worker: str, kinds: Sequence[str], lease_s: float) -> None:
    """Let a worker's process begin."""
    ledger.run(_OPEN, (ledger.draw(LAST_SESSION), session, worker, lease_s, pack_plain(list(kinds))))


def exchange(
    ledger: Ledger, session: str, told: Ended, kinds: Sequence[str], want: int, *, keep_ended: int
) -> Brought:
    """One exchange.

    Raises:
        SessionLost: the session was ended.
    """
    found = ledger.run(_SESSION, (session,)).fetchone()
    if found is None:
        raise SessionLost(f"session {session} was ended: what it held is given to others; open another one")
    no, worker, n_suspects, n_revoked = found
    is_limited = ledger.counted(N_LIMITS) > 0
    if told.completed or told.others:
        refused = finish(ledger, no, told, keep_ended=keep_ended)
        n_suspects = ledger.run(_SESSION, (session,)).fetchone()[2] if n_suspects else 0
        if is_limited:
            ledger.wakes.update(kind for name in kinds if (kind := ledger.known_kind(name)))
    else:
        refused = []
    asked = [number for name in dict.fromkeys(kinds) if (number := ledger.known_kind(name)) is not None]
    expire(ledger, _MOST_DUE)
    if asked:
        let_due(ledger, asked, _MOST_DUE)
    claimed, held_suspects, soon_s = _claim(
        ledger, (no, worker), asked, want, may_suspect=not n_suspects, is_limited=is_limited
    )
    revoked = [key_id(key) for (key,) in ledger.run(_REVOKED, (no,)).fetchall()] if n_revoked else []
    ledger.run(_BEAT, (len(claimed), held_suspects, no))
    return Brought(claimed, refused, revoked, soon_s)


def _claim(
    ledger: Ledger,
    who: tuple[int, str],
    asked: Sequence[int],
    want: int,
    *,
    may_suspect: bool,
    is_limited: bool,
) -> tuple[Sequence[Raw], int, float | None]:
    """What is claimed, how many of it are suspects, and in how long there is more."""
    if not asked:
        return (), 0, None
    ledger.flush()  # what became ready in this exchange may be claimed in it
    lanes, rooms = lanes_of(ledger, asked), Rooms(ledger)
    claimed, n_suspects = Claims(ledger, lanes, rooms).claim(*who, want, may_suspect=may_suspect)
    times = [
        at_s for (kind, lane), n in lanes.items()
        if n > 0 and lane < SUSPECT and (at_s := rooms.lacking_s(kind)) is not None
    ]  # fmt: skip
    # Another one may take what is left behind; who is woken and leaves something passes it on in turn.
    ledger.wakes.update(
        kind for (kind, lane), n in lanes.items() if n > 0 and lane < SUSPECT and rooms.room(kind) > 0
    )
    times += _times(ledger, asked)
    return claimed, n_suspects, min(times, default=None)


def _times(ledger: Ledger, kinds: Iterable[int]) -> list[float]:
    found = []
    for kind in kinds:
        for code in (DELAYED, RETRY):
            due_ns = ledger.run(_SOON, (code << SHELF | kind,)).get
            if due_ns is not None:
                found.append(max(0, due_ns - ledger.now_ns) / 1e9)
    return found


def end_session(ledger: Ledger, session: str, beats: int | None) -> list[bytes]:
    """End a session, and give what it held to others; the keys of it."""
    found = ledger.run(_TO_END, (session,)).fetchone()
    if found is None or beats not in (None, found[1]):
        return []
    no, _, kinds = found
    lost = lose_all(ledger, no)
    ledger.run(_REVOKED, (no,)).fetchall()
    ledger.run(_DROP, (no,))
    # It may have been woken, and have died before it looked.
    names = unpack_plain(kinds)
    assert isinstance(names, list)
    ledger.wakes.update(kind for name in names if (kind := ledger.known_kind(name)))
    return lost


def report(ledger: Ledger, session: str, key: bytes, token: int, progress: Progress) -> bool:
    """Keep how far a job is; whether the token counts."""
    found = ledger.run(_SESSION, (session,)).fetchone()
    if found is None:
        return False
    no = ledger.run(_HELD_BY, (RUNNING << SHELF | found[0], token, key)).get
    if no is None:
        return False
    ledger.note(no, PROGRESS, pack_progress(progress))
    ledger.run(_NOTED, (no,))
    return True


def keep_up(ledger: Ledger, most: int) -> int:
    """Do what time brings, at most about so much of it; how many jobs."""
    kinds = [kind for (kind,) in ledger.run(_WAIT_KINDS).fetchall()]
    count = expire(ledger, most) + let_due(ledger, kinds, most)
    ledger.run(_OVER, (ledger.now_ns,))
    return count


def set_limits(ledger: Ledger, kind: str, limits: Limits) -> None:
    """Set what workers together may do of a kind."""
    number = ledger.kind(kind)
    rate, burst, running = limits
    if any(limits):
        level = burst or max(1.0, rate)
        ledger.run(_LIMIT, (number, rate, burst, running, level, ledger.now_ns))
    else:
        ledger.run(_UNLIMIT, (number,))
    ledger.count(N_LIMITS, 0, ledger.run(_N_LIMITS).get - ledger.counted(N_LIMITS))
    ledger.wakes.add(number)


_OFFSET: Final = "SELECT offset_ns FROM boots WHERE boot=?"
_LATEST: Final = "SELECT max(started_ns, finished_ns) FROM jobs ORDER BY no DESC LIMIT 1"
_SET_OFFSET: Final = "INSERT INTO boots VALUES(?,?)"


def agree_on_offset(ledger: Ledger, boot: str, offset_for: Callable[[int], int]) -> int:
    """What to add to the steady clock in this boot, as the first one who asks says it."""
    found = ledger.run(_OFFSET, (boot,)).get
    if found is None:
        found = offset_for(int(ledger.run(_LATEST).get or 0))
        ledger.run(_SET_OFFSET, (boot, found))
    return int(found)
