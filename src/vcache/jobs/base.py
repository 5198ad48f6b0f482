"""The contract of a queue: it keeps jobs, hands them to workers under leases, and records how they ended.

1. When `submit` returned, its jobs are kept as durably as `info` says, all or none.
2. Each job runs at least once, and exactly one completion of it is recorded: a claim gives a fencing
   token above all before it, and what is finished under another than the last one is refused.
3. A lease belongs to a session, that is to a worker's process, and covers all that it holds. A session
   counts a beat with each exchange, at least each quarter of `lease_s`. Leases go by no wall clock: who
   watches (`vcache.jobs.leases`) ends a session whose count stood still for ¾ of `lease_s` by the watcher's
   own monotonic clock, and looks so often that a lease after its last beat a session is ended.
4. What a lost session held comes back at once, as suspects: a session is given one suspect at a time,
   so that a job that kills its worker is told from those that ran beside it. The third time it is dead.
5. Of what may run, the highest priority comes first, then the longest waiting; but each `TURNS`th
   claim goes to the longest waiting of all, so that none waits for ever.
6. Delays and times are by the queue's clock: its `now_ns` does not jump when a wall clock is set.
7. Everything may be called from any thread, and where `info.is_shared`, from many processes.
8. A fault is a `StoreError` that says whether a retry helps, and leaves what was acknowledged. Calls
   may be repeated after one: a job whose id is known is not made again, and what was finished is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from vcache.jobs.models import Failure, Job, Limits, Plain, Progress, Spec
from vcache.jobs.states import Event, State
from vcache.kit.data import NamedTuple

__all__ = [
    "KILLS",
    "MOST_CLAIMED",
    "MOST_PAYLOAD_BYTES",
    "TURNS",
    "Cell",
    "Claimed",
    "Exchanged",
    "Finished",
    "KindTotals",
    "Page",
    "Queue",
    "QueueInfo",
    "QueueStats",
    "Session",
]

TURNS: Final = 16
KILLS: Final = 3
MOST_CLAIMED: Final = 250  # by one exchange: a worker's share, also of a script's time
MOST_PAYLOAD_BYTES: Final = 32 << 20  # of one packed spec or result


class QueueInfo(NamedTuple):
    """What a queue is.

    Attributes:
        name: its address, without secrets.
        namespace: whose jobs it holds.
        is_durable: what was acknowledged survives a power loss.
        is_shared: other processes see the same jobs.
    """

    name: str
    namespace: str = ""
    is_durable: bool = False
    is_shared: bool = False


class Claimed(NamedTuple):
    """A job that a worker holds. `attempt` is 1 for the first; `kills` as in `Job`."""

    spec: Spec
    token: int
    attempt: int
    kills: int = 0


class Finished(NamedTuple):
    """How a worker's attempt ended.

    Attributes:
        event: COMPLETE; TRY_AGAIN or GIVE_UP for a failed one; RELEASE; LOSE for one whose own process
            died: a kill is counted as for a lost session's, and at `KILLS` the queue makes it QUARANTINE.
        result: of a completed one.
        failure: of a failed or lost one.
        delay_s: until it is tried again.
    """

    claimed: Claimed
    event: Event
    result: Plain = None
    failure: Failure | None = None
    delay_s: float = 0.0


class Exchanged(NamedTuple):
    """What an exchange brought.

    Attributes:
        claimed: what the session holds from here on. Nothing is claimed ahead: each starts at once.
        refused: ids of what was finished under a token that does not count any more.
        revoked: ids of what the session held and was cancelled: their attempts are to be stopped, and
            what comes of them will be refused.
        next_due_s: in how long time brings something that may be claimed; None for not foreseeable.
    """

    claimed: Sequence[Claimed] = ()
    refused: Sequence[str] = ()
    revoked: Sequence[str] = ()
    next_due_s: float | None = None


class Session(NamedTuple):
    """A worker's process, as the queue knows it. `beats` rises as long as it lives."""

    id: str
    worker: str
    beats: int
    lease_s: float
    n_held: int
    kinds: Sequence[str] = ()


class KindTotals(NamedTuple):
    """How many jobs of a kind, since the queue was made. `failed` counts attempts, `retried` those of them
    that were tried again.
    """

    submitted: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0


class QueueStats(NamedTuple):
    """What a queue holds.

    Attributes:
        waiting: queued jobs that may start, by kind and priority.
        delayed: queued jobs whose time has not come.
        by_state: of every state, also those counted in the two above.
        totals: by kind.
        oldest_ns: when the longest waiting job that may start was asked for; 0 where there is none.
        submitted: by kind and priority, since the queue was made: what `totals` sums up by kind.
    """

    waiting: Mapping[tuple[str, int], int]
    delayed: int
    by_state: Mapping[State, int]
    totals: Mapping[str, KindTotals]
    oldest_ns: int
    sessions: Sequence[Session]
    submitted: Mapping[tuple[str, int], int]


class Page(NamedTuple):
    """A part of a list. `next` goes into the next call; "" at the end."""

    jobs: Sequence[Job]
    next: str = ""


class Cell(NamedTuple):
    """A value that is changed by who has seen its last version (`Queue.swap`).

    Versions rise, and each change of any cell gives one that no cell of the queue had before: one that is dropped
    and made anew is not taken for the old one.
    """

    version: int
    value: bytes


@runtime_checkable
class Queue(Protocol):
    """See the module."""

    @property
    def info(self) -> QueueInfo: ...

    def now_ns(self) -> int:
        """The queue's clock: like UTC epoch nanoseconds, but steady."""

    # Who asks

    def submit(self, specs: Sequence[Spec]) -> Sequence[str]:
        """Keep jobs; for each the id of the job that is: another one's where that has its unique key.

        A job blocked by one that is dead or cancelled is cancelled at once; one that completed, or that
        the queue does not know (any more), blocks nothing.

        Raises:
            UsageError: a spec that no queue could keep; none is kept.
            StoreError: none is kept, as far as can be known.
        """

    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        """Jobs by id; None for those that are not known (any more)."""

    def list(self, state: State, *, kind: str = "", cursor: str = "", limit: int = 100) -> Page:
        """Jobs of a state. What stays in it meanwhile is shown; what comes or goes may be."""

    def cancel(self, ids: Sequence[str], *, why: str = "") -> Sequence[str]:
        """Cancel those that have not ended, and what waits for them; the ids of those now cancelled."""

    def requeue(self, ids: Sequence[str], *, keep_attempts: bool = False) -> Sequence[str]:
        """Let dead and cancelled jobs, and those in retry, run now; the ids of those now queued."""

    def purge(self, state: State, *, kind: str = "", before_ns: int | None = None) -> int:
        """Forget ended jobs (of a kind, ended before a time); how many."""

    def stats(self) -> QueueStats: ...

    def limit(self, kind: str, limits: Limits) -> None:
        """Set what workers together may do of a kind; `Limits()` for anything."""

    def limits(self) -> Mapping[str, Limits]: ...

    # Who works

    def open_session(self, worker: str, *, kinds: Sequence[str], lease_s: float) -> str:
        """A session's id. `kinds` is what it will ask for, for others to see."""

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        """Record what ended, count a beat, and claim up to so many jobs (at most `MOST_CLAIMED`).

        Raises:
            SessionLost: nothing was recorded or claimed.
        """

    def held(self, session: str) -> Sequence[Claimed]:
        """All that a session holds: for who does not know whether its last exchange came through.

        Raises:
            SessionLost: it was ended.
        """

    def report(self, session: str, job_id: str, token: int, progress: Progress) -> bool:
        """Keep how far a job is, as its session says; whether the token counts."""

    def sessions(self) -> Sequence[Session]: ...

    def end_session(self, session: str, *, beats: int | None = None) -> Sequence[str]:
        """End a session and give what it held to others, as LOSE or QUARANTINE; the ids of it.

        Args:
            beats: only if it still counts so many.
        """

    def wait(self, kinds: Sequence[str], timeout_s: float) -> None:
        """Return when there may be something to claim, at the latest after that time. May return early."""

    def upkeep(self) -> int:
        """Do what time brings: let what is due run, expire, and forget what is kept no longer; how many.

        Exchanges see to what is due themselves; this is for the rest, and is called now and then.
        """

    # Who keeps a small state beside the jobs: schedules

    def cells(self, prefix: str) -> Mapping[str, Cell]:
        """Cells by name, of those whose names begin so."""

    def swap(self, name: str, version: int, value: bytes | None, specs: Sequence[Spec] = ()) -> bool:
        """Set (or, with None, drop) a cell and submit jobs, together, if it has that version; whether.

        Args:
            version: 0 for a cell that must not be there.
        """

    def close(self) -> None:
        """Release everything. May be called again."""
