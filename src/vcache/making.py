"""Making a value that is not there: by one of all who ask, kept under conditions.

It knows a small protocol of what it needs from a cache (`Keeper`), and nothing of stores, graphs
or commands.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, cast

from vcache.artifacts import Cabinet
from vcache.discovery import Shelf
from vcache.entry import split_key
from vcache.errors import EncodeError, StoreClosed
from vcache.kit.data import dataclass, replace
from vcache.kit.logs import logger
from vcache.kit.units import nanoseconds
from vcache.outcome import Hit, Miss
from vcache.valuables import ABSENT, Conditions

if TYPE_CHECKING:
    from datetime import timedelta

    from vcache.entry import Dep, Entry, Key
    from vcache.fingerprint.digests import Backing
    from vcache.fingerprint.inputs import Spec
    from vcache.flight import SingleFlight

    Duration = float | int | str | timedelta

__all__ = ["Keeper", "Making"]

R = TypeVar("R")
_log = logger("vcache.step")


class Keeper(Shelf, Cabinet, Protocol):
    """What making and remembering values needs of a cache."""

    @property
    def is_disabled(self) -> bool: ...

    @property
    def is_read_only(self) -> bool: ...

    @property
    def flight(self) -> SingleFlight: ...

    @property
    def backing(self) -> Backing | None: ...

    def key(self, name: str | bytes) -> Key: ...

    def put_key(self, key: Key, value: object, conditions: Conditions = ...) -> bool: ...

    def delete_key(self, key: Key) -> bool: ...

    def entries_under(self, prefix: bytes) -> Iterator[Entry]: ...

    def count(self, outcome: Hit | Miss) -> None: ...


@dataclass(frozen=True, slots=True)
class Making:
    """How a value is made and kept: single flight, time to live, what happens to exceptions.

    Attributes:
        ttl_ns: how long a value may be used; None for ever.
        stale_ns: how much longer it is served while a new one is made in the background. Such a
            value counts as a hit; `Cache.get`, which makes none, does not give it.
        errors_ns: how long an exception is kept; None keeps none.
        tags: labels to invalidate by, of values and exceptions.
    """

    ttl_ns: int | None = None
    stale_ns: int = 0
    errors_ns: int | None = None
    tags: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, *, ttl: Duration | None, stale: Duration | None, errors: Duration | None, tags: frozenset[str]
    ) -> Self:
        """With durations as users write them."""
        return cls(
            ttl_ns=None if ttl is None else nanoseconds(ttl),
            stale_ns=0 if stale is None else nanoseconds(stale),
            errors_ns=None if errors is None else nanoseconds(errors),
            tags=tags,
        )

    def get_or_make(
        self,
        keeper: Keeper,
        key: Key,
        make: Callable[[], R],
        specs: Iterable[Spec | str | os.PathLike[str]],
    ) -> R:
        """The kept value, or the one that `make` gives now, made by one of all who ask.

        Raises:
            Exception: what `make` raised now, or then.
        """
        if keeper.is_disabled:
            return make()
        if self.stale_ns:
            found = keeper.peek_key(key)
            keeper.count(found)
            if isinstance(found, Hit):
                if found.is_expired:
                    self.refresh(keeper, key, lambda: self._remake(keeper, key, make, specs))
                return cast("R", found.use())
        else:
            value = keeper.get_key(key, ABSENT)
            if value is not ABSENT:
                return cast("R", value)
        lead = keeper.flight.lead(key)
        with nullcontext() if lead is None else lead:
            found = keeper.peek_key(key)
            if isinstance(found, Hit) and not found.is_expired:
                return cast("R", found.use())  # somebody made it while this caller waited
            return self._make(keeper, key, make, specs)

    def _remake(
        self,
        keeper: Keeper,
        key: Key,
        make: Callable[[], object],
        specs: Iterable[Spec | str | os.PathLike[str]],
    ) -> None:
        """Make a value that is late, unless somebody just did."""
        found = keeper.peek_key(key)
        if isinstance(found, Miss) or found.is_expired:
            # An exception is not kept: it would take the place of the value that still serves.
            replace(self, errors_ns=None)._make(keeper, key, make, specs)

    def keep(
        self, keeper: Keeper, key: Key, value: object, *, cost_ns: int, deps: tuple[Dep, ...] = ()
    ) -> bool:
        """Keep a made value; whether it was taken.

        A value that no codec takes is left to its caller, with a warning: the work is done, and a
        program must not fail for being cached. `Cache.put` raises, where keeping is the whole point.
        """
        conditions = Conditions(
            ttl_ns=self.ttl_ns, stale_ns=self.stale_ns, cost_ns=cost_ns, tags=self.tags, deps=deps
        )
        try:
            return keeper.put_key(key, value, conditions)
        except EncodeError as error:
            _log.warning("%s: not kept, and made anew each time: %s", _shown(key), error)
            return False

    def keep_if_fresh(
        self, keeper: Keeper, key: Key, value: object, *, cost_ns: int, deps: tuple[Dep, ...]
    ) -> None:
        """Keep a made value, unless a dependency changed while it was made."""
        changed = keeper.observer.first_stale(deps) if deps else None
        if changed is None:
            self.keep(keeper, key, value, cost_ns=cost_ns, deps=deps)
        else:
            from vcache.fingerprint.manifest import title  # a rare case

            what = title(changed.dep.kind, changed.dep.name)
            _log.warning("%s %s while a value was made from it: not kept", what, changed.reason)

    def keep_error(
        self, keeper: Keeper, key: Key, error: Exception, *, cost_ns: int, deps: tuple[Dep, ...] = ()
    ) -> None:
        """Keep an exception for its own time, if it has one."""
        if self.errors_ns is None:
            return
        conditions = Conditions(
            ttl_ns=self.errors_ns, cost_ns=cost_ns, codec="error", tags=self.tags, deps=deps, is_error=True
        )
        keeper.put_key(key, error, conditions)

    def refresh(self, keeper: Keeper, key: Key, remake: Callable[[], object]) -> None:
        """Make a new value in the background, unless somebody is at it."""
        lead = keeper.flight.lead(key, wait=False, is_recursive=False)  # another thread will end it
        if lead is None:
            return

        def work() -> None:
            with lead:
                try:
                    remake()
                except StoreClosed:
                    _log.debug("%s: the cache was closed while it was refreshed", _shown(key))
                except Exception:
                    _log.exception(
                        "refreshing %s failed; the old value serves until it is too old", _shown(key)
                    )

        threading.Thread(target=work, name="vcache-refresh", daemon=True).start()

    def _make(
        self, keeper: Keeper, key: Key, make: Callable[[], R], specs: Iterable[Spec | str | os.PathLike[str]]
    ) -> R:
        """Make a value and keep it, unless a dependency changed meanwhile."""
        deps = keeper.observer.observe_all(specs) if specs else ()
        started = time.perf_counter_ns()
        try:
            value = make()
        except Exception as error:
            self.keep_error(keeper, key, error, cost_ns=time.perf_counter_ns() - started, deps=deps)
            raise
        cost_ns = time.perf_counter_ns() - started
        self.keep_if_fresh(keeper, key, value, cost_ns=cost_ns, deps=deps)
        return value


def _shown(key: Key) -> str:
    return repr(split_key(key)[1])
