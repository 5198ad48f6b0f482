"""`ccache-storage-vcache`: the storage helper that ccache 4.13 and later start for `vcache:` addresses.

ccache waits for the socket and gives up after ten seconds, on every compile: it is bound before
anything else is imported, and whatever fails later is a miss. One helper serves all ccache
processes of one user and address; it ends when nobody asked for a while. Its words are those of
ccache's "remote storage helper" specification: integers in the machine's byte order.

    vcache:///path/of/a/cache    a directory, as `vcache serve` and builds use it
    vcache:                      what vcache's settings say: memory, disk, remotes
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import sys
import threading
import time

TYPE_CHECKING = False  # importing typing costs 10 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO, Final

    from vcache.cache import Cache
    from vcache.server.vault import Found, Vault

__all__ = ["Helper", "main"]

_GREETING: Final = bytes((1, 3, 0, 1, 2))  # version, three capabilities: get/put/remove, info, exists
_GET, _PUT, _REMOVE, _STOP, _INFO, _EXISTS = range(6)
_OK, _NOOP, _ERROR = b"\0", b"\1", 2
_OVERWRITE: Final = 1
_LENGTH: Final = struct.Struct("=Q")
_MOST_BYTES: Final = 1 << 30
_REALM: Final = "ccache"
_TICK_S: Final = 0.5


def main() -> None:
    """The command `ccache-storage-vcache`, as ccache starts it."""
    endpoint = os.environ.get("CRSH_IPC_ENDPOINT", "")
    if not endpoint:
        sys.exit(
            "ccache-storage-vcache is started by ccache: set remote_storage = vcache:///DIR in its settings"
        )
    listener = _bound(endpoint)
    mark = os.stat(endpoint).st_ino
    try:
        idle_s = float(os.environ.get("CRSH_IDLE_TIMEOUT", "0"))
        Helper(os.environ.get("CRSH_URL", "vcache:"), _attributes(os.environ)).serve(listener, idle_s=idle_s)
    finally:
        with contextlib.suppress(OSError):
            if os.stat(endpoint).st_ino == mark:  # and not another's that took the name over
                os.unlink(endpoint)


class Helper:
    """Answers ccache processes over a store.

    Args:
        url: as ccache gives it.
        attributes: what stands behind the address in ccache's settings.
    """

    def __init__(self, url: str, attributes: Mapping[str, str]) -> None:
        self._url, self._attributes = url, attributes
        self._cache: Cache | None = None
        self._vault: Vault | None = None
        self._trouble = ""
        self._opening = threading.Lock()  # held while the store is opened: all others need it as well
        self._lock = threading.Lock()  # guards the next two
        self._last_s = time.monotonic()
        self._open = 0
        self._is_stopped = threading.Event()

    def serve(self, listener: socket.socket, *, idle_s: float) -> None:
        """Answer until told to stop, or until nobody asked for so long; 0 for never.

        Args:
            listener: a bound and listening socket; closed at the end.
        """
        listener.settimeout(_TICK_S)
        with listener:
            while not self._is_stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    quiet_s = time.monotonic() - self._last_s
                    if idle_s and not self._open and quiet_s >= idle_s:
                        break
                    continue
                with self._lock:
                    self._open += 1
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()
        if self._cache is not None:
            self._cache.close()

    def _converse(self, connection: socket.socket) -> None:
        """One ccache process: a greeting, then requests until it goes."""
        try:
            with connection, connection.makefile("rb") as requests:
                connection.settimeout(None)
                connection.sendall(_GREETING)
                while (kind := requests.read(1)) and not self._is_stopped.is_set():
                    self._last_s = time.monotonic()
                    if kind[0] == _STOP:
                        self._is_stopped.set()
                        return
                    for part in self._answered(kind[0], requests):
                        connection.sendall(part)
        except (OSError, _Garbled):
            pass  # ccache went away, or speaks another protocol: the connection says so by closing
        finally:
            with self._lock:
                self._open -= 1
                self._last_s = time.monotonic()

    def _answered(self, kind: int, requests: BinaryIO) -> tuple[bytes | memoryview, ...]:
        if kind == _INFO:
            return (self._described(),)
        if kind not in (_GET, _PUT, _REMOVE, _EXISTS):
            raise _Garbled
        name = _read(requests, _read(requests, 1)[0]).hex()
        value = b""
        is_overwriting = False
        if kind == _PUT:
            is_overwriting = bool(_read(requests, 1)[0] & _OVERWRITE)
            (size,) = _LENGTH.unpack(_read(requests, _LENGTH.size))
            if size > _MOST_BYTES:
                raise _Garbled
            value = _read(requests, size)
        vault = self._opened()
        if vault is None:
            return (_error(self._trouble),)
        try:
            return self._done(vault, kind, name, value, is_overwriting=is_overwriting)
        except Exception as error:  # a fault of the store is ccache's miss, and never its wait
            return (_error(f"{type(error).__name__}: {error}"),)

    def _done(
        self, vault: Vault, kind: int, name: str, value: bytes, *, is_overwriting: bool
    ) -> tuple[bytes | memoryview, ...]:
        if kind == _GET:
            found = vault.get("", _REALM, name)
            self._count(found)
            return (_NOOP,) if found is None else (_OK + _LENGTH.pack(found.size_bytes), found.body)
        if kind == _EXISTS:
            return (_OK + bytes((vault.has("", _REALM, name),)),)
        if kind == _REMOVE:
            return (_OK if vault.delete("", _REALM, name) else _NOOP,)
        if not is_overwriting and vault.has("", _REALM, name):
            return (_NOOP,)
        vault.put("", _REALM, name, value)
        return (_OK,)

    def _count(self, found: Found | None) -> None:
        from vcache.outcome import Hit, Miss, Reason

        if self._cache is not None:
            absent = Miss(Reason.ABSENT, "ccache's value is not here")
            self._cache.count(absent if found is None else Hit("", found.record.entry(), None))

    def _described(self) -> bytes:
        words = f"vcache {self._url}"
        diagnostics = [self._trouble] if self._trouble else []
        return _text(words) + bytes((len(diagnostics),)) + b"".join(map(_text, diagnostics))

    def _opened(self) -> Vault | None:
        """The store behind the address, opened by whoever asks first; None where it cannot be."""
        with self._opening:
            if self._vault is None and not self._trouble:
                try:
                    self._cache = _cache(self._url, self._attributes)
                    self._vault = _vault(self._cache)
                except Exception as error:  # told to each ccache that asks, in its log
                    self._trouble = f"{type(error).__name__}: {error}"
            return self._vault


class _Garbled(Exception):
    """What came is none of the protocol's requests."""


def _vault(cache: Cache) -> Vault:
    from vcache.server.vault import Vault

    return Vault(cache.store, after_put=cache.after_put)


def _cache(url: str, attributes: Mapping[str, str]) -> Cache:
    from urllib.parse import unquote, urlsplit

    from vcache.cache import Cache
    from vcache.errors import ConfigError

    parts = urlsplit(url)
    if parts.netloc:
        raise ConfigError(
            f"{url!r} names a host: write vcache:///DIR, or vcache: and name the server in vcache's settings "
            "(VCACHE_REMOTE)"
        )
    if attributes:
        known = ", ".join(sorted(attributes))
        raise ConfigError(f"{url!r} takes no attributes, and has {known}")
    path = unquote(parts.path)
    return Cache(path) if path else Cache()


def _bound(endpoint: str) -> socket.socket:
    """The socket that ccache waits for, for this user only.

    A helper that was killed leaves its socket behind, at which ccache would wait for ten seconds on
    every compile from then on: the name is taken over, unless somebody answers there.
    """
    old = os.umask(0o077)
    try:
        try:
            return _listening(endpoint)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        with open(f"{endpoint}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of all that come now, one takes it over
            if _is_answered(endpoint):
                sys.exit(f"ccache-storage-vcache: {endpoint}: another helper serves there")
            name = os.path.join(os.path.dirname(endpoint), f".{os.getpid()}")
            listener = _listening(name)
            os.rename(name, endpoint)
            return listener
    except OSError as error:
        sys.exit(f"ccache-storage-vcache: {endpoint}: {error}")
    finally:
        os.umask(old)


def _listening(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _attributes(environ: Mapping[str, str]) -> dict[str, str]:
    count = int(environ.get("CRSH_NUM_ATTR", "0") or "0")
    return {
        environ.get(f"CRSH_ATTR_KEY_{number}", ""): environ.get(f"CRSH_ATTR_VALUE_{number}", "")
        for number in range(count)
    }


def _read(requests: BinaryIO, size: int) -> bytes:
    data = requests.read(size)
    if len(data) != size:
        raise _Garbled
    return data


def _text(words: str) -> bytes:
    data = words.encode()[:255]
    return bytes((len(data),)) + data


def _error(words: str) -> bytes:
    return bytes((_ERROR,)) + _text(words)


if __name__ == "__main__":
    main()
