"""The one thread that waits at all sockets of a collector. It must not know what they speak."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from vcache.kit.logs import logger

__all__ = ["READ", "WRITE", "Hub", "Server"]

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE
_TICK_S: Final = 0.1
# Under load a pause lets what comes gather: woken for every line, the thread would take the interpreter from
# the one that commits, 100,000 times a second. Far below what a person or a live tail notices.
_GATHER_S: Final = 0.002

Handler = Callable[[int], bool]
"""Deals with what is ready; whether there was so much that it pays to let more gather."""


class Server(Protocol):
    """What listens. All but `refresh` is called in the hub's thread."""

    def tick(self, now_s: float) -> None:
        """Some time has passed."""

    def refresh(self) -> None:
        """Bring counts that are kept elsewhere, such as the kernel's, up to date. Any thread."""

    def stop(self) -> None:
        """Take what has come, and listen no more. What was taken may still be acknowledged."""

    @property
    def has_stopped(self) -> bool:
        """Whether all that came is handed in."""

    @property
    def is_done(self) -> bool:
        """Whether nobody waits for a word of it any more."""

    def release(self) -> None:
        """Close whatever is open. Who was not told yet that all is kept shall see that it is not known."""


class Hub:
    """A selector, and what is to be done beside it. Threads: `call`, `refresh`, `close` and `end` by any."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], object]] = deque()
        self._servers: list[Server] = []
        self._is_ending = False
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        self._selector.register(self._woken, READ, self._on_wake)
        self._thread = threading.Thread(target=self._run, name="vcache-log-listen", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], object]) -> None:
        """Have something done by the thread, soon. Never waits."""
        self._calls.append(work)
        try:
            self._waker.send(b"!")
        except OSError:
            pass  # it has more than it needs to wake up, or has ended

    def serve(self, server: Server) -> None:
        """Look after it from here on."""
        self._servers.append(server)

    def dismiss(self, server: Server, deadline_s: float = 10.0) -> None:
        """Let it stop, wait for so long until what it took is kept, and forget it."""

        def release() -> None:
            server.release()
            if server in self._servers:
                self._servers.remove(server)

        self._wait_for(server.stop, deadline_s)
        self._wait_until(lambda: server.is_done, deadline_s)
        self._wait_for(release, deadline_s)

    def watch(self, sock: socket.socket, events: int, handler: Handler) -> None:
        """Call the handler when one of the events is there; for no events, never. The hub's thread only."""
        is_known = sock.fileno() in self._selector.get_map()
        if events and is_known:
            self._selector.modify(sock, events, handler)
        elif events:
            self._selector.register(sock, events, handler)
        elif is_known:
            self._selector.unregister(sock)

    def refresh(self) -> None:
        """Bring all counts up to date."""
        for server in list(self._servers):
            server.refresh()

    def close(self, deadline_s: float) -> None:
        """Let all servers stop, and wait until what came is handed in."""

        def stop() -> None:
            for server in list(self._servers):
                self._guard(server.stop)

        self._wait_for(stop, deadline_s)
        self._wait_until(lambda: all(server.has_stopped for server in list(self._servers)), deadline_s)

    def end(self) -> None:
        """Close all sockets, and end the thread."""
        self.call(self._end)
        self._thread.join()

    def _wait_until(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not is_so() and time.monotonic() < end_s:
            time.sleep(0.005)

    def _wait_for(self, work: Callable[[], object], timeout_s: float) -> None:
        done = threading.Event()

        def run() -> None:
            try:
                work()
            finally:
                done.set()

        self.call(run)
        done.wait(timeout_s)

    def _end(self) -> None:
        self._is_ending = True
        for server in self._servers:
            server.release()

    def _run(self) -> None:
        ticked_s = time.monotonic()
        while not self._is_ending:
            is_busy = False
            for key, events in self._selector.select(_TICK_S):
                is_busy |= self._handle(key.data, events)
            while self._calls:
                self._guard(self._calls.popleft())
            now_s = time.monotonic()
            if now_s - ticked_s >= _TICK_S:
                ticked_s = now_s
                for server in list(self._servers):
                    self._guard(partial(server.tick, now_s))
            if is_busy:
                time.sleep(_GATHER_S)
        self._selector.close()
        self._waker.close()
        self._woken.close()

    def _handle(self, handler: Handler, events: int) -> bool:
        try:
            return handler(events)
        except Exception:  # one peer, or a defect of ours, must not end the thread that serves all
            logger(__name__).exception("a listener of logs failed")
            return False

    def _guard(self, work: Callable[[], object]) -> None:
        self._handle(lambda _: bool(work()), 0)

    def _on_wake(self, _: int) -> bool:
        try:
            while len(self._woken.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        return False
