"""libcurl under the HTTP client: a handle for one request at a time.

With `crew` the one home of pycurl. Whatever libcurl could do beside is switched off: other protocols, redirects,
decoding, passwords of its own. It must not know whose requests these are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import pycurl

from vcache.errors import ConfigError, StoreError, StoreUnavailable
from vcache.kit.data import NamedTuple
from vcache.kit.deadlines import expect, left_s
from vcache.store.http.messages import Answer, Body, TooLong

__all__ = ["Line", "Settings", "Sockets", "Unfinished", "settings_of"]

_MAX_HEADER_BYTES: Final = 64 << 10
_MAX_HEADERS: Final = 256
_STATUS_DIGITS: Final = 3
# What libcurl reads and sends at once: 16 MB came in 7 ms with this, in 9 ms with half of it, in 21 ms
# with its own 16 KiB.
_BUFFER_BYTES: Final = 512 << 10
# An answer that took too long is asked for again if at least so much time was gained meanwhile.
_WORTH_S: Final = 0.05
# A body up to this is joined and handed over whole, larger ones are asked for piece by piece.
_JOINED_BYTES: Final = 256 << 10
_TYPE: Final = "Content-Type: application/octet-stream"
# libcurl asks "Expect: 100-continue" for large bodies, and waits a second where a server ignores it.
_COMMON: Final = ("Accept: */*", "Expect:")

# The certificates of a system, where Python's own library does not know: Debian, Fedora, SUSE, Alpine.
_AUTHORITIES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_DISTRUST: Final = {
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_ISSUER_ERROR,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_PINNEDPUBKEYNOTMATCH,
}
_TOO_LARGE: Final = {pycurl.E_FILESIZE_EXCEEDED, pycurl.E_WRITE_ERROR}


class Unfinished(StoreUnavailable):
    """An answer was coming when libcurl's time was over, which cannot be changed under way.

    What came lengthens the operation's own time: a crew, which keeps the time itself, gets it whole.
    """


class Settings(NamedTuple):
    """What all handles of one client have in common. See `HttpClient`."""

    base: str
    headers: tuple[str, ...]
    limit_bytes: int
    options: Sequence[tuple[int, Any]]


class Line:
    """A handle for one request at a time, and its connection."""

    __slots__ = (
        "_body", "_chunk", "_custom", "_header_bytes", "_is_headed", "_limit_bytes", "_lines", "_parts", "_settings",
        "_size_bytes", "_sockets", "_timeout_s", "curl", "place",
    )  # fmt: skip

    def __init__(self, settings: Settings, sockets: Sockets | None = None) -> None:
        self._settings = settings
        self._sockets = Sockets() if sockets is None else sockets
        self._limit_bytes = settings.limit_bytes
        self._custom = False  # whether a method, headers or a body of the last request are still set
        self._parts: _Parts | None = None
        self._timeout_s = 0.0
        self.place = 0
        self._clear()
        self.curl = curl = pycurl.Curl()
        for option, value in settings.options:
            curl.setopt(option, value)
        curl.setopt(pycurl.HEADERFUNCTION, self._take_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._take_body)
        curl.setopt(pycurl.SOCKOPTFUNCTION, self._sockets.note)

    def begin(
        self,
        method: str,
        target: str,
        headers: Sequence[str],
        body: Body | None,
        limit_bytes: int | None,
        timeout_s: float,
        *,
        is_timed: bool = True,
    ) -> None:
        """Set the next request up.

        Args:
            is_timed: libcurl ends it after `timeout_s`; otherwise that is for messages only.
        """
        curl = self.curl
        curl.setopt(pycurl.URL, self._settings.base + target)
        self._timeout_s = timeout_s
        curl.setopt(pycurl.TIMEOUT_MS, int(timeout_s * 1000) + 1 if is_timed else 0)
        limit_bytes = self._settings.limit_bytes if limit_bytes is None else limit_bytes
        if limit_bytes != self._limit_bytes:
            self._limit_bytes = limit_bytes
            curl.setopt(pycurl.MAXFILESIZE_LARGE, max(1, limit_bytes))  # 0 is no limit to libcurl
        if self._custom:
            self._reset_custom()
        if method != "GET" or headers or body is not None:
            self._custom = True
            self._customize(method, headers, body)

    def perform(self) -> Answer:
        """Send the request, and give the answer.

        Raises:
            Unfinished: the time was over while the answer came, and fast enough to be waited for.
            StoreError: as `HttpClient.request`.
        """
        try:
            self.curl.perform()
        except pycurl.error as error:
            raise self.failure(*error.args) from None
        return self.answer()

    def answer(self) -> Answer:
        """The answer that was received.

        Raises:
            StoreUnavailable: libcurl took for one what is none.
        """
        lines, is_whole = self._lines, self._is_headed
        body = self._body if self._body is not None else self._chunk or b""
        self._clear()
        status = lines[0][9:13].strip() if lines else b""
        if not (
            is_whole and len(status) == _STATUS_DIGITS and status.isdigit()
        ):  # a connection that ends within a head is no error to libcurl
            raise StoreUnavailable(f"{self._settings.base}: no whole head of an answer: {lines[:1]!r:.80}")
        return Answer(int(status), lines, body)

    def failure(self, code: int, message: str) -> StoreError:
        """What an error of libcurl means."""
        header_bytes, n_headers, size_bytes = self._header_bytes, len(self._lines), self._size_bytes
        self._clear()
        base = self._settings.base
        if code in _TOO_LARGE:
            if header_bytes > _MAX_HEADER_BYTES or n_headers >= _MAX_HEADERS:
                return StoreError(f"{base}: the answer has more headers than {_MAX_HEADERS}, or longer ones")
            return TooLong(f"{base}: the answer is longer than {self._limit_bytes} bytes")
        if code in _DISTRUST:
            return StoreError(
                f"{base}: the connection is not secure: {message} (authorities: option ca=FILE.pem)"
            )
        if code == pycurl.E_OPERATION_TIMEDOUT:
            if size_bytes and left_s(_WORTH_S) == _WORTH_S:
                return Unfinished(f"{base}: the answer takes longer than {self._timeout_s:.3g} s")
            return self.late()
        return StoreUnavailable(f"{base}: {message or pycurl_name(code)}")

    def late(self) -> StoreError:
        """The error of a request whose time is over."""
        self._clear()
        return StoreUnavailable(f"{self._settings.base}: no whole answer within {self._timeout_s:.3g} s")

    def close(self) -> None:
        self.curl.close()

    def disown(self) -> None:
        """Let go of the sockets in a forked child, without a word to the server."""
        self._sockets.detach()

    def _clear(self) -> None:
        self._lines: list[bytes] = []
        self._header_bytes = 0
        self._is_headed = False  # the empty line behind the headers came
        self._chunk: bytes | None = None
        self._body: bytearray | None = None
        self._size_bytes = 0

    def _take_header(self, line: bytes) -> int | None:
        """Called by libcurl for each line of a head."""
        if line[:5] == b"HTTP/":  # the head of an interim answer was another one
            self._lines = []
            self._is_headed = False
        elif line == b"\r\n":
            self._is_headed = True
        self._header_bytes += len(line)
        if self._header_bytes > _MAX_HEADER_BYTES or len(self._lines) >= _MAX_HEADERS:
            return -1
        self._lines.append(line)
        return None

    def _take_body(self, chunk: bytes) -> int | None:
        """Called by libcurl for each piece of a body.

        What came lengthens the time for the rest: a server that only claims a length gains nothing.
        No length that a server claims is believed: memory grows with what came. A large bytearray
        grows in place (mremap), so that 100 MB are copied once; joining a list takes 1.5 times as long.
        """
        self._size_bytes += len(chunk)
        if self._size_bytes > self._limit_bytes:
            return -1
        try:
            expect(len(chunk))
        except StoreError:  # the operation's limit is lower than the client's
            return -1
        if self._body is not None:
            self._body += chunk
        elif self._chunk is None:
            self._chunk = chunk
        else:
            self._body = bytearray(self._chunk)
            self._body += chunk
        return None

    def _customize(self, method: str, headers: Sequence[str], body: Body | None) -> None:
        curl = self.curl
        lines = [*_COMMON, *self._settings.headers, *headers]
        if body is not None:
            if not any(line[:13].lower() == "content-type:" for line in lines):
                lines.append(_TYPE)
            self._send(body)
        if method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif method != "GET" or body is not None:
            curl.setopt(pycurl.CUSTOMREQUEST, method)
        curl.setopt(pycurl.HTTPHEADER, lines)

    def _send(self, body: Body) -> None:
        parts = [memoryview(part).cast("B") for part in (body if isinstance(body, tuple) else (body,))]
        size_bytes = sum(map(len, parts))
        if size_bytes <= _JOINED_BYTES:
            whole = body if isinstance(body, bytes) else b"".join(parts)
            self.curl.setopt(pycurl.POSTFIELDS, whole)
            return
        self._parts = _Parts(parts)
        self.curl.setopt(pycurl.UPLOAD, 1)
        self.curl.setopt(pycurl.INFILESIZE_LARGE, size_bytes)
        self.curl.setopt(pycurl.READFUNCTION, self._parts.read)
        self.curl.setopt(pycurl.SEEKFUNCTION, self._parts.seek)

    def _reset_custom(self) -> None:
        curl = self.curl
        self._parts = None
        self._custom = False
        curl.unsetopt(pycurl.CUSTOMREQUEST)
        curl.setopt(pycurl.HTTPGET, 1)
        curl.setopt(pycurl.HTTPHEADER, [*_COMMON, *self._settings.headers])


class _Parts:
    """A body in several parts, as libcurl reads it. A request that is sent again starts anew."""

    __slots__ = ("_at", "_number", "_parts")

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._parts = parts
        self._number = self._at = 0

    def read(self, size_bytes: int) -> bytes:
        while self._number < len(self._parts):
            piece = self._parts[self._number][self._at : self._at + size_bytes]
            if piece:
                self._at += len(piece)
                return bytes(piece)
            self._number, self._at = self._number + 1, 0
        return b""

    def seek(self, offset_bytes: int, origin: int) -> Any:
        if offset_bytes or origin != os.SEEK_SET:
            return pycurl.SEEKFUNC_CANTSEEK
        self._number = self._at = 0
        return pycurl.SEEKFUNC_OK


class Sockets:
    """The sockets of handles, to be known again after a fork."""

    __slots__ = ("_inodes",)

    def __init__(self) -> None:
        self._inodes: dict[int, int] = {}

    def note(self, descriptor: int, _purpose: int) -> Any:
        """Called by libcurl with each new socket."""
        os.set_inheritable(descriptor, False)
        self._inodes[descriptor] = os.fstat(descriptor).st_ino
        return pycurl.SOCKOPT_OK

    def detach(self) -> None:
        """Put nothing in the place of each socket: whatever is written there, as the end of a TLS
        connection, must not reach the server, for which the parent's connection goes on.
        """
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            for descriptor, inode in self._inodes.items():
                with suppress(OSError):
                    now = os.fstat(descriptor)
                    if stat.S_ISSOCK(now.st_mode) and now.st_ino == inode:
                        os.dup2(nowhere, descriptor, inheritable=False)
        finally:
            os.close(nowhere)
        self._inodes.clear()


def settings_of(
    base: str,
    *,
    headers: Sequence[str],
    limit_bytes: int,
    ca: str | None,
    cert: str | None,
    key: str | None,
    verify: bool,
    proxy: str | None,
) -> Settings:
    """What the arguments of `HttpClient` mean to libcurl.

    Raises:
        ConfigError: a file cannot be read.
    """
    both = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
    options: list[tuple[int, Any]] = [
        (pycurl.NOSIGNAL, 1),
        (pycurl.NOPROGRESS, 1),
        (pycurl.PROTOCOLS, both),
        (pycurl.REDIR_PROTOCOLS, both),
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.HTTP_CONTENT_DECODING, 0),
        (pycurl.PATH_AS_IS, 1),
        (pycurl.NETRC, pycurl.NETRC_IGNORED),
        (pycurl.TCP_NODELAY, 1),
        (pycurl.BUFFERSIZE, _BUFFER_BYTES),
        (pycurl.UPLOAD_BUFFERSIZE, _BUFFER_BYTES),
        (pycurl.MAXFILESIZE_LARGE, max(1, limit_bytes)),
        (pycurl.USERAGENT, "vcache"),
        (pycurl.HTTPHEADER, [*_COMMON, *headers]),
    ]
    if proxy is not None:
        options.append((pycurl.PROXY, proxy))
    if base.startswith("https:"):
        options += _tls_options(ca, cert, key, verify=verify)
    return Settings(base, tuple(headers), limit_bytes, options)


def _tls_options(ca: str | None, cert: str | None, key: str | None, *, verify: bool) -> list[tuple[int, Any]]:
    options: list[tuple[int, Any]] = [
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.SSL_VERIFYPEER, int(verify)),
        (pycurl.SSL_VERIFYHOST, 2 if verify else 0),
    ]
    if verify:
        authorities = _authorities() if ca is None else _readable("ca", ca)
        if authorities is not None:
            options.append((pycurl.CAPATH if os.path.isdir(authorities) else pycurl.CAINFO, authorities))
    for option, name, path in (
        (pycurl.SSLCERT, "cert", cert),
        (pycurl.SSLKEY, "key", key),
    ):
        if path is not None:
            options.append((option, _readable(name, path)))
    return options


def _authorities() -> str | None:
    """The system's certificates: a libcurl from a wheel looks where its builder had them."""
    import ssl  # 5 ms, which a connection with TLS takes anyway

    paths = ssl.get_default_verify_paths()
    found = (
        path for path in (paths.cafile, *_AUTHORITIES, paths.capath) if path and os.access(path, os.R_OK)
    )
    return next(found, None)


def _readable(name: str, path: str) -> str:
    path = os.path.expanduser(path)
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{name}={path!r} cannot be read: give a PEM file")
    return path


def pycurl_name(code: int) -> str:
    """What libcurl calls an error."""
    names = (name for name in dir(pycurl) if name.startswith("E_") and getattr(pycurl, name) == code)
    return f"libcurl error {code} ({', '.join(names)})"
