"""Objects of vcache's own dialect, and a client of it that is nothing but a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import NamedTuple, Self

from vcache.entry import Entry, Record, make_key
from vcache.hash import digest
from vcache.store.objects import name_of, pack

__all__ = ["Answer", "Wire", "an_object"]


def an_object(name: str, size_bytes: int = 1000, *, body: bytes | None = None) -> tuple[str, bytes]:
    """The name and the bytes of an object with random content."""
    content = os.urandom(size_bytes) if body is None else body
    key = make_key(name)
    entry = Entry(key, digest(content), len(content), created_ns=1, cost_ns=2_000_000_000)
    head, rest = pack(Record(entry.encode(), content))
    return name_of(key), head + bytes(rest)


class Answer(NamedTuple):
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """One connection, to be used well or badly."""

    def __init__(self, port: int, *, timeout_s: float = 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and read its answer."""
        self.send(method, path, body, headers)
        return self.answer(is_head=method == "HEAD")

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request."""
        lines = {"host": "test", **(headers or {})}
        if body is not None:
            lines.setdefault("content-length", str(len(body)))
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(
            f"{name}: {text}\r\n" for name, text in lines.items()
        )
        self.socket.sendall(head.encode() + b"\r\n" + (body or b""))

    def answer(self, *, is_head: bool = False) -> Answer:
        """Read the next answer.

        Raises:
            ConnectionError: the server closed instead.
        """
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        status = int(first.split()[1])
        if is_head or status in (100, 204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunked())
        return Answer(status, headers, self._exactly(int(headers["content-length"])))

    def is_closed(self) -> bool:
        """Wait until the server sends something or closes; whether it closed."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return True
        self._rest += data
        return not data

    def _chunked(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._rest:
                self._more()
            line, _, self._rest = self._rest.partition(b"\r\n")
            size = int(line, 16)
            body += self._exactly(size)
            self._exactly(2)
            if not size:
                return body

    def _exactly(self, size: int) -> bytes:
        data, self._rest = bytearray(self._rest[:size]), self._rest[size:]
        while len(data) < size:
            piece = self.socket.recv(min(1 << 20, size - len(data)))
            if not piece:
                raise ConnectionError("the server closed the connection")
            data += piece
        return bytes(data)

    def _more(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._rest += data
