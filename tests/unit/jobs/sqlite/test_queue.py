"""The embedded queue beyond what the suite of queues asks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.patience import NEVER_S, no_hang, until
from vcache.errors import StoreUnavailable, UsageError
from vcache.jobs.base import Finished
from vcache.jobs.models import Limits, Priority, Spec
from vcache.jobs.sqlite import SqliteQueue
from vcache.jobs.sqlite import queue as module
from vcache.jobs.states import Event, State


def test_namespaces_are_files_that_never_meet(tmp_path: Path) -> None:
    """Each namespace has a file of its own, and knows nothing of the others' jobs, sessions and cells."""
    with SqliteQueue(tmp_path) as plain, SqliteQueue(tmp_path, namespace="team.a") as team:
        plain.submit([Spec("a", "mill")])
        assert team.get(["a"]) == [None]
        assert team.info.namespace == "team.a"
        assert {path.name for path in tmp_path.glob("*.db")} == {"default.db", "team.a.db"}


@pytest.mark.parametrize("namespace", ["default", "../up", ".hidden", "a\0b"])
def test_a_namespace_that_is_no_file_name_is_refused(tmp_path: Path, namespace: str) -> None:
    """A namespace cannot lead elsewhere, nor to the file of those without one."""
    with pytest.raises(UsageError, match="namespace"):
        SqliteQueue(tmp_path, namespace=namespace)


def test_a_long_payload_comes_back_whole(tmp_path: Path) -> None:
    """A payload of 10 MB is kept apart from what changes, and comes with the claim, from another process's view too."""
    payload = {"data": bytes(range(256)) * 40_000}
    with SqliteQueue(tmp_path) as queue, SqliteQueue(tmp_path) as other:
        queue.submit([Spec("a", "mill", payload)])
        session = other.open_session("w", kinds=["mill"], lease_s=10)
        (claimed,) = other.exchange(session, kinds=["mill"], want=1).claimed
        assert claimed.spec.payload == payload
        assert queue.held(session)[0].spec.payload == payload
        other.exchange(session, [Finished(claimed, Event.COMPLETE, result=payload)])
        (job,) = queue.get(["a"])
        assert job is not None
        assert (job.spec.payload, job.result) == (payload, payload)


def test_a_long_job_leaves_nothing_when_it_is_forgotten(tmp_path: Path) -> None:
    """What was kept apart goes with its job."""
    with SqliteQueue(tmp_path, keep_ended=0) as queue:
        queue.submit([Spec("a", "mill", {"data": b"x" * 9000}), Spec("b", "mill")])
        session = queue.open_session("w", kinds=["mill"], lease_s=10)
        claimed = queue.exchange(session, kinds=["mill"], want=2).claimed
        queue.exchange(session, [Finished(each, Event.COMPLETE) for each in claimed])
        assert queue.get(["a", "b"]) == [None, None]
        db = queue._reader._db
        assert db.execute("SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM jobs)").get == (0, 0)


def test_each_sixteenth_goes_to_the_longest_waiting(tmp_path: Path) -> None:
    """However many come of a higher priority, one that waits has its turn; one by one or many at once."""
    for want in (1, 4, 40):
        with SqliteQueue(tmp_path / str(want)) as queue:
            queue.submit([Spec("old", "mill", priority=Priority.LOW)])
            queue.submit([Spec(f"new {at}", "mill", priority=Priority.HIGH) for at in range(60)])
            session = queue.open_session("w", kinds=["mill"], lease_s=10)
            order: list[str] = []
            while len(order) < 40:
                order += [each.spec.id for each in queue.exchange(session, kinds=["mill"], want=want).claimed]
            assert order.index("old") == 15


def test_rooms_of_limits_are_shared_by_kinds_and_sessions(tmp_path: Path) -> None:
    """A kind that may not start leaves its place to others, and each bound is that of all workers together."""
    with SqliteQueue(tmp_path) as queue:
        queue.limit("mill", Limits(running=2))
        queue.submit(
            [Spec(f"m{at}", "mill") for at in range(5)] + [Spec(f"b{at}", "bake") for at in range(5)]
        )
        sessions = [queue.open_session("w", kinds=["mill", "bake"], lease_s=10) for _ in range(2)]
        kinds = ["mill", "bake"]
        first, second = [queue.exchange(each, kinds=kinds, want=4).claimed for each in sessions]
        assert sorted(each.spec.id for each in (*first, *second)) == [
            "b0",
            "b1",
            "b2",
            "b3",
            "b4",
            "m0",
            "m1",
        ]


def test_a_submit_of_another_opening_wakes_who_waits(tmp_path: Path) -> None:
    """Who waits wakes up as another one submits, without looking now and then."""
    with SqliteQueue(tmp_path) as queue, SqliteQueue(tmp_path) as other:
        session = queue.open_session("w", kinds=["mill"], lease_s=10)
        assert not queue.exchange(session, kinds=["mill"], want=1).claimed
        waiting = threading.Thread(target=queue.wait, args=(["mill"], NEVER_S))
        waiting.start()
        other.submit([Spec("a", "mill")])
        with no_hang():
            waiting.join()


def test_who_leaves_jobs_behind_wakes_the_next(tmp_path: Path) -> None:
    """One submit of many jobs wakes one worker; as it leaves some, the next one wakes, and so on."""
    with SqliteQueue(tmp_path) as queue:
        claimed: list[str] = []

        def work() -> None:
            with SqliteQueue(tmp_path) as mine:
                session = mine.open_session("w", kinds=["mill"], lease_s=10)
                while not (found := mine.exchange(session, kinds=["mill"], want=1).claimed):
                    mine.wait(["mill"], NEVER_S)
                claimed.append(found[0].spec.id)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: [each.beats for each in queue.sessions()] == [1, 1, 1])
        queue.submit([Spec(f"job {at}", "mill") for at in range(3)])
        with no_hang():
            for thread in threads:
                thread.join()
        assert sorted(claimed) == ["job 0", "job 1", "job 2"]


def test_a_fork_that_could_not_let_go_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that was forked in the middle of a write does not touch the file, and says why."""
    monkeypatch.setattr(module, "_FORK_S", 0.01)
    with SqliteQueue(tmp_path) as queue:
        with queue._writer._leading:
            queue._before_fork()
            queue._after_fork_in_parent()
        queue.submit([Spec("a", "mill")])
        queue._is_broken = True  # as `_after_fork_in_child` finds it
        for use in (queue.stats, lambda: queue.submit([Spec("b", "mill")])):
            with pytest.raises(StoreUnavailable, match="start it by exec, or fork earlier"):
                use()
        queue._is_broken = False
        assert queue.stats().by_state[State.QUEUED] == 1


def test_a_queue_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """Of several who open a queue that is not there yet, one makes it, and all use it."""
    barrier = threading.Barrier(6)

    def use(number: int) -> None:
        barrier.wait()
        with SqliteQueue(tmp_path / "jobs") as queue:
            queue.submit([Spec(f"job {number}", "mill")])

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with SqliteQueue(tmp_path / "jobs") as queue:
        assert queue.stats().waiting == {("mill", 2): 6}


def test_other_programs_find_its_files(tmp_path: Path) -> None:
    """What it leaves behind are the files that docs/design/jobs-sqlite.md names."""
    with SqliteQueue(tmp_path) as queue:
        queue.submit([Spec("a", "mill")])
    assert {path.name for path in tmp_path.iterdir()} <= {
        "default.db", "default.db-wal", "default.db-shm", "default.db.door", "default.db.turn", "default.db.log", "wake",
    }  # fmt: skip
