"""A store around a network store: whatever the remote does, a build is not held up by it, nor fails.

It knows the protocols of stores only. What it promises is in docs/design/network.md.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from vcache.entry import Key, Record, make_key
from vcache.errors import DecodeError, StoreClosed, StoreReadOnly, StoreUnavailable
from vcache.kit.batches import batched
from vcache.kit.breaker import Breaker, Verdict
from vcache.kit.clock import Clock, system_clock
from vcache.kit.ratelimit import TokenBucket
from vcache.store.base import Batches, Presence, Store, StoreCounters, StoreInfo, satisfies
from vcache.store.checking import verified
from vcache.store.guard.absences import Absences
from vcache.store.guard.calls import Calls, Stopped
from vcache.store.guard.late import loading_of
from vcache.store.guard.limits import Limits
from vcache.store.guard.outbox import Outbox, content_size_of, size_of
from vcache.store.guard.spool import Pending
from vcache.store.guard.telemetry import Counts, Telemetry
from vcache.store.guard.trouble import Trouble, words_of

__all__ = ["GuardedStore"]

_LOST_S: Final = 60.0
"""How long a key is absent here whose record could not be sent."""
_BATCH: Final = 1000


class GuardedStore:
    """The shield.

    Args:
        inner: the store of the remote. It is closed with this one.
        limits: what is kept to.
        directory: where the state of the remote lies, shared with other processes.
        spool: the name of the spool within.
        clock: for what is stored.

    Attributes:
        directory: as given.

    Threads: all operations. After a fork both processes go on.
    """

    def __init__(
        self,
        inner: Store,
        limits: Limits,
        directory: str | os.PathLike[str],
        *,
        spool: str = "spool",
        clock: Clock = system_clock,
    ) -> None:
        own = inner.info
        self.inner = inner
        self.info: StoreInfo = own._replace(
            is_trusted=False,
            is_verified=True,
            keeps_time=True,
            is_read_only=own.is_read_only or limits.is_read_only,
        )
        self.directory: Final = os.fspath(directory)
        self._limits = limits
        self._counts = Counts()
        self._breaker = Breaker(directory, clock=clock)
        self._calls = Calls(limits, self._breaker, keeps_time=own.keeps_time, load=loading_of(inner))
        self._trouble = Trouble(
            inner, os.fspath(directory), breaker=self._breaker, counts=self._counts, clock=clock
        )
        self._outbox = Outbox(
            inner,
            limits,
            address=own.url.partition("?")[0],
            directory=os.fspath(directory),
            folder=spool,
            breaker=self._breaker,
            calls=self._calls,
            counts=self._counts,
            trouble=self._trouble,
            forget=self._lose,
            clock=clock,
        )
        rate = limits.bandwidth_bytes
        self._bucket = None if rate is None else TokenBucket(rate)
        self._absent = Absences()
        self._has_resumed = self.info.is_read_only
        self._is_closed = False
        self._take_refusals: Callable[[], Iterable[tuple[Key, str]]] | None = getattr(
            inner, "take_refusals", None
        )
        _guards.add(self)

    # -- reading -----------------------------------------------------------------------------

    def get(self, key: Key) -> Record | None:
        """The verified record of a key, or None: absent, damaged, or not to be had in time."""
        known = self._known(key)
        counts = self._counts
        if known is not None:
            if known.record is None:
                counts.misses += 1
            else:
                counts.hits += 1
            return known.record
        if not self._may_ask(key):
            return None
        try:
            record = self._calls.ask(lambda: self.inner.get(key))
        except Exception as error:
            self._missed(key, error)
            return None
        if record is not None:
            return self._checked(key, record)
        counts.misses += 1
        self._lacks(key)
        self._trouble.look(key)
        return None

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """The verified records of those keys that can be had, asked for at once."""
        found: dict[Key, Record] = {}
        asked: list[Key] = []
        for key in dict.fromkeys(keys):
            known = self._known(key)
            if known is None:
                asked.append(key)
            elif known.record is not None:
                found[key] = known.record
                self._counts.hits += 1
            else:
                self._counts.misses += 1
        for batch in batched(asked, _BATCH):
            if not self._may_ask(batch[0], count=len(batch)):
                continue
            try:
                had = self._calls.ask(partial(self._fetch, batch))
            except Exception as error:
                self._missed(batch[0], error, count=len(batch))
                continue
            for key in batch:
                if key not in had:
                    self._lacks(key)
                    self._counts.misses += 1
                elif (record := self._checked(key, had[key])) is not None:
                    found[key] = record
            self._trouble.look(batch[0])
        return found

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that cannot be had, as far as is known; all of them where it is not."""
        lacks: set[Key] = set()
        asked: list[Key] = []
        for key in dict.fromkeys(keys):
            known = self._known(key)
            if known is None:
                asked.append(key)
            elif known.record is None:
                lacks.add(key)
        for batch in batched(asked, _BATCH):
            lacks.update(batch)
            if not self._may_ask(batch[0], count=0):
                continue
            try:
                absent = self._calls.ask(partial(self._absent_of, batch))
            except Exception as error:
                self._missed(batch[0], error, count=0)
                continue
            lacks.difference_update(batch)
            lacks.update(absent)
            for key in absent:
                self._lacks(key)
        return lacks

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk the keys, those that wait to be sent included.

        Raises:
            StoreUnavailable: the remote does not answer.
        """
        self._require_open()
        if not self.info.is_listed:
            return self.inner.scan(prefix)
        return self._scan(prefix)

    # -- writing -----------------------------------------------------------------------------

    def put(self, key: Key, record: Record) -> None:
        """Keep a record: in the spool, to be sent in the background, or at once with `write=through`.

        Raises:
            StoreUnavailable: with `write=through`, the remote does not answer.
            StoreError: with `write=through`, it does not take the record.
        """
        self.put_many({key: record})

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep all records; raises what `put` does."""
        self._require_writable()
        for key in records:  # before: a record that is given up makes its key absent
            self._absent.forget(key)
        self._outbox.put(records)

    def delete(self, key: Key) -> bool:
        """Forget a key; whether there was one, as far as the remote says so in time.

        What cannot be deleted now waits in the spool, and is absent here.

        Raises:
            StoreError: with `write=through`, as `put`.
        """
        self._require_writable()
        return self._outbox.delete(key)

    # -- itself ------------------------------------------------------------------------------

    def counters(self) -> StoreCounters:
        """What happened. What the remote holds is not counted: that would take an operation."""
        self._require_open()
        return StoreCounters(0, 0, corrupt=self._counts.corrupt, faults=self._counts.faults)

    def telemetry(self) -> Telemetry:
        """All that was counted in this process, for metrics."""
        return self._counts.snapshot(
            sent=self._outbox.sent, opens=self._calls.opens, waited_s=self._calls.waited_s
        )

    def trouble(self) -> str | None:
        """Why the remote is not asked for now, if so."""
        state = self._breaker.state
        return state.why or "it does not answer" if state.is_open else None

    def check(self, seconds: float) -> str | None:
        """Ask the remote now, also if it is left alone: why it does not serve, if so. An answer ends that.

        Args:
            seconds: the longest to wait.
        """
        self._require_open()
        key = make_key("vcache doctor")
        try:
            self._calls.once(partial(self._absent_of, [key]), min(seconds, self._limits.deadline_s))
        except Exception as error:
            return words_of(error)
        self._breaker.succeed()
        return None

    def close(self) -> None:
        """Send what waits, as long as `flush` allows; the rest is left for the next process."""
        if self._is_closed:
            return
        self._is_closed = True
        self._calls.close()  # first: what it finds out lets the outbox send
        self._outbox.close()
        self.inner.close()

    # -- inside: what is known without asking --------------------------------------------------

    def _known(self, key: Key) -> Pending | None:
        """What is known of a key: put or deleted here and not sent yet, or lately found absent."""
        if self._is_closed:
            self._require_open()
        if not self._has_resumed:
            self._has_resumed = True
            self._outbox.resume()
        if self._outbox.own and (pending := self._outbox.find(key)) is not None:
            return pending
        return Pending("", key, None, 0) if key in self._absent else None

    def _lacks(self, key: Key) -> None:
        """The remote has no record of a key that may be used."""
        if self._take_refusals is not None:
            for refused, why in self._take_refusals():
                self._trouble.distrusted(refused, why)
        self._absent.add(key, self._limits.negative_s)

    def _lose(self, key: Key) -> None:
        """A record was not sent: what the remote may have under its key is older."""
        self._absent.add(key, max(self._limits.negative_s, _LOST_S))

    def _may_ask(self, key: Key, *, count: int = 1) -> bool:
        """Whether the remote is to be asked; if it is time to find out, that is done beside."""
        verdict = self._breaker.verdict()
        if verdict is Verdict.GO:
            if self._bucket is None or self._bucket.wait_s() <= self._limits.deadline_s:
                return True
        elif verdict is Verdict.PROBE:
            self._calls.probe(partial(self.inner.get, key))
        self._counts.misses += count
        self._counts.unasked += count
        return False

    # -- inside: asking ------------------------------------------------------------------------

    def _fetch(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        inner = self.inner
        if satisfies(inner, Batches):
            return inner.get_many(keys)
        found: dict[Key, Record] = {}
        for key in keys:
            try:
                record = inner.get(key)
            except DecodeError as error:  # the others may be sound
                self._trouble.damaged(key, str(error))
                continue
            if record is not None:
                found[key] = record
        return found

    def _absent_of(self, keys: Sequence[Key]) -> set[Key]:
        inner = self.inner
        if satisfies(inner, Presence):
            return set(inner.missing(keys)).intersection(keys)
        had = self._fetch(keys)
        return {key for key in keys if key not in had}

    def _checked(self, key: Key, record: Record) -> Record | None:
        """A record if it is what it claims to be; otherwise it is counted, and many are a fault."""
        size = size_of(record)
        self._counts.read_bytes += size
        if self._bucket is not None:
            self._bucket.spend(size)
        # Unpacked it may be 255 times as long: the limit is of what a reader would have to hold.
        size = max(size, content_size_of(record))
        if size > self._limits.limit_bytes:
            self._trouble.too_large(key, f"{size} bytes are above the limit of {self._limits.limit_bytes}")
        elif verified(key, record) is not None:
            self._trouble.sound()
            self._counts.hits += 1
            return record
        else:
            self._trouble.damaged(key, "its content is not what its head says")
        self._counts.misses += 1
        return None

    def _missed(self, key: Key, error: Exception, *, count: int = 1) -> None:
        """Count what an operation failed by; nobody is held up by it.

        Raises:
            StoreClosed: this store was closed meanwhile, or the inner one by somebody else.
        """
        self._counts.misses += count
        if isinstance(error, DecodeError):
            self._trouble.damaged(key, str(error))
        elif isinstance(error, Stopped):
            self._counts.unasked += count
        elif isinstance(error, StoreClosed):
            raise error
        else:
            self._trouble.fault(error)

    # -- inside: the rest ----------------------------------------------------------------------

    def _scan(self, prefix: bytes) -> Iterator[Key]:
        waiting = {key: self._outbox.find(key) for key in list(self._outbox.own)}
        left = {
            key
            for key, pending in waiting.items()
            if pending is not None and pending.record is not None and key.startswith(prefix)
        }
        gone = {key for key, pending in waiting.items() if pending is not None and pending.record is None}
        if self._breaker.verdict() is not Verdict.GO:
            raise StoreUnavailable(f"{self.info.url} is not asked for now: {self._breaker.state.why}")
        walk = self._calls.ask(lambda: iter(self.inner.scan(prefix)))
        while keys := self._calls.ask(lambda: list(itertools.islice(walk, _BATCH))):
            self._require_open()
            for key in keys:
                left.discard(key)
                if key not in gone:
                    yield key
        yield from left

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"{self.info.url} is closed: open another one")

    def _require_writable(self) -> None:
        self._require_open()
        if self.info.is_read_only:
            raise StoreReadOnly(f"{self.info.url} is read only")

    def _after_fork_in_child(self) -> None:
        self._breaker.after_fork_in_child()
        self._calls.after_fork_in_child()
        self._trouble.after_fork_in_child()
        self._outbox.after_fork_in_child()
        if self._bucket is not None:
            self._bucket.after_fork_in_child()


_guards: weakref.WeakSet[GuardedStore] = weakref.WeakSet()


def _after_fork() -> None:
    for guard in list(_guards):
        guard._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)
