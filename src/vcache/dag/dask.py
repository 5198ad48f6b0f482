"""The workers of a Dask cluster, for commands that run elsewhere (`away`).

It knows `distributed`, and nothing of graphs.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from urllib.parse import unquote

from vcache.dag.away import CLOSE_S, AwayExecutor, Carrier, Patience, Reply, shared_cache
from vcache.dag.order import VERSION
from vcache.dag.remote import carry_out, probe, stop
from vcache.entry import make_key
from vcache.errors import ConfigError, UsageError
from vcache.kit.ids import uuid7
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from distributed import Client, Future

    from vcache.cache import Cache
    from vcache.dag.shipping import Parcel

__all__ = ["DaskExecutor", "Patience", "parse"]

_CONNECT_S: Final = 10.0
_RESULT_S: Final = 60.0
_LOG: Final = logger("vcache")


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


class DaskExecutor(AwayExecutor):
    """Runs jobs on the workers of a Dask cluster.

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
        shared, address = shared_cache(cache, place.cache, url)
        carrier = _Cluster(_connected(place.scheduler, url))
        try:
            carrier.look(shared, address, url, patience)
        except BaseException:
            carrier.close()
            raise
        super().__init__(
            carrier, cache=shared, address=address, slots=slots, env=env, environ=environ, patience=patience,
            on_close=None if shared is cache else shared.close,
        )  # fmt: skip


class _Cluster:
    """A Dask cluster as a carrier."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._workers: list[str] | None = None
        self._threads = 1
        self._lock = threading.Lock()  # guards the next
        self._futures: dict[str, Future] = {}

    @property
    def slots(self) -> int:
        return self._threads

    def look(self, shared: Cache, address: str, url: str, patience: Patience) -> None:
        """Find the workers that can take part.

        Raises:
            UsageError: there are none.
        """
        try:
            self._client.wait_for_workers(1, timeout=patience.workerless_s)
        except TimeoutError:
            raise UsageError(
                f"--executor {url!r}: the scheduler has no workers: start some with `dask worker`"
            ) from None
        key = make_key(str(uuid7()), namespace=".probe")
        if not shared.put_key(key, b"probe"):
            raise UsageError(f"--executor {url!r}: the shared cache {address} takes nothing from here")
        try:
            answers = self._client.run(probe, address, key.hex(), VERSION, on_error="return")
        except Exception as error:  # a worker may raise whatever it wants
            raise UsageError(
                f"--executor {url!r}: no worker can be asked: {error}: is vcache installed on all?"
            ) from error
        finally:
            shared.delete_key(key)
        bad = {worker: _said(answer) for worker, answer in answers.items() if answer != ""}
        good = [worker for worker in answers if worker not in bad]
        if not good:
            raise UsageError(
                f"--executor {url!r}: no worker can use the shared cache {address}: {next(iter(bad.values()))}: "
                "name one that all can open, as in ?cache=disk:/shared/dir"
            )
        for words in bad.values():
            _LOG.warning("goes on without one worker, which cannot use the shared cache: %s", words)
        self._workers = good if bad else None
        self._threads = max(1, sum(self._client.nthreads(good).values()))

    def send(self, parcel: Parcel, on_back: Callable[[Reply], None]) -> None:
        """As `Carrier.send`."""
        order = parcel.order.order
        future = self._client.submit(
            carry_out, parcel.packed, key=f"vcache-{order}", pure=False, workers=self._workers
        )
        with self._lock:
            self._futures[order] = future
        future.add_done_callback(lambda done: on_back(lambda: self._reply(order, done)))

    def _reply(self, order: str, future: Future) -> Mapping[str, object]:
        with self._lock:
            self._futures.pop(order, None)
        try:
            return cast("Mapping[str, object]", future.result(timeout=_RESULT_S))
        finally:
            future.release()

    def stop(self, orders: Sequence[str]) -> None:
        """As `Carrier.stop`."""
        with self._lock:
            futures = [self._futures.pop(order) for order in orders if order in self._futures]
        for future in futures:
            future.cancel()
        if self._client.status == "running":
            self._client.run(stop, list(orders), on_error="ignore")

    def lost(self) -> str:
        """As `Carrier.lost`."""
        return "" if self._client.status == "running" else "the scheduler is gone"

    def has_workers(self) -> bool:
        """As `Carrier.has_workers`."""
        try:
            there = self._client.nthreads()
        except Exception:  # it is about to be noticed that it is gone
            return True
        return bool(there if self._workers is None else there.keys() & set(self._workers))

    def workerless(self) -> str:
        """As `Carrier.workerless`."""
        return "the cluster has no workers left"

    def close(self) -> None:
        """As `Carrier.close`."""
        self._client.close(timeout=CLOSE_S)


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
    _: type[Carrier] = _Cluster
