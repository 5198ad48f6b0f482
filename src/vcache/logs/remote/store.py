"""The log store of a server. What it says of rows is `rows`, how it is asked is `wire`."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, cast
from urllib.parse import quote

from vcache.errors import StoreClosed, StoreUnavailable, VcacheError
from vcache.logs.base import Appended, Gap, LogStats, LogStore, Result
from vcache.logs.record import Record
from vcache.logs.remote import rows
from vcache.logs.remote.wire import Wire
from vcache.logs.show.base import columns_of
from vcache.query.pipeline import columns_after
from vcache.query.printing import unparse
from vcache.query.syntax import Query, Value

__all__ = ["RemoteLogs"]

_TIMEOUT_S: Final = 300
_BODY_BYTES: Final = 8 << 20
_MOST_WAITING: Final = 65_536


class RemoteLogs:
    """A `LogStore` over REST. Levels in rows are those of their words; ids of appended records are not told.

    Args:
        address: see `vcache.logs.remote.wire.Wire`.

    Raises:
        ConfigError: it makes no sense.

    Threads: any.
    """

    def __init__(self, address: str) -> None:
        self._wire = Wire(address)
        self._is_closed = False
        self._followers: list[_RemoteFollower] = []

    def append(self, records: Sequence[Record], *, sync: bool = True) -> Appended:
        """See `LogStore`. More than 8 MiB go in several requests; the server syncs each.

        Raises:
            StoreError: they were not kept, or not all.
        """
        self._require_open()
        for body in _bodies(records):
            self._wire.ask("POST", "", body, "application/x-ndjson")
        return Appended("", len(records))

    def search(self, query: Query) -> Result:
        """See `LogStore`.

        Raises:
            UsageError: the server does not take the query.
            StoreError: it cannot be asked.
        """
        self._require_open()
        wish = {"q": unparse(query), "format": "json", "timeout": _TIMEOUT_S}
        result = Result(columns_after(query), iter(()))
        result.rows = self._rows(query, json.dumps(wish).encode(), result)  # type: ignore[assignment]
        return result

    def find(self, record_id: str) -> Record | None:
        """See `LogStore`."""
        self._require_open()
        found = self._wire.ask("GET", f"/records/{quote(record_id, safe='')}")
        return None if found is None else rows.record_of(cast("Mapping[str, object]", found))

    def follow(self) -> _RemoteFollower:
        """See `LogStore`."""
        self._require_open()
        follower = _RemoteFollower(self._wire)
        self._followers.append(follower)
        return follower

    def stats(self) -> LogStats:
        """See `LogStore`."""
        self._require_open()
        return rows.stats_of(cast("Mapping[str, object]", self._wire.ask("GET", "/stats")))

    def close(self) -> None:
        """See `LogStore`."""
        self._is_closed = True
        for follower in self._followers:
            follower.close()

    def _rows(self, query: Query, body: bytes, result: Result) -> Iterator[Record | tuple[Value, ...]]:
        columns = columns_of(query, result.columns)
        with self._wire.lines("POST", "/query", body) as lines:
            for line in lines:
                said = json.loads(line)
                if "@end" in said:
                    _end(result, said["@end"])
                    return
                yield rows.record_of(said) if columns is None else rows.row_of(said, columns)
        raise StoreUnavailable(f"logs at {self._wire.address}: the answer ended too early")

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed("the log store was closed")


def _end(result: Result, said: Mapping[str, object]) -> None:
    result.gaps += [rows.gap_of(gap) for gap in cast("Iterable[Mapping[str, object]]", said.get("gaps", ()))]
    if said.get("is_cut"):
        result.gaps.append(
            Gap("the server", f"the query took longer than {_TIMEOUT_S} s: the rest is missing")
        )
    rows.seen_of(cast("Mapping[str, object]", said.get("seen", {})), result.seen)


def _bodies(records: Sequence[Record]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for record in records:
        line = json.dumps(rows.json_of(record)).encode() + b"\n"
        if held and size + len(line) > _BODY_BYTES:
            yield b"".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line)
    if held:
        yield b"".join(held)


class _RemoteFollower:
    """Hears server-sent events in a thread of its own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waiting: queue.Queue[Record] = queue.Queue(_MOST_WAITING)
        self._n_dropped = 0
        self._error: VcacheError | None = None
        self._is_closed = threading.Event()
        self._has_begun = threading.Event()
        threading.Thread(target=self._run, name="vcache-logs-follow", daemon=True).start()
        # The server's first words come when it listens: what is appended from here on is heard.
        self._has_begun.wait(60)
        if self._error is not None:
            raise self._error

    @property
    def dropped(self) -> int:
        return self._n_dropped

    def wait(self, timeout_s: float) -> Sequence[Record]:
        """See `Follower`.

        Raises:
            StoreError: the server went away.
        """
        found: list[Record] = []
        try:
            found.append(self._waiting.get(timeout=timeout_s))
            while True:
                found.append(self._waiting.get_nowait())
        except queue.Empty:
            if not found and self._error is not None:
                raise self._error from None
        return found

    def close(self) -> None:
        self._is_closed.set()

    def _run(self) -> None:
        try:
            with self._wire.lines("GET", "/tail", is_endless=True) as lines:
                for line in lines:
                    if self._is_closed.is_set():
                        return
                    self._has_begun.set()
                    self._take(line)
            self._error = StoreUnavailable(f"logs at {self._wire.address}: the server ended the tail")
        except VcacheError as error:
            self._error = error
        finally:
            self._has_begun.set()

    def _take(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        said = json.loads(line[5:])
        if "dropped" in said and "@time" not in said:
            self._n_dropped += int(said["dropped"])
            return
        try:
            self._waiting.put_nowait(rows.record_of(said))
        except queue.Full:
            self._n_dropped += 1


_conforms: type[LogStore] = RemoteLogs
