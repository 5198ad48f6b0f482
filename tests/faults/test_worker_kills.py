"""Workers that die, stand still, or are told to end: no acknowledged job is lost, none completes twice."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.worker_yard import Yard, worker_pids
from tests.patience import NEVER_S, until
from vcache.errors import StoreBusy
from vcache.jobs.front import Jobs
from vcache.jobs.models import Limits
from vcache.jobs.opening import open_queue
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.states import State


@pytest.fixture
def yard(tmp_path) -> Iterator[Yard]:
    with Yard.at(f"sqlite:{tmp_path / 'queue'}") as made:
        yield made


@pytest.fixture
def jobs(yard) -> Iterator[Jobs]:
    with Jobs(open_queue(yard.address)) as made:
        yield made


def _runs(notes: Path) -> Counter[str]:
    return (
        Counter(line.split()[0] for line in notes.read_text().splitlines()) if notes.exists() else Counter()
    )


def _has_begun(notes: Path, least: int) -> bool:
    return len(_runs(notes)) > least


def _killed(yard: Yard, jobs: Jobs, notes: Path, kills: int) -> None:
    dice, ids = random.Random(6), list[str]()
    queue = jobs.queue
    for _ in range(2):
        yard.start(0.6)
    for number in range(kills):
        until(lambda: len(worker_pids(queue)) >= 2)
        ids += jobs.submit_many(
            jobs.spec("note", {"notes": str(notes), "pause_s": dice.random() / 50}) for _ in range(20)
        )
        # Anywhere in its work: after so many of them were begun.
        least = number * 20 + dice.randrange(20)
        until(partial(_has_begun, notes, least))
        victim = dice.choice([each for each in yard.processes if each.poll() is None])
        victim.kill()
        victim.wait()
        yard.start(0.6)

    def is_over() -> bool:
        # Who was in the hands of three that were killed is suspected of it, as it should be.
        jobs.requeue([each.id for each in jobs.list(State.DEAD).jobs])
        return jobs.stats().by_state[State.COMPLETED] == len(ids)

    until(is_over, 120)
    runs = _runs(notes)
    assert runs.keys() == set(ids), "every acknowledged job ran"
    assert jobs.stats().totals["note"].completed == len(ids), "exactly one completion each"
    print(f"{kills} kills, {len(ids)} jobs, {runs.total() - len(ids)} repeated runs")


def test_workers_killed_at_random_lose_no_job_and_complete_none_twice(yard, jobs, tmp_path):
    """kill -9 at any moment."""
    _killed(yard, jobs, tmp_path / "notes", 15)


@pytest.mark.slow
def test_workers_killed_at_random_for_long(yard, jobs, tmp_path):
    """The same, 500 times."""
    _killed(yard, jobs, tmp_path / "notes", 500)


def test_a_job_that_kills_its_worker_is_quarantined_and_innocent_ones_complete(yard, jobs, tmp_path):
    """Three workers die of it, under a supervisor that ends their sessions at once."""
    notes = tmp_path / "notes"
    bad = jobs.submit("poison", {"notes": str(notes)})
    good = jobs.submit_many([jobs.spec("note", {"notes": str(notes)}) for _ in range(30)])
    yard.start(NEVER_S, "fleet", 1)
    until(lambda: jobs.get(bad).state is State.DEAD)
    assert _runs(notes)[bad] == 3
    for each in good:
        jobs.wait(each, 60)
    assert jobs.stats().totals["note"].dead == 0


def _stop_between_calls(process, directory):
    """Stop a process while it does not hold the turn to write: that would hold up all others, as it has to."""

    def is_free() -> bool:
        try:
            probe.limit("nobody", Limits(running=1))  # it writes, whatever there is to do
        except StoreBusy:
            return False
        return True

    with SqliteQueue(directory, busy_s=0.2) as probe:
        while True:
            until(is_free)
            process.send_signal(signal.SIGSTOP)
            if is_free():
                return
            process.send_signal(signal.SIGCONT)


def test_a_worker_that_stood_still_completes_too_late(yard, jobs, tmp_path):
    """Its token does not count any more: what the second one returned is the result."""
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    first = yard.start(0.5)
    job_id = jobs.submit("until", {"notes": str(notes), "path": str(gate)})
    until(lambda: _runs(notes)[job_id] == 1)
    _stop_between_calls(first, tmp_path / "queue")
    second = yard.start(0.5)
    until(lambda: _runs(notes)[job_id] == 2)
    gate.touch()
    assert jobs.wait(job_id, 60) == second.pid
    first.send_signal(signal.SIGCONT)
    until(lambda: first.pid in worker_pids(jobs.queue), 60)  # it has seen that its session is gone
    first.terminate()
    assert first.wait(60) == 0
    found = jobs.get(job_id)
    assert (found.result, found.kills) == (second.pid, 1)
    assert jobs.stats().totals["until"].completed == 1


def test_a_worker_told_to_end_finishes_what_runs_and_takes_no_more(yard, jobs, tmp_path):
    """SIGTERM drains."""
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    worker = yard.start(10)
    running = jobs.submit("until", {"notes": str(notes), "path": str(gate)})
    until(lambda: _runs(notes)[running] == 1)
    worker.terminate()
    late = jobs.submit("note", {"notes": str(notes)})
    gate.touch()
    assert worker.wait(60) == 0
    assert jobs.get(running).state is State.COMPLETED
    assert jobs.get(late).state is State.QUEUED
    assert not jobs.queue.sessions()


def test_a_dead_workers_jobs_come_back_at_once_under_a_supervisor(yard, jobs, tmp_path):
    """Long before its lease is over; and nothing outlives the supervisor."""
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    fleet = yard.start(NEVER_S, "fleet", 2)
    job_id = jobs.submit("until", {"notes": str(notes), "path": str(gate)})
    until(lambda: _runs(notes)[job_id] == 1)
    victim = int(notes.read_text().split()[1])
    os.kill(victim, signal.SIGKILL)
    until(lambda: _runs(notes)[job_id] == 2)
    gate.touch()
    assert jobs.wait(job_id, 60) != victim
    until(lambda: len(worker_pids(jobs.queue)) == 2)
    pids = worker_pids(jobs.queue)
    fleet.kill()
    until(lambda: not any(_is_running(pid) for pid in pids))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
