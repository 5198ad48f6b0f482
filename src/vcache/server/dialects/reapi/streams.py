"""ByteStream: contents of any length, from any place on; uploads that broke off go on where they were.

An upload lies in memory up to 1 MiB, then in a file beside the store, and is published when its last
byte was seen and its digest is right.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from vcache.hash import Hasher, sha256_hasher
from vcache.serialize.foreign import ZstdSteps, zstd_pieces
from vcache.server import results
from vcache.server.dialects.reapi.calls import Call
from vcache.server.dialects.reapi.names import Resource, parse
from vcache.server.refused import Refusal, Refused
from vcache.server.results import CONTENTS
from vcache.wire import reapi_pb2 as wire

__all__ = ["Streams"]

_PIECE_BYTES: Final = 1 << 20
_IN_MEMORY_BYTES: Final = 1 << 20
_MOST_PARTIAL: Final = 256  # uploads that may go on later
_PARTIAL_BYTES: Final = 4 << 30  # … and take so much together
_PARTIAL_S: Final = 600.0  # … for so long
_Key = tuple[str, str]


class Streams:
    """The service, and the uploads that broke off.

    Args:
        directory: where long uploads lie.
        stall_s: who sends nothing for so long is given up.
    """

    def __init__(
        self, directory: Path, *, stall_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._stall_s = stall_s
        self._clock = clock
        self._lock = threading.Lock()  # guards the next two
        self._partial: dict[_Key, tuple[float, _Upload]] = {}
        self._running: dict[int, tuple[Call, _Pulse]] = {}

    # -- down ------------------------------------------------------------------------------

    def read(self, request: wire.ReadRequest, call: Call) -> Iterator[wire.ReadResponse]:
        """A content, or what is left of it from an offset on, at most so long.

        Raises:
            Refused: it is not there, or has no such place.
        """
        resource = parse(request.resource_name, is_upload=False)
        if request.read_offset < 0 or request.read_limit < 0 or (resource.is_packed and request.read_limit):
            raise Refused(Refusal.MALFORMED, "an offset or limit that makes no sense")
        call.outcome = "miss"
        found = results.content(call.desk.vault, call.caller.namespace, resource.hash)
        if found is None or found.size_bytes != resource.size_bytes:
            raise Refused(Refusal.ABSENT, f"no content {resource.hash}")
        if request.read_offset > found.size_bytes:
            raise Refused(Refusal.RANGE, f"{request.read_offset} is beyond the {found.size_bytes} bytes")
        call.hit(found)
        end = request.read_offset + request.read_limit if request.read_limit else found.size_bytes
        content = found.body[request.read_offset : end]
        pieces = zstd_pieces(content) if resource.is_packed else _pieces(content)
        for piece in pieces:
            call.out_bytes += len(piece)
            yield wire.ReadResponse(data=piece)

    # -- up --------------------------------------------------------------------------------

    def write(self, requests: Iterator[wire.WriteRequest], call: Call) -> wire.WriteResponse:
        """Take a content in.

        Raises:
            Refused: it is not what its name says, or pieces are missing.
        """
        call.caller.require_write()
        pulse = _Pulse(self._clock)
        with self._lock:
            self._running[id(call)] = call, pulse
        try:
            return self._written(_seen(requests, pulse), call)
        finally:
            with self._lock:
                del self._running[id(call)]

    def _written(self, requests: Iterator[wire.WriteRequest], call: Call) -> wire.WriteResponse:
        first = next(requests, None)
        if first is None:
            raise Refused(Refusal.MALFORMED, "an upload without a piece")
        name = first.resource_name
        resource = parse(name, is_upload=True)
        if results.content(call.desk.vault, call.caller.namespace, resource.hash) is not None:
            self._forget((call.caller.namespace, name))
            return wire.WriteResponse(committed_size=-1 if resource.is_packed else resource.size_bytes)
        if resource.size_bytes > call.desk.limit_bytes:
            raise Refused(Refusal.TOO_LARGE, f"at most {call.desk.limit_bytes} bytes are taken")
        call.desk.admit(call.caller, resource.size_bytes)
        key = call.caller.namespace, name
        upload = self._begun(key, resource, first.write_offset)
        is_kept = False
        try:
            try:
                is_whole = _fed(upload, first, requests, call)
            except Refused:
                raise
            except Exception:
                is_kept = upload.received > 0  # the connection broke: it may go on
                raise
            if not is_whole:
                is_kept = upload.received > 0
                return wire.WriteResponse(committed_size=upload.received)
            content = upload.finish()
            kept = call.desk.vault.put(call.caller.namespace, CONTENTS, resource.hash, content)
            call.outcome = "put"
            call.desk.note(call.caller, "put", "reapi", CONTENTS, resource.hash, kept)
            return wire.WriteResponse(committed_size=upload.received)
        finally:
            if is_kept:
                self._put_aside(key, upload)
            else:
                upload.drop()

    def status(self, request: wire.QueryWriteStatusRequest, call: Call) -> wire.QueryWriteStatusResponse:
        """How much of an upload is here; nothing of one that nobody has begun."""
        call.caller.require_write()
        resource = parse(request.resource_name, is_upload=True)
        if results.content(call.desk.vault, call.caller.namespace, resource.hash) is not None:
            return wire.QueryWriteStatusResponse(committed_size=resource.size_bytes, complete=True)
        with self._lock:
            found = self._partial.get((call.caller.namespace, request.resource_name))
        return wire.QueryWriteStatusResponse(committed_size=0 if found is None else found[1].received)

    # -- uploads that broke off ------------------------------------------------------------

    def sweep(self) -> None:
        """Give up who sends nothing any more, and forget uploads that nobody goes on with."""
        now_s = self._clock()
        with self._lock:
            stalled = [call for call, pulse in self._running.values() if now_s - pulse.at_s > self._stall_s]
            old = [key for key, (at_s, _) in self._partial.items() if now_s - at_s > _PARTIAL_S]
            dropped = [self._partial.pop(key)[1] for key in old]
        for call in stalled:
            call.give_up()
        for upload in dropped:
            upload.drop()

    def close(self) -> None:
        """Forget all of them."""
        with self._lock:
            dropped = [upload for _, upload in self._partial.values()]
            self._partial.clear()
        for upload in dropped:
            upload.drop()

    def _begun(self, key: _Key, resource: Resource, offset: int) -> _Upload:
        """A new upload, or one that goes on."""
        with self._lock:
            found = self._partial.pop(key, None)
        if not offset:
            if found is not None:
                found[1].drop()
            return _Upload(resource, self._directory)
        if found is None or found[1].received != offset:
            have = 0 if found is None else found[1].received
            if found is not None:
                self._put_aside(key, found[1])
            raise Refused(Refusal.MALFORMED, f"{have} bytes are here: an upload cannot go on at {offset}")
        return found[1]

    def _put_aside(self, key: _Key, upload: _Upload) -> None:
        dropped: list[_Upload] = []
        with self._lock:
            if key in self._partial:
                dropped.append(self._partial.pop(key)[1])
            self._partial[key] = self._clock(), upload
            size = sum(each.size_bytes for _, each in self._partial.values())
            while len(self._partial) > _MOST_PARTIAL or size > _PARTIAL_BYTES:
                dropped.append(self._partial.pop(next(iter(self._partial)))[1])
                size -= dropped[-1].size_bytes
        for each in dropped:
            each.drop()

    def _forget(self, key: _Key) -> None:
        with self._lock:
            found = self._partial.pop(key, None)
        if found is not None:
            found[1].drop()


class _Pulse:
    """When a piece last came."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.beat()

    def beat(self) -> None:
        self.at_s = self._clock()


def _seen(requests: Iterator[wire.WriteRequest], pulse: _Pulse) -> Iterator[wire.WriteRequest]:
    for request in requests:
        pulse.beat()
        yield request
        pulse.beat()


class _Upload:
    """A content that is coming.

    Attributes:
        received: bytes as they were sent, packed where they are.
        size_bytes: what came, unpacked.
    """

    def __init__(self, resource: Resource, directory: Path) -> None:
        self._resource, self._directory = resource, directory
        self._state = Hasher() if resource.is_blake3 else sha256_hasher()
        self._memory = bytearray()
        self._path: Path | None = None
        self._fd = -1
        self.size_bytes = 0
        self._steps = ZstdSteps(self._take) if resource.is_packed else None
        self.received = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes in.

        Raises:
            Refused: damaged, or more than the name says.
        """
        self.received += len(data)
        if self._steps is None:
            self._take(data)
            return
        try:
            self._steps.update(memoryview(data))
        except ValueError as error:
            raise Refused(Refusal.MALFORMED, f"no sound zstd: {error}") from error

    def finish(self) -> bytes | Path:
        """The whole content, where it is; a file is the caller's from now on.

        Raises:
            Refused: it is not what the name says.
        """
        named = self._resource
        if self._steps is not None and not self._steps.is_between:
            raise Refused(Refusal.MALFORMED, "zstd that was cut off")
        if self.size_bytes != named.size_bytes:
            raise Refused(
                Refusal.MALFORMED, f"{self.size_bytes} bytes came, the name says {named.size_bytes}"
            )
        if self._state.hexdigest() != named.hash:
            raise Refused(Refusal.MALFORMED, f"the content is not {named.hash}")
        if self._path is None:
            return bytes(self._memory)
        self._flush()
        self._close()
        return self._path

    def drop(self) -> None:
        """Leave nothing behind. May be called again, and after a file was taken over."""
        self._close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _take(self, content: bytes) -> None:
        self.size_bytes += len(content)
        if self.size_bytes > self._resource.size_bytes:
            raise Refused(
                Refusal.MALFORMED, f"more than the {self._resource.size_bytes} bytes of the name came"
            )
        self._state.update(content)
        self._memory += content
        if len(self._memory) > _IN_MEMORY_BYTES:
            if self._path is None:
                self._fd, path = tempfile.mkstemp(prefix="upload-", dir=self._directory)
                self._path = Path(path)
            self._flush()

    def _flush(self) -> None:
        rest = memoryview(self._memory)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        rest.release()
        self._memory = bytearray()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _fed(upload: _Upload, first: wire.WriteRequest, rest: Iterator[wire.WriteRequest], call: Call) -> bool:
    """Take all pieces in; whether the last one was among them.

    Raises:
        Refused: a piece that is not the next one.
    """
    piece: wire.WriteRequest | None = first
    while piece is not None:
        if piece.resource_name not in ("", first.resource_name):
            raise Refused(Refusal.MALFORMED, "the resource name changes within an upload")
        if piece.write_offset != upload.received:
            raise Refused(Refusal.MALFORMED, f"a piece for {piece.write_offset} comes at {upload.received}")
        upload.update(piece.data)
        call.in_bytes += len(piece.data)
        if piece.finish_write:
            if next(rest, None) is not None:
                raise Refused(Refusal.MALFORMED, "a piece follows the last one")
            return True
        piece = next(rest, None)
    return False


def _pieces(content: memoryview) -> Iterator[bytes]:
    for start in range(0, content.nbytes, _PIECE_BYTES):
        yield bytes(content[start : start + _PIECE_BYTES])
