"""Requests to a server of logs, and answers read line by line as they come. It must not know what they say."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from vcache.errors import ConfigError, StoreBusy, StoreError, StoreFull, StoreUnavailable, UsageError
from vcache.store.address import Options, parse_url
from vcache.store.credentials import credentials_of

__all__ = ["Wire"]

_TIMEOUT_S: Final = 330.0  # the server's own limit is 300
_CONNECT_S: Final = 10.0
_ROOT: Final = "/api/v1/logs"
_SHOWN_BYTES: Final = 4_000
_LINE_BYTES: Final = 256 << 20


class Wire:
    """One server.

    Args:
        address: `http(s)://[user:password@]host[:port]?options`: `token` (the variable with a bearer token,
            else VCACHE_TOKEN if it is set), `user` and `password_env`, `ca`, `cert`, `key` (PEM files).

    Raises:
        ConfigError: the address makes no sense.

    Threads: any; each request has a connection of its own.
    """

    def __init__(self, address: str) -> None:
        url = parse_url(address)
        parts = urlsplit(url.text.partition("?")[0])
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ConfigError(
                f"logs at {address.rpartition('@')[2]!r:.200}: write http(s)://host[:port]?options"
            )
        options = Options(url)
        self._authorization, self._remedy = credentials_of(url, options, os.environ)
        ca, cert, key = (options.take(name, str) for name in ("ca", "cert", "key"))
        options.finish()
        try:
            self._host, self._port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"logs at {address.rpartition('@')[2]!r:.200}: {error}") from None
        self._tls: ssl.SSLContext | None = None
        self.address: Final = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca)
                if cert:
                    self._tls.load_cert_chain(cert, key)
            except OSError as error:
                raise ConfigError(f"logs at {self.address}: ca, cert or key: {error}") from error

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> object:
        """What the server answers, from JSON; None for what is not there.

        Raises:
            UsageError, StoreError: it refuses.
        """
        with self._request(method, path, body, kind) as answer:
            if answer.status == 404 and method == "GET":
                return None
            self._require_good(answer)
            with self._heard():
                return json.loads(answer.read())

    @contextmanager
    def lines(
        self, method: str, path: str, body: bytes | None = None, *, is_endless: bool = False
    ) -> Iterator[Iterator[bytes]]:
        """The lines of an answer as they come.

        Args:
            is_endless: the server sends signs of life; one that does not for a minute is gone.

        Raises:
            UsageError, StoreError: it refuses, or the answer ends too early.
        """
        timeout_s = 60.0 if is_endless else _TIMEOUT_S
        with self._request(method, path, body, "application/json", timeout_s) as answer:
            self._require_good(answer)
            yield self._lines(answer)

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            with self._heard():
                line = answer.readline(_LINE_BYTES)
            if not line:
                return
            yield line

    @contextmanager
    def _request(
        self, method: str, path: str, body: bytes | None, kind: str, timeout_s: float = _TIMEOUT_S
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        try:
            with self._heard():
                connection.connect()
                assert isinstance(connection.sock, socket.socket)
                connection.sock.settimeout(timeout_s)
                headers = {"content-type": kind, "user-agent": "vcache"}
                if self._authorization:
                    headers["authorization"] = self._authorization
                connection.request(method, _ROOT + path, body, headers)
                answer = connection.getresponse()
            yield answer
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=_CONNECT_S)
        return http.client.HTTPSConnection(self._host, self._port, timeout=_CONNECT_S, context=self._tls)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Errors of the network as ours."""
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise StoreUnavailable(f"logs at {self.address}: {words}") from error

    def _require_good(self, answer: http.client.HTTPResponse) -> None:
        if answer.status == 200:
            return
        with self._heard():
            body = answer.read(_SHOWN_BYTES)
        try:
            said = json.loads(body)
            words = str(said.get("detail") or said.get("title"))
        except (ValueError, AttributeError):
            words = body.decode("utf-8", "replace")[:200]
        status = answer.status
        if status in (400, 404, 405, 413, 415, 422):
            raise UsageError(words)
        if status in (401, 403):
            words = f"{words}; {self._remedy}" if self._remedy else words
        kind = {429: StoreBusy, 503: StoreBusy, 507: StoreFull}.get(status, StoreError)
        raise kind(f"logs at {self.address}: {status} {words}")
