"""A small publish and subscribe: events of one family, fanned out to whoever asked for their type.

A listener that raises is dropped, with one warning that names it; the publisher never notices.
It must not know what happens, nor who wants to know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from vcache.errors import UsageError
from vcache.kit.logs import logger

__all__ = ["EventBus"]

E = TypeVar("E")

_DEBUG = 10  # as `logging` has it


class _Subscription(NamedTuple, Generic[E]):  # 0.8 ms cheaper to load than a dataclass
    take: Callable[[E], object]
    types: tuple[type, ...]  # empty for all
    name: str
    close: Callable[[], object] | None


class EventBus(Generic[E]):
    """Carries events to listeners, in the publisher's thread, in the order of subscription.

    Args:
        on_drop: told of a listener that raised, by name, and of what it raised; None for a
            warning in the log.

    Threads: `subscribe` and what it returns may be called from any thread, also by a listener in
        the middle of an event, and count from the next event on. `publish` is called by one thread
        at a time.
    """

    def __init__(self, *, on_drop: Callable[[str, Exception], object] | None = None) -> None:
        self._on_drop = on_drop
        self._lock = threading.Lock()  # guards changes of the two below; `publish` reads without it
        self._subscriptions: tuple[_Subscription[E], ...] = ()
        # By type of event, filled when one is seen first: an event that nobody wants costs one look-up.
        self._wanting: dict[type, tuple[_Subscription[E], ...]] = {}
        self._is_closed = False

    def subscribe(
        self,
        take: Callable[[E], object],
        *types: type[E],
        name: str = "",
        close: Callable[[], object] | None = None,
    ) -> Callable[[], object]:
        """Have `take` called with every event from here on; what is returned ends that.

        Args:
            types: classes of events that are wanted; none for all.
            name: who it is, for the warning; by default what Python calls it.
            close: called once, when the bus is closed or the listener is dropped.

        Raises:
            UsageError: the bus is closed.
        """
        entry = _Subscription(take, types, name or _name_of(take), close)
        with self._lock:
            if self._is_closed:
                raise UsageError(f"{entry.name} subscribes to an event bus that is closed")
            self._set((*self._subscriptions, entry))
        return lambda: self._remove(entry)

    def publish(self, event: E) -> None:
        """Hand an event to everybody who wants its type."""
        wanting = self._wanting.get(type(event))
        if wanting is None:
            wanting = self._first_of(type(event))
        for entry in wanting:
            try:
                entry.take(event)
            except Exception as error:  # a listener is nobody's business but its own
                self._drop(entry, error)

    def close(self) -> None:
        """Close every listener, in the order of subscription. What is published later reaches nobody."""
        with self._lock:
            if self._is_closed:
                return
            entries = self._subscriptions
            self._is_closed = True
            self._set(())
        for entry in entries:
            self._close(entry)

    def _set(self, subscriptions: tuple[_Subscription[E], ...]) -> None:
        self._subscriptions = subscriptions
        self._wanting = {}  # replaced, not cleared: a `publish` underway keeps its own

    def _first_of(self, kind: type) -> tuple[_Subscription[E], ...]:
        with self._lock:
            wanting = tuple(
                entry for entry in self._subscriptions if not entry.types or issubclass(kind, entry.types)
            )
            self._wanting[kind] = wanting
        return wanting

    def _remove(self, entry: _Subscription[E]) -> bool:
        with self._lock:
            left = tuple(other for other in self._subscriptions if other is not entry)
            was_there = len(left) < len(self._subscriptions)
            self._set(left)
        return was_there

    def _drop(self, entry: _Subscription[E], error: Exception) -> None:
        if not self._remove(entry):
            return  # it unsubscribed, or was dropped by what it published itself
        self._tell(entry.name, error)
        self._close(entry)

    def _close(self, entry: _Subscription[E]) -> None:
        if entry.close is None:
            return
        try:
            entry.close()
        except Exception as error:
            self._tell(entry.name, error)

    def _tell(self, name: str, error: Exception) -> None:
        if self._on_drop is not None:
            self._on_drop(name, error)
            return
        log = logger("vcache.events")
        trace = error if log.isEnabledFor(_DEBUG) else None
        log.warning(
            "%s failed and is told nothing more: %s: %s", name, type(error).__name__, error, exc_info=trace
        )


def _name_of(take: object) -> str:
    owner = getattr(take, "__self__", None)  # of a bound method
    if owner is not None:
        return type(owner).__qualname__
    return getattr(take, "__qualname__", None) or type(take).__qualname__
