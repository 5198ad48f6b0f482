"""journald's exports as records."""

from __future__ import annotations

import pytest

from vcache.errors import UsageError
from vcache.logs.receive import by_name
from vcache.logs.receive.journal import EntryFramer, JournalStream
from vcache.logs.record import Mark
from vcache.query.levels import ERROR, INFO

NOW = 1_795_296_000 * 10**9
EXPORT = (
    b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795295673123456\n__MONOTONIC_TIMESTAMP=1\nPRIORITY=3\n"
    b"_SOURCE_REALTIME_TIMESTAMP=1795295673123000\nSYSLOG_IDENTIFIER=sshd\n_PID=12\n_SYSTEMD_UNIT=ssh.service\n"
    b"MESSAGE\n\x05\0\0\0\0\0\0\0a\n=b\xff\nTWICE=1\nTWICE=2\n\n"
    b"__CURSOR=s=1;i=3\n_COMM=cron\nMESSAGE=x=y\n\n"
)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_export_is_read_in_any_pieces(step: int) -> None:
    """Values with a length may hold anything; the earlier of two times is the programs own."""
    stream = by_name("journal").stream(source="j")
    found = [
        record
        for at in range(0, len(EXPORT), step)
        for record in stream.feed(EXPORT[at : at + step], now_ns=NOW)
    ]
    first, second = found
    assert first.at_ns == 1_795_295_673_123_000_000
    assert (first.level, first.source, first.message, first.marks) == (ERROR, "sshd", "a\n=b\udcff", 0)
    assert first.fields == {"_PID": "12", "_SYSTEMD_UNIT": "ssh.service", "TWICE": '["1", "2"]'}
    assert (second.source, second.message, second.at_ns, second.marks) == ("cron", "x=y", NOW, Mark.NO_TIME)
    assert isinstance(stream, JournalStream)
    assert stream.cursor == "s=1;i=3"


def test_json_lines_are_read_too() -> None:
    """Bytes are lists of numbers there, several values lists of text, and what is too long is null."""
    lines = (
        b'{"__REALTIME_TIMESTAMP":"1795295673123456","__CURSOR":"c","MESSAGE":[97,255],"PRIORITY":"6",'
        b'"SYSLOG_IDENTIFIER":"a","A":["x","y"],"COREDUMP":null}\nfoo\n'
    )
    first, second = by_name("journal").parse(lines, now_ns=NOW).records
    assert first.at_ns == 1_795_295_673_123_456_000
    assert (first.level, first.source, first.message) == (INFO, "a", "a\udcff")
    assert first.fields == {"A": '["x", "y"]'}
    assert (second.message, second.marks) == ("foo", Mark.UNPARSED | Mark.NO_TIME)


def test_a_stream_that_breaks_off_gives_what_came() -> None:
    """Also in the midst of a value."""
    stream = by_name("journal").stream()
    assert stream.feed(b"MESSAGE=a\nX\n\x05\0\0", now_ns=NOW) == []
    (record,) = stream.end(now_ns=NOW)
    assert "a" in record.message


def test_lines_that_are_no_fields_are_kept() -> None:
    """In the message of their entry, which is marked."""
    (record,) = by_name("journal").parse(b"MESSAGE=a\nhello = you\n\n", now_ns=NOW).records
    assert (record.message, bool(record.marks & Mark.UNPARSED)) == ("a\nhello = you", True)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_value_that_is_too_long_is_cut(step: int) -> None:
    """Whatever length is claimed, no more is held, and what follows is found again."""
    data = b"M\n\x0a\0\0\0\0\0\0\0abcdefghij\nA=1\n\nB=2\n\n"
    framer, found = EntryFramer(4), []
    for at in range(0, len(data), step):
        found += framer.feed(data[at : at + step])
    assert found == [{"M": [b"abcd"], "__CUT": [b"1"], "A": [b"1"]}, {"B": [b"2"]}]


def test_what_is_no_journal_at_all_is_refused() -> None:
    """With what was found."""
    with pytest.raises(UsageError, match="no journal"):
        by_name("journal").parse(b"hello, world\n", now_ns=NOW)
