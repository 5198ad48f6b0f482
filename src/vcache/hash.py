"""Every hash function vcache uses, each for one purpose.

BLAKE3 names content: whatever crosses a trust boundary is identified by it. xxh3 finds
accidents inside a local tier and places keys in the index. The others exist for foreign
formats only. No other module imports these libraries.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import xxhash
from blake3 import blake3

from vcache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from hashlib import _Hash as Sha256
    from pathlib import Path

    from typing_extensions import Buffer

__all__ = [
    "DIGEST_BYTES",
    "Hasher",
    "adler32",
    "checksum",
    "checksum_parts",
    "crc32",
    "digest",
    "file_digest",
    "frame_checksum",
    "md5",
    "murmur3",
    "placement",
    "sha256",
    "sha256_hasher",
    "threads_for",
]

DIGEST_BYTES = 32

# Threads pay from about 32 MB on two cores (benchmarks/results: hash); below, they cost more than
# they give.
_THREADED_BYTES = 32 << 20
# Below this a plain read beats setting up a mapping.
_MAPPED_BYTES = 128 << 10

Hasher = blake3
"""An incremental BLAKE3: `update(buffer)`, `digest()`, `hexdigest()`."""

checksum: Callable[[Buffer], bytes] = xxhash.xxh3_128_digest
"""The 16-byte xxh3-128 of a buffer: finds every accident, stops no attacker."""

placement: Callable[[Buffer], int] = xxhash.xxh3_64_intdigest
"""The 64-bit xxh3 of a buffer as an int: where a key lives in an index."""

frame_checksum: Callable[[Buffer, int], bytes] = xxhash.xxh3_64_digest
"""The 8-byte xxh3-64 of a buffer that begins at a position, which is the seed: found elsewhere, it does not hold."""


def checksum_parts(parts: Iterable[Buffer]) -> bytes:
    """The checksum of several buffers as if they were one."""
    state = xxhash.xxh3_128()
    for part in parts:
        state.update(part)
    return state.digest()


def digest(data: Buffer) -> bytes:
    """The 32-byte BLAKE3 of a buffer."""
    size = len(data) if type(data) is bytes else memoryview(data).nbytes
    if size >= _THREADED_BYTES:
        return blake3(data, max_threads=threads_for(size)).digest()
    return blake3(data).digest()


def threads_for(size_bytes: int, *, least_bytes: int = _THREADED_BYTES) -> int:
    """With how many threads a `Hasher` hashes so many bytes best: its `max_threads`.

    Args:
        least_bytes: from where on more than one pays for who asks.

    The threads belong to the process that used them first. A fork of it has none of them, and would
    wait for them for ever.
    """
    global _threads_of
    if size_bytes < least_bytes:
        return 1
    if _threads_of is None:
        _threads_of = os.getpid()
    return blake3.AUTO if _threads_of == os.getpid() else 1


_threads_of: int | None = None


def file_digest(path: Path | str, *, size_bytes: int) -> bytes:
    """The 32-byte BLAKE3 of a file's content.

    Args:
        path: a regular file.
        size_bytes: its expected size; it only chooses between reading and mapping.

    Raises:
        OSError: the file cannot be opened or read.
    """
    if size_bytes < _MAPPED_BYTES:
        with open(path, "rb", buffering=0) as file:
            return blake3(file.read()).digest()
    return blake3(max_threads=threads_for(size_bytes)).update_mmap(path).digest()


def sha256(*parts: Buffer) -> bytes:
    """The 32-byte SHA-256 of several buffers as if they were one, as Bazel and AWS use it."""
    from hashlib import sha256  # 1 ms, for foreign formats

    state = sha256()
    for part in parts:
        state.update(part)
    return state.digest()


def sha256_hasher() -> Sha256:
    """An incremental SHA-256, with the methods of a `Hasher`."""
    from hashlib import sha256

    return sha256()


def md5(*parts: Buffer) -> bytes:
    """The 16-byte MD5 of several buffers as if they were one, as the ETags of S3 use it."""
    from hashlib import md5

    state = md5(usedforsecurity=False)
    for part in parts:
        state.update(part)
    return state.digest()


def crc32(data: Buffer) -> int:
    """CRC-32 as in zlib and gzip (RFC 1952)."""
    import zlib  # 0.3 ms, for foreign formats

    return zlib.crc32(data)


def adler32(data: Buffer) -> int:
    """Adler-32 as in zlib (RFC 1950)."""
    import zlib

    return zlib.adler32(data)


def murmur3(data: Buffer, *, seed: int = 0) -> int:
    """MurmurHash3 x86-32 as an unsigned int, as ninja-like and Kafka-like formats use it.

    Source: A. Appleby, SMHasher, MurmurHash3.cpp (public domain description).
    """
    try:
        import mmh3  # a foreign format's hash: loaded only by who reads that format
    except ImportError:
        raise ConfigError("murmur3 needs the package mmh3: pip install 'vcache[murmur3]'") from None

    return mmh3.hash(bytes(data), seed, signed=False)
