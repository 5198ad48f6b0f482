"""Content ⇄ body: compression where it pays, and decompression that nobody can abuse.

It must not know values or codecs. A body declares nothing: its encoding and the content's size
are in the entry's head, and both are believed only as far as the bytes bear them out.

What is chosen, from measurements on one core (CPython 3.11, 1 MB of sources, objects, JSON):
LZ4 stores 0.37 to 0.42 of the content at 700 MB/s and gives it back at 4 GB/s; Zstandard at
level 1 stores 0.21 to 0.28 at 450 MB/s and gives it back at 1.5 GB/s; level 3 takes half as
long again for less than 0.03. At 512 bytes LZ4 saves some 150 bytes and adds 0.4 us to a read.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

from vcache.entry import Encoding
from vcache.errors import DecodeError, UsageError
from vcache.hash import Hasher, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    import zstandard
    from typing_extensions import Buffer

__all__ = ["MAX_RATIO", "Compression", "content_digest", "pack", "unpack"]

Compression = Literal["auto", "never", "lz4", "zstd"]

MAX_RATIO: Final = 255
"""No body stands for more than this many times its bytes (plus a little).

LZ4 cannot do better (a byte of length adds at most 255, lz4_Block_format.md), and Zstandard is
held to it: a content that compresses further is stored as LZ4. So a claim is bounded by the
bytes that come with it, before anything is allocated.
"""

_RATIO_SLACK_BYTES: Final = 1 << 10
_RAW_BYTES: Final = 1 << 10  # up to this, what is saved is not worth the time of a read
_PROBED_BYTES: Final = 64 << 10  # from this, a sample decides whether to try at all
_ZSTD_BYTES: Final = 256 << 10  # from this, fewer bytes outweigh slower reads
_SAMPLES: Final = 4
_SAMPLE_BYTES: Final = 4 << 10
# Samples are short, so that they compress worse than the whole.
_HOPELESS: Final = 0.92
_ZSTD_RATIO: Final = 0.7
_KEPT_RATIO: Final = 0.875  # what saves less than an eighth is stored as it is
_ZSTD_LEVEL: Final = 1
# An LZ4 body is one block up to this content size; beyond, a frame, which can be read in steps.
_BLOCK_BYTES: Final = 1 << 20
_STEP_BYTES: Final = 1 << 20
# Up to this the output is allocated at once; beyond, it grows with what was really produced.
_ONE_SHOT_BYTES: Final = 16 << 20
_MAX_WINDOW_BYTES: Final = 8 << 20  # what every decoder is to support (RFC 8878, 3.1.1.1.2)

_COMPRESSED_ALREADY: Final = (
    b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x89PNG", b"\xff\xd8\xff", b"PK\x03\x04",
    b"\x04\x22\x4d\x18", b"BZh", b"7z\xbc\xaf", b"wOF2",
)  # fmt: skip  # gzip zstd xz png jpeg zip lz4 bzip2 7z woff2

_threads = threading.local()


def pack(
    parts: Sequence[Buffer], size_bytes: int, *, compress: Compression = "auto"
) -> tuple[Encoding, Buffer]:
    """The body of a content and how it is encoded. A single piece that stays raw is not copied.

    Args:
        parts: the content, in pieces.
        size_bytes: their length together.
        compress: "auto" tries where it may pay; a named one is always tried, and kept
            whenever it makes the body smaller.

    Raises:
        UsageError: there is no such compression.
    """
    content = parts[0] if len(parts) == 1 else b"".join(parts)
    if compress == "never" or (compress == "auto" and size_bytes <= _RAW_BYTES):
        return Encoding.IDENTITY, content
    if compress == "auto":
        encoding, limit_bytes = _choice(memoryview(content)), int(size_bytes * _KEPT_RATIO)
    elif compress in ("lz4", "zstd"):
        encoding, limit_bytes = Encoding[compress.upper()], size_bytes - 1
    else:
        raise UsageError(f"no compression {compress!r}: use auto, never, lz4 or zstd")
    if encoding is Encoding.ZSTD:
        body = _tools().compressor.compress(memoryview(content))
        if _is_plausible(size_bytes, len(body)):
            return (encoding, body) if len(body) <= limit_bytes else (Encoding.IDENTITY, content)
        encoding = Encoding.LZ4
    if encoding is Encoding.LZ4:
        body = _lz4(content, size_bytes)
        if len(body) <= limit_bytes:
            return encoding, body
    return Encoding.IDENTITY, content


def _choice(content: memoryview) -> Encoding:
    """What to try on a content, by its first bytes and, if it is large, by samples of it."""
    size_bytes = content.nbytes
    if bytes(content[:6]).startswith(_COMPRESSED_ALREADY):
        return Encoding.IDENTITY
    if size_bytes < _PROBED_BYTES:
        return Encoding.LZ4
    stride = (size_bytes - _SAMPLE_BYTES) // (_SAMPLES - 1)
    starts = (n * stride for n in range(_SAMPLES))
    sample = b"".join(content[start : start + _SAMPLE_BYTES] for start in starts)
    ratio = len(_lz4(sample, len(sample))) / len(sample)
    if ratio > _HOPELESS:
        return Encoding.IDENTITY
    return Encoding.ZSTD if size_bytes >= _ZSTD_BYTES and ratio <= _ZSTD_RATIO else Encoding.LZ4


def _lz4(content: Buffer, size_bytes: int) -> bytes:
    if size_bytes <= _BLOCK_BYTES:
        return bytes(_lz4_block().compress(content, store_size=False))
    frame = _lz4_frame()
    return bytes(frame.compress(content, block_size=frame.BLOCKSIZE_MAX256KB, store_size=False))


def unpack(encoding: Encoding, body: Buffer, *, size_bytes: int) -> Buffer:
    """The content of a body. An IDENTITY body is given back as it is.

    Memory is bounded by the body before it is bounded by the claim: nothing is allocated for
    a claim that the body cannot meet, and a large content grows with what is really there.

    Raises:
        DecodeError: the body is damaged, or its content is not of the claimed size.
    """
    body_bytes = len(body) if type(body) is bytes else memoryview(body).nbytes
    if encoding is Encoding.IDENTITY:
        if body_bytes != size_bytes:
            raise DecodeError(f"a body of {body_bytes} bytes claims {size_bytes}")
        return body
    _require_plausible(size_bytes, body_bytes)
    reader = _read_lz4 if encoding is Encoding.LZ4 else _read_zstd
    try:
        content = reader(body, size_bytes)
    except DecodeError:
        raise
    except Exception as error:  # each library refuses bytes with errors of its own
        raise _unread(encoding, body_bytes, error) from None
    if len(content) != size_bytes:
        raise DecodeError(f"a body claims {size_bytes} bytes and holds {len(content)} or more")
    return content


def content_digest(encoding: Encoding, body: Buffer, *, size_bytes: int) -> bytes:
    """The BLAKE3 of a body's content, of which no more than a part is in memory at any time.

    Raises:
        DecodeError: as `unpack`.
    """
    if encoding is Encoding.IDENTITY or size_bytes <= _ONE_SHOT_BYTES:
        return digest(unpack(encoding, body, size_bytes=size_bytes))
    body_bytes = memoryview(body).nbytes
    _require_plausible(size_bytes, body_bytes)
    steps = _lz4_steps if encoding is Encoding.LZ4 else _zstd_steps
    hasher, seen_bytes = Hasher(), 0
    try:
        for step in steps(body, size_bytes):
            seen_bytes += len(step)
            hasher.update(step)
    except DecodeError:
        raise
    except Exception as error:
        raise _unread(encoding, body_bytes, error) from None
    if seen_bytes != size_bytes:
        raise DecodeError(f"a body claims {size_bytes} bytes and holds {seen_bytes} or more")
    return hasher.digest()


def _unread(encoding: Encoding, body_bytes: int, error: Exception) -> DecodeError:
    return DecodeError(f"a body of {body_bytes} bytes is no {encoding.name}: {error}")


def _require_plausible(size_bytes: int, body_bytes: int) -> None:
    if not _is_plausible(size_bytes, body_bytes):
        raise DecodeError(f"a body of {body_bytes} bytes cannot hold the {size_bytes} bytes it claims")


def _is_plausible(size_bytes: int, body_bytes: int) -> bool:
    return 0 <= size_bytes <= body_bytes * MAX_RATIO + _RATIO_SLACK_BYTES


def _read_lz4(body: Buffer, size_bytes: int) -> bytes | memoryview:
    if size_bytes <= _BLOCK_BYTES:
        return bytes(_lz4_block().decompress(body, uncompressed_size=size_bytes))
    return _joined(_lz4_steps(body, size_bytes))


def _lz4_steps(body: Buffer, size_bytes: int) -> Iterator[bytes]:
    """The content of a frame, and little more than so many bytes of it."""
    reader = _lz4_frame().LZ4FrameDecompressor()
    step: bytes = reader.decompress(body, _STEP_BYTES)
    seen_bytes = len(step)
    yield step
    while not reader.eof and seen_bytes <= size_bytes:
        step = reader.decompress(b"", _STEP_BYTES)
        if not step and reader.needs_input:
            raise DecodeError(f"an LZ4 frame ends after {seen_bytes} of {size_bytes} bytes")
        seen_bytes += len(step)
        yield step
    if reader.unused_data:
        raise DecodeError(f"{len(reader.unused_data)} bytes follow an LZ4 frame")


def _read_zstd(body: Buffer, size_bytes: int) -> bytes | memoryview:
    if size_bytes > _ONE_SHOT_BYTES:
        return _joined(_zstd_steps(body, size_bytes))
    _require_zstd(body, size_bytes)
    return bytes(_tools().decompressor.decompress(memoryview(body), allow_extra_data=False))


def _zstd_steps(body: Buffer, size_bytes: int) -> Iterator[bytes]:
    """The content of a frame, and little more than so many bytes of it."""
    _require_zstd(body, size_bytes)
    seen_bytes = 0
    # Across frames: what follows the first one would otherwise go unseen.
    with _tools().decompressor.stream_reader(memoryview(body), read_across_frames=True) as reader:
        while seen_bytes <= size_bytes and (step := reader.read(_STEP_BYTES)):
            seen_bytes += len(step)
            yield step


def _require_zstd(body: Buffer, size_bytes: int) -> None:
    if size_bytes != _tools().content_size(body):
        raise DecodeError(f"a Zstandard frame does not hold the {size_bytes} bytes that are claimed")


def _joined(steps: Iterator[bytes]) -> memoryview:
    content = bytearray()  # it grows with what is really there
    for step in steps:
        content += step
    return memoryview(content).toreadonly()


# 5 ms each, cold: only who stores or reads a compressed body pays. Cached, for an import
# statement in a function costs as much as reading 4 KB.
@cache
def _lz4_block() -> ModuleType:
    from lz4 import block

    return block  # type: ignore[no-any-return]


@cache
def _lz4_frame() -> ModuleType:
    from lz4 import frame

    return frame  # type: ignore[no-any-return]


class _Tools:
    """Zstandard's contexts, kept per thread: making one costs more than a small content."""

    def __init__(self) -> None:
        import zstandard  # 15 ms cold: only who stores or reads such a body pays

        self.compressor: zstandard.ZstdCompressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        self._frame_content_size = zstandard.frame_content_size

    def content_size(self, body: Buffer) -> int:
        """What a frame says of its content's size; negative when it does not."""
        return int(self._frame_content_size(memoryview(body)))


def _tools() -> _Tools:
    found: _Tools | None = getattr(_threads, "tools", None)
    if found is None:
        found = _threads.tools = _Tools()
    return found
