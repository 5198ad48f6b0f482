"""A listener that appends what nodes write to the log store, and counts their warnings.

It works in a thread of its own: a slow store slows no build, and a fault of it is said once. `dag` and
`logs` never meet but here and in `vcache.cli.records`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from vcache.dag import said as memory
from vcache.dag.events import Finished, Hit, Noted, Output, RunEnded, RunStarted, UpToDate
from vcache.dag.said import Said
from vcache.kit.batches import batched
from vcache.kit.data import NamedTuple, dataclass
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from vcache.dag.events import Event
    from vcache.dag.node import Node
    from vcache.logs.record import Record
    from vcache.tracing import SpanContext

__all__ = ["Recorder", "Spans", "Taker", "Warnings"]

_COUNT_S: Final = 1.0
_CLOSE_S: Final = 10.0
_BATCH: Final = 4_096

Spans: TypeAlias = "Callable[[Node | None], SpanContext | None]"
"""The span of a node that has ended, or of the run."""


class Taker(Protocol):
    """Where records go. Used by one thread."""

    def append(self, records: Sequence[Record]) -> object: ...

    def close(self) -> None: ...


class Warnings(NamedTuple):
    """How many warnings a build has.

    Attributes:
        fresh: of commands that ran.
        cached: of results from the cache.
        standing: of what was up to date, as it was made.
    """

    fresh: int = 0
    cached: int = 0
    standing: int = 0

    @property
    def total(self) -> int:
        """All of them: as many as a build of everything would have."""
        return self.fresh + self.cached + self.standing


@dataclass(frozen=True, slots=True)
class _Item:
    """Something to be kept: what a node wrote, or an event of the run."""

    event: Event
    span: SpanContext | None


class Recorder:
    """Keeps what a run says. A run that had nothing to do leaves no records, as it leaves no journal.

    Args:
        base: of the build.
        run: its id.
        opens: opens the log store when there is something to keep, in another thread; gives None for none.
        spans: what records are told to be a part of.

    Threads: `on_event` in the runner's. It never waits, but at the run's end for the count.
    """

    def __init__(
        self, base: str, run: str, *, opens: Callable[[], Taker | None], spans: Spans | None = None
    ) -> None:
        self.fault = ""
        self._base, self._run, self._opens, self._spans = base, run, opens, spans
        self._begun: RunStarted | None = None
        # What waits is held by the run's tasks anyway: the queue needs no bound of bytes.
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._change = threading.Condition()  # guards the next one
        self._uncounted = 0
        self._warned: dict[str, tuple[int, Output]] = {}
        self._made: dict[str, str] = {}
        self._seen: set[str] = set()
        self._standing: dict[str, Said] = {}
        self._store: Taker | None = None
        self._is_off = False
        self._is_worth_keeping = False

    # -- in the runner's thread ----------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, UpToDate):
            self._seen.add(event.node.name)
        elif isinstance(event, Hit):
            self._made[event.node.name] = event.log.hex()
            self._is_worth_keeping = True
        elif isinstance(event, Finished):
            self._is_worth_keeping = True
            if not event.will_retry:
                self._made[event.node.name] = "" if event.status else event.log.hex()
                if event.status:
                    self._put(event, event.node)
        elif isinstance(event, Output):
            self._put(event, event.node)
        elif isinstance(event, Noted):
            self._put(event, None)
        elif isinstance(event, RunStarted):
            self._begun = event
        elif isinstance(event, RunEnded):
            self._ended(event)

    @property
    def warnings(self) -> Warnings:
        """How many warnings there are, once the run has ended."""
        told = self._warned.values()
        return Warnings(
            sum(count for count, output in told if not output.is_replayed),
            sum(count for count, output in told if output.is_replayed),
            sum(each.warnings for each in self._standing.values()),
        )

    @property
    def standing(self) -> dict[str, Said]:
        """What was up to date and had warned when it was made, by name, once the run has ended."""
        return self._standing

    def close(self) -> None:
        """Wait until what was said is kept; not for ever."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(None)
        thread.join(_CLOSE_S)
        if thread.is_alive():
            self._fail(f"the log store did not take it within {_CLOSE_S:.0f} s")

    def _put(self, event: Event, node: Node | None) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="vcache-logs", daemon=True)
            if self._begun is not None:
                self._enqueue(self._begun, None)
            self._thread.start()
        self._enqueue(event, node)

    def _enqueue(self, event: Event, node: Node | None) -> None:
        with self._change:
            self._uncounted += 1
        self._queue.put(_Item(event, None if self._spans is None else self._spans(node)))

    def _ended(self, event: RunEnded) -> None:
        self._count_up()
        before = memory.load(self._base)
        self._standing = {name: each for name, each in before.items() if name not in self._made}
        is_whole = not (event.status or event.is_partial or (self._begun and self._begun.goals))
        if is_whole:  # what nobody asked for any more was taken out of the build file
            self._standing = {name: each for name, each in self._standing.items() if name in self._seen}
        after = {**self._standing, **self._fresh()}
        if after != before:
            try:
                memory.save(self._base, after)
            except OSError as error:
                self._fail(str(error))
        if self._is_worth_keeping or event.status or self._thread is not None:
            self._put(event, None)

    def _fresh(self) -> dict[str, Said]:
        """What stands since this run."""
        found: dict[str, Said] = {}
        for name, (count, output) in self._warned.items():
            log = self._made.get(name, "")
            if count and log:
                origin = output.origin if output.is_replayed else self._run
                found[name] = Said(count, log, origin)
        return found

    def _count_up(self) -> None:
        """Wait until all that nodes wrote is counted; count here what a slow store holds up."""
        if self._is_counted(_COUNT_S):
            return
        with suppress(Empty):
            while (item := self._queue.get_nowait()) is not None:
                self._counted(item)
                self._fail("it takes too long")
        self._is_counted(_CLOSE_S)

    def _is_counted(self, timeout_s: float) -> bool:
        with self._change:
            return self._change.wait_for(lambda: not self._uncounted, timeout_s)

    # -- in a thread of its own ----------------------------------------------------------------------

    def _work(self) -> None:
        pending: list[Record] = []
        while (item := self._queue.get()) is not None:
            pending += self._counted(item)
            if pending and (len(pending) >= _BATCH or self._queue.empty()):
                self._append(pending)
                pending = []
        self._append(pending)
        if self._store is not None:
            self._store.close()

    def _counted(self, item: _Item) -> list[Record]:
        """The records of an item, its warnings counted."""
        from vcache.cli.records import records_of_event, warnings_of

        found: list[Record] = []
        try:
            total = self.warnings.total if isinstance(item.event, RunEnded) else 0
            found = records_of_event(item.event, self._run, span=item.span, warnings=total)
            if isinstance(item.event, Output):
                self._warned[item.event.node.name] = warnings_of(found), item.event
        except Exception as error:  # a thread of ours must not end a build
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            with self._change:
                self._uncounted -= 1
                self._change.notify_all()
        return found

    def _append(self, records: list[Record]) -> None:
        if self._is_off or self.fault or not records:
            return
        try:
            if self._store is None:
                self._store = self._opens()
            if self._store is None:
                self._is_off = True
                return
            for batch in batched(records, _BATCH):
                # A crash of the process loses none; after a power loss the cache still has most of it.
                self._store.append(batch)
        except Exception as error:  # whatever a store of somebody else's raises
            self._fail(str(error) or type(error).__name__)

    def _fail(self, why: str) -> None:
        """Say once that records are not kept, and be silent from then on."""
        if self.fault:
            return
        self.fault = why
        logger("vcache.logs").warning("what this run says is not in the log store: %s", why)
