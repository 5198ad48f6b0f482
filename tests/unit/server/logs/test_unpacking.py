"""Packed bodies: what is sound is unpacked, what is not is refused, and nothing grows beyond its bound."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from vcache.server.logs.unpacking import unpacked
from vcache.server.refused import Refusal, Refused

PACK: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes, "gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress,
    "zstd": zstandard.compress,
}  # fmt: skip
LIMIT = 1 << 16


@pytest.mark.parametrize("coding", PACK)
@given(body=st.binary(max_size=1000))
def test_what_was_packed_comes_out(coding: str, body: bytes) -> None:
    """Each coding gives back what was packed; several are taken off in their order."""
    packed = PACK[coding](body) if body or coding == "identity" else PACK[coding](b"")
    assert unpacked(packed, coding.upper(), limit_bytes=LIMIT) == body
    twice = gzip.compress(packed)
    assert unpacked(twice, f"{coding}, gzip", limit_bytes=LIMIT) == body


def test_several_members_are_one_body() -> None:
    """gzip files that were joined, and Zstandard frames, are one body."""
    for coding in ("gzip", "zstd"):
        assert unpacked(PACK[coding](b"ab") + PACK[coding](b"cd"), coding, limit_bytes=LIMIT) == b"abcd"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_the_bound_is_kept_to_the_byte(coding: str) -> None:
    """As much as is allowed is; a byte more is too large, in one member or in several."""
    assert len(unpacked(PACK[coding](bytes(LIMIT)), coding, limit_bytes=LIMIT)) == LIMIT
    bombs = [PACK[coding](bytes(LIMIT + 1)), PACK[coding](bytes(100 * LIMIT))]
    if coding != "deflate":
        bombs.append(PACK[coding](bytes(LIMIT)) + PACK[coding](b"1"))
    for bomb in bombs:
        with pytest.raises(Refused) as refused:
            unpacked(bomb, coding, limit_bytes=LIMIT)
        assert refused.value.kind is Refusal.TOO_LARGE


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_what_is_cut_off_or_damaged_is_refused(coding: str) -> None:
    """Half a body is none."""
    whole = PACK[coding](bytes(range(256)) * 20)
    for body in (whole[:-5], whole[: len(whole) // 2], b"x" + whole, b"nothing of it"):
        with pytest.raises(Refused) as refused:
            unpacked(body, coding, limit_bytes=LIMIT)
        assert refused.value.kind is Refusal.MALFORMED


def test_an_unknown_coding_is_said_to_be_so() -> None:
    """415, with those that are known."""
    with pytest.raises(Refused, match="identity, gzip, deflate, zstd") as refused:
        unpacked(b"", "br", limit_bytes=LIMIT)
    assert refused.value.kind is Refusal.MEDIA
