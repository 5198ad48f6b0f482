from __future__ import annotations

import gzip
import random
import threading
import tracemalloc

import lz4.frame
import pytest
import zstandard
from typing_extensions import Buffer

from vcache.entry import Encoding
from vcache.errors import DecodeError, UsageError
from vcache.serialize import MAX_RATIO, pack, unpack

MIB = 1 << 20
CLAIM = 1_000_000_000
NOISE = random.Random(1).randbytes(4 * MIB)
WORDS = [f"symbol_{n * 7919 % 3001} = {n};\n".encode() for n in range(4000)]
TEXT = b"".join(random.Random(2).choices(WORDS, k=60_000))


def both_ways(content: bytes, compress="auto") -> tuple[Encoding, int]:
    encoding, body = pack([content], len(content), compress=compress)
    assert bytes(unpack(encoding, body, size_bytes=len(content))) == content
    return encoding, memoryview(body).nbytes


@pytest.mark.parametrize("compress", ["auto", "never", "lz4", "zstd"])
@pytest.mark.parametrize("size", [0, 1, 511, 1024, 1025, 65_536, 300_000, MIB, MIB + 1])
@pytest.mark.parametrize("source", [TEXT, NOISE, bytes(2 * MIB)], ids=["text", "noise", "zeros"])
def test_content_comes_back(source, size, compress):
    """Whatever the content and the compression, unpack gives back what was packed."""
    _, body_bytes = both_ways(source[:size], compress)
    assert body_bytes <= size


def test_large_content_comes_back_in_steps():
    """A content beyond what is read at once comes back, from LZ4 and from Zstandard."""
    content = TEXT * 16
    assert len(content) > 16 * MIB
    assert both_ways(content, "lz4")[0] is Encoding.LZ4
    assert both_ways(content, "zstd")[0] is Encoding.ZSTD


def test_what_auto_chooses():
    """Tiny and random data stay raw, small text is LZ4, large text is Zstandard."""
    assert both_ways(TEXT[:1024])[0] is Encoding.IDENTITY
    assert both_ways(NOISE[:8192])[0] is Encoding.IDENTITY
    assert both_ways(NOISE)[0] is Encoding.IDENTITY
    assert both_ways(TEXT[:8192])[0] is Encoding.LZ4
    assert both_ways(TEXT[:200_000])[0] is Encoding.LZ4
    assert both_ways(TEXT[:600_000])[0] is Encoding.ZSTD


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(b""), zstandard.compress(b""), lz4.frame.compress(b"")],
    ids=["gzip", "zstd", "lz4"],
)
def test_compressed_files_are_not_tried(packed):
    """Content that starts like a compressed file stays raw, even if it could be compressed."""
    assert both_ways(packed + bytes(100_000))[0] is Encoding.IDENTITY


def test_a_single_raw_piece_is_not_copied():
    """A raw content of one piece is handed through as the same object."""
    encoding, body = pack([NOISE], len(NOISE))
    assert encoding is Encoding.IDENTITY
    assert body is NOISE
    assert unpack(encoding, body, size_bytes=len(NOISE)) is NOISE


def test_pieces_are_joined_in_order():
    """A content in pieces is the pieces one after the other, of whatever buffer type."""
    parts: list[Buffer] = [b"ab", bytearray(b"cd"), memoryview(b"ef")]
    encoding, body = pack(parts, 6)
    assert bytes(unpack(encoding, body, size_bytes=6)) == b"abcdef"


def test_an_unknown_compression_is_refused():
    """A compression that does not exist is misuse, shown with its value."""
    with pytest.raises(UsageError, match="brotli"):
        pack([bytes(10)], 10, compress="brotli")  # type: ignore[arg-type]


def test_no_body_stands_for_more_than_the_ratio():
    """What Zstandard compresses beyond the ratio is stored as LZ4, so that it can be read."""
    encoding, body_bytes = both_ways(bytes(8 * MIB), "zstd")
    assert encoding is Encoding.LZ4
    assert body_bytes * MAX_RATIO + 1024 >= 8 * MIB


@pytest.fixture(scope="module")
def zstd_that_lies() -> bytes:
    """A frame whose header declares 1 GB, over blocks that hold 4 MB."""
    honest = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(NOISE)
    parameters = zstandard.get_frame_parameters(honest)
    assert parameters.content_size == zstandard.CONTENTSIZE_UNKNOWN
    descriptor = honest[4]
    assert not descriptor & 0x20  # not a single segment: a window byte follows
    # RFC 8878, 3.1.1.1: the top two bits of the descriptor say how long the content size is.
    return honest[:4] + bytes([descriptor | 0xC0, honest[5]]) + CLAIM.to_bytes(8, "little") + honest[6:]


@pytest.mark.parametrize(
    "kind", ["lz4 short", "lz4 noise", "lz4 too long", "zstd noise", "zstd short", "zstd lies"]
)
def test_four_megabytes_that_claim_a_gigabyte(kind, zstd_that_lies):
    """A 4 MB body that claims 1 GB is refused, and memory stays near what is really there."""
    bodies = {
        "lz4 short": (Encoding.LZ4, lz4.frame.compress(NOISE, store_size=False)),
        "lz4 noise": (Encoding.LZ4, NOISE),
        "lz4 too long": (Encoding.LZ4, lz4.frame.compress(bytes(8 * MIB), store_size=False) + NOISE),
        "zstd noise": (Encoding.ZSTD, NOISE),
        "zstd short": (Encoding.ZSTD, zstandard.compress(NOISE, 1)),
        "zstd lies": (Encoding.ZSTD, zstd_that_lies),
    }
    encoding, body = bodies[kind]
    assert len(body) * MAX_RATIO >= CLAIM  # the claim is possible: only reading can tell
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            unpack(encoding, body, size_bytes=CLAIM)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40 * MIB


@pytest.mark.parametrize("encoding", [Encoding.LZ4, Encoding.ZSTD])
@pytest.mark.parametrize("claim", [-1, 10_000 * MAX_RATIO + 1025, 1 << 30, 1 << 63])
def test_impossible_claims_are_refused_at_once(encoding, claim):
    """A claim beyond the ratio is refused before anything is allocated or read."""
    with pytest.raises(DecodeError, match="cannot hold"):
        unpack(encoding, bytes(10_000), size_bytes=claim)


@pytest.mark.parametrize("compress", ["lz4", "zstd", "never"])
@pytest.mark.parametrize("size", [5000, 2 * MIB])
@pytest.mark.parametrize("off_by", [-1000, -1, 1, 1000])
def test_a_wrong_size_is_refused(compress, size, off_by):
    """A body whose content is shorter or longer than claimed is refused."""
    encoding, body = pack([TEXT[:size]], len(TEXT[:size]), compress=compress)
    with pytest.raises(DecodeError):
        unpack(encoding, body, size_bytes=len(TEXT[:size]) + off_by)


@pytest.mark.parametrize("compress", ["lz4", "zstd"])
@pytest.mark.parametrize("size", [5000, 1_500_000])
def test_a_damaged_body_never_escapes(compress, size):
    """A body that is cut or changed anywhere gives DecodeError or other bytes, nothing else."""
    content = TEXT[:size]
    encoding, packed = pack([content], len(content), compress=compress)
    body = bytes(packed)
    chance = random.Random(3)
    for _ in range(60):
        damaged = bytearray(body)
        damaged[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        for candidate in (bytes(damaged), body[: chance.randrange(len(body))]):
            try:
                found = unpack(encoding, candidate, size_bytes=len(content))
            except DecodeError:
                continue
            assert len(memoryview(found)) == len(content)
    with pytest.raises(DecodeError):
        unpack(encoding, body[:-1], size_bytes=len(content))


def test_what_follows_a_frame_is_refused():
    """Bytes behind the end of a frame are refused: they would escape every check."""
    for compress in ("lz4", "zstd"):
        for content in (TEXT[:1_200_000], TEXT * 16):
            encoding, body = pack([content], len(content), compress=compress)
            with pytest.raises(DecodeError):
                unpack(encoding, bytes(body) + b"more", size_bytes=len(content))


def test_threads_do_not_share_contexts():
    """Many threads compress and decompress at once and get their own bytes back."""
    failures: list[int] = []

    def work(seed: int) -> None:
        for n in range(20):
            content = TEXT[seed * 1000 + n : seed * 1000 + n + 300_000]
            for compress in ("lz4", "zstd"):
                encoding, body = pack([content], len(content), compress=compress)
                if bytes(unpack(encoding, body, size_bytes=len(content))) != content:
                    failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
