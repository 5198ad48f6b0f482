"""A queue's workers, for commands of a build that run elsewhere (`vcache.dag.away`).

An order is a job of kind "vcache.node", unique by the action's key: two builds that want the same at the
same time have it run once. It knows orders and queues, and nothing of graphs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote

from vcache.dag.away import AwayExecutor, Carrier, Patience, Reply, shared_cache
from vcache.dag.local import default_slots
from vcache.dag.order import VERSION
from vcache.entry import make_key
from vcache.errors import StoreError, UsageError, VcacheError
from vcache.jobs.building.endings import Endings
from vcache.jobs.building.handlers import NODE
from vcache.jobs.models import Priority, Spec
from vcache.jobs.states import State
from vcache.kit.data import NamedTuple, dataclass
from vcache.kit.ids import uuid7

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.dag.shipping import Parcel
    from vcache.jobs.base import Queue
    from vcache.jobs.models import Job

__all__ = ["QueueExecutor", "Where", "parse"]

# A key is taken for so long, also when its job has ended: a build that looked into the cache before a
# result was there, and had to wait for a slot, gets that result. It is checked as one of the cache is.
_UNIQUE_S: Final = 3600.0
_PER_WORKER: Final = 8
_LOOK_S: Final = 0.25
_TROUBLE_MOST_S: Final = 30.0
_AGAIN_MOST: Final = 3


class Where(NamedTuple):
    """What the address of an executor says.

    Attributes:
        queue: the address of the queue; "" for the one of the settings.
        cache: of the shared cache; "" for the project's own.
    """

    queue: str
    cache: str


def parse(url: str) -> Where:
    """The parts of `queue://[ADDRESS][?cache=ADDRESS]`.

    Raises:
        UsageError: it is no such address.
    """
    if not url.startswith("queue://"):
        raise UsageError(f"--executor {url!r}: write queue://, or queue://ADDRESS of a queue")
    words, _, query = url.removeprefix("queue://").partition("?")
    rest, cache = [], ""
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if name == "cache" and equals:
            cache = unquote(value)
        else:  # the queue's own
            rest.append(part)
    if rest and not words:
        raise UsageError(f"--executor {url!r}: {rest[0]!r} is not cache=ADDRESS")
    return Where(words + (f"?{'&'.join(rest)}" if rest else ""), cache)


class QueueExecutor(AwayExecutor):
    """Runs commands on the workers of a queue.

    Args:
        url: `queue://[ADDRESS]`, with the option `cache=ADDRESS` (by default the cache's own tiers).
        queue: what the address opened; closed by its owner.
        cache: of the project.
        slots: how many commands are asked for at once; None for some for each worker.
        env: names of variables that count for every command.
        environ: the caller's variables; None for this process's own.
        patience: how long workers are waited for.
        parent: the build's id, which the jobs are found by.

    Raises:
        UsageError: no worker takes such jobs, or it cannot use the shared cache.

    Threads: any number.
    """

    def __init__(
        self,
        url: str,
        queue: Queue,
        *,
        cache: Cache,
        slots: int | None = None,
        env: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        patience: Patience = Patience(),  # noqa: B008 - it cannot change
        parent: str = "",
    ) -> None:
        shared, address = shared_cache(cache, parse(url).cache, url)
        carrier = _Carrier(queue, parent=parent)
        try:
            carrier.look(shared, address, url, patience)
        except BaseException:
            carrier.close()
            if shared is not cache:
                shared.close()
            raise
        super().__init__(
            carrier, cache=shared, address=address, slots=slots, env=env, environ=environ, patience=patience,
            on_close=None if shared is cache else shared.close,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class _Errand:
    """An order that is away. Guarded by the carrier's lock.

    Attributes:
        job: id of the job that carries it out; another build's, perhaps.
        is_ours: this build made that job.
        past: ids of jobs of other builds that were to carry it out, and came to nothing.
    """

    parcel: Parcel
    on_back: Callable[[Reply], None]
    job: str = ""
    is_ours: bool = False
    is_stopped: bool = False
    past: tuple[str, ...] = ()


class _Carrier:
    """A queue as a carrier."""

    def __init__(self, queue: Queue, *, parent: str = "") -> None:
        self._queue, self._parent = queue, parent
        self._endings = Endings(queue)
        self._slots = default_slots()
        self._lock = threading.Lock()  # guards the next
        self._errands: dict[str, _Errand] = {}

    @property
    def slots(self) -> int:
        return self._slots

    # -- at the beginning --------------------------------------------------------------------------

    def look(self, shared: Cache, address: str, url: str, patience: Patience) -> None:
        """See that some worker can take part.

        Raises:
            UsageError: there is none, or it says why not.
        """
        key = make_key(uuid7.text(), namespace=".probe")
        if not shared.put_key(key, b"probe"):
            raise UsageError(f"--executor {url!r}: the shared cache {address} takes nothing from here")
        spec = self._spec({"order": "", "probe": [address, key.hex(), VERSION]}, priority=Priority.CRITICAL)
        try:
            self._queue.submit([spec])
            why_not = self._answer(spec.id, patience)
        finally:
            with suppress(StoreError):
                self._queue.cancel([spec.id], why="nobody waits for it")
            shared.delete_key(key)
        if why_not is None:
            raise UsageError(
                f"--executor {url!r}: {self.workerless()}: start some with `vcache worker --module "
                f"vcache.jobs.building.handlers --queue {self._queue.info.name}`"
            )
        if why_not:
            raise UsageError(
                f"--executor {url!r}: no worker can use the shared cache {address}: {why_not}: name one that all "
                "can open, as in ?cache=disk:/shared/dir"
            )
        count = sum(NODE in each.kinds for each in self._queue.sessions())
        self._slots = max(default_slots(), _PER_WORKER * count)

    def _answer(self, job_id: str, patience: Patience) -> str | None:
        """Why the worker that was asked cannot take part; "" if it can, None if there is none."""
        ended: list[Job | None] = []
        is_there = threading.Event()

        def end(job: Job | None) -> None:
            ended.append(job)
            is_there.set()

        self._endings.watch(job_id, end)
        seen_s = time.monotonic()
        while not is_there.wait(_LOOK_S):
            now_s = time.monotonic()
            if self.has_workers():
                seen_s = now_s  # each of them is at work, perhaps with what takes long
            elif now_s - seen_s > patience.workerless_s:
                return None
        (job,) = ended
        if job is None or job.state is not State.COMPLETED:
            return _why(job)
        return str(cast("Mapping[str, object]", job.result)["why_not"])

    # -- as `Carrier` ------------------------------------------------------------------------------

    def send(self, parcel: Parcel, on_back: Callable[[Reply], None]) -> None:
        """As `Carrier.send`."""
        errand = _Errand(parcel, on_back)
        with self._lock:
            self._errands[parcel.order.order] = errand
        try:
            self._submit(errand)
        except BaseException:
            with self._lock:
                self._errands.pop(parcel.order.order, None)
            raise

    def stop(self, orders: Sequence[str]) -> None:
        """As `Carrier.stop`. A job that another build asked for goes on; one of ours does not, and a build
        that waits for it asks for its own.
        """
        with self._lock:
            errands = [self._errands.pop(order) for order in orders if order in self._errands]
            for errand in errands:
                errand.is_stopped = True
            ours = [errand.job for errand in errands if errand.is_ours]
        for errand in errands:
            errand.on_back(_stopped)
        if ours:
            self._queue.cancel(ours, why="the build that asked for it was stopped")

    def lost(self) -> str:
        """As `Carrier.lost`."""
        return "the queue does not answer" if self._endings.trouble_s > _TROUBLE_MOST_S else ""

    def has_workers(self) -> bool:
        """As `Carrier.has_workers`."""
        try:
            return any(NODE in session.kinds for session in self._queue.sessions())
        except StoreError:
            return True  # `lost` says so in time

    def workerless(self) -> str:
        """As `Carrier.workerless`."""
        return f"the queue {self._queue.info.name} has no workers for {NODE}"

    def close(self) -> None:
        """As `Carrier.close`."""
        self._endings.close()
        with self._lock:
            ours = [errand.job for errand in self._errands.values() if errand.is_ours]
            self._errands.clear()
        if ours:
            with suppress(VcacheError):
                self._queue.cancel(ours, why="the build that asked for it has ended")

    # -- inside ------------------------------------------------------------------------------------

    def _spec(
        self, payload: Mapping[str, object], *, key: str = "", priority: int = Priority.MEDIUM, tag: str = ""
    ) -> Spec:
        return Spec(
            id=uuid7.text(),
            kind=NODE,
            payload=cast("Mapping[str, str]", payload),
            priority=priority,
            created_ns=self._queue.now_ns(),
            unique=f"{NODE}:{key}" if key else "",
            unique_s=_UNIQUE_S if key else 0.0,
            parent=self._parent,
            tags=(tag,) if tag else (),
            namespace=self._queue.info.namespace,
        )

    def _submit(self, errand: _Errand) -> None:
        """Ask for an order to be carried out, or find who did.

        Raises:
            VcacheError: the queue does not take it.
        """
        parcel = errand.parcel
        payload = {"order": parcel.order.order, "packed": parcel.packed}
        # All who waited for a job that came to nothing agree on the next one.
        key = "/".join((parcel.key, *errand.past)) if parcel.key and len(errand.past) < _AGAIN_MOST else ""
        spec = self._spec(payload, key=key, tag=parcel.order.label)
        (job_id,) = self._queue.submit([spec])
        with self._lock:
            errand.job, errand.is_ours = job_id, job_id == spec.id
            is_stopped = errand.is_stopped
        if is_stopped and errand.is_ours:
            self._queue.cancel([job_id], why="the build that asked for it was stopped")
        else:
            self._endings.watch(job_id, lambda job: self._ended(errand, job))

    def _ended(self, errand: _Errand, job: Job | None) -> None:
        """In the thread of `Endings`."""
        order = errand.parcel.order.order
        is_again = not errand.is_ours and (job is None or job.state is not State.COMPLETED)
        with self._lock:
            if self._errands.get(order) is not errand:
                return  # stopped: it was told
            if not is_again:
                del self._errands[order]
        if not is_again:
            errand.on_back(lambda: _reply(job))
            return
        errand.past += (errand.job,)
        try:
            self._submit(errand)
        except VcacheError as error:
            why = str(error)
            with self._lock:
                self._errands.pop(order, None)
            errand.on_back(lambda: _raise(why))


def _reply(job: Job | None) -> Mapping[str, object]:
    if job is None or job.state is not State.COMPLETED:
        raise UsageError(_why(job))
    return cast("Mapping[str, object]", job.result)


def _why(job: Job | None) -> str:
    """Why a job came to nothing."""
    if job is None:
        return "its job was removed from the queue"
    said = job.failures[-1].message if job.failures else job.why
    return f"its job {job.id} is {job.state}{f': {said}' if said else ''}"


def _raise(why: str) -> Mapping[str, object]:
    raise UsageError(why)


def _stopped() -> Mapping[str, object]:
    return _raise("it was stopped")


if TYPE_CHECKING:
    _: type[Carrier] = _Carrier
