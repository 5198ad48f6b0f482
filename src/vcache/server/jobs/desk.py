"""What all that a server does with jobs shares: queues, threads for them, who watches and who waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from vcache.server.callers import Caller, Role
from vcache.server.jobs.keeper import Keeper
from vcache.server.jobs.measures import Measures
from vcache.server.jobs.queues import Queues
from vcache.server.jobs.waiting import Waiting
from vcache.server.jobs.watching import Watch
from vcache.server.refused import Refusal, Refused
from vcache.server.underway import UnderWay

if TYPE_CHECKING:
    from vcache.jobs.base import Queue
    from vcache.jobs.models import Job, Spec
    from vcache.metrics import Family
    from vcache.server.logs.desk import LogDesk

__all__ = ["BODY_BYTES", "JobDesk", "require_role"]

BODY_BYTES: Final = 32 << 20
"""The longest body in JSON; a queue keeps no longer payload."""

_THREADS: Final = 8  # a queue that hangs must not take those of the store
_ALL_BYTES: Final = 128 << 20  # what bodies under way may come to

Note = Callable[[Caller, str, str], object]
"""Told of a change: the caller, the action, the name."""


class JobDesk:
    """See the module.

    Args:
        stack: closes what is opened.
        note: told of changes; on any thread.
        grown: told by how many bytes a namespace grew.
        logs: of whose records a job's log is made.
        fires: whether schedules do.
        is_read_only: nothing is taken.
    """

    def __init__(
        self,
        queues: Queues,
        stack: contextlib.ExitStack,
        *,
        note: Note,
        grown: Callable[[str, int], object],
        logs: LogDesk,
        fires: bool = True,
        is_read_only: bool = False,
    ) -> None:
        self.note, self._grown, self.logs = note, grown, logs
        self._is_read_only = is_read_only
        self._lock = threading.Lock()  # guards what was taken and not noted yet
        self._taken: Counter[tuple[Caller, str]] = Counter()
        self.queues = queues
        self.measures = Measures(self.queues)
        self.under_way = UnderWay(_ALL_BYTES)
        self._executor = ThreadPoolExecutor(_THREADS, "vcache-jobs")
        self._watches: dict[str, Watch] = {}
        self._waiting: dict[str, Waiting] = {}
        self._is_over = False
        self.keeper = Keeper(self.queues, lost=self.measures.lost, fires=fires and not is_read_only)
        stack.callback(self.queues.close)
        stack.callback(self._executor.shutdown)
        stack.callback(self.keeper.close)
        stack.callback(self.flush)

    def run(self, work: Callable[..., Any], *arguments: object) -> Awaitable[Any]:
        """What asks a queue, on a thread."""
        return asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    async def queue(self, namespace: str) -> Queue:
        """The queue of a namespace; raises as `Queues.of`."""
        found = self.queues.opened().get(namespace)
        return found or await self.run(self.queues.of, namespace)

    async def watch(self, namespace: str) -> Watch:
        """Who watches jobs of a namespace."""
        found = self._watches.get(namespace)
        if found is None:
            queue = await self.queue(namespace)

            def read(ids: Sequence[str]) -> Awaitable[Sequence[Job | None]]:
                return self.run(queue.get, ids)

            self._refuse_if_over()
            found = self._watches.setdefault(namespace, Watch(read))
        return found

    async def waiting(self, namespace: str) -> Waiting:
        """Who waits for jobs of a namespace."""
        found = self._waiting.get(namespace)
        if found is None:
            queue = await self.queue(namespace)
            self._refuse_if_over()
            found = self._waiting.setdefault(namespace, Waiting(queue))
        return found

    def nudge(self, namespace: str) -> None:
        """Have those look who watch jobs of a namespace."""
        watch = self._watches.get(namespace)
        if watch is not None:
            watch.nudge()

    def begin(self, namespaces: Iterable[str]) -> None:
        """Look after queues from here on, those of these namespaces too that nobody asks for."""
        self.keeper.start(namespaces)

    def trouble(self) -> str | None:
        """Why a queue does not answer; None where all do."""
        for namespace, trouble in self.keeper.troubles.items():
            return f"the queue of {namespace!r}: {trouble}"
        return None

    def families(self, caller: Caller) -> Iterable[Family]:
        """What is counted, as a caller may see it: those that are no admins see their own namespace's. Blocks."""
        return self.measures.families(None if caller.role >= Role.ADMIN else caller.namespace)

    def require_write(self) -> None:
        """Nothing, where jobs are taken.

        Raises:
            Refused: the server is read-only.
        """
        if self._is_read_only:
            raise Refused(Refusal.FORBIDDEN, "this server is read-only")

    def took(self, caller: Caller, specs: Iterable[Spec], size_bytes: int) -> None:
        """Count jobs that were kept. On any thread."""
        self._grown(caller.namespace, size_bytes)
        with self._lock:
            for spec in specs:
                self._taken[caller, spec.kind] += 1

    async def noted(self, caller: Caller, action: str, name: str) -> None:
        """Note a change."""
        await self.run(self.note, caller, action, name)

    def flush(self) -> None:
        """Note what was taken since the last time: a line of the audit log for each job would be too many."""
        with self._lock:
            taken, self._taken = self._taken, Counter()
        for (caller, kind), count in taken.items():
            self.note(caller, "submit", f"{count} of {kind}")

    def end(self) -> None:
        """Let nobody watch or wait any more: they would go on for ever. On the event loop."""
        self._is_over = True
        for watch in self._watches.values():
            watch.end()
        for waiting in self._waiting.values():
            waiting.end()

    def _refuse_if_over(self) -> None:
        if self._is_over:
            raise Refused(Refusal.BUSY, "the server is shutting down")


def require_role(caller: Caller, role: Role, what: str) -> None:
    """Nothing, for callers of at least this role.

    Raises:
        Refused: it is a lower one.
    """
    if caller.role < role:
        raise Refused(
            Refusal.FORBIDDEN,
            f"{what} is for {role.name.lower()}s; the token's role is {caller.role.name.lower()}",
        )
