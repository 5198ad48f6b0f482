"""What the fault tests of embedded queues share: jobs that are told apart, workers that report, a look at all."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw

from vcache.jobs.base import Claimed, Finished
from vcache.jobs.models import Spec
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.states import Event, State
from vcache.kit.ids import uuid7

__all__ = [
    "KINDS", "drain", "everything", "integrity", "make_specs", "opened", "produce_until_killed", "read_reports",
    "work_until_killed",
]  # fmt: skip

KINDS: Final = ("mill", "bake")
_KEPT: Final = 1 << 40


def opened(directory: Path) -> SqliteQueue:
    """A queue that forgets nothing."""
    return SqliteQueue(directory, keep_ended=_KEPT)


def make_specs(count: int, draw: random.Random) -> list[Spec]:
    """Jobs of all sorts."""
    return [
        Spec(
            uuid7.text(), draw.choice(KINDS), {"n": number, "pad": "x" * draw.choice((0, 50, 3000))},
            draw.randrange(4), created_ns=1, unique=uuid7.text() if draw.random() < 0.1 else "",
        )
        for number in range(count)
    ]  # fmt: skip


def _report(fd: int, what: str, ids: Sequence[str]) -> None:
    if ids:
        os.write(fd, f"{what} {' '.join(ids)}\n".encode())


def read_reports(said: bytes) -> list[tuple[str, str]]:
    """What was reported, job by job; of a line that a kill cut off, nothing."""
    found = []
    for line in said.decode().split("\n")[:-1]:
        what, *ids = line.split()
        found += [(what, each) for each in ids]
    return found


def produce_until_killed(directory: Path, seed: float, fd: int) -> None:
    """Submit again and again, and report what was acknowledged."""
    draw = random.Random(seed)
    queue = opened(directory)
    while True:
        ids = queue.submit(make_specs(draw.choice((1, 1, 2, 10, 40)), draw))
        for first in range(0, len(ids), 40):
            _report(fd, "kept", ids[first : first + 40])


def work_until_killed(directory: Path, seed: float, fd: int) -> None:
    """Claim and finish again and again, and report what was begun, and what was recorded."""
    draw = random.Random(seed)
    queue = opened(directory)
    session = queue.open_session("a worker", kinds=KINDS, lease_s=10)
    finished: list[Finished] = []
    while True:
        brought = queue.exchange(session, finished, kinds=KINDS, want=draw.choice((1, 5, 40)))
        refused = set(brought.refused)
        _report(fd, "done", [one for each in finished if (one := each.claimed.spec.id) not in refused])
        _report(fd, "ran", [each.spec.id for each in brought.claimed])
        finished = [Finished(each, Event.COMPLETE, result=each.token) for each in brought.claimed]
        if not brought.claimed:
            queue.wait(KINDS, 0.01)


def everything(queue: SqliteQueue) -> dict[str, State]:
    """The state of each job."""
    found: dict[str, State] = {}
    for state in State:
        cursor = ""
        while True:
            page = queue.list(state, cursor=cursor, limit=1000)
            found.update({job.id: job.state for job in page.jobs})
            cursor = page.next
            if not cursor:
                break
    return found


def drain(queue: SqliteQueue) -> Counter[str]:
    """End all sessions, run all that is left; how often each ran."""
    for session in queue.sessions():
        queue.end_session(session.id)
    queue.requeue([job.id for job in queue.list(State.DEAD, limit=1000).jobs])
    mine = queue.open_session("the last one", kinds=KINDS, lease_s=10)
    runs: Counter[str] = Counter()
    claimed: Sequence[Claimed] = ()
    while True:
        finished = [Finished(each, Event.COMPLETE) for each in claimed]
        brought = queue.exchange(mine, finished, kinds=KINDS, want=250)
        assert not brought.refused
        claimed = brought.claimed
        runs.update(each.spec.id for each in claimed)
        if not claimed:
            queue.end_session(mine)
            return runs


def integrity(directory: Path) -> None:
    """The file is whole, and its counts are those of its jobs."""
    db = apsw.Connection(str(directory / "default.db"))
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counted = dict(db.execute("SELECT what >> 8, sum(n) FROM counts WHERE what < 65536 GROUP BY 1"))
        there = dict(db.execute("SELECT shelf >> 48, count(*) FROM jobs GROUP BY 1"))
        assert {code: n for code, n in counted.items() if n} == there
        held = dict(
            db.execute("SELECT shelf & 0xffffffffffff, count(*) FROM jobs WHERE shelf >> 48 = 3 GROUP BY 1")
        )
        assert dict(db.execute("SELECT no, n_held FROM sessions WHERE n_held")) == held
    finally:
        db.close()
