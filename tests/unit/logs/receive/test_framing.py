"""Streams into pieces."""

from __future__ import annotations

import pytest

from vcache.logs.receive.framing import LineFramer, SyslogFramer


def test_lines_come_when_they_are_whole() -> None:
    """Several at once as one block; the rest at the end."""
    framer = LineFramer()
    assert framer.feed(b"a") == b""
    assert framer.feed(b"b\nc\nd") == b"ab\nc\n"
    assert framer.feed(b"") == b""
    assert framer.end() == b"d\n"
    assert framer.end() == b""


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
def test_a_line_that_is_too_long_comes_in_parts(step: int) -> None:
    """Of the same length however it came, and none is held in memory beyond that."""
    data = b"abcdefghij\nklmn\nopqrs"
    framer, found = LineFramer(4), b""
    for at in range(0, len(data), step):
        found += framer.feed(data[at : at + step])
    assert found + framer.end() == b"abcd\nefgh\nij\nklmn\nopqr\ns\n"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_syslog_is_counted_or_ends_with_a_newline_or_nul(step: int) -> None:
    """RFC 6587, mixed in one stream; what is counted may hold newlines."""
    data = b"<1>a\n9 <2>b\nc\0de<3>f\r\n\n\0<4>g\x0012345 x\n1x\n5 <5>hi" + b"7 <6>"
    framer, found = SyslogFramer(), list[bytes]()
    for at in range(0, len(data), step):
        found += framer.feed(data[at : at + step])
    assert found == [b"<1>a", b"<2>b\nc\0de", b"<3>f", b"<4>g", b"12345 x", b"1x", b"<5>hi"]
    assert framer.end() == [b"7 <6>"]
    assert framer.end() == []


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_count_beyond_reason_is_a_line(step: int) -> None:
    """Nothing is waited for that would not be taken."""
    framer, found = SyslogFramer(8), list[bytes]()
    data = b"9 <1>abcdefghi\n"
    for at in range(0, len(data), step):
        found += framer.feed(data[at : at + step])
    assert found == [b"9 <1>abc", b"defghi"]
