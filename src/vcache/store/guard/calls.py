"""One operation of a remote: its turn, its deadline, its further tries, and what the breaker is told.

It must not know what the operation is for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from vcache.errors import DecodeError, StoreClosed, StoreUnavailable, UsageError
from vcache.kit.breaker import Breaker, Verdict
from vcache.kit.deadlines import Within, left_s
from vcache.kit.retry import Backoff
from vcache.store.guard.limits import Limits
from vcache.store.guard.threads import Late, Threads, is_over

__all__ = ["PROBE_LEFT_S", "Calls", "Stopped", "is_refusal"]

T = TypeVar("T")

_LEAST_SHARE: Final = 0.1
"""Of the deadline, what an operation has at least while others have been waiting for long."""
PROBE_LEFT_S: Final = 0.25
"""How long closing waits for an answer that says whether the remote is back."""
_LOST_THREADS: Final = 2
"""So many times as many threads as operations at once, since some may hang for long."""


class Stopped(StoreUnavailable):
    """The remote is not asked: it did not serve as it should, just before."""


def is_refusal(error: Exception) -> bool:
    """Whether a remote has answered that it will never take what it was given."""
    return isinstance(error, UsageError) or getattr(error, "retryable", None) is False


class Calls:
    """Runs operations of one remote.

    Args:
        keeps_time: operations end by `vcache.kit.deadlines.left_s`; otherwise they run in threads.
        load: called once before the first operation, on nobody's deadline.

    Attributes:
        waited_s: what callers have spent waiting, for turns and answers.
        opens: how often an operation from here has opened the breaker.
        answers: how many operations were answered, if only by a refusal.

    Threads: all operations.
    """

    def __init__(
        self,
        limits: Limits,
        breaker: Breaker,
        *,
        keeps_time: bool,
        load: Callable[[], object] | None = None,
    ) -> None:
        self._limits = limits
        self._breaker = breaker
        self._keeps_time = keeps_time
        self._load = load
        self._backoff = Backoff(limits.retries, base_s=0.05, most_s=1.0)
        self._silent_since_s: float | None = None
        self.waited_s = 0.0
        self.opens = self.answers = 0
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """In a forked child: no thread is there, and no operation runs."""
        self._turns = threading.Semaphore(self._limits.concurrency)
        self._threads = Threads(_LOST_THREADS * self._limits.concurrency)
        self._silent_since_s = None
        self._probe: threading.Thread | None = None

    def ask(self, work: Callable[[], T], *, factor: float = 1.0) -> T:
        """What an operation gives for which somebody waits.

        While no answer comes at all, everybody's deadline is that of the first who waited: a remote
        that hangs costs one deadline, however many ask one after the other.

        Args:
            factor: how many times the deadline it may take.

        Raises:
            Stopped: the remote is not asked for now.
            Exception: what the last try raised.
        """
        self._require_loaded()
        started_s = time.monotonic()
        seconds = self._limits.patience_s
        silent_s = self._silent_since_s
        if silent_s is None:
            self._silent_since_s = started_s
        else:
            seconds = max(_LEAST_SHARE * seconds, seconds - (started_s - silent_s))
        try:
            return self._tried(work, started_s, seconds * factor, is_read=True)
        finally:
            self._silent_since_s = None
            self.waited_s += time.monotonic() - started_s

    def tell(self, work: Callable[[], T], *, size_bytes: int = 0) -> T:
        """What an operation gives that brings so many bytes; raises what `ask` does.

        A refusal is the caller's concern, and no fault of the remote.
        """
        self._require_loaded()
        started_s = time.monotonic()
        seconds = self._limits.deadline_s + size_bytes / self._limits.rate_bytes
        try:
            return self._tried(work, started_s, seconds, is_read=False)
        finally:
            self.waited_s += time.monotonic() - started_s

    def once(self, work: Callable[[], T], seconds: float, *, hedge_s: float | None = None) -> T:
        """What one try gives, without a turn; the breaker is not told."""
        if not self._keeps_time or hedge_s is not None:
            return self._threads.run(work, lambda: self._within(left_s(seconds)), hedge_s=hedge_s)
        within = self._within(seconds)
        try:
            with within:
                return work()
        except (StoreUnavailable, OSError) as error:
            if is_over(within):
                raise Late(str(error)) from error
            raise

    def probe(self, work: Callable[[], object]) -> None:
        """Try an operation once, on nobody's time: an answer closes the breaker."""
        probe = self._probe
        if probe is None or not probe.is_alive():
            probe = threading.Thread(target=self._try_again, args=(work,), name="vcache-probe", daemon=True)
            self._probe = probe
            probe.start()

    def close(self) -> None:
        """Give an answer that is on its way the time to come: what it says helps the next process."""
        probe = self._probe
        if probe is not None:
            probe.join(PROBE_LEFT_S)

    def _try_again(self, work: Callable[[], object]) -> None:
        with self._breaker.probing() as is_mine:
            if is_mine:
                self.answered(work)

    def answered(self, work: Callable[[], object]) -> bool:
        """Whether one try is answered, by whoever holds `Breaker.probing`; that closes the breaker."""
        try:
            self._require_loaded()
            self.once(work, self._limits.deadline_s)
        except Exception:  # as it was: `probing` has opened the breaker anew
            return False
        self._answer()
        return True

    def _require_loaded(self) -> None:
        """A library that loads slowly is no remote that answers slowly."""
        load, self._load = self._load, None
        if load is not None:
            load()

    def _answer(self) -> None:
        self.answers += 1
        self._breaker.succeed()

    def _within(self, seconds: float) -> Within:
        limits = self._limits
        return Within(seconds, rate_bytes=limits.rate_bytes, limit_bytes=limits.limit_bytes)

    def _tried(self, work: Callable[[], T], started_s: float, seconds: float, *, is_read: bool) -> T:
        turns = self._turns
        end_s = started_s + seconds
        if not turns.acquire(blocking=False):
            if not turns.acquire(timeout=seconds):
                raise StoreUnavailable(f"{self._limits.concurrency} operations at once, and none has ended")
            if self._breaker.verdict() is not Verdict.GO:  # the others have found out meanwhile
                turns.release()
                raise Stopped(self._breaker.state.why)
        hedge_s = self._limits.hedge_s if is_read else None
        try:
            number = 0
            while True:
                try:
                    result = self.once(work, end_s - time.monotonic(), hedge_s=hedge_s)
                except StoreClosed:
                    raise
                except Exception as error:
                    number += 1
                    wait_s = self._wait_s(error, number, end_s, is_read=is_read)
                    if wait_s is None:
                        raise
                else:
                    self._answer()
                    return result
                time.sleep(wait_s)
        finally:
            turns.release()

    def _wait_s(self, error: Exception, number: int, end_s: float, *, is_read: bool) -> float | None:
        """Tell the breaker of a try that failed; how long to wait before the next, None for no other."""
        if is_read and isinstance(error, DecodeError):
            return None  # an answer came, and what is wrong with it is judged where its key is known
        if not is_read and is_refusal(error):
            self._answer()
            return None
        is_late = isinstance(error, Late)
        words = str(error) or type(error).__name__
        has_opened = self._breaker.fail(words, is_slow=is_late)
        self.opens += has_opened
        if has_opened or is_late or self._breaker.state.is_open:
            return None
        if not (getattr(error, "retryable", False) or isinstance(error, OSError)):
            return None
        wait_s = self._backoff.wait_s(number)
        return None if wait_s is None or time.monotonic() + wait_s >= end_s else wait_s
