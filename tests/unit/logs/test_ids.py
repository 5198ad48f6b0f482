"""Ids of records."""

from __future__ import annotations

from uuid import RFC_4122, UUID

import pytest

from vcache.errors import UsageError
from vcache.logs.ids import (
    Streams,
    id_of,
    ids_from,
    new_stream,
    next_stream,
    parse_id,
    parse_stream,
    stream_name,
)

NOW_NS = 1_700_000_000_123_456_789


def test_an_id_is_a_uuid_of_version_7() -> None:
    """Milliseconds in front, version and variant in their places, the sequence at the end."""
    stream = new_stream(lambda: NOW_NS, lambda count: (1 << count) - 1)
    uuid = UUID(id_of(stream, 0xDEADBEEF))
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert uuid.int >> 80 == NOW_NS // 1_000_000
    assert uuid.int & 0xFFFFFFFF == 0xDEADBEEF
    assert stream & 0xFFFFFFFF == 0
    assert new_stream(lambda: NOW_NS, lambda _: 0) >> 80 == NOW_NS // 1_000_000


@pytest.mark.parametrize("seq", [0, 1, (1 << 32) - 1])
def test_an_id_leads_back(seq: int) -> None:
    """To its stream and sequence, in any case of letters."""
    stream = new_stream()
    assert parse_id(id_of(stream, seq)) == (stream, seq)
    assert parse_id(f" {id_of(stream, seq).upper()}\n") == (stream, seq)
    assert parse_stream(stream_name(stream)) == stream


def test_ids_follow_each_other() -> None:
    """As those of one record each."""
    stream = new_stream()
    assert ids_from(stream, 7, 3) == [id_of(stream, seq) for seq in (7, 8, 9)]


@pytest.mark.parametrize("text", ["", "x", "1234", "01890a5d-ac96-474b-bcce-b302099a8057", "0" * 32])
def test_what_is_no_id_is_refused(text: str) -> None:
    """With the text, and what to give."""
    with pytest.raises(UsageError, match="UUID of version 7"):
        parse_id(text)
    assert parse_stream(text) is None


def test_streams_rise_within_a_millisecond_and_when_the_clock_goes_back() -> None:
    """Each is above the one before, and a stream as all others."""
    draw, clock = Streams(), iter([NOW_NS] * 50 + [0] * 50)
    drawn = [draw(lambda: next(clock)) for _ in range(100)]
    assert drawn == sorted(set(drawn))
    for stream in drawn:
        assert UUID(id_of(stream, 0)).version == 7
        assert parse_stream(stream_name(stream)) == stream
    assert next_stream() < next_stream()
