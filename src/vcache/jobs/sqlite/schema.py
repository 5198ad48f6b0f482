"""The tables of a queue's file, as docs/design/jobs-sqlite.md has them. It must not know what is done with them.

A job stands on a *shelf*, which says its state and, by it, its kind and lane or who holds it; and has a *turn*
there. One index over both serves claims, leases, delays, lists and forgetting.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vcache.jobs.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "APPLICATION_ID",
    "BLOCKED",
    "CANCELLED",
    "CODES",
    "COMPLETED",
    "DEAD",
    "DELAYED",
    "FAILURES",
    "HAS_DEADLINE",
    "HAS_DEPENDENTS",
    "HAS_NOTES",
    "IS_UNIQUE",
    "LAST_CLAIM",
    "LAST_SESSION",
    "LAST_TOKEN",
    "LAST_TURN",
    "LAST_VERSION",
    "LONG_SPEC",
    "MASK",
    "NOTE",
    "N_LIMITS",
    "PROGRESS",
    "READY",
    "RETRY",
    "RUNNING",
    "SHELF",
    "STATES",
    "SUBMITTED",
    "SUSPECT",
    "TABLES",
    "TOTAL",
    "TOTALS",
    "VERSION",
    "WHY",
    "id_key",
    "key_id",
]

APPLICATION_ID: Final = 0x76634A71  # "vcJq"
VERSION: Final = 1

# States, as the file counts them: queued ones whose time has not come stand apart.
BLOCKED: Final = 0
READY: Final = 1
DELAYED: Final = 2
RUNNING: Final = 3
RETRY: Final = 4
COMPLETED: Final = 5
DEAD: Final = 6
CANCELLED: Final = 7
CODES: Final[Mapping[State, tuple[int, ...]]] = MappingProxyType(
    {
        State.BLOCKED: (BLOCKED,),
        State.QUEUED: (READY, DELAYED),
        State.RUNNING: (RUNNING,),
        State.FAILED: (),
        State.RETRY: (RETRY,),
        State.COMPLETED: (COMPLETED,),
        State.DEAD: (DEAD,),
        State.CANCELLED: (CANCELLED,),
    }
)

STATES: Final[Mapping[int, State]] = MappingProxyType(
    {
        BLOCKED: State.BLOCKED,
        READY: State.QUEUED,
        DELAYED: State.QUEUED,
        RUNNING: State.RUNNING,
        RETRY: State.RETRY,
        COMPLETED: State.COMPLETED,
        DEAD: State.DEAD,
        CANCELLED: State.CANCELLED,
    }
)

SHELF: Final = 48
"""shelf = state << 48 | of READY: kind << 8 | lane; of RUNNING: session; of COMPLETED: 0; else: kind.

turn = of READY: a number that rises; of DELAYED and RETRY: when it is due; of RUNNING: the token; of BLOCKED:
the job's own number; else: when it ended.
"""
SUSPECT: Final = 8  # lane = priority, and this for a job whose worker was lost
MASK: Final = (1 << SHELF) - 1

# Flags of a job: what its end has to look for.
HAS_DEPENDENTS: Final = 1
IS_UNIQUE: Final = 2
HAS_NOTES: Final = 4
HAS_DEADLINE: Final = 8

# Notes of a job: notes.place = no << 3 | one of these.
NOTE: Final = 3
LONG_SPEC: Final = 0
FAILURES: Final = 1
PROGRESS: Final = 2
WHY: Final = 3

# `counts.what`: state << 8 | lane, then totals, then numbers of the queue itself (of kind 0).
TOTAL: Final = 1 << 16
TOTALS: Final = ("completed", "failed", "retried", "dead", "cancelled")
SUBMITTED: Final = TOTAL + 256  # and the priority
LAST_TURN: Final = 1 << 17
LAST_TOKEN: Final = LAST_TURN + 1
LAST_SESSION: Final = LAST_TURN + 2
LAST_CLAIM: Final = LAST_TURN + 3  # of those that are no suspects: each `TURNS`th
N_LIMITS: Final = LAST_TURN + 4
LAST_VERSION: Final = LAST_TURN + 5  # of any cell

TABLES: Final = """
CREATE TABLE jobs(
  no INTEGER PRIMARY KEY, id BLOB NOT NULL, shelf INTEGER NOT NULL, turn INTEGER NOT NULL,
  kind INTEGER NOT NULL, priority INTEGER NOT NULL, flags INTEGER NOT NULL, blockers INTEGER NOT NULL,
  attempts INTEGER NOT NULL, kills INTEGER NOT NULL, started_ns INTEGER NOT NULL, finished_ns INTEGER NOT NULL,
  deadline_ns INTEGER, worker TEXT, result BLOB, spec BLOB
);
CREATE UNIQUE INDEX jobs_by_id ON jobs(id);
CREATE INDEX jobs_by_shelf ON jobs(shelf, turn);
CREATE INDEX jobs_by_deadline ON jobs(deadline_ns, shelf) WHERE deadline_ns IS NOT NULL;
CREATE TABLE notes(place INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE counts(what INTEGER, kind INTEGER, n INTEGER NOT NULL, PRIMARY KEY(what, kind)) WITHOUT ROWID;
CREATE TABLE kinds(no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE edges(before INTEGER, after INTEGER, PRIMARY KEY(before, after)) WITHOUT ROWID;
CREATE TABLE uniques(key TEXT PRIMARY KEY, id BLOB NOT NULL, until_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX uniques_by_end ON uniques(until_ns) WHERE until_ns > 0;
CREATE TABLE sessions(
  no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, worker TEXT NOT NULL, beats INTEGER NOT NULL, lease_s REAL NOT NULL,
  n_held INTEGER NOT NULL, n_suspects INTEGER NOT NULL, n_revoked INTEGER NOT NULL, kinds BLOB NOT NULL
);
CREATE TABLE revoked(session INTEGER, id BLOB, PRIMARY KEY(session, id)) WITHOUT ROWID;
CREATE TABLE limits(
  kind INTEGER PRIMARY KEY, rate REAL NOT NULL, burst REAL NOT NULL, running INTEGER NOT NULL,
  level REAL NOT NULL, at_ns INTEGER NOT NULL
);
CREATE TABLE cells(name TEXT PRIMARY KEY, version INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE boots(boot TEXT PRIMARY KEY, offset_ns INTEGER NOT NULL) WITHOUT ROWID;
"""


def id_key(job_id: str) -> bytes:
    """An id as it stands in the file: a UUID's 16 bytes, and of anything else the text, of which none has 16.

    A text of 16 bytes, and zeros behind them, gets one more zero, so that no two ids have the same key.
    """
    if len(job_id) == 36 and job_id[8] == job_id[13] == job_id[18] == job_id[23] == "-":
        digits = job_id.replace("-", "")
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if key.hex() == digits:  # not of capital letters or with spaces, which would be another one's
            return key
    data = job_id.encode("utf-8", "surrogatepass")
    return data + b"\0" if len(data) >= 16 and not data[16:].strip(b"\0") else data


def key_id(key: bytes) -> str:
    """The id of `id_key`."""
    if len(key) == 16:
        digits = key.hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    is_longer = len(key) > 16 and not key[16:].strip(b"\0")
    return (key[:-1] if is_longer else key).decode("utf-8", "surrogatepass")
