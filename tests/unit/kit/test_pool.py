"""A bounded pool of things for one user at a time."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from vcache.errors import UsageError
from vcache.kit.pool import Pool


class Things:
    """Numbers the things of a pool, and notes what happens to them."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.closed: list[int] = []
        self.disowned: list[int] = []

    def pool(self, limit: int = 2, make: Callable[[], int] | None = None) -> Pool[int]:
        return Pool(
            make or (lambda: next(self.numbers)),
            limit=limit,
            close=self.closed.append,
            disown=self.disowned.append,
        )


def test_what_came_back_last_is_lent_first() -> None:
    """nothing is made while there are idle ones, and the warmest goes first"""
    pool = Things().pool(3)
    first, second, third = pool.take(), pool.take(), pool.take()
    for each in (third, first, second):
        pool.give(each)
    assert [pool.take(), pool.take(), pool.take()] == [second, first, third]
    assert pool.n_made == 3


def test_no_more_than_the_limit_are_made() -> None:
    """who wants one more waits, no longer than asked"""
    pool = Things().pool(2)
    pool.take()
    pool.take()
    with pytest.raises(TimeoutError, match=r"all 2 of a pool were in use for 0\.01 s"):
        pool.take(0.01)
    assert pool.n_made == 2


def test_who_waits_gets_what_comes_back() -> None:
    """each of many waiting threads is served, and none together with another"""
    pool = Things().pool(2)
    users = [0, 0]
    served = []

    def use() -> None:
        for _ in range(50):
            with pool.lent(30) as number:
                users[number] += 1
                assert users[number] == 1
                users[number] -= 1
                served.append(number)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(served) == 400
    assert pool.n_idle == pool.n_made <= 2


def test_an_unsound_one_is_closed_and_makes_room() -> None:
    """a thing that its user gave up is not lent again"""
    things = Things()
    pool = things.pool(1)
    pool.give(pool.take(), is_sound=False)
    assert things.closed == [0]
    assert pool.take(0) == 1
    assert pool.n_made == 1


def test_an_error_in_the_body_closes_what_was_lent() -> None:
    """what was in use when something went wrong is not trusted"""
    things = Things()
    pool = things.pool(1)

    def use() -> None:
        with pool.lent():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert things.closed == [0]
    assert pool.n_made == 0


def test_a_failed_make_takes_no_room() -> None:
    """an error while one is made is the taker's, and the next may try"""
    results: Iterator[int | OSError] = iter([OSError("no"), 7])

    def make() -> int:
        result = next(results)
        if isinstance(result, OSError):
            raise result
        return result

    pool = Things().pool(1, make)
    with pytest.raises(OSError, match="no"):
        pool.take()
    assert pool.take(0) == 7


def test_a_closed_pool_lends_nothing() -> None:
    """what is idle is closed at once, what is lent when it comes back"""
    things = Things()
    pool = things.pool(2)
    lent, idle = pool.take(), pool.take()
    pool.give(idle)
    pool.close()
    pool.close()
    assert things.closed == [idle]
    with pytest.raises(UsageError, match="closed"):
        pool.take()
    pool.give(lent)
    assert things.closed == [idle, lent]
    assert pool.n_made == 0


def test_closing_wakes_who_waits() -> None:
    """nobody waits for a pool that was closed"""
    pool = Things().pool(1)
    pool.take()
    errors = []

    def wait() -> None:
        try:
            pool.take(30)
        except UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    pool.close()
    thread.join(10)
    assert len(errors) == 1


def test_a_pool_has_room() -> None:
    """a limit below one is a mistake"""
    with pytest.raises(UsageError, match="limit is 0"):
        Things().pool(0)


def test_a_forked_child_begins_with_none() -> None:
    """a child takes none of its parent's, closes none, and is told of the idle ones"""
    things = Things()
    pool = things.pool(2)
    lent, idle = pool.take(), pool.take()
    pool.give(idle)
    child = os.fork()
    if child == 0:
        is_right = (
            pool.take(0) == 2 and pool.take(0) == 3 and things.disowned == [idle] and things.closed == []
        )
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert things.disowned == []
    assert pool.take(0) == idle
    assert lent != idle
