"""The gRPC listener: services by their names, a pool of threads, and a sweep of who stalls."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc

from vcache.errors import StoreUnavailable
from vcache.server.counts import Slot
from vcache.server.dialects.reapi import actions, contents
from vcache.server.dialects.reapi.calls import Authenticator, Call, Reception
from vcache.server.dialects.reapi.streams import Streams
from vcache.server.exchange import Desk
from vcache.server.refused import Refusal, Refused
from vcache.wire import reapi_pb2 as wire

__all__ = ["Listener", "start"]

_V2: Final = "/build.bazel.remote.execution.v2."
_STREAM: Final = "/google.bytestream.ByteStream/"
_HEALTH: Final = "/grpc.health.v1.Health/"
_SERVICES: Final = frozenset(
    {
        "",
        "build.bazel.remote.execution.v2.Capabilities",
        "build.bazel.remote.execution.v2.ActionCache",
        "build.bazel.remote.execution.v2.ContentAddressableStorage",
        "google.bytestream.ByteStream",
    }
)
# A call holds a thread while its client sends or takes; a thread that waits costs next to nothing.
_THREADS: Final = 64
_WAITING: Final = 1024  # calls that wait for a thread; more are refused as RESOURCE_EXHAUSTED
_MESSAGE_BYTES: Final = (4 << 20) + (128 << 10)
_SWEEP_S: Final = 2.0
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # two servers on one port would share the calls
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


def start(
    address: str,
    desk: Desk,
    authenticator: Authenticator,
    *,
    counts: Slot | None = None,
    cert: Path | None = None,
    key: Path | None = None,
) -> Listener:
    """Listen: `host:port`, port 0 for any, or `unix:/path`.

    Args:
        counts: what is counted.
        cert, key: PEM files, for TLS.

    Raises:
        StoreUnavailable: the address cannot be listened at.
        OSError: a file cannot be read.
    """
    streams = Streams(desk.directory)
    table = _table(Reception(desk, authenticator, counts or Slot()), streams)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="vcache-grpc")
    server = grpc.server(
        pool, handlers=[_Services(table)], options=_OPTIONS, maximum_concurrent_rpcs=_THREADS + _WAITING
    )
    identity = None if cert is None or key is None else _Identity(cert, key)
    try:
        if identity is None:
            port = server.add_insecure_port(address)
        else:
            credentials = grpc.dynamic_ssl_server_credentials(identity.now, lambda: identity.now)
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise StoreUnavailable(f"cannot listen at {address}: {error}") from error
    server.start()
    return Listener(server, streams, port, identity)


class _Identity:
    """The certificate that the next handshake shows."""

    def __init__(self, cert: Path, key: Path) -> None:
        self.load(cert, key)

    def load(self, cert: Path, key: Path) -> None:
        """Show another one from now on.

        Raises:
            OSError: a file cannot be read.
        """
        self.now = grpc.ssl_server_certificate_configuration([(key.read_bytes(), cert.read_bytes())])


class Listener:
    """A server that runs.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self, server: grpc.Server, streams: Streams, port: int, identity: _Identity | None = None
    ) -> None:
        self._server, self._streams, self._identity = server, streams, identity
        self.port = port
        self._ended = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="vcache-grpc-sweep", daemon=True)
        self._sweeper.start()

    def reload(self, cert: Path, key: Path) -> None:
        """Show another certificate to who connects from now on; nothing where there is no TLS.

        Raises:
            OSError: a file cannot be read.
        """
        if self._identity is not None:
            self._identity.load(cert, key)

    def stop(self, grace_s: float) -> None:
        """Take no more calls, finish those under way for so long, end. May be called again."""
        self._server.stop(grace_s).wait()
        self._ended.set()
        self._sweeper.join()
        self._streams.close()

    def _sweep(self) -> None:
        while not self._ended.wait(_SWEEP_S):
            self._streams.sweep()


class _Services(grpc.GenericRpcHandler):
    """Finds methods by their full names."""

    def __init__(self, table: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._table = table

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a method; None for one that is not served."""
        return self._table.get(handler_call_details.method)


def _table(reception: Reception, streams: Streams) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    unary, cas = reception.unary, _V2 + "ContentAddressableStorage/"
    return {
        _V2 + "Capabilities/GetCapabilities": unary(
            actions.capabilities, wire.GetCapabilitiesRequest, is_open=True
        ),
        _V2 + "ActionCache/GetActionResult": unary(actions.get_result, wire.GetActionResultRequest),
        _V2 + "ActionCache/UpdateActionResult": unary(actions.update_result, wire.UpdateActionResultRequest),
        cas + "FindMissingBlobs": unary(contents.find_missing, wire.FindMissingBlobsRequest),
        cas + "BatchUpdateBlobs": unary(contents.batch_update, wire.BatchUpdateBlobsRequest),
        cas + "BatchReadBlobs": unary(contents.batch_read, wire.BatchReadBlobsRequest),
        cas + "GetTree": reception.download(contents.get_tree, wire.GetTreeRequest),
        _STREAM + "Read": reception.download(streams.read, wire.ReadRequest),
        _STREAM + "Write": reception.upload(streams.write, wire.WriteRequest),
        _STREAM + "QueryWriteStatus": unary(streams.status, wire.QueryWriteStatusRequest),
        _HEALTH + "Check": unary(_health, wire.HealthCheckRequest, is_open=True),
    }


def _health(request: wire.HealthCheckRequest, _: Call) -> wire.HealthCheckResponse:
    """Serving, for as long as there is anybody to say so."""
    if request.service not in _SERVICES:
        raise Refused(Refusal.ABSENT, f"no service {request.service!r:.100}")
    return wire.HealthCheckResponse(status=wire.HealthCheckResponse.SERVING)
