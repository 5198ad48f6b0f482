"""Brings what is in the log into the file, so that the log stays short: by a thread of one process at a time.

The bulk is done beside those who write; then the rest, with nobody writing, so that the next one who writes starts
the log anew: else a log under constant load would never come to an end. It must not know what is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from vcache.errors import StoreError
from vcache.jobs.sqlite.connecting import connect
from vcache.jobs.sqlite.library import apsw
from vcache.jobs.sqlite.turns import Turnstile
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from vcache.jobs.sqlite.trouble import Trouble

__all__ = ["Checkpointer"]

_MOST_PAGES: Final = 1_000  # 4 MB: a sync is cheaper where the log is written over than where it grows
_LEFT_PAGES: Final = 250  # 1 MB: what who opens it next reads in some milliseconds
_IDLE_S: Final = 5.0
_TURN_S: Final = 2.0


class Checkpointer:
    """See the module.

    Args:
        path: the queue's file.
        trouble: what turns SQLite's errors into ours.
        most_pages: how long the log may become before it is seen to.
        idle_s: a log that does not grow for so long is emptied.
    """

    def __init__(
        self, path: str, trouble: Trouble, *, most_pages: int = _MOST_PAGES, idle_s: float = _IDLE_S
    ) -> None:
        self._path = path
        self._trouble = trouble
        self._most_pages = most_pages
        self._idle_s = idle_s
        self._renew()

    def _renew(self) -> None:
        self._bell = threading.Condition(threading.Lock())  # guards the four below
        self._pages = 0
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._is_wanted = False
        self._working = threading.Lock()  # guards what follows
        self._db: Any = None
        self._lock_fd = -1
        self._turnstile = Turnstile(self._path)

    def grown(self, pages: int) -> None:
        """Hear how long the log is, after a commit."""
        self._pages = pages
        if pages < self._most_pages or self._is_wanted:
            return
        with self._bell:
            if self._is_closed:
                return
            self._is_wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vcache-jobs-log", daemon=True)
                self._thread.start()
            self._bell.notify()

    def _run(self) -> None:
        while True:
            with self._bell:
                was_wanted = self._bell.wait_for(lambda: self._is_wanted or self._is_closed, self._idle_s)
                if self._is_closed:
                    return
                seen, is_idle = self._pages, not was_wanted
                if is_idle and not seen:
                    self._thread = None  # nothing was written for a while: the next one starts another
                    return
            try:
                self.work(is_idle=is_idle)
            except StoreError as error:
                # What is in the log is safe there; the next commit asks again.
                logger(__name__).warning("%s: its log could not be brought in: %s", self._path, error)
            with self._bell:
                self._is_wanted = False
                if is_idle and self._pages == seen:
                    self._pages = 0

    def work(self, *, is_idle: bool = False, turn_s: float = _TURN_S) -> None:
        """Bring the log in, unless another process is at it.

        Args:
            is_idle: and give its space back.
            turn_s: how long to wait for those who write.

        Raises:
            StoreError: it could not be done.
        """
        with self._trouble, self._working:
            try:
                if self._is_mine():
                    try:
                        self._bring_in(turn_s, is_idle=is_idle)
                    finally:
                        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
            except apsw().Error:
                self._let_go()
                raise

    def _is_mine(self) -> bool:
        if self._lock_fd < 0:
            self._lock_fd = os.open(self._path + ".log", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _bring_in(self, turn_s: float, *, is_idle: bool) -> None:
        sqlite = apsw()
        if self._db is None:
            self._db = connect(self._path)
            self._db.set_busy_timeout(0)
        self._db.wal_checkpoint(mode=sqlite.SQLITE_CHECKPOINT_PASSIVE)
        self._turnstile.enter(turn_s)
        try:
            mode = sqlite.SQLITE_CHECKPOINT_TRUNCATE if is_idle else sqlite.SQLITE_CHECKPOINT_PASSIVE
            self._db.wal_checkpoint(mode=mode)
        except sqlite.BusyError:
            pass  # somebody reads what is older: the next time
        finally:
            self._turnstile.leave()

    def _let_go(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close(True)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        self._turnstile.close()

    def close(self) -> None:
        """End the thread, once what it does is done. May be called again."""
        with self._bell:
            self._is_closed = True
            self._bell.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._pages >= _LEFT_PAGES:
            with contextlib.suppress(StoreError):
                self.work(is_idle=True, turn_s=0)
        with self._working:
            self._let_go()

    def pause(self, timeout_s: float) -> bool:
        """Let go of the file for a fork; whether that was possible in time. `resume` or `renew` follows."""
        if not self._working.acquire(timeout=timeout_s):
            return False
        self._let_go()
        return True

    def resume(self) -> None:
        """Go on after a fork, in the parent."""
        self._working.release()

    def renew(self) -> None:
        """Begin anew after a fork, in the child, where the thread is not there."""
        self._renew()
