"""Commands on other machines; what cannot go there runs on this one, and says why once.

Whatever carries words there carries words and digests; content goes through a cache that both sides
can open (`shipping`). It knows no cluster and no queue: a `Carrier` does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from vcache.dag import events
from vcache.dag.bounded import BoundedExecutor, killed
from vcache.dag.executor import Ended, Executor
from vcache.dag.local import LocalExecutor, default_slots
from vcache.dag.shipping import Parcel, Shipping, unfit
from vcache.errors import UsageError, VcacheError
from vcache.hash import digest
from vcache.kit.data import dataclass
from vcache.kit.ids import uuid7
from vcache.kit.logs import logger
from vcache.kit.taskpool import TaskPool

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.dag.executor import Job

__all__ = ["CLOSE_S", "AwayExecutor", "Carrier", "Patience", "Reply", "shared_cache"]

CLOSE_S: Final = 10.0
_SAID_MOST: Final = 5
_TAKERS: Final = 4
_LOG: Final = logger("vcache")

Reply = Callable[[], Mapping[str, object]]
"""Gives what `remote.carry_out` gave, or raises why there is nothing."""


class Patience(NamedTuple):
    """How long workers are waited for.

    Attributes:
        watch_s: how often it is looked whether whatever leads to them is there.
        look_s: how often they are, while somebody waits for one.
        workerless_s: how long there may be none: they are restarted, or come on demand.
    """

    watch_s: float = 0.5
    look_s: float = 2.0
    workerless_s: float = 30.0


class Carrier(Protocol):
    """Brings orders to workers, and back what came of them. Threads: any number."""

    @property
    def slots(self) -> int:
        """How many orders make sense at once."""
        ...

    def send(self, parcel: Parcel, on_back: Callable[[Reply], None]) -> None:
        """Let some worker carry an order out.

        Args:
            on_back: called once, in any thread, also when it was stopped; not when the workers are gone.

        Raises:
            Exception: it was not sent, for that reason.
        """
        ...

    def stop(self, orders: Sequence[str]) -> None:
        """Nobody waits for these any more."""
        ...

    def lost(self) -> str:
        """Why nothing that was sent will ever come back, in words; "" as long as it may."""
        ...

    def has_workers(self) -> bool:
        """Whether there is somebody who would carry an order out."""
        ...

    def workerless(self) -> str:
        """That there is nobody, in words."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@dataclass(slots=True, eq=False)
class _Task:
    """A job on its way. Guarded by the executor's lock."""

    job: Job
    on_end: Callable[[Ended], None]
    id: str
    kill: Callable[[], None] | None = None
    is_sent: bool = False
    is_alone: bool = False
    is_stopped: bool = False
    is_back: bool = False


class AwayExecutor:
    """Runs jobs on workers that a carrier reaches.

    It is also a listener of the run: files that others make have to be known to be brought along.

    Args:
        carrier: closed with it.
        cache: of the project, or one that stands on the shared address alone.
        address: of the cache that both sides open.
        slots: how many jobs at once; None for as many as the carrier says.
        env: names of variables that count for every command.
        environ: the caller's variables; None for this process's own.
        on_close: called at the end.

    Threads: any number.
    """

    def __init__(
        self,
        carrier: Carrier,
        *,
        cache: Cache,
        address: str,
        slots: int | None = None,
        env: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        patience: Patience = Patience(),  # noqa: B008 - it cannot change
        on_close: Callable[[], None] | None = None,
    ) -> None:
        environ = dict(os.environ if environ is None else environ)
        project = digest(os.fsencode(f"{os.uname().nodename}\0{cache.root}\0{address}")).hex()
        self._shipping = Shipping(cache, address=address, project=project, environ=environ, env=env)
        self._carrier, self._patience, self._on_close = carrier, patience, on_close
        self._slots = slots or carrier.slots
        # What comes back from a cluster of hundreds must not flood this machine.
        self._local = BoundedExecutor(LocalExecutor(environ=environ), slots=default_slots())
        self._packer = TaskPool("vcache-pack", limit=1)
        self._takers = TaskPool("vcache-take", limit=_TAKERS)
        # A worker that hangs makes one of these hang, and nobody waits for it long.
        self._halters = TaskPool("vcache-halt", limit=_TAKERS)
        self._lock = threading.Condition()  # guards all below
        self._tasks: set[_Task] = set()
        self._halting: list[str] = []
        self._halt_count = 0
        self._reasons: set[str] = set()
        self._here_count = self._count = 0
        self._is_lost = self._is_closed = False
        self._run = str(uuid7())
        self._base = ""
        threading.Thread(target=self._watch, name="vcache-away-watch", daemon=True).start()

    @property
    def slots(self) -> int:
        return self._slots

    def on_event(self, event: events.Event) -> None:
        """Learn what is made."""
        if isinstance(event, events.RunStarted):
            self._base = event.base
        elif isinstance(event, events.Hit | events.UpToDate) or (
            isinstance(event, events.Finished) and not event.status
        ):
            self._shipping.touch(os.path.normpath(os.path.join(self._base, out)) for out in event.node.outs)

    def start(self, job: Job, on_end: Callable[[Ended], None]) -> Callable[[], None]:
        """As `Executor.start`."""
        with self._lock:
            if self._is_closed:
                raise UsageError("the executor is closed")
            self._count += 1
            task = _Task(job, on_end, f"{self._run}-{self._count}")
            self._tasks.add(task)
            is_here = self._is_lost or unfit(job)
        if is_here:
            self._here(task, "")
        else:
            self._packer.spawn(lambda: self._send(task))
        return lambda: self._stop(task)

    def close(self) -> None:
        """As `Executor.close`."""
        with self._lock:
            self._is_closed = True
            tasks = tuple(self._tasks)
        for task in tasks:
            self._stop(task)
        with self._lock:
            self._lock.wait_for(lambda: not self._tasks and not self._halt_count, timeout=CLOSE_S)
        self._local.close()
        self._packer.shutdown()
        self._takers.shutdown()
        self._carrier.close()
        if self._on_close is not None:
            self._on_close()
        if self._here_count:
            _LOG.info("%d of %d commands ran on this machine", self._here_count, self._count)

    # -- elsewhere ---------------------------------------------------------------------------------

    def _send(self, task: _Task) -> None:
        """In the packer's thread: a job leaves."""
        with self._lock:
            is_stopped, is_lost = task.is_stopped, self._is_lost
        if is_stopped:
            self._end(task, killed())
            return
        if is_lost:
            self._here(task, "")
            return
        try:
            parcel = self._shipping.pack(task.job, task.id, is_alone=task.is_alone)
        except Exception as error:  # whoever waits has to get an answer
            parcel = f"{type(error).__name__}: {error}"
        if isinstance(parcel, str):
            self._here(task, parcel)
            return
        with self._lock:
            task.is_sent = True
        try:
            self._carrier.send(parcel, lambda reply: self._back(task, parcel, reply))
        except Exception as error:  # closed, or of no use for another reason
            if self._claim(task):
                self._here(task, f"nothing can be sent there: {error}")
            return
        if self._is_stopped(task):  # before there was anything to stop
            self._halt(task)

    def _back(self, task: _Task, parcel: Parcel, reply: Reply) -> None:
        """In any thread: a job comes back."""
        self._takers.spawn(lambda: self._receive(task, parcel, reply))

    def _receive(self, task: _Task, parcel: Parcel, reply: Reply) -> None:
        """In a taker's thread."""
        if not self._claim(task):
            return
        if self._is_stopped(task):
            self._end(task, killed())
            return
        is_own = True
        try:
            words = reply()
            is_own = words.get("order", task.id) == task.id
            ended = self._shipping.take_in(parcel, words)
            if not is_own and not isinstance(ended, str) and ended.status:
                ended = "somebody else's was stopped, or failed"
        except Exception as error:  # what a worker raises is its own
            ended = f"its worker failed: {str(error) or repr(error)}"
            lost = self._carrier.lost()
            if lost:
                self._lose()
                ended = lost
        if not isinstance(ended, str):
            self._end(task, ended)
        elif is_own:
            self._here(task, ended)
        else:  # somebody else's result is none here: one of our own is
            with self._lock:
                task.is_alone, task.is_back, task.is_sent = True, False, False
            self._packer.spawn(lambda: self._send(task))

    def _claim(self, task: _Task) -> bool:
        """Whether we are the first who deal with its return."""
        with self._lock:
            is_first, task.is_back = not task.is_back, True
            return is_first

    def _watch(self) -> None:
        """Notice that workers, or what leads to them, are gone: nobody else may ever say so."""
        seen_s = looked_s = time.monotonic()
        while True:
            with self._lock:
                if self._lock.wait_for(lambda: self._is_closed, timeout=self._patience.watch_s):
                    return
                tasks = [task for task in self._tasks if task.is_sent and not task.is_back]
            now_s = time.monotonic()
            why = self._carrier.lost()
            if why:
                break
            if not tasks:
                seen_s = now_s
            elif now_s - looked_s > self._patience.look_s:
                looked_s = now_s
                if self._carrier.has_workers():
                    seen_s = now_s
                elif now_s - seen_s > self._patience.workerless_s:
                    why = self._carrier.workerless()
                    break
        self._lose()
        for task in tasks:
            if self._claim(task):
                self._halt(task)
                self._here(task, why)

    def _lose(self) -> None:
        """Send nothing there any more."""
        with self._lock:
            self._is_lost = True

    def _stop(self, task: _Task) -> None:
        with self._lock:
            if task not in self._tasks or task.is_stopped:
                return
            task.is_stopped = True
            kill = task.kill
            is_away = task.is_sent and not task.is_back
        if kill is not None:
            kill()
        if is_away:
            self._halt(task)

    def _is_stopped(self, task: _Task) -> bool:
        with self._lock:
            return task.is_stopped

    def _halt(self, task: _Task) -> None:
        """Let workers end what runs: many in one message."""
        with self._lock:
            self._halting.append(task.id)
            self._halt_count += 1
        self._halters.spawn(self._tell_halted)

    def _tell_halted(self) -> None:
        with self._lock:
            orders, self._halting = self._halting, []
        try:
            if orders:
                self._carrier.stop(orders)
        except Exception as error:  # nobody waits for it, and what it makes harms nobody
            _LOG.debug("a command could not be stopped: %s", error)
        finally:
            with self._lock:
                self._halt_count -= 1
                self._lock.notify_all()

    # -- this machine ------------------------------------------------------------------------------

    def _here(self, task: _Task, why: str) -> None:
        """Run a job on this machine, soon."""
        with self._lock:
            self._here_count += 1
            is_news = bool(why) and why not in self._reasons and len(self._reasons) < _SAID_MOST
            self._reasons.add(why)
        if is_news:
            _LOG.warning("%s runs on this machine: %s", task.job.node.name, why)
        kill = self._local.start(task.job, lambda ended: self._end(task, ended))
        with self._lock:
            task.kill = kill
        if self._is_stopped(task):  # before there was anything to stop
            kill()

    def _end(self, task: _Task, ended: Ended) -> None:
        try:
            task.on_end(ended)
        finally:
            with self._lock:
                self._tasks.discard(task)
                self._lock.notify_all()


def shared_cache(cache: Cache, address: str, url: str) -> tuple[Cache, str]:
    """The cache that both sides open, and its address.

    Args:
        address: "" for the farthest tier of the project's own that keeps what it is given.
        url: of the executor, for messages.

    Raises:
        UsageError: there is none.
    """
    if address:
        from vcache.cache import Cache

        try:
            return Cache(address, root=cache.root, disabled=False), address
        except VcacheError as error:
            raise UsageError(f"--executor {url!r}: the shared cache {address}: {error}") from error
    tiers = getattr(cache.store, "tiers", (cache.store,))
    fit = [tier.info for tier in tiers if tier.info.is_persistent and not tier.info.is_read_only]
    if cache.is_disabled or not fit:
        raise UsageError(
            f"--executor {url!r}: content goes to workers through a cache: add ?cache=ADDRESS of one that "
            "they can open, as in ?cache=disk:/shared/dir"
        )
    return cache, fit[-1].url


if TYPE_CHECKING:
    _: type[Executor] = AwayExecutor
