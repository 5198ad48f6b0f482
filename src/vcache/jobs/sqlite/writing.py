"""All writes of a process to a queue's file: calls that come together are one transaction, and one sync.

Who comes first leads: it takes what others have asked for meanwhile, and does it all; each gets its own result or
error. A call that fails alone is undone alone. It must not know what calls do.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from vcache.errors import StoreBusy, StoreClosed, StoreUnavailable, VcacheError
from vcache.jobs.sqlite.connecting import connect
from vcache.jobs.sqlite.ledger import Kinds, Ledger
from vcache.jobs.sqlite.turns import Turnstile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vcache.jobs.sqlite.trouble import Trouble

__all__ = ["BUSY_S", "Writer"]

BUSY_S: Final = 10.0
"""How long a call waits for its turn to write, before it says that the queue is busy."""
_MOST_CALLS: Final = 64

T = TypeVar("T")


class _Call(Generic[T]):
    """What one thread wants to be done."""

    __slots__ = ("error", "gate", "leads", "ledger", "result", "work")

    def __init__(self, work: Callable[[Ledger], T]) -> None:
        self.work = work
        self.gate = threading.Lock()  # opened when it is done, or is to lead
        self.gate.acquire()
        self.leads = False
        self.error: BaseException | None = None
        self.result: T
        self.ledger: Ledger | None = None


class Writer:
    """See the module.

    Args:
        path: the queue's file.
        trouble: what turns SQLite's errors into ours.
        now_ns: the queue's clock.
        committed: gets the kinds of which there may be more to claim, and how many pages the log has, after each
            transaction.
        busy_s: how long to wait for other processes.
    """

    def __init__(
        self, path: str, trouble: Trouble, *, now_ns: Callable[[], int],
        committed: Callable[[Iterable[str], int], None], busy_s: float = BUSY_S,
    ) -> None:  # fmt: skip
        self._path = path
        self._trouble = trouble
        self._now_ns = now_ns
        self._committed = committed
        self._busy_s = busy_s
        self._renew()
        self._kinds = Kinds()
        self._is_closed = False

    def _renew(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._pending: list[_Call[Any]] = []
        self._is_led = False
        self._leader = 0  # the thread that leads
        self._leading = threading.Lock()  # guards what follows, held through a transaction
        self._db: Any = None
        self._turnstile = Turnstile(self._path)
        self._log_pages = 0

    def do(self, work: Callable[[Ledger], T]) -> T:
        """What some work gave, once it is committed and synced.

        Raises:
            StoreError: it is undone, as far as can be known.
            VcacheError: what the work raised; it is undone.
        """
        if self._leader == threading.get_ident():
            raise StoreBusy(
                f"{self._path}: called by a signal handler in the middle of a write: let it set a flag"
            )
        call = _Call(work)
        with self._lock:
            if self._is_closed:
                raise StoreClosed(f"the queue {self._path} was closed")
            self._pending.append(call)
            leads = not self._is_led
            self._is_led = True
        if leads or self._follow(call):
            self._lead(call)
        if call.error is not None:
            raise call.error
        return call.result

    def _follow(self, call: _Call[T]) -> bool:
        """Wait until a call is done; True where it is this thread's turn to lead."""
        try:
            call.gate.acquire()
        except BaseException:  # an interrupt: whoever leads must not wait for this thread
            with self._lock:
                if call in self._pending and not call.leads:
                    self._pending.remove(call)
                    raise
            if call.leads:
                self._lead(call)
            raise
        return call.leads

    def _lead(self, own: _Call[T]) -> None:
        self._leader = threading.get_ident()
        with self._lock:
            batch = self._pending[:_MOST_CALLS]
            del self._pending[:_MOST_CALLS]
        try:
            self._transact(batch)
        except BaseException as error:
            failure = error if isinstance(error, VcacheError) else None
            for call in batch:
                call.error = failure or StoreUnavailable(f"{self._path}: interrupted: {error!r}")
            if failure is None:
                raise
        finally:
            self._leader = 0
            with self._lock:
                self._is_led = bool(self._pending)
                if self._is_led:
                    self._pending[0].leads = True
                    self._pending[0].gate.release()
            for call in batch:
                if call is not own:
                    call.gate.release()

    # --- a transaction ----------------------------------------------------------------------

    def _transact(self, batch: Sequence[_Call[Any]]) -> None:
        with self._trouble, self._leading:
            try:
                self._transact_in_turn(batch)
            except VcacheError:
                raise
            except BaseException:
                self._disconnect()  # of an error of the file's, SQLite may keep more than it says
                raise
            pages = self._log_pages
        done = [call.ledger for call in batch if call.error is None and call.ledger is not None]
        for ledger in done:
            self._kinds.keep(ledger.fresh)
        wakes = set().union(*(ledger.wakes for ledger in done))
        self._committed([self._kinds.names[kind] for kind in wakes if kind in self._kinds.names], pages)

    def _transact_in_turn(self, batch: Sequence[_Call[Any]]) -> None:
        db = self._connected()
        self._turnstile.enter(self._busy_s)
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                if len(batch) == 1:
                    self._run(db, batch[0])
                else:
                    for call in batch:
                        self._run_apart(db, call)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        finally:
            self._turnstile.leave()

    def _run(self, db: Any, call: _Call[Any]) -> None:
        call.ledger = ledger = Ledger(db, self._kinds, self._now_ns())
        call.result = call.work(ledger)
        for kind in ledger.wakes:
            if kind not in self._kinds.names:
                ledger.fresh.setdefault(ledger.kind_name(kind), kind)
        ledger.flush()

    def _run_apart(self, db: Any, call: _Call[Any]) -> None:
        """Run a call whose failure is its own."""
        db.execute("SAVEPOINT call")
        try:
            self._run(db, call)
        except Exception as error:
            if not db.in_transaction:
                raise  # SQLite gave all of it up
            db.execute("ROLLBACK TO call")
            call.error = error if isinstance(error, VcacheError) else self._trouble.said(error)
        db.execute("RELEASE call")

    # --- connections ------------------------------------------------------------------------

    def _connected(self) -> Any:
        if self._db is None:
            self._db = connect(self._path)
            self._db.set_wal_hook(self._grown)
        return self._db

    def _grown(self, db: object, name: str, pages: int) -> int:
        self._log_pages = pages
        return 0

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close(True)
        self._turnstile.close()

    def close(self) -> None:
        """Release everything, once what is going on is done."""
        self._is_closed = True
        with self._leading:
            self._disconnect()

    def pause(self, timeout_s: float) -> bool:
        """Let go of the file for a fork; whether that was possible in time. `resume` or `renew` follows."""
        if not self._leading.acquire(timeout=timeout_s):
            return False
        self._disconnect()
        return True

    def resume(self) -> None:
        """Go on after a fork, in the parent."""
        self._leading.release()

    def renew(self) -> None:
        """Begin anew after a fork, in the child: threads that led or waited are not there."""
        self._renew()
