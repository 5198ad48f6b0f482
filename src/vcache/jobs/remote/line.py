"""Calls of a queue's server over HTTP: a request each, and the errors that its answers mean.

It must not know what a call is about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from vcache import errors
from vcache.errors import VcacheError
from vcache.jobs.base import MOST_PAYLOAD_BYTES
from vcache.jobs.remote import wire
from vcache.kit.deadlines import Within
from vcache.store.address import Options, parse_url
from vcache.store.http.client import HttpClient
from vcache.store.http.messages import Answer, refusal
from vcache.store.http.opening import server_of

__all__ = ["Line", "open_line"]

_TIMEOUT_S: Final = 30.0
_MOST_S: Final = 120.0
_LIMIT_BYTES: Final = 1 << 30
_TYPE: Final = "application/msgpack"
_SHOWN_BYTES: Final = 64 << 10
# What a server may say went wrong: any other is no class that a caller would expect.
_ERRORS: Final[Mapping[str, type[VcacheError]]] = {
    name: getattr(errors, name)
    for name in (
        "DecodeError", "EncodeError", "SessionLost", "StoreBusy", "StoreError", "StoreFull", "StoreReadOnly",
        "StoreUnavailable", "UsageError",
    )
}  # fmt: skip


class Line:
    """Asks one server.

    Args:
        path: before that of the calls.
        remedy: what to do where the server wants to know who asks.
        timeout_s: the longest that a call may take.

    Threads: any.
    """

    def __init__(self, client: HttpClient, path: str, *, remedy: str, timeout_s: float = _TIMEOUT_S) -> None:
        self._client = client
        self._path = path.rstrip("/") + wire.PATH
        self._remedy = remedy
        self.where: Final = client.base + path
        self.timeout_s: Final = timeout_s

    def ask(self, call: str, arguments: Sequence[object], *, timeout_s: float | None = None) -> object:
        """What the server answers to a call.

        Raises:
            VcacheError: what its queue raised.
            StoreUnavailable: the server does not answer, or not in time.
            StoreError: it does not do this.
        """
        body = wire.pack(list(arguments))
        with Within(self.timeout_s if timeout_s is None else timeout_s):
            answer = self._client.request(
                "POST", self._path + call, headers=(("Content-Type", _TYPE),), body=body
            )
        if answer.status == 200:
            return wire.unpack(bytes(answer.body))
        raise _error_of(answer) or refusal(
            self.where, answer, f"the call {call!r} of a queue", remedy=self._remedy
        )

    def close(self) -> None:
        """End all connections. May be called again."""
        self._client.close()


def open_line(address: str) -> Line:
    """A line to the server at `http(s)://host[:port][/path][?option=value&…]`. Nothing is sent before the first call.

    Options: `token` (the variable with a bearer token, else VCACHE_TOKEN if it is set), `user` and
    `password_env`, `ca`, `cert` and `key` (PEM files), `proxy`.

    Raises:
        ConfigError: the address or an option makes no sense, or the extra `http` is not installed.
    """
    url = parse_url(address)
    client, path, remedy = server_of(
        url, Options(url), what="queue", timeout_s=_MOST_S, limit_bytes=_LIMIT_BYTES + MOST_PAYLOAD_BYTES
    )
    return Line(client, path, remedy=remedy)


def _error_of(answer: Answer) -> VcacheError | None:
    """The error of the queue behind the server, as its problem names it; None where it is the server's own."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    try:
        said = json.loads(bytes(answer.body[:_SHOWN_BYTES]))
    except ValueError:
        return None
    kind = _ERRORS.get(said.get("error", "")) if isinstance(said, dict) else None
    return None if kind is None else kind(str(said.get("detail", "")))
