"""Requests that offer another protocol, as curl does for HTTP/2: they are answered as if they did not.

It must not know what is asked for.
"""

from __future__ import annotations

from typing import Final, Protocol

from httptools import HttpRequestParser

__all__ = ["Headers", "Heard", "Resumed", "has_body"]

Headers = list[tuple[bytes, bytes]]
_FRAMING: Final = (b"content-length", b"transfer-encoding")


class Heard(Protocol):
    """What a parser tells a connection."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class Resumed:
    """Hands a connection what comes after a head that offers another protocol.

    A parser stops there, whether or not a body follows: another one goes on, from a head of our own that
    says of the body what theirs said, and is not passed along.
    """

    def __init__(self, connection: Heard) -> None:
        self._connection = connection
        self._is_ours = True

    @classmethod
    def parser(cls, connection: Heard, headers: Headers) -> HttpRequestParser:
        """A parser that goes on with a body."""
        parser = HttpRequestParser(cls(connection))
        framing = b"".join(b"%b: %b\r\n" % header for header in headers if header[0] in _FRAMING)
        parser.feed_data(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n")
        return parser

    def on_message_begin(self) -> None:
        if not self._is_ours:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_ours:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_ours:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_ours:
            self._is_ours = False
        else:
            self._connection.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._connection.on_body(body)

    def on_message_complete(self) -> None:
        self._connection.on_message_complete()


def has_body(headers: Headers) -> bool:
    """Whether a head says that a body follows."""
    return any(name in _FRAMING and value != b"0" for name, value in headers)
