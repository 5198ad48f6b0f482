"""Zstandard for foreign tools: one whole frame that any decoder takes."""

from __future__ import annotations

import pytest
import zstandard

from vcache.serialize.foreign import ZstdSteps, zstd_pieces
from vcache.testing.records import body_of


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"text " * 1_000_000, bytes(5 << 20), body_of(3 << 20)],
    ids=["empty", "one", "text", "zeros", "noise"],
)
def test_pieces_are_one_frame(content: bytes) -> None:
    """It says its size, and what unpacks as it comes gives the content back."""
    packed = b"".join(zstd_pieces(content))
    assert zstandard.frame_content_size(packed) == len(content)
    assert zstandard.decompress(packed) == content
    parts: list[bytes] = []
    steps = ZstdSteps(parts.append)
    for start in range(0, len(packed), 1000):
        steps.update(memoryview(packed)[start : start + 1000])
    assert b"".join(parts) == content
    assert steps.is_between


def test_pieces_are_short() -> None:
    """None is much longer than a megabyte, so that each fits into a message."""
    assert max(map(len, zstd_pieces(body_of(8 << 20)))) < 2 << 20
