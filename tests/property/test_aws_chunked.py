"""Laws of bodies in `aws-chunked`: how they are cut, into chunks and by the network, changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.server.aws_chunked import AwsChunks
from vcache.server.refused import Refused

CONTENTS = st.binary(max_size=300)
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """Data in parts of these sizes, over and over."""
    parts, place, turn = [], 0, 0
    while place < len(data):
        size = sizes[turn % len(sizes)]
        parts.append(data[place : place + size])
        place, turn = place + size, turn + 1
    return parts


def wrapped(content: bytes, sizes: list[int], trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in pieces(content, sizes))
    return chunks + b"0\r\n" + trailer + b"\r\n"


def unwrapped(body: bytes, sizes: list[int], size: int | None) -> bytes:
    chunks = AwsChunks(size)
    content = b"".join(chunks(part) for part in pieces(body, sizes))
    chunks.finish()
    return content


@given(CONTENTS, CUTS, CUTS)
def test_content_comes_out_as_it_went_in(content: bytes, chunks: list[int], network: list[int]) -> None:
    """Whatever the sizes of chunks, and of the pieces that arrive."""
    body = wrapped(content, chunks, b"x-amz-checksum-crc32:AAAA\r\n")
    assert unwrapped(body, network, len(content)) == content


@given(CONTENTS, CUTS, CUTS, st.data())
def test_a_body_that_ends_early_is_refused(
    content: bytes, chunks: list[int], network: list[int], data: st.DataObject
) -> None:
    """Wherever it ends."""
    body = wrapped(content, chunks)
    end = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(Refused):
        unwrapped(body[:end], network, len(content))


@given(st.binary(max_size=200), CUTS)
def test_noise_is_refused_or_is_a_body(noise: bytes, network: list[int]) -> None:
    """Nothing else is raised, and no more comes out than went in."""
    try:
        content = unwrapped(noise, network, None)
    except Refused:
        return
    assert len(content) < len(noise)
