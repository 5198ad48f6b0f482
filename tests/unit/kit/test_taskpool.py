"""A pool of threads: what runs where, what waits for whom, and how it ends."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from vcache.errors import UsageError
from vcache.kit.taskpool import TaskPool


@pytest.fixture
def pool():
    made = TaskPool("test")
    yield made
    made.shutdown()


def test_a_result_comes_back(pool):
    """A task has what its call returned, or raises what it raised"""
    assert pool.spawn(lambda: 42).result() == 42
    failing = pool.spawn(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        failing.result()
    assert failing.is_over


def test_threads_are_kept(pool):
    """One task after the other needs one thread"""
    for _ in range(20):
        pool.spawn(lambda: None).result(5)
        while pool._n_idle != 1:  # the thread is back a moment after its task is over
            pass
    assert pool.n_threads == 1


def test_every_running_task_has_a_thread(pool):
    """Without a limit no task waits for another"""
    meet = threading.Barrier(9)
    tasks = [pool.spawn(lambda: meet.wait(10)) for _ in range(8)]
    meet.wait(10)
    assert len({task.result(10) for task in tasks}) == 8
    assert pool.n_threads == 8


def test_a_limit_holds():
    """No more threads than that, and everything runs"""
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1

    with TaskPool("test", limit=3) as pool:
        tasks = [pool.spawn(work) for _ in range(30)]
    assert all(task.is_over for task in tasks)
    assert most == 3 == pool.n_threads


def test_a_task_waits_for_its_own_pool():
    """However small the pool, tasks that wait for tasks do not lock it up"""
    with TaskPool("test", limit=1) as pool:

        def count(depth: int) -> int:
            return 0 if depth == 0 else 1 + pool.spawn(lambda: count(depth - 1)).result()

        assert pool.spawn(lambda: count(10)).result() == 10


def test_a_wait_may_end_first(pool):
    """Who does not want to wait longer is told so, and the task goes on"""
    gate = threading.Event()
    task = pool.spawn(gate.wait)
    with pytest.raises(TimeoutError, match="0"):
        task.result(0)
    gate.set()
    assert task.result(10) is True


def test_only_what_has_not_begun_is_cancelled():
    """A cancelled task never runs; a running one cannot be cancelled"""
    with TaskPool("test", limit=1) as pool:
        begun, gate, ran = threading.Event(), threading.Event(), []

        def hold() -> None:
            begun.set()
            gate.wait(10)

        first = pool.spawn(hold)
        second = pool.spawn(lambda: ran.append(1))
        assert begun.wait(10)
        assert not first.cancel()
        assert second.cancel()
        gate.set()
        with pytest.raises(UsageError, match="cancelled"):
            second.result()
    assert ran == []


def test_a_scope_waits_for_all(pool):
    """Behind the scope every task is over"""
    gate = threading.Event()
    with pool.scope() as scope:
        tasks = [scope.spawn(lambda: gate.wait(10)) for _ in range(3)]
        gate.set()
    assert all(task.is_over for task in tasks)


def test_a_scope_raises_the_first_error(pool):
    """In the order of spawning, after all of them ended"""

    def fail(text: str) -> None:
        raise ValueError(text)

    def run(ran: list[int]) -> None:
        with pool.scope() as scope:
            scope.spawn(lambda: fail("one"))
            scope.spawn(lambda: fail("two"))
            scope.spawn(lambda: ran.append(1))

    ran: list[int] = []
    with pytest.raises(ValueError, match="one"):
        run(ran)
    assert ran == [1]


def test_an_error_of_the_body_goes_on():
    """What has not begun is cancelled, what has is waited for"""
    begun, gate, tasks, ran = threading.Event(), threading.Event(), [], []

    def hold() -> None:
        begun.set()
        gate.wait(0.05)

    def run(pool: TaskPool) -> None:
        with pool.scope() as scope:
            tasks.append(scope.spawn(hold))
            tasks.append(scope.spawn(lambda: ran.append(1)))
            assert begun.wait(10)
            raise KeyError

    with TaskPool("test", limit=1) as pool:
        with pytest.raises(KeyError):
            run(pool)
        assert [task.is_over for task in tasks] == [True, True]
    assert ran == []


def test_after_the_end():
    """A pool that was shut down takes nothing; what it had taken has run"""
    pool = TaskPool("test", limit=1)
    ran: list[int] = []
    for number in range(5):
        pool.spawn(partial(ran.append, number))
    pool.shutdown()
    pool.shutdown()
    assert ran == [0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match="'test' was shut down"):
        pool.spawn(lambda: None)


def test_a_pool_is_shut_down_by_its_own_task():
    """It does not wait for itself"""
    pool = TaskPool("test")
    pool.spawn(pool.shutdown).result(10)


def test_no_threads_is_no_pool():
    """The value is named"""
    with pytest.raises(UsageError, match="0"):
        TaskPool("test", limit=0)


def test_a_result_is_not_kept_alive(pool):
    """An idle pool holds on to nothing of what ran"""
    import gc
    import weakref

    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)
    pool.spawn(lambda thing=thing: None).result(5)
    del thing
    while pool._n_idle != 1:
        pass
    gc.collect()
    assert seen() is None
