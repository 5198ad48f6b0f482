"""A worker's metrics over HTTP, for Prometheus to fetch."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vcache.errors import StoreError, UsageError
from vcache.jobs.base import Queue
from vcache.jobs.facts import priority_word
from vcache.jobs.states import State
from vcache.metrics import Metrics

__all__ = ["Depths", "exposed", "place_in"]


class Depths:
    """A worker's metrics with what its queue holds and was given, asked of it for each look.

    Threads: all operations.
    """

    def __init__(self, queue: Queue, metrics: Metrics) -> None:
        self._queue, self._metrics = queue, metrics
        self._known: set[tuple[str, int]] = set()
        self._submitted: dict[tuple[str, int], int] = {}  # as of the last look
        self._lock = threading.Lock()

    def text(self) -> bytes:
        """All metrics; the depths are those of before while the queue does not answer."""
        with self._lock:
            try:
                self._measure()
            except StoreError:
                pass  # the worker says what is wrong
            return self._metrics.text()

    def _measure(self) -> None:
        stats = self._queue.stats()
        self._known.update(stats.waiting)  # a depth that fell to nothing is 0, not the last one
        for kind, priority in self._known:
            depth = stats.waiting.get((kind, priority), 0)
            self._metrics.put("vcache_queue_depth", depth, kind=kind, priority=priority_word(priority))
        self._count_submitted(stats.submitted)
        self._metrics.put("vcache_dlq_depth", stats.by_state.get(State.DEAD, 0))
        self._metrics.put("vcache_active_jobs", stats.by_state.get(State.RUNNING, 0))

    def _count_submitted(self, submitted: Mapping[tuple[str, int], int]) -> None:
        for (kind, priority), count in submitted.items():
            before = self._submitted.get((kind, priority), 0)
            # A queue that was made anew begins at 0, and a counter never falls.
            more = count - before if count >= before else count
            labels = {"kind": kind, "priority": priority_word(priority)}
            self._metrics.count("vcache_jobs_submitted", more, **labels)
        self._submitted = dict(submitted)


def place_in(text: str) -> tuple[str, int]:
    """HOST:PORT, or a port of 127.0.0.1.

    Raises:
        UsageError: it is neither.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise UsageError(f"--metrics {text!r}: give HOST:PORT, such as 127.0.0.1:9100")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def exposed(place: tuple[str, int], text: Callable[[], bytes]) -> Iterator[int]:
    """Answer GET /metrics while it lasts; the port.

    Raises:
        OSError: nobody can listen there.
    """

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.path.partition("?")[0] in ("/metrics", "/")
            body = text() if is_known else b"metrics are at /metrics\n"
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Each look would be a line."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        daemon_threads = True

    try:
        server = Server(place, Answer)
    except OSError as error:
        raise OSError(error.errno, f"--metrics {place[0]}:{place[1]}: {error.strerror}") from None
    thread = threading.Thread(
        target=server.serve_forever, args=(0.2,), name="vcache-worker-metrics", daemon=True
    )
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
