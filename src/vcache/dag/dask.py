"""Commands on a Dask cluster; what cannot go there runs on this machine, and says why once.

The scheduler carries words and digests; content goes through a cache that both sides can open
(`shipping`). It knows `distributed`, and nothing of graphs.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

from vcache.dag import events
from vcache.dag.bounded import BoundedExecutor, killed
from vcache.dag.executor import Ended, Executor
from vcache.dag.local import LocalExecutor, default_slots
from vcache.dag.order import VERSION
from vcache.dag.remote import carry_out, probe, stop
from vcache.dag.shipping import Parcel, Shipping, unfit
from vcache.entry import make_key
from vcache.errors import ConfigError, UsageError, VcacheError
from vcache.hash import digest
from vcache.kit.data import dataclass
from vcache.kit.ids import uuid7
from vcache.kit.logs import logger
from vcache.kit.taskpool import TaskPool

if TYPE_CHECKING:
    from distributed import Client, Future

    from vcache.cache import Cache
    from vcache.dag.executor import Job

__all__ = ["DaskExecutor", "Patience", "parse"]

_CONNECT_S: Final = 10.0
_RESULT_S: Final = 60.0
_CLOSE_S: Final = 10.0
_SAID_MOST: Final = 5
_TAKERS: Final = 4
_LOG: Final = logger("vcache")


class Patience(NamedTuple):
    """How long a cluster is waited for.

    Attributes:
        watch_s: how often its scheduler is looked at.
        look_s: how often its workers are, while somebody waits for one.
        workerless_s: how long it may be without any: one that is restarted, or grows on demand.
    """

    watch_s: float = 0.5
    look_s: float = 2.0
    workerless_s: float = 30.0


class _Place(NamedTuple):
    """What the address of an executor says."""

    scheduler: str
    cache: str


def parse(url: str) -> _Place:
    """The parts of `dask://HOST:PORT?cache=ADDRESS&tls=1`.

    Raises:
        UsageError: it is no such address.
    """
    words, _, query = url.partition("?")
    host, colon, port = words.removeprefix("dask://").rpartition(":")
    if not words.startswith("dask://") or not colon or not host or not port.isdigit():
        raise UsageError(f"--executor {url!r}: write dask://HOST:PORT, with the scheduler's host and port")
    options = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if name not in ("cache", "tls") or not equals:
            raise UsageError(f"--executor {url!r}: {part!r} is none of cache=ADDRESS, tls=1")
        options[name] = unquote(value)
    protocol = "tls" if options.get("tls", "0") not in ("", "0") else "tcp"
    return _Place(f"{protocol}://{host}:{port}", options.get("cache", ""))


@dataclass(slots=True, eq=False)
class _Task:
    """A job on its way. Guarded by the executor's lock."""

    job: Job
    on_end: Callable[[Ended], None]
    id: str
    future: Future | None = None
    kill: Callable[[], None] | None = None
    is_stopped: bool = False
    is_back: bool = False


class DaskExecutor:
    """Runs jobs on the workers of a Dask cluster.

    It is also a listener of the run: files that others make have to be known to be brought along.

    Args:
        url: `dask://HOST:PORT`, with options `cache=ADDRESS` (by default the cache's own tiers) and
            `tls=1`. Certificates are as Dask is configured.
        cache: of the project.
        slots: how many jobs at once; None for as many as the workers have threads.
        env: names of variables that count for every command.
        environ: the caller's variables; None for this process's own.
        patience: how long the cluster is waited for.

    Raises:
        UsageError: a wrong address; `distributed` is not installed; there is no scheduler or worker,
            or none that can open the shared cache.

    Threads: any number.
    """

    def __init__(
        self,
        url: str,
        *,
        cache: Cache,
        slots: int | None = None,
        env: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        patience: Patience = Patience(),  # noqa: B008 - it cannot change
    ) -> None:
        place = parse(url)
        self._patience = patience
        environ = dict(os.environ if environ is None else environ)
        self._shared, address = _shared(cache, place.cache, url)
        project = digest(os.fsencode(f"{os.uname().nodename}\0{cache.root}\0{address}")).hex()
        self._shipping = Shipping(self._shared, address=address, project=project, environ=environ, env=env)
        self._is_own = self._shared is not cache
        self._client = _connected(place.scheduler, url)
        try:
            self._workers, threads = self._probed(address, url)
        except BaseException:
            self._client.close(timeout=_CLOSE_S)
            raise
        self._slots = slots or threads
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
        threading.Thread(target=self._watch, name="vcache-dask-watch", daemon=True).start()

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
            self._lock.wait_for(lambda: not self._tasks and not self._halt_count, timeout=_CLOSE_S)
        self._local.close()
        self._packer.shutdown()
        self._takers.shutdown()
        self._client.close(timeout=_CLOSE_S)
        if self._is_own:
            self._shared.close()
        if self._here_count:
            _LOG.info("%d of %d commands ran on this machine", self._here_count, self._count)

    # -- the cluster -------------------------------------------------------------------------------

    def _probed(self, address: str, url: str) -> tuple[list[str] | None, int]:
        """The workers that can take part (None for all), and how many threads they have."""
        try:
            self._client.wait_for_workers(1, timeout=self._patience.workerless_s)
        except TimeoutError:
            raise UsageError(
                f"--executor {url!r}: the scheduler has no workers: start some with `dask worker`"
            ) from None
        key = make_key(str(uuid7()), namespace=".probe")
        if not self._shared.put_key(key, b"probe"):
            raise UsageError(f"--executor {url!r}: the shared cache {address} takes nothing from here")
        try:
            answers = self._client.run(probe, address, key.hex(), VERSION, on_error="return")
        except Exception as error:  # a worker may raise whatever it wants
            raise UsageError(
                f"--executor {url!r}: no worker can be asked: {error}: is vcache installed on all?"
            ) from error
        finally:
            self._shared.delete_key(key)
        bad = {worker: _said(answer) for worker, answer in answers.items() if answer != ""}
        good = [worker for worker in answers if worker not in bad]
        if not good:
            raise UsageError(
                f"--executor {url!r}: no worker can use the shared cache {address}: {next(iter(bad.values()))}: "
                "name one that all can open, as in ?cache=disk:/shared/dir"
            )
        for words in bad.values():
            _LOG.warning("goes on without one worker, which cannot use the shared cache: %s", words)
        threads = self._client.nthreads(good)
        return (good if bad else None), max(1, sum(threads.values()))

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
            parcel = self._shipping.pack(task.job, task.id)
        except Exception as error:  # whoever waits has to get an answer
            parcel = f"{type(error).__name__}: {error}"
        if isinstance(parcel, str):
            self._here(task, parcel)
            return
        try:
            future = self._client.submit(
                carry_out, parcel.packed, key=f"vcache-{task.id}", pure=False, workers=self._workers
            )
        except Exception as error:  # closed, or of no use for another reason
            self._here(task, f"the cluster takes nothing: {error}")
            return
        with self._lock:
            task.future = future
            is_stopped = task.is_stopped
        future.add_done_callback(lambda done: self._takers.spawn(lambda: self._receive(task, parcel, done)))
        if is_stopped:
            future.cancel()

    def _receive(self, task: _Task, parcel: Parcel, future: Future) -> None:
        """In a taker's thread: a job comes back."""
        if not self._claim(task):
            return
        if self._is_stopped(task):
            self._end(task, killed())
            return
        try:
            reply = future.result(timeout=_RESULT_S)
            ended = self._shipping.take_in(parcel, reply)
        except Exception as error:  # what a worker raises is its own
            ended = f"its worker failed: {str(error) or repr(error)}"
            if self._client.status != "running":
                ended = self._lost()
        future.release()
        if isinstance(ended, str):
            self._here(task, ended)
        else:
            self._end(task, ended)

    def _claim(self, task: _Task) -> bool:
        """Whether we are the first who deal with its return."""
        with self._lock:
            is_first, task.is_back = not task.is_back, True
            return is_first

    def _watch(self) -> None:
        """Notice that scheduler or workers are gone: futures may never hear of it."""
        seen_s = looked_s = time.monotonic()
        while True:
            with self._lock:
                if self._lock.wait_for(lambda: self._is_closed, timeout=self._patience.watch_s):
                    return
                tasks = [task for task in self._tasks if task.future is not None and not task.is_back]
            now_s = time.monotonic()
            if self._client.status != "running":
                break
            if not tasks:
                seen_s = now_s
            elif now_s - looked_s > self._patience.look_s:
                looked_s = now_s
                if self._has_workers():
                    seen_s = now_s
                elif now_s - seen_s > self._patience.workerless_s:
                    break
        why = self._lost()
        for task in tasks:
            if self._claim(task):
                self._here(task, why)

    def _has_workers(self) -> bool:
        try:
            there = self._client.nthreads()
        except Exception:  # it is about to be noticed that it is gone
            return True
        return bool(there if self._workers is None else there.keys() & set(self._workers))

    def _lost(self) -> str:
        """Send nothing there any more."""
        with self._lock:
            self._is_lost = True
        return (
            "the cluster has no workers left" if self._client.status == "running" else "the scheduler is gone"
        )

    def _stop(self, task: _Task) -> None:
        with self._lock:
            if task not in self._tasks or task.is_stopped:
                return
            task.is_stopped = True
            kill, future = task.kill, task.future
            if future is not None and not task.is_back:
                self._halting.append(task.id)
                self._halt_count += 1
            else:
                future = None
        if kill is not None:
            kill()
        if future is not None:
            self._halters.spawn(lambda: self._halt(future))

    def _is_stopped(self, task: _Task) -> bool:
        with self._lock:
            return task.is_stopped

    def _halt(self, future: Future) -> None:
        """Let nobody wait for it, and let workers end what runs: many in one message."""
        with self._lock:
            orders, self._halting = self._halting, []
        try:
            future.cancel()
            if orders and self._client.status == "running":
                self._client.run(stop, orders, on_error="ignore")
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


def _shared(cache: Cache, address: str, url: str) -> tuple[Cache, str]:
    """The cache that both sides open, and its address.

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


def _connected(scheduler: str, url: str) -> Client:
    """A client of the scheduler.

    Raises:
        UsageError: `distributed` is missing, or the scheduler does not answer.
        ConfigError: Dask's own settings are wrong.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            f"--executor {url!r} needs the package distributed: pip install 'vcache[dask]'"
        ) from error
    host, _, port = scheduler.partition("://")[2].rpartition(":")
    try:  # at once, where Dask would go on trying
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise UsageError(f"--executor {url!r}: no scheduler answers there: {error}") from error
    # What they have to say of a lost connection is said here, in words about the build.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(scheduler, timeout=_CONNECT_S, set_as_default=False, name="vcache")
    except (OSError, TimeoutError) as error:
        raise UsageError(f"--executor {url!r}: no scheduler answers there: {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--executor {url!r}: {error}") from error


def _said(answer: object) -> str:
    if isinstance(answer, ModuleNotFoundError):
        return f"{answer}: install vcache on the workers"
    return str(answer)


if TYPE_CHECKING:
    _: type[Executor] = DaskExecutor
