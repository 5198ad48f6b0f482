"""The embedded queue does what the queue in memory does, whatever is asked of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from vcache.errors import SessionLost
from vcache.jobs.base import Claimed, Exchanged, Finished, Queue
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Failure, Job, Limits, Progress, Spec
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.states import ENDED, Event, State
from vcache.testing import FakeClock

KINDS: Final = ("a", "b", "c")
S: Final = 1_000_000_000


class Pair:
    """Two queues, to which the same is done."""

    def __init__(self, draw: random.Random, clock: FakeClock, queues: Sequence[Queue]) -> None:
        self.draw, self.clock, self.queues = draw, clock, queues
        self.ids: list[str] = []
        self.sessions: list[tuple[str, ...]] = []  # ids in both
        self.held: dict[int, list[tuple[Claimed, ...]]] = {}

    def some_ids(self) -> list[str]:
        return self.draw.sample(self.ids, min(len(self.ids), self.draw.randrange(1, 5)))

    def submit(self) -> None:
        draw, now_ns = self.draw, self.clock()
        specs: list[Spec] = []
        for _ in range(draw.choice((1, 1, 3, 20))):
            spec = Spec(
                f"job {len(self.ids) + len(specs)}", draw.choice(KINDS), {}, draw.randrange(4), now_ns
            )
            if draw.random() < 0.4:
                spec = spec._replace(
                    not_before_ns=now_ns + draw.randrange(3) * S if draw.random() < 0.3 else 0,
                    deadline_ns=now_ns + draw.randrange(1, 6) * S if draw.random() < 0.3 else 0,
                    unique=draw.choice("xyz") if draw.random() < 0.3 else "",
                    unique_s=draw.choice((0.0, 2.0)),
                    after=self.some_ids() if draw.random() < 0.4 and self.ids else (),
                )
            specs.append(spec)
        assert self.same([list(queue.submit(specs)) for queue in self.queues])
        self.ids += [spec.id for spec in specs]

    def open(self) -> None:
        self.sessions.append(tuple(queue.open_session("w", kinds=KINDS, lease_s=5) for queue in self.queues))
        self.held[len(self.sessions) - 1] = []

    def exchange(self) -> None:
        if not self.sessions:
            return
        draw, number = self.draw, self.draw.randrange(len(self.sessions))
        held = self.held[number]
        done = draw.sample(held, draw.randrange(len(held) + 1))
        # No RELEASE: where such a job stands again is each queue's own affair.
        events = (Event.COMPLETE, Event.COMPLETE, Event.TRY_AGAIN, Event.GIVE_UP, Event.LOSE)
        told = [(draw.choice(events), draw.choice((0.0, 1.0))) for _ in done]
        kinds, want = draw.sample(KINDS, draw.randrange(1, 4)), draw.choice((0, 1, 3, 40))
        failure = Failure(self.clock(), 1, "error", "it failed")
        found: list[Exchanged | None] = []
        for at, queue in enumerate(self.queues):
            ended = [
                Finished(each[at], event, failure=failure, delay_s=delay_s)
                for each, (event, delay_s) in zip(done, told, strict=True)
            ]
            ended.sort(key=lambda each: each.event is not Event.COMPLETE)
            try:
                found.append(queue.exchange(self.sessions[number][at], ended, kinds=kinds, want=want))
            except SessionLost:
                found.append(None)
        first, second = found
        if first is None or second is None:
            assert first is second
            return
        assert [(each.spec, each.attempt, each.kills) for each in first.claimed] == [
            (each.spec, each.attempt, each.kills) for each in second.claimed
        ]
        assert self.same([(sorted(each.refused), sorted(each.revoked)) for each in (first, second)])
        assert first.next_due_s == pytest.approx(second.next_due_s, abs=1e-5)
        self.held[number] = [each for each in held if each not in done]
        self.held[number] += list(zip(first.claimed, second.claimed, strict=True))

    def end(self) -> None:
        if self.sessions:
            number = self.draw.randrange(len(self.sessions))
            ended = [
                sorted(queue.end_session(self.sessions[number][at])) for at, queue in enumerate(self.queues)
            ]
            assert self.same(ended)

    def cancel(self) -> None:
        ids = self.some_ids()
        assert self.same([sorted(queue.cancel(ids, why="so")) for queue in self.queues])

    def requeue(self) -> None:
        ids, keeps = self.some_ids(), self.draw.random() < 0.5
        for queue in self.queues:
            queue.upkeep()  # windows of unique keys that are over may be noticed only then
        assert self.same([list(queue.requeue(ids, keep_attempts=keeps)) for queue in self.queues])

    def purge(self) -> None:
        state = self.draw.choice((State.COMPLETED, State.DEAD, State.CANCELLED))
        before_ns = self.draw.choice((None, self.clock() - 2 * S))
        kind = self.draw.choice(("", "a"))
        assert self.same([queue.purge(state, kind=kind, before_ns=before_ns) for queue in self.queues])

    def limit(self) -> None:
        limits = Limits(self.draw.choice((0, 0, 2)), self.draw.choice((0, 3)), self.draw.choice((0, 0, 2)))
        for queue in self.queues:
            queue.limit("b", limits)
        assert self.same([queue.limits() for queue in self.queues])

    def report(self) -> None:
        held = [(number, each) for number, some in self.held.items() for each in some]
        if held:
            number, claimed = self.draw.choice(held)
            told = [
                queue.report(self.sessions[number][at], each.spec.id, each.token, Progress(1, 2))
                for at, (queue, each) in enumerate(zip(self.queues, claimed, strict=True))
            ]
            assert self.same(told)

    def pass_time(self) -> None:
        self.clock.advance(self.draw.choice((0.1, 1.0, 3.0)))
        if self.draw.random() < 0.5:
            assert self.same([queue.upkeep() for queue in self.queues])

    def look(self) -> None:
        jobs = [queue.get(self.ids) for queue in self.queues]
        for one, other in zip(*jobs, strict=True):
            assert _seen(one) == _seen(other)
        for queue in self.queues:
            queue.upkeep()
        stats = [queue.stats() for queue in self.queues]
        assert self.same([each[:3] for each in stats])
        assert self.same(
            [{kind: each for kind, each in found.totals.items() if any(each)} for found in stats]
        )
        assert self.same([each.submitted for each in stats])
        assert self.same([[session.n_held for session in each.sessions] for each in stats])
        for state in State:
            listed = [{job.id for job in queue.list(state, limit=10_000).jobs} for queue in self.queues]
            assert self.same(listed)

    def same(self, found: Sequence[object]) -> bool:
        assert found[0] == found[1]
        return True


def _seen(job: Job | None) -> Job | None:
    """A job less what each queue says in its own way."""
    if job is None:
        return None
    return job._replace(token=0, finished_ns=job.finished_ns if job.state in ENDED else 0)


STEPS: Final = (
    Pair.submit, Pair.submit, Pair.exchange, Pair.exchange, Pair.exchange, Pair.exchange, Pair.open, Pair.end,
    Pair.cancel, Pair.requeue, Pair.purge, Pair.limit, Pair.report, Pair.pass_time, Pair.look,
)  # fmt: skip


def agree(directory: Path, seed: int, steps: int) -> None:
    clock, draw = FakeClock(), random.Random(seed)
    with (
        MemoryQueue(clock=clock, keep_ended=100_000) as memory,
        SqliteQueue(directory, clock=clock, keep_ended=100_000) as embedded,
    ):
        pair = Pair(draw, clock, (memory, embedded))
        pair.submit()
        pair.open()
        for _ in range(steps):
            draw.choice(STEPS)(pair)
        pair.look()


@pytest.fixture(autouse=True)
def always_by_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose turn each `TURNS`th claim is, the suite says; here one that found nothing may count in one of them."""
    for module in ("vcache.jobs.memory.board", "vcache.jobs.sqlite.claims"):
        monkeypatch.setattr(f"{module}.TURNS", 1 << 30)


@pytest.mark.parametrize("seed", range(2))
def test_the_embedded_queue_does_what_the_one_in_memory_does(tmp_path: Path, seed: int) -> None:
    """After any calls, both have given the same answers, and hold the same jobs in the same states."""
    agree(tmp_path / "jobs", seed, 150)


@pytest.mark.slow
def test_they_agree_for_long(tmp_path: Path) -> None:
    """The same, again and again."""
    for seed in range(100, 160):
        agree(tmp_path / str(seed), seed, 200)
