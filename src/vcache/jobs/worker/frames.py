"""Frames over a socket between a worker and a child of it: a length, and plain msgpack. No pickle.

It must not know what they mean.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Final

from vcache.serialize.plain import pack_plain, unpack_plain

__all__ = ["Frames"]

_LENGTH: Final = struct.Struct("<I")


class Frames:
    """One end. Threads: any may send; one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._lock = threading.Lock()  # so that frames do not mix

    def send(self, *fields: object) -> None:
        """Send a list.

        Raises:
            OSError: the other end is gone.
            EncodeError: no plain values.
        """
        data = pack_plain(fields)
        with self._lock:
            self._end.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self) -> list[object] | None:
        """The next list; None when the other end is gone."""
        head = self._exactly(_LENGTH.size)
        data = self._exactly(*_LENGTH.unpack(head)) if head is not None else None
        if data is None:
            return None
        found = unpack_plain(data)
        assert isinstance(found, list)
        return found

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def _exactly(self, size_bytes: int) -> bytes | None:
        data = bytearray()
        while len(data) < size_bytes:
            try:
                piece = self._end.recv(min(size_bytes - len(data), 1 << 20))
            except OSError:
                return None
            if not piece:
                return None
            data += piece
        return bytes(data)
