"""When schedules fire."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.jobs.schedules.clockwork import MINUTE_NS, changes, minutes, nanos, ticks
from vcache.errors import ConfigError, UsageError
from vcache.jobs.schedules import Every, next_after, parse_when, ticks_between

NS = 1_000_000_000
EXPRESSIONS = [
    "0 2 * * *", "30 2 * * *", "59 1 * * *", "0 3 * * *", "0,30 1,2,3 * * *", "15 0 * * *", "0 0 * * *", "30 23 * * *",
    "*/15 * * * *", "0 * * * *", "30 */2 * * *", "*/20 1-3 * * *", "* 2 * * *", "5 */1 * * 0", "30 2 * * 0", "0 2 1 * 6,0",
    "0-59/7 2-3 * 3,10,11 *",
]  # fmt: skip
ZONES = [
    "Europe/Berlin", "America/New_York",
    "Europe/Dublin",  # its summer is the standard, its winter the exception
    "Australia/Lord_Howe",  # by half an hour
    "Africa/Cairo",  # forward at midnight, which a day begins without
    "America/Havana",  # back at one: midnight comes twice
    "Antarctica/Troll",  # by two hours
]  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
def test_a_change_of_the_clock_is_met_as_debian_has_it(zone: str) -> None:
    """Fixed times that are skipped come right behind, those that are repeated once; others follow the clock"""
    found = changes(zone, 2024, 2025)
    assert len(found) == 4
    for change in found:
        shown = minutes(zone, change - timedelta(hours=25), 50)
        start_ns, end_ns = nanos(shown[0][0]), nanos(shown[-1][0])
        for expression in EXPRESSIONS:
            expected = ticks(expression, shown)
            when = parse_when(expression, zone)
            assert ticks_between(when, start_ns, end_ns, most=9999) == (expected, True), (expression, change)
            for at_ns in range(start_ns, end_ns, 97 * MINUTE_NS + 7):
                later = [tick for tick in expected if tick > at_ns]
                assert next_after(when, at_ns) == later[0] if later else next_after(when, at_ns) > end_ns


@pytest.mark.parametrize(
    ("text", "zone", "local", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00+01:00", "2025-03-30T03:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00+02:00", "2025-10-26T02:30+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2025-10-26T02:30+02:00", "2025-10-27T02:30+01:00"),
        ("30 2 * * *", "Europe/Berlin", "2025-10-26T02:10+01:00", "2025-10-27T02:30+01:00"),
        ("*/30 * * * *", "Europe/Berlin", "2025-10-26T02:30+02:00", "2025-10-26T02:00+01:00"),
        ("*/30 2 26 7,10 *", "Europe/Berlin", "2025-10-26T02:50+02:00", "2025-10-26T02:00+01:00"),
        ("*/30 2 25 10 *", "Europe/Berlin", "2026-10-25T02:50+01:00", "2027-10-25T02:00+02:00"),
        ("15 30 2 * * *", "Europe/Berlin", "2025-03-29T12:00+01:00", "2025-03-30T03:00+02:00"),
        ("daily 02:00", "America/New_York", "2025-03-08T12:00-05:00", "2025-03-09T03:00-04:00"),
        ("daily 06:00,18:00", "UTC", "2025-01-01T06:00+00:00", "2025-01-01T18:00+00:00"),
        ("daily 06:00:30", "UTC", "2025-01-01T06:00+00:00", "2025-01-01T06:00:30+00:00"),
        ("Weekly Mon 09:30", "UTC", "2025-01-01T00:00+00:00", "2025-01-06T09:30+00:00"),
        ("weekly tuesday,thursday 09:30", "UTC", "2025-01-01T00:00+00:00", "2025-01-02T09:30+00:00"),
        ("monthly 31 00:00", "UTC", "2025-02-01T00:00+00:00", "2025-03-31T00:00+00:00"),
        ("monthly L 06:00", "UTC", "2025-02-01T00:00+00:00", "2025-02-28T06:00+00:00"),
        ("0 12 * * fri#2", "UTC", "2025-02-01T00:00+00:00", "2025-02-14T12:00+00:00"),
        ("0 0 29 2 *", "UTC", "2097-01-01T00:00+00:00", "2104-02-29T00:00+00:00"),
        ("@hourly", "Asia/Kolkata", "2025-01-01T00:00+00:00", "2025-01-01T06:00+05:30"),
        ("every 90m", "Europe/Berlin", "1970-01-01T01:30+00:00", "1970-01-01T03:00+00:00"),
    ],
)
def test_when_comes(text: str, zone: str, local: str, expected: str) -> None:
    """What is written in so many ways comes when a calendar says"""
    start = datetime.fromisoformat(local)
    tick_ns = next_after(parse_when(text, zone), nanos(start))
    assert datetime.fromtimestamp(tick_ns / NS, UTC) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("text", "zone", "complaint"),
    [
        ("", "UTC", "when is empty: give"),
        ("dayly 02:00", "UTC", "'dayly 02:00': no 'dayly' is known; did you mean 'daily'?"),
        ("@hourli", "UTC", "did you mean '@hourly'?"),
        ("@reboot", "UTC", "submit a job where yours does"),
        ("nonsense", "UTC", "no 'nonsense' is known; give \"0 2 * * mon-fri\""),
        ("0 2 * *", "UTC", "has 4 fields; a cron expression has minute, hour"),
        ("0 25 * * *", "UTC", "its hour is '25', which takes 0 to 23"),
        (
            "0 2 * * mno",
            "UTC",
            "its day-of-week is 'mno', which takes 0 to 7 (0 and 7 are Sunday) or sun to sat",
        ),
        ("0 2 * * mno", "UTC", "did you mean 'mon'?"),
        ("0 2 * jnu-mar *", "UTC", "did you mean 'jun'?"),
        ("0 2 * * sat-sun", "UTC", 'a range goes up, as "1-5"'),
        ("0 0 32 4 *", "UTC", "its day-of-month is '32'"),
        ("every 3 parsecs", "UTC", "not a duration: '3 parsecs'"),
        ("every", "UTC", "not a duration: ''"),
        ("every 10ms", "UTC", "10 ms is too short, a second is the least"),
        ("every 0s", "UTC", "0 s is too short"),
        ("daily", "UTC", "has 0 words behind 'daily'"),
        ("daily 24:00", "UTC", "'24:00' is no time of day"),
        ("daily 02:00,14:30", "UTC", "differ in more than hours: make a schedule of each"),
        ("weekly * 09:30", "UTC", "'*' is no day"),
        ("weekly mnday 09:30", "UTC", "its day-of-week is 'mnday'"),
        ("@daily", "Berlin", "no time zone 'Berlin'; did you mean 'Europe/Berlin'?"),
        ("@daily", "Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("@daily", "", 'give one as "Europe/Berlin"'),
        ("@daily", "../../etc/passwd", "no time zone"),
    ],
)
def test_what_means_nothing_says_what_would(text: str, zone: str, complaint: str) -> None:
    """An error shows the expression, the place in it, and the nearest word or an example"""
    with pytest.raises(UsageError) as caught:
        parse_when(text, zone)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4 *", "0 0 */30 2 mon#2"])
def test_a_day_that_never_comes_is_an_error(text: str) -> None:
    """A schedule that could never fire is refused when it is made, not found out years later"""
    with pytest.raises(UsageError, match="never comes: no year has such a day"):
        parse_when(text)


def test_the_last_of_many_ticks_are_found_without_walking_all() -> None:
    """Of years of ticks the newest are given, and that there are more"""
    when = parse_when("* * * * *")
    end_ns = nanos(datetime(2025, 1, 1, tzinfo=UTC))
    assert ticks_between(when, 0, end_ns, most=2) == ([end_ns - MINUTE_NS, end_ns], False)
    assert ticks_between(parse_when("every 1s"), 0, end_ns, most=1) == ([end_ns], False)
    assert ticks_between(when, end_ns, end_ns, most=2) == ([], True)
    assert ticks_between(when, end_ns, end_ns - NS, most=2) == ([], True)
    assert ticks_between(when, end_ns - 2 * MINUTE_NS, end_ns, most=2) == ([end_ns - MINUTE_NS, end_ns], True)


def test_intervals_need_no_library_and_expressions_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is missing the error says what to install"""
    monkeypatch.setitem(sys.modules, "cronsim", None)
    assert parse_when("every 30s") == Every("every 30s", 30 * NS)
    with pytest.raises(ConfigError, match=r"pip install 'vcache\[jobs\]'"):
        parse_when("@hourly")
