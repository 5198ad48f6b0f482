"""Sends what waits in a spool, in the background, one process at a time.

It must not know how a file reaches the remote: it is given a callable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from vcache.entry import Key
from vcache.errors import StoreClosed, StoreError
from vcache.kit.breaker import Breaker, Verdict
from vcache.kit.fs_atomic import LockFile
from vcache.store.guard.calls import PROBE_LEFT_S, Stopped, is_refusal
from vcache.store.guard.spool import Pending, Spool

__all__ = ["Sender"]

_BATCH: Final = 64
_BATCH_BYTES: Final = 8 << 20
_AGAIN_S: Final = 1.0
"""Until the next try, after a fault, or where another process is sending."""
_IDLE_S: Final = 10.0
"""How long a thread stays that has nothing to send."""
_LOOK_S: Final = 0.05
_STRIKES: Final = 3


class Sender:
    """A thread that is there while something waits.

    Args:
        send: brings files to the remote. Raises what the remote says.
        ask: whether the remote answers when it is asked about a key, which closes the breaker.
        answers: how many operations of this process the remote has answered so far.
        dropped: told of a file that the remote has refused for good, and why.
        failed: told of what keeps files waiting.

    Attributes:
        sent: how many puts and deletions the remote has taken.

    Threads: all operations. After a fork the child starts its own when it has something to send.
    """

    def __init__(
        self,
        spool: Spool,
        breaker: Breaker,
        lock_path: str,
        *,
        send: Callable[[Sequence[Pending]], None],
        ask: Callable[[Key], bool],
        answers: Callable[[], int],
        dropped: Callable[[Pending, Exception], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.sent = 0
        self._spool = spool
        self._breaker = breaker
        self._send_files = send
        self._ask = ask
        self._answers = answers
        self._dropped = dropped
        self._failed = failed
        self._sending = LockFile(lock_path)
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """In a forked child: no thread is there."""
        self._changed = threading.Condition()  # guards what follows
        self._thread: threading.Thread | None = None
        self._is_woken = False
        self._is_idle = True
        self._is_elsewhere = False
        self._is_stopped = False
        self._is_probing = False
        self._is_hurried = False  # closing: one pause is cut short
        self._has_hurried = False
        self._is_careful = False  # these are the thread's own
        self._answered = 0

    def wake(self) -> None:
        """Something waits to be sent."""
        if self._is_woken and self._thread is not None:
            return
        with self._changed:
            self._is_woken = True
            self._is_idle = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vcache-sender", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        """Wait until all is sent, at most so long; not at all while nothing can be, or others send.

        Where it is time to find out whether the remote is back, that is waited for, for a moment: else
        processes that live for a moment would never find out.
        """
        began_s = time.monotonic()
        while True:
            is_open = self._breaker.state.is_open
            waited_s = time.monotonic() - began_s
            if waited_s >= (min(PROBE_LEFT_S, seconds) if is_open else seconds):
                return
            with self._changed:
                if self._thread is None or self._is_idle or self._is_elsewhere:
                    return
                if is_open and not self._is_probing and self._breaker.verdict() is Verdict.STOP:
                    return
                if not is_open and not self._is_hurried:
                    self._is_hurried = True  # it pauses, perhaps, since somebody else was finding out
                    self._changed.notify_all()
                self._changed.wait(_LOOK_S)

    def stop(self) -> None:
        """Begin nothing more. What is under way is not waited for."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_woken = False
            pause_s: float | None = _AGAIN_S
            try:
                pause_s = self._round()
            except Exception as error:  # a thread that dies of one file would never send the others
                self._failed(error)
            with self._changed:
                is_idle = pause_s is None
                self._is_idle = is_idle and not self._is_woken
                self._changed.notify_all()
                if not self._is_stopped:
                    self._pause(pause_s)
                if self._is_stopped or (is_idle and not self._is_woken):
                    self._thread = None
                    break
        self._sending.close()

    def _pause(self, pause_s: float | None) -> None:
        """Wait so long; with nothing to send, until there is. The lock is held."""
        is_idle = pause_s is None
        self._changed.wait_for(
            lambda: self._is_stopped or (is_idle and self._is_woken) or self._is_to_hurry(),
            _IDLE_S if pause_s is None else pause_s,
        )
        self._has_hurried = self._is_hurried

    def _is_to_hurry(self) -> bool:
        return self._is_hurried and not self._has_hurried

    def _round(self) -> float | None:
        """Send what waits; for how long to pause then, None where nothing is left."""
        names = self._spool.names()
        if not names:
            return None
        try:
            is_mine = self._sending.try_acquire()
        except (StoreError, OSError) as error:
            self._failed(error)
            return _AGAIN_S
        self._is_elsewhere = not is_mine
        if not is_mine:
            return _AGAIN_S
        try:
            return self._send_all(names)
        finally:
            self._sending.release()

    def _send_all(self, names: Sequence[str]) -> float | None:
        at = 0
        while at < len(names):
            if self._is_stopped:
                return None
            verdict = self._breaker.verdict()
            if verdict is Verdict.STOP:
                return _AGAIN_S
            if verdict is Verdict.PROBE and not self._probe(names[at]):
                return _AGAIN_S
            # After a failure one by one: a file that the remote cannot bear must not hold up the others.
            batch, read = self._batch(names[at : at + 1] if self._is_careful else names[at:])
            if not self._send(batch):
                return _AGAIN_S
            at += read
        return 0.0  # look again: more may have come

    def _probe(self, name: str) -> bool:
        """Whether the remote answers a question. A put might be what it cannot bear."""
        self._is_probing = True
        try:
            with self._breaker.probing() as is_mine:
                pending = self._spool.read(name)
                return is_mine and (pending is None or self._ask(pending.key))
        finally:
            self._is_probing = False

    def _batch(self, names: Sequence[str]) -> tuple[list[Pending], int]:
        """The files to send next, of each key the newest, and how many names they stand for."""
        newest: dict[bytes, Pending] = {}
        size = read = 0
        for name in names[:_BATCH]:
            read += 1
            pending = self._spool.read(name)
            if pending is None:
                continue
            older = newest.pop(pending.key, None)
            if older is not None:
                # Before the newer is sent: were it left by a crash, it would be sent after it.
                self._spool.remove(older)
            newest[pending.key] = pending
            size += pending.size_bytes
            if size >= _BATCH_BYTES:
                break
        return list(newest.values()), read

    def _send(self, batch: Sequence[Pending]) -> bool:
        """Bring files to the remote, and forget those that it took or refused; False when it took none."""
        if not batch:
            return True
        try:
            self._send_files(batch)
        except StoreClosed:
            self._is_stopped = True
            return False
        except Exception as error:
            if not is_refusal(error):
                if not isinstance(error, Stopped):
                    self._failed(error)
                    self._suspect(batch, error)
                return False
            if len(batch) > 1:  # one of them: find out which
                return all(self._send([each]) for each in batch)
            self._spool.remove(batch[0])
            self._dropped(batch[0], error)
            return True
        self._is_careful = False
        for pending in batch:
            self._spool.remove(pending)
        self.sent += len(batch)  # counted when nothing of it waits any more
        return True

    def _suspect(self, batch: Sequence[Pending], error: Exception) -> None:
        """A file that fails again and again while the remote answers others is given up."""
        answers, before = self._answers(), self._answered
        self._answered = answers
        self._is_careful = True
        if len(batch) == 1 and answers > before and self._spool.strike(batch[0]) >= _STRIKES:
            self._spool.remove(batch[0])
            self._dropped(batch[0], error)
