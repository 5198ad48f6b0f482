"""A worker's metrics over HTTP, for Prometheus to fetch."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vcache.errors import UsageError

__all__ = ["exposed", "place_in"]


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

    server = Server(place, Answer)
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
