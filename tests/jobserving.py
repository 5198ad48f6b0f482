"""A server of jobs in this process, over any queues: its real application and calls, on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn

from tests.patience import until
from vcache.jobs.base import Queue
from vcache.jobs.remote.line import Line
from vcache.jobs.remote.queue import RemoteQueue
from vcache.logs.retention import Rules
from vcache.server.app import App
from vcache.server.callers import Caller, Role
from vcache.server.exchange import Desk, Scope
from vcache.server.jobs.api import JobsApi
from vcache.server.jobs.calls import QueueCalls
from vcache.server.jobs.desk import JobDesk
from vcache.server.jobs.queues import Queues
from vcache.server.logs.desk import LogDesk
from vcache.server.logs.shelf import Shelf
from vcache.server.vault import Vault
from vcache.store.http.client import HttpClient
from vcache.store.memory import MemoryStore

__all__ = ["JobServer", "job_server"]


class JobServer(NamedTuple):
    """Where it is, and what stands behind it. A caller's token is `NAMESPACE:ROLE`."""

    url: str
    desk: JobDesk
    notes: list[tuple[str, str]]

    def queue(self, namespace: str, role: str = "admin") -> RemoteQueue:
        """A queue of a namespace, as who has a token sees it."""
        headers = [("Authorization", f"Bearer {namespace}:{role}")]
        return RemoteQueue(Line(HttpClient(self.url, headers=headers), "", remedy="no token"), clock_s=0)


def _caller(scope: Scope) -> Caller:
    for name, value in scope["headers"]:
        if name == b"authorization":
            namespace, _, role = value.decode().removeprefix("Bearer ").partition(":")
            return Caller("t", Role[role.upper()], namespace)
    return Caller("", Role.NOBODY, "")


@contextmanager
def job_server(
    directory: Path, open_queue: Callable[[str], Queue], *, most_bytes: int = 1 << 30
) -> Iterator[JobServer]:
    """A server whose namespaces have the queues that a function opens. Nobody looks after them."""
    notes: list[tuple[str, str]] = []

    def note(_: Caller, action: str, name: str) -> None:
        notes.append((action, name))

    with contextlib.ExitStack() as stack:
        store = MemoryStore()
        logs = LogDesk(
            directory, stack, shelf=lambda namespace: Shelf(namespace, near=store, store=store, admit=lambda *_: None),
            rules=Rules(), note=note, grown=lambda *_: None,
        )  # fmt: skip
        desk = JobDesk(Queues(open_queue), stack, note=note, grown=lambda *_: None, logs=logs)
        shared = Desk(Vault(store), most_bytes, directory, desk.run, lambda *_: None, lambda *_: None)
        app = App(shared, (QueueCalls(desk), JobsApi(desk)), _caller)
        with _served(app, desk) as url:
            yield JobServer(url, desk, notes)


@contextmanager
def _served(app: App, desk: JobDesk) -> Iterator[str]:
    # asyncio sends at once only what goes through a socket that says it is TCP.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        config = uvicorn.Config(
            app, loop="asyncio", ws="none", lifespan="off", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            await server.serve(sockets=[listening])

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            loops[0].call_soon_threadsafe(desk.logs.tails.end)
            loops[0].call_soon_threadsafe(desk.end)
            server.should_exit = True
            thread.join()
