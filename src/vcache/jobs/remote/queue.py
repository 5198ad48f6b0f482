"""The queue that a `vcache serve` has, for whoever asks and for whoever works. What is sent is `wire`.

It must not know where the server keeps jobs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, cast

from vcache.errors import StoreClosed, StoreUnavailable, UsageError
from vcache.jobs.base import (
    Cell,
    Claimed,
    Exchanged,
    Finished,
    Page,
    QueueInfo,
    QueueStats,
    Session,
)
from vcache.jobs.models import Job, Limits, Progress, Spec
from vcache.jobs.packing import pack_result, pack_spec
from vcache.jobs.remote import wire
from vcache.jobs.remote.line import Line
from vcache.jobs.states import State

__all__ = ["RemoteQueue"]

_BODY_BYTES: Final = 8 << 20  # what goes into one request, but for a single job that is larger
_CLOCK_S: Final = 30.0
_WAIT_S: Final = 20.0  # proxies end a request that is silent for a minute
_PAUSE_S: Final = 1.0  # after a wait that failed


class RemoteQueue:
    """A `Queue` over HTTP.

    Args:
        line: to the server.
        namespace: that the token must be for; "" for whichever it is.
        clock_s: how long the difference to the server's clock is taken to hold.

    Threads: any.
    """

    def __init__(self, line: Line, *, namespace: str = "", clock_s: float = _CLOCK_S) -> None:
        self._line = line
        self._clock_s = clock_s
        self._namespace = namespace
        self._info: QueueInfo | None = None
        self._is_closed = threading.Event()
        # The server's clock less ours, and until when that holds, by the monotonic one. Replaced as a whole.
        self._clock = (0, 0.0)

    @property
    def info(self) -> QueueInfo:
        """See `Queue`.

        Raises:
            UsageError: the token is for another namespace.
            StoreError: the server cannot be asked.
        """
        if self._info is None:
            found = wire.info_of(self._ask("info"))
            if self._namespace not in ("", found.namespace):
                raise UsageError(
                    f"the token for {self._line.where} is for the namespace {found.namespace!r}, and jobs of "
                    f"{self._namespace!r} were asked for: take a token of that one"
                )
            self._info = found._replace(name=self._line.where, is_shared=True)
        return self._info

    def now_ns(self) -> int:
        """See `Queue`. Asked of the server now and then, and counted on in between."""
        ahead_ns, until_s = self._clock
        if time.monotonic() >= until_s:
            before_ns = time.monotonic_ns()
            said_ns = cast("int", self._ask("now"))
            ahead_ns = said_ns - (before_ns + time.monotonic_ns()) // 2
            self._clock = ahead_ns, time.monotonic() + self._clock_s
            return said_ns
        return time.monotonic_ns() + ahead_ns

    # -- who asks --------------------------------------------------------------------------------

    def submit(self, specs: Sequence[Spec]) -> Sequence[str]:
        """See `Queue`. All of them go in one request, since they are kept all or none."""
        for spec in specs:
            pack_spec(spec)  # what is wrong with it is said with its kind, before it crosses the network
        return wire.texts_listed(self._ask("submit", [wire.sent_spec(spec) for spec in specs]))

    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        """See `Queue`."""
        return wire.listed(self._ask("get", list(ids)), wire.job_of)

    def list(self, state: State, *, kind: str = "", cursor: str = "", limit: int = 100) -> Page:
        """See `Queue`."""
        return wire.page_of(self._ask("list", state, kind, cursor, limit))

    def cancel(self, ids: Sequence[str], *, why: str = "") -> Sequence[str]:
        """See `Queue`."""
        return wire.texts_listed(self._ask("cancel", list(ids), why))

    def requeue(self, ids: Sequence[str], *, keep_attempts: bool = False) -> Sequence[str]:
        """See `Queue`."""
        return wire.texts_listed(self._ask("requeue", list(ids), keep_attempts))

    def purge(self, state: State, *, kind: str = "", before_ns: int | None = None) -> int:
        """See `Queue`."""
        return cast("int", self._ask("purge", state, kind, before_ns))

    def stats(self) -> QueueStats:
        """See `Queue`."""
        return wire.stats_of(self._ask("stats"))

    def limit(self, kind: str, limits: Limits) -> None:
        """See `Queue`."""
        self._ask("limit", kind, limits)

    def limits(self) -> Mapping[str, Limits]:
        """See `Queue`."""
        found = cast("Mapping[str, object]", self._ask("limits"))
        return {kind: wire.limits_of(limits) for kind, limits in found.items()}

    # -- who works -------------------------------------------------------------------------------

    def open_session(self, worker: str, *, kinds: Sequence[str], lease_s: float) -> str:
        """See `Queue`."""
        return cast("str", self._ask("open-session", worker, list(kinds), lease_s))

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        """See `Queue`. Results that are too long for one request go in several before it."""
        refused: list[str] = []
        parts = _parts(finished)
        for part in parts[:-1]:
            refused += wire.exchanged_of(self._ask("exchange", session, part, [], 0)).refused
        got = wire.exchanged_of(self._ask("exchange", session, parts[-1], list(kinds), want))
        return got._replace(refused=[*refused, *got.refused]) if refused else got

    def held(self, session: str) -> Sequence[Claimed]:
        """See `Queue`."""
        return wire.listed(self._ask("held", session), wire.claimed_of)

    def report(self, session: str, job_id: str, token: int, progress: Progress) -> bool:
        """See `Queue`."""
        return bool(self._ask("report", session, job_id, token, progress))

    def sessions(self) -> Sequence[Session]:
        """See `Queue`."""
        return wire.sessions_of(self._ask("sessions"))

    def end_session(self, session: str, *, beats: int | None = None) -> Sequence[str]:
        """See `Queue`."""
        return wire.texts_listed(self._ask("end-session", session, beats))

    def wait(self, kinds: Sequence[str], timeout_s: float) -> None:
        """See `Queue`. A server that cannot be asked is no error here: who claims next is told."""
        timeout_s = min(timeout_s, _WAIT_S)
        try:
            self._ask("wait", list(kinds), timeout_s, timeout_s=timeout_s + self._line.timeout_s)
        except StoreUnavailable:
            self._is_closed.wait(min(_PAUSE_S, timeout_s))

    def upkeep(self) -> int:
        """See `Queue`. The server sees to it by itself."""
        return cast("int", self._ask("upkeep"))

    # -- cells -----------------------------------------------------------------------------------

    def cells(self, prefix: str) -> Mapping[str, Cell]:
        """See `Queue`."""
        return wire.cells_of(self._ask("cells", prefix))

    def swap(self, name: str, version: int, value: bytes | None, specs: Sequence[Spec] = ()) -> bool:
        """See `Queue`."""
        return bool(self._ask("swap", name, version, value, [wire.sent_spec(spec) for spec in specs]))

    def close(self) -> None:
        """See `Queue`."""
        self._is_closed.set()
        self._line.close()

    # -- inside ----------------------------------------------------------------------------------

    def _ask(self, call: str, *arguments: object, timeout_s: float | None = None) -> object:
        if self._is_closed.is_set():
            raise StoreClosed(f"{self._line.where}: the queue was closed")
        return self._line.ask(call, arguments, timeout_s=timeout_s)


def _parts(finished: Sequence[Finished]) -> list[list[Sequence[object]]]:
    """What ended, as it is sent, in as many requests as it takes; at least one."""
    parts: list[list[Sequence[object]]] = [[]]
    size_bytes = 0
    for each in finished:
        result_bytes = _long_bytes(each)
        if size_bytes and size_bytes + result_bytes > _BODY_BYTES:
            parts.append([])
            size_bytes = 0
        parts[-1].append(wire.sent_finished(each))
        size_bytes += result_bytes
    return parts


def _long_bytes(finished: Finished) -> int:
    """About how long a result is.

    Raises:
        EncodeError: longer than any queue keeps.
    """
    result = finished.result
    return 0 if result is None or isinstance(result, bool | int | float) else len(pack_result(result))
