"""kill -9 of who submits and who works: every acknowledged job runs, and is recorded as completed once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.faults.crew import Child, in_threads, kill_at_syscall
from tests.faults.job_yard import (
    KINDS,
    drain,
    everything,
    integrity,
    make_specs,
    opened,
    produce_until_killed,
    read_reports,
    work_until_killed,
)
from vcache.errors import StoreBusy
from vcache.jobs.base import Finished
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.states import Event, State


def campaign(directory: Path, kills: int, seed: int) -> None:
    """Kill processes that use one queue, and see at the end that all of it came out right."""
    draw = random.Random(seed)
    kept: set[str] = set()
    runs: Counter[str] = Counter()
    done: Counter[str] = Counter()
    opened(directory).close()
    for _ in range(kills // 4):
        children = [
            Child(partial(work, directory, draw.random()))
            for work in (produce_until_killed, work_until_killed, produce_until_killed, work_until_killed)
        ]
        time.sleep(draw.uniform(0.03, 0.15))
        for child in draw.sample(children, 4):
            child.kill()
        for child in children:
            for what, job_id in read_reports(child.read()):
                if what == "kept":
                    kept.add(job_id)
                else:
                    (runs if what == "ran" else done)[job_id] += 1
        with opened(directory) as queue:
            for session in queue.sessions():
                queue.end_session(session.id)
    with opened(directory) as queue:
        runs += drain(queue)
        states = everything(queue)
        stats = queue.stats()
    integrity(directory)
    lost = {each for each in kept if states.get(each) is not State.COMPLETED}
    assert not lost, f"{len(lost)} of {len(kept)} acknowledged jobs did not complete"
    assert kept <= set(runs)
    assert set(states.values()) == {State.COMPLETED}
    assert not [each for each, count in done.items() if count > 1]
    assert sum(each.completed for each in stats.totals.values()) == len(states)
    assert sum(each.submitted for each in stats.totals.values()) == len(states)
    repeats = runs.total() - len(runs)
    print(f"{kills} kills, {len(kept)} jobs acknowledged, {len(states)} completed, {repeats} runs repeated")
    assert len(kept) > kills  # they lived long enough to matter


def test_kills_lose_no_job(tmp_path: Path) -> None:
    """After kill -9 of producers and workers, each acknowledged job has run, and has one completion."""
    campaign(tmp_path / "jobs", kills=16, seed=1)


@pytest.mark.slow
def test_many_kills_lose_no_job(tmp_path: Path) -> None:
    """The same, 500 times."""
    campaign(tmp_path / "jobs", kills=500, seed=2)


# -- one kill at each step -----------------------------------------------------------------


def prepared(directory: Path) -> dict[str, State]:
    """A queue with jobs in several states, as a worker left it; their states."""
    with opened(directory) as queue:
        queue.submit(make_specs(12, random.Random(3)))
        session = queue.open_session("gone", kinds=KINDS, lease_s=10)
        claimed = queue.exchange(session, kinds=KINDS, want=6).claimed
        queue.exchange(session, [Finished(each, Event.COMPLETE) for each in claimed[:3]])
        return everything(queue)


def submit(directory: Path) -> None:
    with opened(directory) as queue:
        queue.submit(make_specs(3, random.Random(4)))


def exchange(directory: Path) -> None:
    with opened(directory) as queue:
        (session,) = queue.sessions()
        held = queue.held(session.id)
        queue.exchange(session.id, [Finished(each, Event.COMPLETE) for each in held], kinds=KINDS, want=2)


def end(directory: Path) -> None:
    with opened(directory) as queue:
        (session,) = queue.sessions()
        queue.end_session(session.id)


def at_each_step(tmp_path: Path, operate: Callable[[Path], None], stride: int) -> int:
    """Kill at step 1, 1 + stride, …, each time on a fresh copy; how many kills there were."""
    template = tmp_path / "template"
    before = prepared(template)
    operate_done = tmp_path / "whole"
    shutil.copytree(template, operate_done, ignore=shutil.ignore_patterns("wake"))
    operate(operate_done)
    with opened(operate_done) as queue:
        after = Counter(everything(queue).values())
    step = 1
    while True:
        directory = tmp_path / "copy"
        shutil.copytree(template, directory, ignore=shutil.ignore_patterns("wake"))
        was_killed = kill_at_syscall(step, partial(operate, directory))
        with opened(directory) as queue:
            found = everything(queue)
            assert before.keys() <= found.keys()
            whole = [after] if not was_killed else [after, Counter(before.values())]
            assert Counter(found.values()) in whole
            integrity(directory)
            drain(queue)
            assert set(everything(queue).values()) == {State.COMPLETED}
        shutil.rmtree(directory)
        if not was_killed:
            return step // stride
        step += stride


@pytest.mark.parametrize("operate", [submit, exchange, end])
def test_a_kill_at_a_system_call_leaves_all_or_nothing(
    tmp_path: Path, operate: Callable[[Path], None]
) -> None:
    """Killed at its entry to or return from the kernel, a call has happened or has not, and the queue goes on."""
    assert at_each_step(tmp_path, operate, stride=97) > 1


@pytest.mark.slow
@pytest.mark.parametrize("operate", [submit, exchange, end])
def test_a_kill_at_every_system_call_leaves_all_or_nothing(
    tmp_path: Path, operate: Callable[[Path], None]
) -> None:
    """The same, at each of them."""
    assert at_each_step(tmp_path, operate, stride=1) > 100


# -- who does not die ----------------------------------------------------------------------


def test_a_stopped_process_does_not_hang_others(tmp_path: Path) -> None:
    """While a process that has its turn to write is stopped, others read, and are told that it is busy; then they go on."""
    directory = tmp_path / "jobs"

    def hold(fd: int) -> None:
        with opened(directory) as queue:

            def stop(ledger: object) -> None:
                os.write(fd, b"!")
                signal.pause()

            queue._writer.do(stop)

    with opened(directory):
        child = Child(hold)
        assert os.read(child.reports, 1) == b"!"
        os.kill(child.pid, signal.SIGSTOP)
        with SqliteQueue(directory, busy_s=0.2) as other:
            for _ in range(2):
                with pytest.raises(StoreBusy) as caught:
                    other.submit(make_specs(1, random.Random(5)))
                assert caught.value.retryable
            assert other.stats().by_state[State.QUEUED] == 0
            child.kill()
            assert other.submit(make_specs(1, random.Random(5)))
            assert other.stats().by_state[State.QUEUED] == 1
    os.close(child.reports)


def test_parent_and_child_of_a_fork_both_go_on(tmp_path: Path) -> None:
    """A process forks with an open queue that it uses: both use it from there on, and each sees what the other did."""
    directory = tmp_path / "jobs"
    with opened(directory) as queue:
        (first,) = queue.submit(make_specs(1, random.Random(6)))

        def use(fd: int) -> None:
            assert queue.get([first])[0] is not None
            os.write(fd, queue.submit(make_specs(1, random.Random(7)))[0].encode())
            queue.close()

        child = Child(use)
        (second,) = queue.submit(make_specs(1, random.Random(8)))
        third = child.finish(30).decode()
        assert None not in queue.get([first, second, third])
    integrity(directory)


def test_threads_fork_while_others_write(tmp_path: Path) -> None:
    """Several threads fork at once while others submit: every child and every thread gets through."""
    with opened(tmp_path / "jobs") as queue:

        def work(number: int) -> list[str]:
            if number % 2:
                return [
                    job_id for _ in range(10) for job_id in queue.submit(make_specs(1, random.Random(number)))
                ]
            child = Child(lambda fd: os.write(fd, queue.submit(make_specs(1, random.Random(9)))[0].encode()))
            return [child.finish(60).decode()]

        kept = [each for some in in_threads(6, work) for each in some]  # type: ignore[attr-defined]
        assert len(set(kept)) == 33
        assert None not in queue.get(kept)
    integrity(tmp_path / "jobs")
