"""What bytes begin with, and names of formats."""

from __future__ import annotations

import pytest

from vcache.errors import UsageError
from vcache.logs.receive import by_name
from vcache.logs.receive.auto import AutoStream, format_of

NOW = 1_795_296_000 * 10**9


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'{"a":1}\n', "json"),
        (b'\n {"a":1}\n', "json"),
        (b'{"__CURSOR":"","__REALTIME_TIMESTAMP":"1"}\n', "journal"),
        (b"__CURSOR=s\n", "journal"),
        (b"<34>1 - - - - - -\n", "syslog"),
        (b"12 <34>1 - - - -", "syslog"),
        (b"Oct 11 22:14:15 m su: x\n", "syslog"),
        (b"2026-11-21T21:14:33+00:00 m su[1]: x\n", "syslog"),
        (b"level=info msg=x\n", "logfmt"),
        (b"gcc -c a.c\n", "lines"),
        (b"[1/2] gcc\n", "lines"),
        (b"\xff\xfe", "lines"),
        (b"", "lines"),
    ],
)
def test_a_stream_is_known_by_its_first_line(head: bytes, name: str) -> None:
    """What begins like none is plain lines."""
    assert format_of(head) == name
    stream = by_name("auto").stream()
    assert isinstance(stream, AutoStream)
    stream.feed(head, now_ns=NOW)
    stream.end(now_ns=NOW)
    assert stream.format_name == name or not head


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"resourceLogs":[]}', "otlp"),
        (b'{"streams":[]}', "loki"),
        (b'{"index":{"_index":"a"}}\n{"message":"x"}\n', "elastic"),
        (b'{"create":{}}\n{}\n', "elastic"),
        (b'[{"a":1}]', "json"),
        (b"[x]", "lines"),
    ],
)
def test_a_body_may_be_what_no_stream_is(body: bytes, name: str) -> None:
    """As a whole."""
    assert format_of(body, is_whole=True) == name
    by_name("auto").parse(body, now_ns=NOW)


def test_what_only_begins_like_a_format_is_lines() -> None:
    """Nothing is refused for a guess."""
    (record,) = by_name("auto").parse(b'{"streams":1}', now_ns=NOW).records
    assert record.message == '{"streams":1}'


def test_an_unknown_name_is_shown_with_the_nearest() -> None:
    """And with all there are."""
    with pytest.raises(UsageError, match=r"'jsn'.*json.*elastic"):
        by_name("jsn")
