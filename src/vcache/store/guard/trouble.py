"""What goes wrong with a remote: counted, written down, and told once.

It must not know what was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.entry import Key
from vcache.kit.breaker import Breaker
from vcache.kit.clock import Clock
from vcache.store.base import Store
from vcache.store.checking import damaged_of
from vcache.store.guard.report import Report, write_address
from vcache.store.guard.telemetry import Counts

if TYPE_CHECKING:
    from logging import Logger

__all__ = ["Trouble"]

_DAMAGED_IN_ROW: Final = 5

_told: set[str] = set()
"""The directories of the remotes of which this process has complained."""


class Trouble:
    """Where all complaints about one remote go.

    Args:
        inner: the store of the remote.
        directory: of its state.

    Threads: all operations.
    """

    def __init__(
        self, inner: Store, directory: str, *, breaker: Breaker, counts: Counts, clock: Clock
    ) -> None:
        self._url = inner.info.url
        self._found = damaged_of(inner)
        self._seen = self._found.count
        self._directory = directory
        self._breaker = breaker
        self._counts = counts
        self._report = Report(directory, clock=clock)
        self._damaged = 0  # one after the other

    def fault(self, error: Exception) -> None:
        """An operation failed."""
        self._counts.faults += 1
        self._tell(words_of(error))

    def sound(self) -> None:
        """A record was what it claimed to be."""
        self._damaged = 0

    def damaged(self, key: Key, why: str) -> None:
        """A record was not what it claimed to be. So many in a row open the breaker."""
        self._counts.corrupt += 1
        self._damaged += 1
        self._note("a damaged record", why, key)
        if self._damaged >= _DAMAGED_IN_ROW:
            words = "damaged records, one after the other"
            self._counts.faults += 1
            # At once: the answers themselves came as they should, and each started the count anew.
            if self._breaker.fail(words, is_slow=True):
                self._counts.opens += 1
            self._tell(words)

    def look(self, key: Key) -> None:
        """Count what the store of the remote has found damaged itself, last of all this key's."""
        now = self._found.count
        before, self._seen = self._seen, now
        for _ in range(now - before):
            self.damaged(key, "it is no record of its key")

    def distrusted(self, key: Key, why: str) -> None:
        """A record is not to be used, by a policy."""
        self._counts.refused += 1
        self._note("a record that is not trusted", why, key)

    def too_large(self, key: Key, why: str) -> None:
        """A record came that is above the limit."""
        self._note("a record that is too large", why, key)

    def dropped(self, key: Key, why: str) -> None:
        """A record is given up that was to be sent."""
        if self._note("a record that was not sent", why, key):
            _log().warning("%s: a record was not sent: %s", self._url, why)
        self._counts.dropped += 1

    def after_fork_in_child(self) -> None:
        """In a forked child: forget locks."""
        self._report.after_fork_in_child()

    def _note(self, what: str, why: str, key: bytes = b"") -> bool:
        """As `Report.note`, and whose report it is."""
        is_new = self._report.note(what, why, key)
        if is_new:
            write_address(self._directory, self._url.partition("?")[0])
        return is_new

    def _tell(self, why: str) -> None:
        """Say that the remote does not serve: once, as a build has lines of its own by the thousand."""
        if self._directory not in _told:
            _told.add(self._directory)
            self._note("a fault", why)
            _log().warning("%s does not serve as it should, work goes on without it: %s", self._url, why)


def words_of(error: Exception) -> str:
    """An error for people, also one that says nothing."""
    return str(error) or type(error).__name__


def _log() -> Logger:
    from vcache.kit.logs import logger  # a build whose remotes serve has nothing to log

    return logger("vcache")
