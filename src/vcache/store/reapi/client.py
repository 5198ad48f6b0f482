"""Calls of a REAPI server: one channel, deadlines, and what each failure means to a store.

It knows messages and statuses, and nothing of records. The sole caller of grpc in this room.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vcache.errors import StoreClosed, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from vcache.kit.data import dataclass
from vcache.kit.deadlines import left_s
from vcache.store.reapi.forks import GATE

# Read once, when gRPC starts. Without the first a forked child hangs in its first call, whatever
# deadline it has; without the second its core writes notes about forks to stderr. Commands that are
# started from here do not inherit either.
_SETTINGS: Final = {"GRPC_ENABLE_FORK_SUPPORT": "1", "GRPC_VERBOSITY": "NONE"}
_set: Final = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
os.environ.update(_set)
try:
    import grpc

    grpc.insecure_channel("127.0.0.1:1").close()  # starts its core: nothing is connected
finally:
    for _name in _set:
        del os.environ[_name]

from vcache.wire import reapi_pb2 as wire  # noqa: E402 - grpc comes first, with its settings

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["MESSAGE_BYTES", "Client", "Method", "Target"]

M = TypeVar("M", bound="Message")

MESSAGE_BYTES: Final = (4 << 20) - (64 << 10)
"""The most that fits into one message of a server that was not told otherwise."""
_LONGEST_S: Final = 60.0
_WINDOW: Final = 128  # calls at once: servers allow some 100 streams to a connection
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 32 << 20),
    ("grpc.max_send_message_length", 32 << 20),
    ("grpc.enable_retries", 0),  # who tries again is the guard
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.primary_user_agent", "vcache"),
    # Stores of one address have connections of their own: one that is closed takes no other along.
    ("grpc.use_local_subchannel_pool", 1),
)
_SERVICE: Final = "/build.bazel.remote.execution.v2."


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the server, and what comes back."""

    path: str
    answer: type[Message]
    is_stream: bool = False  # the answer
    is_upload: bool = False  # the request is a stream


CAPABILITIES: Final = Method(_SERVICE + "Capabilities/GetCapabilities", wire.ServerCapabilities)
GET_RESULT: Final = Method(_SERVICE + "ActionCache/GetActionResult", wire.ActionResult)
UPDATE_RESULT: Final = Method(_SERVICE + "ActionCache/UpdateActionResult", wire.ActionResult)
_CAS: Final = _SERVICE + "ContentAddressableStorage/"
FIND_MISSING: Final = Method(_CAS + "FindMissingBlobs", wire.FindMissingBlobsResponse)
BATCH_UPDATE: Final = Method(_CAS + "BatchUpdateBlobs", wire.BatchUpdateBlobsResponse)
BATCH_READ: Final = Method(_CAS + "BatchReadBlobs", wire.BatchReadBlobsResponse)
READ: Final = Method("/google.bytestream.ByteStream/Read", wire.ReadResponse, is_stream=True)
WRITE: Final = Method("/google.bytestream.ByteStream/Write", wire.WriteResponse, is_upload=True)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is, and who asks.

    Attributes:
        address: host and port.
        shown: the address in messages, without secrets.
        is_tls: speak TLS; `ca`, `cert` and `key` are PEM.
        authorization: the value of that header, or empty.
        remedy: what to do where that is refused.
    """

    address: str
    shown: str
    is_tls: bool = False
    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    authorization: str = ""
    remedy: str = ""


class Client:
    """Calls a server.

    Threads: all operations. A forked child has a connection of its own; see `forks`.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._metadata = (("authorization", target.authorization),) if target.authorization else None
        self._lock = threading.Lock()  # guards the next three
        self._channel: grpc.Channel | None = None
        self._forks = -1
        self._callables: dict[str, Callable[..., Any]] = {}
        self._left: list[grpc.Channel] = []
        self._is_closed = False

    def call(self, method: Method, request: Message, answer: type[M]) -> M:
        """The answer to one request.

        Raises:
            StoreError: no answer, or a refusal; KeyError: the server says that it is not there.
        """
        with GATE, self._faults(method):
            given: M = self._of(method)(request, timeout=left_s(_LONGEST_S), metadata=self._metadata)
            return given

    def call_many(self, method: Method, requests: Sequence[Message], answer: type[M]) -> Iterator[M | None]:
        """The answers to requests that are under way together, in order; None where it is not there.

        Raises:
            StoreError: as `call`; the rest are given up.
        """
        for start in range(0, len(requests), _WINDOW):
            yield from self._window(method, requests[start : start + _WINDOW])

    def _window(self, method: Method, requests: Sequence[Message]) -> list[Any]:
        answers: list[Any] = []
        with GATE:
            futures: list[Any] = []
            try:
                with self._faults(method):
                    ask = self._of(method).future  # type: ignore[attr-defined]
                    timeout_s = left_s(_LONGEST_S)
                    for request in requests:
                        futures.append(ask(request, timeout=timeout_s, metadata=self._metadata))  # noqa: PERF401 - what began is cancelled below
                for future in futures:
                    try:
                        with self._faults(method):
                            answers.append(future.result())
                    except KeyError:
                        answers.append(None)
            finally:
                for future in futures[len(answers) :]:
                    future.cancel()
        return answers

    def read(self, resource: str, size_bytes: int) -> bytes:
        """A content as a stream of pieces, put together.

        Raises:
            StoreError: as `call`, or it is not of that size; KeyError: it is not there.
        """
        request = wire.ReadRequest(resource_name=resource)
        content = bytearray()
        with GATE, self._faults(READ):
            call = self._of(READ)(request, timeout=left_s(_LONGEST_S), metadata=self._metadata)
            try:
                for piece in call:
                    content += piece.data
                    if len(content) > size_bytes:
                        break
            finally:
                call.cancel()
        if len(content) != size_bytes:
            raise StoreUnavailable(
                f"{self._target.shown}: {resource} has {len(content)} bytes, or more, and not {size_bytes}"
            )
        return bytes(content)

    def write(self, requests: Iterable[wire.WriteRequest]) -> int:
        """Send a content in pieces; how much of it the server has.

        Raises:
            StoreError: as `call`.
        """
        with GATE, self._faults(WRITE):
            answer = self._of(WRITE)(requests, timeout=left_s(_LONGEST_S), metadata=self._metadata)
            return int(answer.committed_size)

    def close(self) -> None:
        """Close the connection. May be called again."""
        with self._lock:
            self._is_closed = True
            channel, self._channel = self._channel, None
            self._callables = {}
        if channel is not None and self._forks == GATE.forks:
            channel.close()

    # -- inside ----------------------------------------------------------------------------

    def _of(self, method: Method) -> Callable[..., Any]:
        if self._is_closed:
            raise StoreClosed(f"the store {self._target.shown} was closed")
        if GATE.is_spoiled:
            raise StoreError(f"{self._target.shown}: this process was forked in the middle of a call of gRPC")
        with self._lock:
            if self._channel is None or self._forks != GATE.forks:
                if self._channel is not None:
                    self._left.append(self._channel)  # the parent's: neither used nor closed here
                self._channel, self._forks, self._callables = self._opened(), GATE.forks, {}
            found = self._callables.get(method.path)
            if found is None:
                found = self._callables[method.path] = _callable(self._channel, method)
            return found

    def _opened(self) -> grpc.Channel:
        target = self._target
        if not target.is_tls:
            return grpc.insecure_channel(target.address, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(target.ca, target.key, target.cert)
        return grpc.secure_channel(target.address, credentials, options=_OPTIONS)

    @contextmanager
    def _faults(self, method: Method) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._meaning(method, error) from None
        except ValueError as error:  # "Cannot invoke RPC on closed channel!"
            if self._is_closed:
                raise StoreClosed(f"the store {self._target.shown} was closed") from None
            raise StoreUnavailable(f"{self._target.shown}: {error}") from error

    def _meaning(self, method: Method, error: Any) -> Exception:
        code, details = error.code(), str(error.details() or "")
        name = method.path.rpartition("/")[2]
        said = f"{self._target.shown}: {name}: {code.name}: {details[:300]}"
        kind = grpc.StatusCode
        is_write = method in (UPDATE_RESULT, BATCH_UPDATE, WRITE)
        if self._is_closed:
            return StoreClosed(f"the store {self._target.shown} was closed")
        if code is kind.NOT_FOUND and not is_write:
            return KeyError(said)
        if code is kind.RESOURCE_EXHAUSTED:
            return StoreFull(said) if is_write else StoreUnavailable(said)
        if code is kind.PERMISSION_DENIED and is_write:
            return StoreReadOnly(f"{said}; {self._target.remedy}")
        if code in (kind.UNAUTHENTICATED, kind.PERMISSION_DENIED):
            return StoreError(f"{said}; {self._target.remedy}")
        if code in (
            kind.NOT_FOUND, kind.UNIMPLEMENTED, kind.INVALID_ARGUMENT, kind.FAILED_PRECONDITION,
            kind.OUT_OF_RANGE, kind.ALREADY_EXISTS, kind.DATA_LOSS,
        ):  # fmt: skip
            return StoreError(said)
        return StoreUnavailable(said)


def _callable(channel: grpc.Channel, method: Method) -> Callable[..., Any]:
    make: Any = channel.unary_unary
    if method.is_stream:
        make = channel.unary_stream
    elif method.is_upload:
        make = channel.stream_unary
    made: Callable[..., Any] = make(
        method.path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=method.answer.FromString,
    )
    return made
