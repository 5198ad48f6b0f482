"""`vcache serve`: a store, its dialects, its listeners; from the first line of settings to the last byte.

It knows every part by its front and does none of their work.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from vcache.errors import ConfigError, StoreError, VcacheError
from vcache.query.patterns import search_in_linear_time
from vcache.server.access import AccessLog
from vcache.server.app import App
from vcache.server.callers import Caller
from vcache.server.dialects import all_dialects
from vcache.server.door import Door
from vcache.server.gate import Gate, Limits
from vcache.server.ground import (
    BACKLOG,
    allow_connections,
    keep_memory,
    listener,
    require_extra,
    speak_up,
    tls,
)
from vcache.server.jobs.api import JobsApi
from vcache.server.jobs.calls import QueueCalls
from vcache.server.jobs.description import JOBS
from vcache.server.logs.description import LOGS
from vcache.server.logs.dialects import log_dialects
from vcache.server.office import audit_in
from vcache.server.operations import Operations
from vcache.server.room import Room, builders_only, log_rules, quotas
from vcache.server.settings import Address, ServeSettings, without_live
from vcache.server.tokens import TokenFile
from vcache.server.viewer import Viewer

__all__ = ["Announced", "serve"]

_log: Final = logging.getLogger("vcache.server")

_FLUSH_S: Final = 10.0
_TOKENS_S: Final = 1.0
_PROBE: Final = bytes(64 << 10)  # a disk that is full makes files, and takes nothing into them
# Worker threads give the loop its turn after so long: at CPython's 5 ms a small GET waits for a put.
_SWITCH_S: Final = 0.001


class Announced(Protocol):
    """Told once, when everybody is served: the addresses by protocol, such as {"http": "http://…"}."""

    def __call__(self, addresses: Mapping[str, str]) -> object: ...


class GrpcServer(Protocol):
    """What a gRPC listener is to its server."""

    @property
    def port(self) -> int: ...

    def reload(self, cert: Path, key: Path) -> None:
        """Show another certificate to who connects from now on."""

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
    require_extra()
    speak_up(settings)
    sys.setswitchinterval(_SWITCH_S)
    keep_memory()
    search_in_linear_time()
    allow_connections(settings.connections)
    with contextlib.ExitStack() as stack:
        room = Room(settings, stack)
        listening = listener(settings.listen)
        stack.callback(listening.close)
        house = _House(load, settings, room, listening, announce)
        gc.enable()
        gc.freeze()  # what is there now stays: the collector need not walk it again and again
        house.run()
    return 0


class _House:
    """The listeners of a room, and what happens to them: reloads, the end."""

    def __init__(
        self,
        load: Callable[[], ServeSettings],
        settings: ServeSettings,
        room: Room,
        listening: socket.socket,
        announce: Announced,
    ) -> None:
        self._load, self._settings, self._room = load, settings, room
        self._listening, self._announce = listening, announce
        self._grpc: GrpcServer | None = None
        self._is_stopping = False
        self._tls = tls(settings)
        self._log = AccessLog(settings.access_log)
        operations = Operations(
            room.counts, self._trouble, room.vault, self._n_connections, more=room.jobs.families
        )
        spoken = all_dialects(
            room.desk, room.authenticator, counts=room.counts, turbo_key=_turbo_key(settings)
        )
        jobs = QueueCalls(room.jobs), JobsApi(room.jobs)
        dialects = (operations, *spoken, *log_dialects(room.logs), *jobs, Viewer(), *self._rest())
        self._app = App(room.desk, dialects, room.authenticator, counts=room.counts, log=self._log)
        self._gate = _gate(self._app, settings, is_open=room.authenticator.is_open)

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
                house._room.logs.tails.end()  # they would go on for ever
                house._room.jobs.end()
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
            backlog=BACKLOG,
        )
        config.load()
        config.ssl = self._tls
        self._server = Server(config)
        self._server.run(sockets=[self._listening])

    def _connection(self, *, server_state: Any, **_: object) -> asyncio.Protocol:
        """A protocol for a new connection, as uvicorn asks for one."""
        from vcache.server.connection import Connection  # httptools is of the extra

        return Connection(self._gate, server_state)

    def _begin(self, server: Any) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, server)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        works = self._gate.sweep(), self._flush(), self._watch_tokens()
        self._tasks = [loop.create_task(work) for work in works]
        self._room.jobs.begin(self._room.namespaces())
        scheme = "http" if self._tls is None else "https"
        host, port = self._listening.getsockname()[:2]
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
                await asyncio.get_running_loop().run_in_executor(self._room.pool, self._room.logs.upkeep)
                await asyncio.get_running_loop().run_in_executor(self._room.pool, self._room.jobs.flush)

    # -- changes at run time ---------------------------------------------------------------

    async def _watch_tokens(self) -> None:
        """Heed tokens that were made or revoked, without being told."""
        seen = _signature(self._room.tokens)
        while True:
            await asyncio.sleep(_TOKENS_S)
            now = _signature(self._room.tokens)
            if now != seen:
                seen = now
                try:
                    self._reload_tokens()
                except (VcacheError, OSError) as error:
                    _log.error("the tokens were not read again, what held before holds on: %s", error)

    def _reload_tokens(self) -> None:
        if self._room.tokens is not None:
            rows = self._room.tokens.rows()
            self._room.authenticator.reload(rows, builders_only=builders_only(self._settings))

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
                tls(settings)  # what cannot be loaded must not be half loaded
                self._tls.load_cert_chain(str(settings.tls_cert), str(settings.tls_key))
                if self._grpc is not None and settings.tls_cert and settings.tls_key:
                    self._grpc.reload(settings.tls_cert, settings.tls_key)
        except (VcacheError, OSError) as error:
            _log.error("the settings were not reloaded, what held before holds on: %s", error)
            return
        room = self._room
        room.tokens = tokens
        room.authenticator.reload(rows, builders_only=builders_only(settings))
        room.quotas.reload(quotas(settings))
        room.logs.stores.keep(log_rules(settings))
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
            with tempfile.TemporaryFile(dir=self._room.uploads, buffering=0) as probe:
                if probe.write(_PROBE) < len(_PROBE):
                    return "the disk is full"
        except (StoreError, OSError) as error:
            return f"the store: {error}"
        return self._room.jobs.trouble()

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

        def collect() -> Mapping[str, int]:
            report = room.upkeep.gc(None, dry_run=False, progress=None)
            return {"dropped_entries": report.dropped_entries, "freed_bytes": report.freed_bytes}

        office = Office(
            room.vault, room.tokens, room.quotas, audit_in(directory), note, self._reload_tokens, collect
        )
        return (Rest(room.desk, office, version=version("vcache"), more=(LOGS, JOBS)),)


# --- parts -----------------------------------------------------------------------------------


def _signature(tokens: TokenFile | None) -> tuple[int, int, int] | None:
    """What changes when the file of the tokens does: it is replaced as a whole."""
    if tokens is None:
        return None
    try:
        status = tokens.path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


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


def _gate(app: App, settings: ServeSettings, *, is_open: bool) -> Gate:
    # Who said `open` may have a proxy before the server, or a name of its own for this machine.
    door = Door(is_private=is_open and settings.listen.is_loopback and not settings.is_open)
    return Gate(app, app.quick, _limits(settings), server=f"vcache/{version('vcache')}", door=door)


def _limits(settings: ServeSettings) -> Limits:
    return Limits(
        connections=settings.connections,
        idle_s=settings.idle_s,
        head_s=settings.head_s,
        rate_bytes=settings.rate_bytes,
        stall_s=settings.stall_s,
    )


def _grpc(settings: ServeSettings, room: Room) -> GrpcServer:
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


def _changed(old: ServeSettings, new: ServeSettings) -> str:
    from vcache.server.settings import KEYS

    names = [
        key
        for key, spec in KEYS.items()
        if not spec.is_live and getattr(old, spec.attribute) != getattr(new, spec.attribute)
    ]
    return ", ".join(names)
