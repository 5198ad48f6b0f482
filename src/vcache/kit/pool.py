"""A bounded pool of things that are dear to make and serve one user at a time: connections, handles.

What was given back last is lent first: it is the one most likely to be warm still. It must not know
what it lends.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from vcache.errors import UsageError
from vcache.kit.clock import Deadline

__all__ = ["Pool"]

T = TypeVar("T")


def _nothing(_: object) -> None:
    pass


class Pool(Generic[T]):
    """Lends things, makes them when none is idle, and never has more than a limit.

    Args:
        make: gives a new one.
        limit: how many there may be, lent and idle; who wants one more waits.
        close: ends one.
        disown: what a forked child does first with each idle one of its parent's. The child
            keeps them untouched for the rest of its life: to close what two processes share,
            such as a TLS connection, ends it for both.

    Threads: all operations. After a fork the child begins with none.
    """

    __slots__ = (
        "__weakref__", "_close", "_disown", "_freed", "_idle", "_left", "_limit", "_made", "_make", "_waiting",
        "is_closed",
    )  # fmt: skip

    def __init__(
        self,
        make: Callable[[], T],
        *,
        limit: int,
        close: Callable[[T], object] = _nothing,
        disown: Callable[[T], object] = _nothing,
    ) -> None:
        if limit < 1:
            raise UsageError(f"a pool needs room for one: limit is {limit}")
        self._make = make
        self._limit = limit
        self._close = close
        self._disown = disown
        self._left: list[T] = []
        self.is_closed = False
        self._begin()
        _pools.add(self)

    def _begin(self) -> None:
        self._idle: list[T] = []
        self._freed = threading.Condition(threading.Lock())  # guards the next two
        self._made = 0
        self._waiting = 0

    @property
    def n_idle(self) -> int:
        return len(self._idle)

    @property
    def n_made(self) -> int:
        """How many there are, lent and idle."""
        return self._made

    def take(self, timeout_s: float | None = None) -> T:
        """One for the caller alone, who has to give it back.

        Raises:
            TimeoutError: all were lent for that long.
            UsageError: the pool was closed.
        """
        # Without the lock: a list's pop is one step, and nobody waits while there are idle ones.
        try:
            thing = self._idle.pop()
        except IndexError:
            pass
        else:
            return thing
        return self._make_or_wait(timeout_s)

    def give(self, thing: T, *, is_sound: bool = True) -> None:
        """Give one back; one that is not sound is closed, and makes room for a new one."""
        if not is_sound:
            self._drop(thing)
            return
        # Appended before who waits is looked for, while a waiter says so before it looks for an idle
        # one: whichever comes first, one sees the other.
        self._idle.append(thing)
        if self._waiting:
            with self._freed:
                self._freed.notify()
        if self.is_closed:
            self._close_idle()

    @contextmanager
    def lent(self, timeout_s: float | None = None) -> Iterator[T]:
        """One for the time of a `with`; it is not given to others if the body raises."""
        thing = self.take(timeout_s)
        is_sound = False
        try:
            yield thing
            is_sound = True
        finally:
            self.give(thing, is_sound=is_sound)

    def close(self) -> None:
        """Close what is idle, and whatever is lent when it is given back. May be called again."""
        self.is_closed = True
        self._close_idle()
        with self._freed:
            self._freed.notify_all()

    def _make_or_wait(self, timeout_s: float | None) -> T:
        deadline = Deadline(timeout_s)
        with self._freed:
            self._waiting += 1
            try:
                while True:
                    if self.is_closed:
                        raise self._closed()
                    if self._idle:
                        return self._idle.pop()
                    if self._made < self._limit:
                        self._made += 1
                        break
                    left_s = None if deadline.is_never else deadline.remaining_s()
                    if not self._freed.wait(left_s) and deadline.is_past and not self._idle:
                        raise TimeoutError(f"all {self._limit} of a pool were in use for {timeout_s:g} s")
            finally:
                self._waiting -= 1
        try:
            return self._make()
        except BaseException:
            self._make_room()
            raise

    def _drop(self, thing: T) -> None:
        self._make_room()
        self._close(thing)

    def _make_room(self) -> None:
        with self._freed:
            self._made -= 1
            self._freed.notify()

    def _close_idle(self) -> None:
        while self._idle:
            try:
                thing = self._idle.pop()
            except IndexError:  # another thread took the last one
                return
            self._drop(thing)

    def _closed(self) -> UsageError:
        return UsageError("the pool was closed")

    def _after_fork(self) -> None:
        left = self._idle
        self._left += left
        self._begin()
        for thing in left:
            self._disown(thing)


_pools: Final[weakref.WeakSet[Pool[Any]]] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool._after_fork()


os.register_at_fork(after_in_child=_after_fork)
