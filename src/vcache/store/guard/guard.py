"""A store around a network store: whatever the remote does, a build is not held up by it, nor fails.

It knows the protocols of stores only. What it promises is in docs/design/network.md.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from vcache.entry import Key, Record
from vcache.errors import DecodeError, StoreClosed, StoreError, StoreReadOnly, StoreUnavailable
from vcache.kit.breaker import Breaker, Verdict
from vcache.kit.clock import Clock, system_clock
from vcache.kit.ratelimit import TokenBucket
from vcache.store.base import Batches, Presence, Store, StoreCounters, StoreInfo, satisfies
from vcache.store.checking import verified
from vcache.store.guard.calls import Calls, Stopped
from vcache.store.guard.limits import Limits
from vcache.store.guard.report import Report, write_address
from vcache.store.guard.sender import Sender
from vcache.store.guard.spool import Pending, Spool
from vcache.store.guard.telemetry import Counts, Telemetry

if TYPE_CHECKING:
    from logging import Logger

__all__ = ["GuardedStore"]

T = TypeVar("T")

_MOST_ABSENT: Final = 100_000
_DAMAGED_IN_ROW: Final = 3
_BATCH: Final = 1000
_PROBE_LEFT_S: Final = 0.25

_told: set[str] = set()


class GuardedStore:
    """The shield.

    Args:
        inner: the store of the remote. It is closed with this one.
        limits: what is kept to.
        directory: where the state of the remote lies, shared with other processes.
        spool: the name of the spool within.
        clock: for what is stored.

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
        self._limits = limits
        self._directory = os.fspath(directory)
        self._breaker = Breaker(directory, clock=clock)
        self._calls = Calls(limits, self._breaker, keeps_time=own.keeps_time)
        self._report = Report(directory, clock=clock)
        self._spool = Spool(f"{self._directory}/{spool}", most_bytes=limits.spool_bytes, clock=clock)
        self._sender = Sender(
            self._spool,
            self._breaker,
            f"{self._directory}/sending" if spool == "spool" else f"{self._directory}/sending-{spool[6:]}",
            send=self._send,
            dropped=self._refused,
            failed=self._keep_waiting,
        )
        rate = limits.bandwidth_bytes
        self._down = None if rate is None else TokenBucket(rate)
        self._up = None if rate is None else TokenBucket(rate)
        self._absent: dict[Key, float] = {}
        self._damaged = 0
        self._probe: threading.Thread | None = None
        self._has_looked = self.info.is_read_only
        self._is_closed = False
        self._counts = Counts()
        self._take_refusals: Callable[[], Iterable[tuple[Key, str]]] | None = getattr(
            inner, "take_refusals", None
        )
        _guards.add(self)

    # -- reading -----------------------------------------------------------------------------

    def get(self, key: Key) -> Record | None:
        """The verified record of a key, or None: absent, damaged, or not to be had in time."""
        known = self._known(key)
        if known is not None:
            return known.record
        if not self._may_ask(key):
            return None
        counts = self._counts
        try:
            record = self._calls.ask(lambda: self.inner.get(key))
        except Exception as error:
            self._missed(key, error)
            return None
        if record is not None:
            return self._checked(key, record)
        counts.misses += 1
        self._lacks(key)
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
        for batch in _batches(asked):
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
        for batch in _batches(asked):
            lacks.update(batch)
            if not self._may_ask(batch[0], count=len(batch)):
                continue
            try:
                absent = self._calls.ask(partial(self._absent_of, batch))
            except Exception as error:
                self._missed(batch[0], error, count=len(batch))
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
        fitting = {key: record for key, record in records.items() if self._fits(key, record)}
        if self._limits.is_behind:
            for key, record in fitting.items():
                self._spool_up(key, record)
        elif fitting:
            pending = [Pending("", key, record, _size(record)) for key, record in fitting.items()]
            self._through(lambda: self._send(pending))
            self._counts.sent += len(pending)
        for key in fitting:
            self._absent.pop(key, None)

    def delete(self, key: Key) -> bool:
        """Forget a key; whether there was one, as far as the remote says so in time.

        What cannot be deleted now waits in the spool, and is absent here.

        Raises:
            StoreError: with `write=through`, as `put`.
        """
        self._require_writable()
        own = self._spool.find(key)
        was_put = own is not None and own.record is not None
        if not self._limits.is_behind:
            return self._through(lambda: self.inner.delete(key))
        # What any process has put, and is not sent yet, must not come after this.
        must_wait = bool(self._spool.names())
        was_there = False
        if self._breaker.verdict() is Verdict.GO:
            try:
                was_there = self._calls.tell(lambda: self.inner.delete(key))
            except Exception as error:
                self._fault(error)
                must_wait = True
        else:
            must_wait = True
        if must_wait:
            self._spool_up(key, None)
        if own is not None and own.record is None:
            return False
        return was_put or was_there

    # -- itself ------------------------------------------------------------------------------

    def counters(self) -> StoreCounters:
        """What happened. What the remote holds is not counted: that would take an operation."""
        self._require_open()
        return StoreCounters(0, 0, corrupt=self._counts.corrupt, faults=self._counts.faults)

    def telemetry(self) -> Telemetry:
        """All that was counted in this process, for metrics."""
        return self._counts.snapshot(sent=self._sender.sent, waited_s=self._calls.waited_s)

    def trouble(self) -> str | None:
        """Why the remote is not asked for now, if so."""
        state = self._breaker.state
        return state.why or "it does not answer" if state.is_open else None

    def close(self) -> None:
        """Send what waits, as long as `flush` allows; the rest is left for the next process."""
        if self._is_closed:
            return
        self._is_closed = True
        self._sender.flush(self._limits.flush_s)
        self._sender.stop()
        probe = self._probe
        if probe is not None and probe is not threading.current_thread():
            probe.join(_PROBE_LEFT_S)
        self._breaker.close()
        self.inner.close()

    # -- inside: what is known without asking --------------------------------------------------

    def _known(self, key: Key) -> Pending | None:
        """What is known of a key: put or deleted here and not sent yet, or lately found absent."""
        if self._is_closed:
            self._require_open()
        if not self._has_looked:
            self._look()
        if self._spool.own and (pending := self._spool.find(key)) is not None:
            if pending.record is not None:
                self._counts.hits += 1
            return pending
        until_s = self._absent.get(key)
        if until_s is not None:
            if time.monotonic() < until_s:
                self._counts.misses += 1
                return Pending("", key, None, 0)
            self._absent.pop(key, None)
        return None

    def _look(self) -> None:
        """Once: what an earlier process could not send is sent now."""
        self._has_looked = True
        if self._spool.names():
            self._spool.sweep()
            self._sender.wake()

    def _lacks(self, key: Key) -> None:
        if self._take_refusals is not None:
            self._note_refusals(self._take_refusals)
        if self._limits.negative_s:
            if len(self._absent) >= _MOST_ABSENT:
                self._absent.clear()
            self._absent[key] = time.monotonic() + self._limits.negative_s

    def _may_ask(self, key: Key, *, count: int = 1) -> bool:
        """Whether the remote is to be asked; if it is time to find out, that is done beside."""
        verdict = self._breaker.verdict()
        if verdict is Verdict.GO:
            if self._down is None or self._down.wait_s() <= self._limits.deadline_s:
                return True
        elif verdict is Verdict.PROBE:
            self._begin_probe(key)
        self._counts.misses += count
        self._counts.unasked += count
        return False

    def _begin_probe(self, key: Key) -> None:
        probe = self._probe
        if probe is None or not probe.is_alive():
            probe = threading.Thread(target=self._try_again, args=(key,), name="vcache-probe", daemon=True)
            self._probe = probe
            probe.start()

    def _try_again(self, key: Key) -> None:
        """Ask once, on nobody's time: an answer closes the breaker."""
        with self._breaker.probing() as is_mine:
            if not is_mine:
                return
            try:
                self._calls.once(lambda: self.inner.get(key), self._limits.deadline_s)
            except Exception:  # as it was: `probing` has opened the breaker anew
                return
            self._breaker.succeed()

    # -- inside: asking ------------------------------------------------------------------------

    def _fetch(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        inner = self.inner
        if satisfies(inner, Batches):
            return inner.get_many(keys)
        return {key: record for key in keys if (record := inner.get(key)) is not None}

    def _absent_of(self, keys: Sequence[Key]) -> set[Key]:
        inner = self.inner
        if satisfies(inner, Presence):
            return set(inner.missing(keys)).intersection(keys)
        had = self._fetch(keys)
        return {key for key in keys if key not in had}

    def _checked(self, key: Key, record: Record) -> Record | None:
        """A record if it is what it claims to be; otherwise it is counted, and many are a fault."""
        size = _size(record)
        self._counts.read_bytes += size
        if self._down is not None:
            self._down.spend(size)
        if size > self._limits.limit_bytes:
            self._report.note(
                "a record that is too large", f"{size} bytes, `limit` is {self._limits.limit_bytes}", key
            )
        elif verified(key, record) is not None:
            self._damaged = 0
            self._counts.hits += 1
            return record
        else:
            self._damage(key, "its content is not what its head says")
        self._counts.misses += 1
        return None

    def _damage(self, key: Key, why: str) -> None:
        self._counts.corrupt += 1
        self._damaged += 1
        self._report.note("a damaged record", why, key)
        if self._damaged >= _DAMAGED_IN_ROW:
            self._tell(f"{self._damaged} damaged records one after the other")
            if self._breaker.fail("damaged records one after the other"):
                self._counts.opens += 1

    def _missed(self, key: Key, error: Exception, *, count: int = 1) -> None:
        """Count what an operation failed by; nobody is held up by it."""
        self._counts.misses += count
        if isinstance(error, DecodeError):
            self._damage(key, str(error))
        elif isinstance(error, Stopped):
            self._counts.unasked += count
        else:
            self._fault(error)

    def _fault(self, error: Exception) -> None:
        if isinstance(error, StoreClosed):
            if self._is_closed:
                self._require_open()
            raise error
        self._counts.faults += 1
        if self._breaker.state.is_open:
            self._counts.opens += 1
        self._tell(str(error) or type(error).__name__)

    def _tell(self, why: str) -> None:
        """Say once in this process that a remote does not serve."""
        if self._directory not in _told:
            _told.add(self._directory)
            _log().warning("%s does not serve as it should, work goes on without it: %s", self.info.url, why)
            self._report.note("a fault", why)

    # -- inside: sending -----------------------------------------------------------------------

    def _fits(self, key: Key, record: Record) -> bool:
        size = _size(record)
        if size <= self._limits.limit_bytes:
            return True
        self._drop(key, f"{size} bytes, `limit` is {self._limits.limit_bytes}")
        return False

    def _spool_up(self, key: Key, record: Record | None) -> None:
        why = f"the spool is full: `spool` is {self._limits.spool_bytes} bytes"
        try:
            is_kept = self._spool.add(key, record)
        except OSError as error:
            is_kept, why = False, f"the spool cannot be written: {error}"
        if not is_kept:
            self._drop(key, why)
            return
        self._counts.spooled += 1
        if not self._has_looked or self._counts.spooled == 1:
            self._has_looked = True
            write_address(self._directory, self.info.url.partition("?")[0])
        self._sender.wake()

    def _drop(self, key: Key, why: str) -> None:
        """Do without sending a record: neither is an older one what its key stands for any more."""
        self._counts.dropped += 1
        self._spool.discard(key)
        self._absent[key] = time.monotonic() + max(self._limits.negative_s, self._limits.deadline_s)
        if self._report.note("a record was not sent", why, key):
            _log().warning("%s: a record was not sent: %s", self.info.url, why)

    def _send(self, batch: Sequence[Pending]) -> None:
        """Bring puts and deletions to the remote; what keys they have differ."""
        inner = self.inner
        size = sum(pending.size_bytes for pending in batch)
        if self._up is not None:
            self._up.take(size)
        puts = {pending.key: pending.record for pending in batch if pending.record is not None}
        if len(puts) > 1 and satisfies(inner, Batches):
            self._calls.tell(lambda: inner.put_many(puts), size_bytes=size)
        else:
            for key, record in puts.items():
                self._calls.tell(partial(inner.put, key, record), size_bytes=_size(record))
        for pending in batch:
            if pending.record is None:
                self._calls.tell(partial(inner.delete, pending.key))
        self._counts.sent_bytes += size

    def _through(self, work: Callable[[], T]) -> T:
        if self._breaker.verdict() is not Verdict.GO:
            raise StoreUnavailable(f"{self.info.url} is not asked for now: {self._breaker.state.why}")
        try:
            return self._calls.tell(work)
        except (StoreError, OSError) as error:
            self._fault(error)
            raise

    def _refused(self, pending: Pending, error: Exception) -> None:
        self._drop(pending.key, str(error) or type(error).__name__)

    def _keep_waiting(self, error: Exception) -> None:
        self._counts.faults += 1
        self._tell(str(error) or type(error).__name__)

    # -- inside: the rest ----------------------------------------------------------------------

    def _scan(self, prefix: bytes) -> Iterator[Key]:
        waiting = {key: self._spool.find(key) for key in list(self._spool.own)}
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

    def _note_refusals(self, take: Callable[[], Iterable[tuple[Key, str]]]) -> None:
        for key, why in take():
            self._counts.refused += 1
            self._report.note("a record is not trusted", why, key)

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"{self.info.url} is closed: open another one")

    def _require_writable(self) -> None:
        self._require_open()
        if self.info.is_read_only:
            raise StoreReadOnly(f"{self.info.url} is read only")

    def _after_fork_in_child(self) -> None:
        self._probe = None
        self._breaker.after_fork_in_child()
        self._calls.after_fork_in_child()
        self._report.after_fork_in_child()
        self._spool.after_fork_in_child()
        self._sender.after_fork_in_child()
        for bucket in (self._down, self._up):
            if bucket is not None:
                bucket.after_fork_in_child()


def _size(record: Record) -> int:
    return len(record.head) + memoryview(record.body).nbytes


def _batches(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Keys in the numbers that one operation is given."""
    return (keys[at : at + _BATCH] for at in range(0, len(keys), _BATCH))


def _log() -> Logger:
    from vcache.kit.logs import logger  # a build whose remotes serve has nothing to log

    return logger("vcache")


_guards: weakref.WeakSet[GuardedStore] = weakref.WeakSet()


def _after_fork() -> None:
    for guard in list(_guards):
        guard._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)
