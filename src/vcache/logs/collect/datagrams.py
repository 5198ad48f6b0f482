"""Many datagrams at once, grouped by who sent them.

With one system call for each datagram the thread would give the interpreter away and ask for it again
100,000 times a second; `recvmmsg` takes 256 in one. Python has no such call, so the C library is asked
through ctypes; where it has none either, they are received one by one. It must not know what is in them.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path
from typing import Any, Final, Protocol

__all__ = [
    "Credentials",
    "Datagrams",
    "OneByOne",
    "Together",
    "credentials_of",
    "datagrams_of",
    "host_of",
    "kernel_drops",
]

_SLOTS: Final = 256
_NAME_BYTES: Final = 32  # sockaddr_in6 has 28
_CONTROL_BYTES: Final = 64
_CUT: Final = 0x20  # MSG_TRUNC
_UDP_BYTES: Final = 1 << 16
_UNIX_BYTES: Final = 1 << 18  # above net.core.wmem_default, which bounds what is sent
_SCM_CREDENTIALS: Final = 2
_UCRED: Final = struct.Struct("iII")

Credentials = tuple[int, int]
"""Process and user of a peer, as the kernel vouches for them."""


class Datagrams(Protocol):
    """What comes in at a socket that does not block.

    Attributes:
        cut: how many were longer than what is received, since it was last set to 0.
    """

    cut: int

    def receive(self) -> dict[bytes, list[bytes]]:
        """What is there, up to a bound, by peer: bytes for `host_of` or `credentials_of`."""


def datagrams_of(sock: socket.socket) -> Datagrams:
    """The fastest way to receive that there is."""
    try:
        return Together(sock)
    except (ImportError, OSError, AttributeError):
        return OneByOne(sock)


class OneByOne:
    """One system call each."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_unix = sock.family == socket.AF_UNIX
        self._size_bytes = _UNIX_BYTES if self._is_unix else _UDP_BYTES
        self.cut = 0

    def receive(self) -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for _ in range(_SLOTS):
            try:
                data, extra, flags, address = self._sock.recvmsg(self._size_bytes, _CONTROL_BYTES)
            except BlockingIOError:
                break
            except ConnectionError:
                continue  # what was sent from here earlier was not wanted: says nothing of what comes in
            self.cut += bool(flags & _CUT)
            if self._is_unix:
                peer = next((value for _, kind, value in extra if kind == _SCM_CREDENTIALS), b"")[
                    : _UCRED.size
                ]
            else:
                peer = socket.inet_pton(self._sock.family, address[0].partition("%")[0])
            found.setdefault(peer, []).append(data)
        return found


class Together:
    """All that is there in one system call.

    Raises:
        OSError: the C library has no `recvmmsg`, or it is laid out in another way than on 64-bit Linux.
    """

    def __init__(self, sock: socket.socket) -> None:
        import ctypes

        if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
            raise OSError("no recvmmsg that is known here")
        self._sock = sock
        self._is_unix = sock.family == socket.AF_UNIX
        self._peer = slice(8, 24) if sock.family == socket.AF_INET6 else slice(4, 8)
        self._size_bytes = _UNIX_BYTES if self._is_unix else _UDP_BYTES
        self._slots = _SLOTS // 4 if self._is_unix else _SLOTS
        self.cut = 0
        self._call: Any = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._memmove, self._errno = ctypes.memmove, ctypes.get_errno
        # Of zero pages: only what datagrams fill is ever there.
        self._data = (ctypes.c_char * (self._slots * self._size_bytes))()
        self._names = (ctypes.c_char * (self._slots * _NAME_BYTES))()
        self._controls = (ctypes.c_char * (self._slots * _CONTROL_BYTES))()
        self._vectors = (ctypes.c_uint64 * (self._slots * 2))()
        self._headers = (ctypes.c_uint64 * (self._slots * 8))()
        address = ctypes.addressof
        self._lay_out(
            address(self._data), address(self._names), address(self._controls), address(self._vectors)
        )
        self._fresh = bytes(self._headers)  # the kernel writes lengths into them: put back before each call
        self._view = memoryview(self._data).cast("B")
        self._words = memoryview(self._headers).cast("B").cast("I")

    def _lay_out(self, data: int, names: int, controls: int, vectors: int) -> None:
        for slot in range(self._slots):
            self._vectors[2 * slot] = data + slot * self._size_bytes
            self._vectors[2 * slot + 1] = self._size_bytes
            # name, its length, vector, how many, control, its length, flags; then how much came.
            self._headers[8 * slot : 8 * slot + 8] = [
                0 if self._is_unix else names + slot * _NAME_BYTES, 0 if self._is_unix else _NAME_BYTES,
                vectors + slot * 16, 1,
                controls + slot * _CONTROL_BYTES if self._is_unix else 0, _CONTROL_BYTES if self._is_unix else 0,
                0, 0,
            ]  # fmt: skip

    def receive(self) -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        count = self._call(self._sock.fileno(), self._headers, self._slots, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return found
        view, size_bytes = self._view, self._size_bytes
        lengths = self._words[14 : 16 * count : 16].tolist()
        self.cut += sum([bool(flags & _CUT) for flags in self._words[12 : 16 * count : 16].tolist()])
        peers = self._peers(count)
        start = 0
        for peer, length in zip(peers, lengths, strict=True):
            lines = found.get(peer)
            if lines is None:
                lines = found[peer] = []
            lines.append(bytes(view[start : start + length]))
            start += size_bytes
        self._memmove(self._headers, self._fresh, 64 * count)
        return found

    def _peers(self, count: int) -> list[bytes]:
        if self._is_unix:
            raw = bytes(memoryview(self._controls)[: count * _CONTROL_BYTES])
            # A cmsghdr of 16 bytes, of which the length is the first.
            return [raw[at + 16 : at + 28] for at in range(0, len(raw), _CONTROL_BYTES)]
        raw = bytes(memoryview(self._names)[: count * _NAME_BYTES])
        first, last = self._peer.start, self._peer.stop
        return [raw[at + first : at + last] for at in range(0, len(raw), _NAME_BYTES)]


def host_of(peer: bytes) -> str:
    """The address of a peer of UDP."""
    if len(peer) == 16 and peer.startswith(bytes(10) + b"\xff\xff"):
        peer = peer[12:]
    return socket.inet_ntop(socket.AF_INET if len(peer) == 4 else socket.AF_INET6, peer)


def credentials_of(peer: bytes) -> Credentials | None:
    """Who a peer of a unix socket is; None where the kernel does not say."""
    if len(peer) < _UCRED.size:
        return None
    pid, uid, _ = _UCRED.unpack_from(peer)
    return (pid, uid) if pid > 0 else None


def kernel_drops(inode: int) -> int:
    """How many datagrams the kernel dropped as a UDP socket's buffer was full; 0 where it does not say."""
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[9] == str(inode):
                return int(words[12])
    return 0
