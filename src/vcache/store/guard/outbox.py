"""What is to reach a remote: kept in its spool and sent in the background, or sent at once.

It must not know what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from vcache.entry import FIXED, Key, Record
from vcache.errors import StoreError, StoreUnavailable
from vcache.kit.breaker import Breaker, Verdict
from vcache.kit.clock import Clock
from vcache.kit.ratelimit import TokenBucket
from vcache.store.base import Batches, Presence, Store, satisfies
from vcache.store.guard.calls import Calls
from vcache.store.guard.limits import Limits
from vcache.store.guard.report import write_address
from vcache.store.guard.sender import Sender
from vcache.store.guard.spool import Pending, Spool
from vcache.store.guard.telemetry import Counts
from vcache.store.guard.trouble import Trouble, words_of

__all__ = ["Outbox", "content_size_of", "size_of"]

T = TypeVar("T")


class Outbox:
    """Puts and deletions on their way.

    Args:
        address: of the remote, for who looks at its state.
        directory: of its state.
        folder: of its spool, within.
        forget: told of each key whose record is given up: an older one is not what it stands for.

    Attributes:
        own: the keys that this process has put or deleted, and nobody was seen to send.

    Threads: all operations.
    """

    def __init__(
        self,
        inner: Store,
        limits: Limits,
        *,
        address: str,
        directory: str,
        folder: str,
        breaker: Breaker,
        calls: Calls,
        counts: Counts,
        trouble: Trouble,
        forget: Callable[[Key], None],
        clock: Clock,
    ) -> None:
        self._inner = inner
        self._limits = limits
        self._address = address
        self._directory = directory
        self._breaker = breaker
        self._calls = calls
        self._counts = counts
        self._trouble = trouble
        self._forget = forget
        self._spool = Spool(f"{directory}/{folder}", most_bytes=limits.spool_bytes, clock=clock)
        self._sender = Sender(
            self._spool,
            breaker,
            f"{directory}/{folder.replace('spool', 'sending', 1)}",
            send=self._send,
            ask=self._ask,
            answers=lambda: calls.answers,
            dropped=self._refused,
            failed=trouble.fault,
        )
        rate = limits.bandwidth_bytes
        self._bucket = None if rate is None else TokenBucket(rate)
        self._is_addressed = False
        self.own = self._spool.own
        self.find = self._spool.find

    @property
    def sent(self) -> int:
        """How many puts and deletions the remote has taken from the spool."""
        return self._sender.sent

    def resume(self) -> None:
        """Send what an earlier process could not."""
        if self._spool.names():
            self._spool.sweep()
            self._sender.wake()

    def put(self, records: Mapping[Key, Record]) -> None:
        """Keep records; raises what the remote says only with `write=through`."""
        fitting = {key: record for key, record in records.items() if self._fits(key, record)}
        if self._limits.is_behind:
            for key, record in fitting.items():
                self._keep(key, record)
        elif fitting:
            pending = [Pending("", key, record, size_of(record)) for key, record in fitting.items()]
            self._through(lambda: self._send(pending))
            self._counts.sent += len(pending)

    def delete(self, key: Key) -> bool:
        """Forget a key at the remote, now or when it can be; whether there was one."""
        if not self._limits.is_behind:
            return self._through(lambda: self._calls.tell(partial(self._inner.delete, key)))
        own = self.find(key)
        # What any process has put and not sent must not come after this.
        must_wait = bool(self._spool.names())
        was_there = False
        try:
            was_there = self._through(lambda: self._calls.tell(partial(self._inner.delete, key)))
        except (StoreError, OSError):
            must_wait = True
        if must_wait:
            self._keep(key, None)
        return was_there if own is None else own.record is not None

    def close(self) -> None:
        """Send what waits, as long as `flush` allows; the rest is left for the next process."""
        self._sender.flush(self._limits.flush_s)
        self._sender.stop()

    def after_fork_in_child(self) -> None:
        """In a forked child: no thread is there."""
        self._spool.after_fork_in_child()
        self._sender.after_fork_in_child()
        if self._bucket is not None:
            self._bucket.after_fork_in_child()

    def _fits(self, key: Key, record: Record) -> bool:
        size = max(size_of(record), content_size_of(record))
        if size <= self._limits.limit_bytes:
            return True
        self._drop(key, f"{size} bytes are above the limit of {self._limits.limit_bytes}: raise `limit`")
        return False

    def _keep(self, key: Key, record: Record | None) -> None:
        why = f"{self._limits.spool_bytes} bytes wait to be sent, more may not: raise `spool`"
        try:
            is_kept = self._spool.add(key, record)
        except OSError as error:
            is_kept, why = False, f"the spool cannot be written: {error}"
        if not is_kept:
            self._drop(key, why)
            return
        self._counts.spooled += 1
        if not self._is_addressed:
            self._is_addressed = True
            write_address(self._directory, self._address)
        self._sender.wake()

    def _drop(self, key: Key, why: str) -> None:
        self._spool.discard(key)
        self._forget(key)
        self._trouble.dropped(key, why)

    def _refused(self, pending: Pending, error: Exception) -> None:
        self._forget(pending.key)
        self._trouble.dropped(pending.key, words_of(error))

    def _send(self, batch: Sequence[Pending]) -> None:
        """Bring puts and deletions to the remote; what keys they have differ."""
        inner = self._inner
        size = sum(pending.size_bytes for pending in batch)
        if self._bucket is not None:
            self._bucket.take(size)
        puts = {pending.key: pending.record for pending in batch if pending.record is not None}
        if len(puts) > 1 and satisfies(inner, Batches):
            self._calls.tell(partial(inner.put_many, puts), size_bytes=size)
        else:
            for key, record in puts.items():
                self._calls.tell(partial(inner.put, key, record), size_bytes=size_of(record))
        for pending in batch:
            if pending.record is None:
                self._calls.tell(partial(inner.delete, pending.key))
        self._counts.sent_bytes += size

    def _ask(self, key: Key) -> bool:
        inner = self._inner
        if satisfies(inner, Presence):
            return self._calls.answered(partial(inner.missing, [key]))
        return self._calls.answered(partial(inner.get, key))

    def _through(self, work: Callable[[], T]) -> T:
        """What an operation gives that somebody waits for; a remote that is down is not asked."""
        if self._breaker.verdict() is not Verdict.GO:
            raise StoreUnavailable(f"{self._address} is not asked for now: {self._breaker.state.why}")
        try:
            return work()
        except Exception as error:
            self._trouble.fault(error)
            if isinstance(error, (StoreError, OSError)):
                raise
            raise StoreError(f"{self._address}: {words_of(error)}") from error


def size_of(record: Record) -> int:
    """The bytes of a head and a body."""
    return len(record.head) + memoryview(record.body).nbytes


def content_size_of(record: Record) -> int:
    """How long the content of a record is, as its head says."""
    head = record.head
    size_bytes: int = FIXED.unpack_from(head)[9] if len(head) >= FIXED.size else 0
    return size_bytes
