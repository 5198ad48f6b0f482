"""Sockets at an address, and their files. It must not know what comes through them."""

from __future__ import annotations

import os
import socket
import stat

from vcache.errors import ConfigError
from vcache.kit.data import replace
from vcache.logs.collect.addresses import ListenAddress

__all__ = ["bound", "is_loopback", "unlinked"]


def bound(address: ListenAddress, kind: socket.SocketKind) -> tuple[socket.socket, ListenAddress]:
    """A socket at an address that does not block, and where it is."""
    if address.path:
        return _bound_path(address, kind), address
    family, _, _, _, where = socket.getaddrinfo(
        address.host, address.port, type=kind, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(where)
    except OSError:
        sock.close()
        raise
    return sock, replace(address, port=sock.getsockname()[1])


def _bound_path(address: ListenAddress, kind: socket.SocketKind) -> socket.socket:
    _remove_left_over(address.path, kind)
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.setblocking(False)
        try:
            # On Linux the file is made with the mode that the socket has: narrow from the first moment on,
            # without the umask, which is the whole process's.
            os.fchmod(sock.fileno(), 0o600)
        except OSError:
            pass
        sock.bind(address.path)
        os.chmod(address.path, address.mode)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_left_over(path: str, kind: socket.SocketKind) -> None:
    """A socket whose owner was killed is in the way of the next; one that is in use is not touched."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigError(f"unix socket {path}: there is a file of that name that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # somebody is there; bind says so


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine."""
    return host in {"::1", ""} or host.startswith(("127.", "::ffff:127."))


def unlinked(path: str) -> None:
    """Remove a socket's file."""
    try:
        os.unlink(path)
    except OSError:
        pass  # somebody removed it, or the directory
