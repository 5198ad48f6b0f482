"""A record as an action result of Bazel's remote caches, over HTTP and gRPC alike. No I/O.

What is where is normative in docs/design/network.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vcache.entry import FIXED, Key, Record, key_in
from vcache.errors import ConfigError, DecodeError
from vcache.hash import digest, sha256
from vcache.kit.data import NamedTuple
from vcache.store.objects import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from vcache.wire import reapi_pb2

__all__ = [
    "INLINE_BYTES", "PREFIX", "Action", "Blob", "Pieces", "action_of", "blake3_hex", "deleted", "expect_key", "pieces",
    "read", "require", "result_of", "sha256_hex",
]  # fmt: skip

INLINE_BYTES: Final = 32 << 10
"""The longest body that is in the result itself."""
PREFIX: Final = b"vcache\0"
"""Before a key: no tool's own action has such a digest."""


class Blob(NamedTuple):
    """The name of a content in a store of contents.

    Attributes:
        hash: in lower-case hexadecimal.
    """

    hash: str
    size_bytes: int


Action = Blob
"""The name of a result is that of the action which gave it."""


class Pieces(NamedTuple):
    """What a result says of a record: its head and body, each as bytes or by the name of its blob."""

    head: bytes | Blob
    body: bytes | Blob


def require() -> None:
    """Load what all below needs, or say where to get it: for whoever opens such a cache.

    Raises:
        ConfigError: protobuf is missing.
    """
    try:
        from vcache.wire import reapi_pb2  # noqa: F401
    except ImportError:
        raise ConfigError("Bazel's caches need the package protobuf: pip install 'vcache[reapi]'") from None


def sha256_hex(*parts: Buffer) -> str:
    """What most caches name contents by."""
    return sha256(*parts).hex()


def blake3_hex(*parts: Buffer) -> str:
    """What some caches name contents by."""
    return digest(parts[0] if len(parts) == 1 else b"".join(parts)).hex()


def action_of(key: Key, *, hashed: Callable[..., str] = sha256_hex) -> Action:
    """Under which action the record of a key is kept."""
    name = PREFIX + key
    return Blob(hashed(name), len(name))


def result_of(record: Record, *, hashed: Callable[..., str] = sha256_hex) -> tuple[bytes, Blob | None]:
    """The encoded result of a record, and the name under which its body has to be there before.

    None: the body is in the result.
    """
    from vcache.wire import reapi_pb2 as wire

    size = memoryview(record.body).nbytes
    if size <= INLINE_BYTES:
        result = wire.ActionResult(stdout_raw=record.head, stderr_raw=bytes(record.body))
        return result.SerializeToString(), None
    blob = Blob(hashed(record.body), size)
    file = wire.OutputFile(path="body", digest=wire.Digest(hash=blob.hash, size_bytes=size))
    return wire.ActionResult(stdout_raw=record.head, output_files=[file]).SerializeToString(), blob


def deleted() -> bytes:
    """The encoded result that says: there is no record of this key any more."""
    from vcache.wire import reapi_pb2 as wire

    return wire.ActionResult(exit_code=1).SerializeToString()


def read(key: Key, data: bytes) -> Pieces | None:
    """Where a result says that head and body of a key's record are; None of a deleted one.

    Servers move what was inline into blobs, and back: both are understood.

    Raises:
        DecodeError: no result of a record, or another key's.
    """
    from vcache.wire import reapi_pb2 as wire

    try:
        result = wire.ActionResult.FromString(data)
    except Exception as error:  # each implementation of protobuf has an error of its own
        raise DecodeError(f"{len(data)} bytes are no action result: {error}") from None
    return pieces(key, result)


def pieces(key: Key, result: reapi_pb2.ActionResult) -> Pieces | None:
    """As `read`, of a decoded result.

    Raises:
        DecodeError: as `read`.
    """
    if result.exit_code:
        return None
    head = _raw_or_blob(result.stdout_raw, result.stdout_digest)
    if not head:
        raise DecodeError("an action result holds no record")
    if isinstance(head, bytes):
        expect_key(key, head)
    elif not FIXED.size <= head.size_bytes <= MAX_HEAD_BYTES:
        raise DecodeError(f"an action result claims a head of {head.size_bytes} bytes")
    if not result.output_files:
        return Pieces(head, _raw_or_blob(result.stderr_raw, result.stderr_digest))
    file = result.output_files[0]
    if len(result.output_files) > 1 or file.path != "body":
        raise DecodeError("an action result lists other files than a body")
    return Pieces(head, file.contents or Blob(file.digest.hash, file.digest.size_bytes))


def expect_key(key: Key, head: bytes) -> None:
    """Nothing, if a head is that of a key.

    Raises:
        DecodeError: truncated, too large, or another key's.
    """
    if not FIXED.size <= len(head) <= MAX_HEAD_BYTES:
        raise DecodeError(f"a head of {len(head)} bytes")
    if key_in(head) != key:
        raise DecodeError(f"the result is another key's than {key!r:.80}")


def _raw_or_blob(raw: bytes, digest: reapi_pb2.Digest) -> bytes | Blob:
    if raw or not digest.size_bytes:
        return raw
    return Blob(digest.hash, digest.size_bytes)
