"""syslog messages as records."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vcache.logs.receive import by_name
from vcache.logs.receive.syslog import FACILITIES, SEVERITIES, message_of
from vcache.logs.record import Mark
from vcache.query.levels import CRITICAL, ERROR, NOTE

NOW = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 10**9


def _at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 10**9  # type: ignore[arg-type,misc]  # year, month, …


def test_rfc_5424_is_read_as_it_says() -> None:
    """The example of the RFC, with structured data, escapes, a BOM and UTF-8."""
    record = message_of(
        b'<165>1 2003-10-11T22:14:15.003456789Z mymachine.example.com evntslog 12 ID47 '
        b'[exampleSDID@32473 iut="3" eventSource="Appli\\"cation\\]\\\\ x\\y"][e] \xef\xbb\xbfAn application \xc3\xa9',
        now_ns=NOW,
    )  # fmt: skip
    assert record.at_ns == _at(2003, 10, 11, 22, 14, 15) + 3_456_789
    assert record.level == NOTE
    assert record.source == "evntslog"
    assert record.message == "An application é"
    assert record.fields == {
        "facility": "local4", "host": "mymachine.example.com", "app": "evntslog", "procid": "12", "msgid": "ID47",
        "sd.exampleSDID@32473.iut": "3", "sd.exampleSDID@32473.eventSource": 'Appli"cation]\\ x\\y', "sd.e": True,
    }  # fmt: skip
    assert record.marks == 0


def test_nil_values_are_absent() -> None:
    """Without a time it is marked; without an app the source is the given one."""
    record = message_of(b"<34>1 - - - - - -", now_ns=NOW, source="net")
    assert record == (NOW, CRITICAL, "net", "", {"facility": "auth"}, Mark.NO_TIME, 1, 0, "")


def test_a_time_that_is_none_is_kept_as_a_field() -> None:
    """Nothing is lost of it."""
    record = message_of(b"<34>1 soon h a - - - x", now_ns=NOW)
    assert (record.at_ns, record.marks, record.fields["time"]) == (NOW, Mark.NO_TIME, "soon")


OLD = _at(2026, 10, 11, 22, 14, 15)


@pytest.mark.parametrize(
    ("text", "at_ns", "source", "message", "fields"),
    [
        ("Oct 11 22:14:15 m su: 'su root' failed", OLD, "su", "'su root' failed", {"host": "m", "app": "su"}),
        ("Oct 11 22:14:15 m su[12]: x", OLD, "su", "x", {"host": "m", "app": "su", "procid": "12"}),
        ("Oct 11 22:14:15 su[12]: x", OLD, "su", "x", {"app": "su", "procid": "12"}),
        ("Oct 11 22:14:15 su: x", OLD, "su", "x", {"app": "su"}),
        ("Oct 11 22:14:15 ::1 su: x", OLD, "su", "x", {"host": "::1", "app": "su"}),
        ("Oct 11 22:14:15 m postfix/smtpd[1]: x: y", OLD, "postfix/smtpd", "x: y",
         {"host": "m", "app": "postfix/smtpd", "procid": "1"}),
        ("Oct 11 22:14:15 m no tag here", OLD, "", "no tag here", {"host": "m"}),
        ("Oct 11 22:14:15 m http://x y", OLD, "", "http://x y", {"host": "m"}),
        ("Oct  1 22:14:15 m a: x", _at(2026, 10, 1, 22, 14, 15), "a", "x", {"host": "m", "app": "a"}),
        ("Oct 1 22:14:15 m a: x", _at(2026, 10, 1, 22, 14, 15), "a", "x", {"host": "m", "app": "a"}),
        ("Oct 11 2025 22:14:15 m a: x", _at(2025, 10, 11, 22, 14, 15), "a", "x", {"host": "m", "app": "a"}),
        ("Oct 11 22:14:15.250 m a: x", OLD + 250_000_000, "a", "x", {"host": "m", "app": "a"}),
        ("Oct 11 22:14:15: %LINK-3-UPDOWN: down", OLD, "%LINK-3-UPDOWN", "down", {"app": "%LINK-3-UPDOWN"}),
        ("2026-10-11T22:14:15.000001+00:00 m a[2]: x", OLD + 1000, "a", "x", {"host": "m", "app": "a", "procid": "2"}),
        ("Jan  2 00:00:00 m a: x", _at(2027, 1, 2), "a", "x", {"host": "m", "app": "a"}),
    ],
)  # fmt: skip
def test_rfc_3164_is_read_in_all_its_disorder(
    text: str, at_ns: int, source: str, message: str, fields: dict[str, str]
) -> None:
    """Hosts, years and tags that are missing; times as rsyslog and routers write them."""
    record = message_of(b"<11>" + text.encode(), now_ns=NOW)
    assert record == (at_ns, ERROR, source, message, {"facility": "user", **fields}, 0, 1, 0, "")
    line = message_of(text.encode(), now_ns=NOW)  # as it stands in a file
    assert (line.at_ns, line.source, line.message, line.fields) == (at_ns, source, message, fields)


def test_a_time_without_a_zone_is_of_the_given_one() -> None:
    """Times with one are not moved."""
    old = message_of(b"<11>Oct 11 22:14:15 m a: x", now_ns=NOW, utc_offset_s=7200)
    assert old.at_ns == OLD - 7200 * 10**9
    iso = message_of(b"<11>2026-10-11T22:14:15Z m a: x", now_ns=NOW, utc_offset_s=7200)
    assert iso.at_ns == OLD


@pytest.mark.parametrize("text", [b"hello", b"<", b"<>x", b"<999>x", b"<1x", b"<192>1 - - - - - -"])
def test_what_is_no_syslog_is_kept_as_it_is(text: bytes) -> None:
    """And marked."""
    record = message_of(text, now_ns=NOW, source="udp")
    assert (record.message, record.source, record.marks) == (
        text.decode(),
        "udp",
        Mark.UNPARSED | Mark.NO_TIME,
    )


def test_structured_data_that_is_broken_loses_nothing() -> None:
    """The message is read as an older one, whole."""
    record = message_of(b'<11>1 2026-10-11T22:14:15Z h a - - [x y="z', now_ns=NOW)
    assert record.level == ERROR
    assert record.message.endswith('[x y="z')


def test_priorities_are_facilities_and_levels() -> None:
    """Eight severities, each another level, of 24 facilities."""
    for number in range(192):
        record = message_of(b"<%d>x" % number, now_ns=NOW)
        assert (record.level, record.fields["facility"]) == (SEVERITIES[number % 8], FACILITIES[number // 8])
    assert len(set(SEVERITIES)) == 8


def test_a_body_holds_messages() -> None:
    """Counted ones and lines."""
    found = by_name("syslog").parse(b"<11>a: 1\n9 <11>a: 2\n<11>a: 3", now_ns=NOW).records
    assert [record.message for record in found] == ["1", "2", "3"]
