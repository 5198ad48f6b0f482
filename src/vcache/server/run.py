"""`vcache serve`: a store, its dialects, its listeners; from the first line of settings to the last byte.

It knows every part by its front and does none of their work.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from vcache.errors import ConfigError, StoreError, VcacheError
from vcache.kit.deadlines import Within
from vcache.server.access import AccessLog
from vcache.server.app import App
from vcache.server.audit import AuditLog
from vcache.server.auth import Authenticator
from vcache.server.callers import Caller
from vcache.server.counts import Counts
from vcache.server.dialects import all_dialects
from vcache.server.exchange import Desk
from vcache.server.gate import Gate, Limits
from vcache.server.operations import Operations
from vcache.server.quotas import Quotas
from vcache.server.settings import OFFICE, Address, ServeSettings, without_live
from vcache.server.tokens import TokenFile
from vcache.server.vault import Kept, Vault
from vcache.store.base import Store
from vcache.store.url import open_store
from vcache.upkeep import Counts as CacheCounts
from vcache.upkeep import Upkeep

if TYPE_CHECKING:
    import ssl


__all__ = ["Announced", "serve"]

_log: Final = logging.getLogger("vcache.server")

_FLUSH_S: Final = 10.0
_ABANDONED_S: Final = 86_400.0
_BACKLOG: Final = 2048
# Worker threads give the loop its turn after so long: at CPython's 5 ms a small GET waits for a put.
_SWITCH_S: Final = 0.001
# mallopt(3): M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX.
_MALLOC: Final = ((-1, 128 << 20), (-2, 4 << 20), (-3, 32 << 20), (-8, 2))


class Announced(Protocol):
    """Told once, when everybody is served: the addresses by protocol, such as {"http": "http://…"}."""

    def __call__(self, addresses: Mapping[str, str]) -> object: ...


class GrpcServer(Protocol):
    """What a gRPC listener is to its server."""

    @property
    def port(self) -> int: ...

    def stop(self, grace_s: float) -> None:
        """Take no more calls, finish those under way for so long, end."""


def serve(load: Callable[[], ServeSettings], announce: Announced) -> int:
    """Serve until told to stop; the exit status.

    Args:
        load: gives the settings; called again at each SIGHUP.

    Raises:
        ConfigError: the settings cannot be, or the extra is missing.
        StoreError: the store cannot be opened.
        OSError: an address cannot be listened at.
    """
    settings = load()
    settings.check()
    _require_extra()
    _speak_up(settings)
    sys.setswitchinterval(_SWITCH_S)
    _keep_memory()
    with contextlib.ExitStack() as stack:
        room = _Room(settings, stack)
        listener = _listener(settings.listen)
        stack.callback(listener.close)
        house = _House(load, settings, room, listener, announce)
        gc.enable()
        gc.freeze()  # what is there now stays: the collector need not walk it again and again
        house.run()
    return 0


class _Room:
    """What stands behind all listeners: the store and who looks after it."""

    def __init__(self, settings: ServeSettings, stack: contextlib.ExitStack) -> None:
        self.store = _opened(settings)
        stack.callback(self.store.close)
        self.counts = Counts()
        self.tally = CacheCounts()
        self.upkeep = Upkeep(self.store, self.tally, spare_used_s=settings.lease_s)
        stack.callback(self._close_upkeep)
        self.vault = Vault(self.store, after_put=self.upkeep.after_put)
        disk = next(
            (tier for tier in getattr(self.store, "tiers", (self.store,)) if hasattr(tier, "directory")), None
        )
        self.directory: Path | None = None if disk is None else disk.directory
        self.pool = ThreadPoolExecutor(settings.threads, "vcache-store")
        stack.callback(self.pool.shutdown)
        self.uploads = _uploads(self.directory, stack)
        tokens = settings.token_file()
        self.tokens = None if tokens is None else TokenFile(tokens)
        self.authenticator = Authenticator(
            None if self.tokens is None else self.tokens.rows(),
            master=b"" if self.tokens is None else self.tokens.master(),
            builders_only=_builders_only(settings),
        )
        self.quotas = Quotas(self.store, _quotas(settings))
        self._count_namespaces()
        self.audit: AuditLog | None = None
        if settings.is_audited and self.directory is not None and not self.store.info.is_read_only:
            self.audit = AuditLog(self.directory / OFFICE / "audit.jsonl")
            stack.callback(self.audit.close)
        self.deadline_s = settings.deadline_s
        self.desk = Desk(
            vault=self.vault,
            limit_bytes=settings.limit_bytes,
            directory=self.uploads,
            run=self.run,
            admit=self._admit,
            note=self._note,
        )

    def run(self, work: Callable[..., Any], *arguments: object) -> Awaitable[Any]:
        """What blocks, on a thread, and within the deadline where it may cross a network."""
        if not self.vault.is_local:
            work, arguments = partial(_within, self.deadline_s, work, *arguments), ()
        return asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    def _count_namespaces(self) -> None:
        """Know before the first PUT what namespaces hold: the event loop must not wait for a walk."""
        rows = {} if self.tokens is None else self.tokens.rows()
        for namespace in {row.namespace for row in rows.values()} | {""}:
            if self.quotas.limit_of(namespace) is not None:
                self.quotas.recount(namespace)

    def flush(self) -> None:
        """Add what was counted to the totals that `vcache stats` shows."""
        tally = self.tally
        tally.hits, tally.misses, tally.puts, tally.saved_ns = self.counts.sums()
        self.upkeep.flush()

    def _close_upkeep(self) -> None:
        self.flush()
        self.upkeep.close()

    def _admit(self, caller: Caller, length_bytes: int | None) -> None:
        self.quotas.admit(caller.namespace, length_bytes)

    def _note(
        self, caller: Caller, action: str, dialect: str, realm: str, name: str | bytes, kept: Kept | None
    ) -> None:
        if kept is not None and kept.is_new:
            self.quotas.add(caller.namespace, kept.size_bytes)
        if self.audit is None:
            return
        fields: dict[str, str | int] = {
            "token": caller.token,
            "namespace": caller.namespace,
            "dialect": dialect if not realm or realm == dialect else f"{dialect}/{realm}",
            "name": name if isinstance(name, str) else name.hex(),
        }
        if kept is not None:
            fields |= {"digest": kept.digest.hex(), "size_bytes": kept.size_bytes}
        try:
            self.audit.append(action, fields)
        except OSError:
            _log.exception("the audit log cannot be written")


class _House:
    """The listeners of a room, and what happens to them: reloads, the end."""

    def __init__(
        self,
        load: Callable[[], ServeSettings],
        settings: ServeSettings,
        room: _Room,
        listener: socket.socket,
        announce: Announced,
    ) -> None:
        self._load, self._settings, self._room = load, settings, room
        self._listener, self._announce = listener, announce
        self._grpc: GrpcServer | None = None
        self._is_stopping = False
        self._tls = _tls(settings)
        self._log = AccessLog(settings.access_log)
        operations = Operations(room.counts, self._trouble, room.vault, self._n_connections)
        spoken = all_dialects(
            room.desk, room.authenticator, counts=room.counts, turbo_key=_turbo_key(settings)
        )
        dialects = (operations, *spoken, *self._rest())
        self._app = App(room.desk, dialects, room.authenticator, counts=room.counts, log=self._log)
        self._gate = _gate(self._app, settings)

    def run(self) -> None:
        """Serve until a signal says to stop."""
        import uvicorn

        house = self

        class Server(uvicorn.Server):
            """uvicorn's, with our signals and our protocol."""

            def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
                return contextlib.nullcontext()

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                house._begin(self)

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                house._is_stopping = True
                self.config.timeout_graceful_shutdown = max(1, round(house._settings.grace_s))
                await super().shutdown(sockets)
                await house._end()

        config = uvicorn.Config(
            self._app,
            http=self._connection,  # type: ignore[arg-type]  # it makes protocols, as a class does
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
        )
        config.load()
        config.ssl = self._tls
        self._server = Server(config)
        self._server.run(sockets=[self._listener])

    def _connection(self, *, server_state: Any, **_: object) -> asyncio.Protocol:
        """A protocol for a new connection, as uvicorn asks for one."""
        from vcache.server.connection import Connection  # httptools is of the extra

        return Connection(self._gate, server_state)

    def _begin(self, server: Any) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, server)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._tasks = [loop.create_task(self._gate.sweep()), loop.create_task(self._flush())]
        scheme = "http" if self._tls is None else "https"
        host, port = self._listener.getsockname()[:2]
        addresses = {"http": f"{scheme}://{Address(host, port)}"}
        if self._settings.grpc is not None:
            self._grpc = _grpc(self._settings, self._room)
            addresses["grpc"] = (
                f"grpc{'s' if self._tls else ''}://{Address(self._settings.grpc.host, self._grpc.port)}"
            )
        self._announce(addresses)

    def _stop(self, server: Any) -> None:
        self._is_stopping = True
        if server.should_exit:
            server.force_exit = True  # asked twice
        server.should_exit = True

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._grpc is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._grpc.stop, self._settings.grace_s)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            with contextlib.suppress(VcacheError, OSError):
                await asyncio.get_running_loop().run_in_executor(self._room.pool, self._room.flush)

    # -- changes at run time ---------------------------------------------------------------

    def _reload(self) -> None:
        """Let changed settings hold, all or none of them."""
        try:
            settings = self._load()
            settings.check()
            old = self._settings
            if without_live(settings) != without_live(old):
                raise ConfigError(f"{_changed(old, settings)} needs a restart")
            path = settings.token_file()
            if (path is None) != self._room.authenticator.is_open:
                raise ConfigError("to begin or to end asking for tokens needs a restart")
            if (settings.tls_cert is None) != (old.tls_cert is None):
                raise ConfigError("to begin or to end TLS needs a restart")
            tokens = None if path is None else TokenFile(path)
            rows = None if tokens is None else tokens.rows()
            if self._tls is not None:
                _tls(settings)  # what cannot be loaded must not be half loaded
                self._tls.load_cert_chain(str(settings.tls_cert), str(settings.tls_key))
        except (VcacheError, OSError) as error:
            _log.error("the settings were not reloaded, what held before holds on: %s", error)
            return
        room = self._room
        room.tokens = tokens
        room.authenticator.reload(rows, builders_only=_builders_only(settings))
        room.quotas.reload(_quotas(settings))
        room.desk.limit_bytes = settings.limit_bytes
        room.deadline_s = settings.deadline_s
        self._gate.limits = _limits(settings)
        self._log.mode = settings.access_log
        logging.getLogger("vcache").setLevel(settings.log_level.upper())
        self._settings = settings
        _log.log(max(logging.INFO, logging.getLogger("vcache").level), "the settings were reloaded")

    # -- what others ask -------------------------------------------------------------------

    def _trouble(self) -> str | None:
        """Why no PUT would be taken now."""
        if self._is_stopping:
            return "shutting down"
        store = self._room.store
        try:
            if store.info.is_read_only:
                return "the store is read-only"
            store.counters()
            descriptor, name = tempfile.mkstemp(prefix="ready-", dir=self._room.uploads)
            os.close(descriptor)
            os.unlink(name)
        except (StoreError, OSError) as error:
            return f"the store: {error}"
        return None

    def _n_connections(self) -> int:
        return len(self._gate.all)

    def _rest(self) -> tuple[Any, ...]:
        """The REST API."""
        from vcache.server.api.resources import Office
        from vcache.server.api.rest import Rest

        room = self._room
        directory = room.directory or room.uploads

        def note(caller: Caller, action: str, name: str) -> None:
            room.desk.note(caller, action, "api", "", name, None)

        def reload() -> None:
            if room.tokens is not None:
                room.authenticator.reload(room.tokens.rows(), builders_only=_builders_only(self._settings))

        def collect() -> Mapping[str, int]:
            report = room.upkeep.gc(None, dry_run=False, progress=None)
            return {"dropped_entries": report.dropped_entries, "freed_bytes": report.freed_bytes}

        office = Office(
            room.vault, room.tokens, room.quotas, directory / OFFICE / "audit.jsonl", note, reload, collect
        )
        return (Rest(room.desk, office, version=version("vcache")),)


# --- parts -----------------------------------------------------------------------------------


def _require_extra() -> None:
    for module in ("httptools", "uvicorn", "uvloop", "starlette", "prometheus_client"):
        try:
            __import__(module)
        except ImportError:
            raise ConfigError(f"a server needs {module}: python -m pip install 'vcache[serve]'") from None


def _keep_memory() -> None:
    """Have the C library keep what was freed, within bounds.

    It gives each large buffer back at once, and the kernel clears the pages of the next one: that is
    more than a third of the time of a PUT of 1 MB.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library: it does as it likes
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOC:
            mallopt(parameter, value)


def _speak_up(settings: ServeSettings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("vcache: %(levelname)s: %(message)s"))
    for name, level in (("vcache", settings.log_level.upper()), ("uvicorn", "ERROR")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def _opened(settings: ServeSettings) -> Store:
    if settings.store is not None:
        return open_store(settings.store)
    from vcache.store.disk import DiskStore

    return DiskStore(
        settings.dir,
        max_bytes=settings.max_bytes,
        max_entries=settings.max_entries,
        max_age_s=settings.max_age_s,
    )


def _turbo_key(settings: ServeSettings) -> bytes | None:
    """The key of Turborepo's signatures, as it stands in TURBO_REMOTE_CACHE_SIGNATURE_KEY of clients."""
    if settings.turbo_key is None:
        return None
    try:
        key = settings.turbo_key.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"turbo_key {settings.turbo_key}: cannot be read: {error}") from error
    if not key:
        raise ConfigError(f"turbo_key {settings.turbo_key}: holds no key")
    return key


def _uploads(directory: Path | None, stack: contextlib.ExitStack) -> Path:
    """Where long bodies wait: beside the blobs, so that they can become some."""
    if directory is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vcache-serve-")))
    uploads = directory / OFFICE / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    oldest_s = time.time() - _ABANDONED_S
    for left in uploads.iterdir():
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < oldest_s:
                left.unlink()
    return uploads


def _listener(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen at {address}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def _tls(settings: ServeSettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(settings.tls_cert), str(settings.tls_key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls_cert {settings.tls_cert}, tls_key {settings.tls_key}: cannot be loaded: {error}"
        ) from error
    return context


def _gate(app: App, settings: ServeSettings) -> Gate:
    return Gate(app, app.quick, _limits(settings), server=f"vcache/{version('vcache')}")


def _limits(settings: ServeSettings) -> Limits:
    return Limits(
        connections=settings.connections,
        idle_s=settings.idle_s,
        head_s=settings.head_s,
        rate_bytes=settings.rate_bytes,
        stall_s=settings.stall_s,
    )


def _grpc(settings: ServeSettings, room: _Room) -> GrpcServer:
    from vcache.server.dialects import reapi

    assert settings.grpc is not None
    server: GrpcServer = reapi.start(
        str(settings.grpc),
        room.desk,
        room.authenticator,
        counts=room.counts.of("reapi"),
        cert=settings.tls_cert,
        key=settings.tls_key,
    )
    return server


def _builders_only(settings: ServeSettings) -> frozenset[str]:
    return frozenset(name for name, rule in settings.namespaces.items() if rule.results_by_builders)


def _quotas(settings: ServeSettings) -> Mapping[str, int]:
    limits = {
        name: rule.quota_bytes for name, rule in settings.namespaces.items() if rule.quota_bytes is not None
    }
    return limits if settings.quota_bytes is None else {"*": settings.quota_bytes, **limits}


def _changed(old: ServeSettings, new: ServeSettings) -> str:
    from vcache.server.settings import KEYS

    names = [
        key
        for key, spec in KEYS.items()
        if not spec.is_live and getattr(old, spec.attribute) != getattr(new, spec.attribute)
    ]
    return ", ".join(names)


def _within(deadline_s: float, work: Callable[..., Any], *arguments: object) -> Any:
    with Within(deadline_s):
        return work(*arguments)
