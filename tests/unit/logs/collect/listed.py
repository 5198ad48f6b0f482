"""A log store that keeps a list, and does what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from vcache.logs.base import Appended, Follower, LogStats, Result
from vcache.logs.record import Record
from vcache.query.syntax import Query


class ListedLogs:
    """Its appends can be held up, or fail.

    Attributes:
        appends: what it was given, append by append, as far as it took it.
        on_append: called before each; what it raises is the failure.
        gate: appends wait until it is set.
    """

    def __init__(self, on_append: Callable[[Sequence[Record]], object] = lambda _: None) -> None:
        self.appends: list[list[Record]] = []
        self.on_append = on_append
        self.tries = 0
        self.gate = threading.Event()
        self.gate.set()

    @property
    def records(self) -> list[Record]:
        return [record for append in self.appends for record in append]

    @property
    def messages(self) -> list[str]:
        """Of all but the collector itself."""
        return [record.message for record in self.records if record.source != "vcache"]

    def append(self, records: Sequence[Record], *, sync: bool = True) -> Appended:
        self.tries += 1
        self.gate.wait(60)
        self.on_append(records)
        self.appends.append(list(records))
        return Appended("", len(records))

    def search(self, query: Query) -> Result:
        raise AssertionError("nobody asks")

    def find(self, record_id: str) -> Record | None:
        raise AssertionError("nobody asks")

    def follow(self) -> Follower:
        raise AssertionError("nobody asks")

    def stats(self) -> LogStats:
        raise AssertionError("nobody asks")

    def close(self) -> None:
        pass


def said(*messages: str) -> list[Record]:
    """Records that say this."""
    return [Record(1, 9, "test", message) for message in messages]
