"""Times as people and programs write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vcache.logs.receive.times import epoch_ns, iso_ns, month_day_ns, number_ns, time_ns

AT = int(datetime(2026, 11, 21, 21, 14, 33, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-11-21T21:14:33Z", 0),
        ("2026-11-21T21:14:33", 0),
        ("2026-11-21 21:14:33.5", 500_000_000),
        ("2026-11-21 21:14:33,123", 123_000_000),
        ("2026/11/21 21:14:33.000001", 1000),
        ("2026-11-21T21:14:33.123456789Z", 123_456_789),
        ("2026-11-21T21:14:33.1234567891234Z", 123_456_789),
        ("2026-11-21T22:14:33.123456789+01:00", 123_456_789),
        ("2026-11-21T18:14:33-0300", 0),
        ("2026-11-21T18:14:33 -03", 0),
        ("2026-11-21t21:14:33z", 0),
        ("2026-11-21 21:14:33.25 UTC", 250_000_000),
    ],
)
def test_a_time_is_read_to_the_last_digit(text: str, ns: int) -> None:
    """Each way to write it gives that nanosecond, the first time and when it is remembered."""
    assert iso_ns(text) == AT + ns
    assert iso_ns(text) == AT + ns


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T21:14:33.Z",
     "2026-11-21T21:14:33.12x", "2026-11-21T21:14:33+1", "2026-11-21T21:14:33Zz", "0001-01-01T00:00:00Z",
     "9999-12-31T23:59:59Z", "2026-11-21T21:14:33.", "\uff12026-11-21T21:14:33Z", "2026-11-21T21:14"],
)  # fmt: skip
def test_what_is_no_time_is_none(text: str) -> None:
    """No guess is made, and what 64 bits do not hold is none."""
    assert iso_ns(text) is None


def test_a_leap_second_is_a_time() -> None:
    """23:59:60 is the next minute."""
    assert iso_ns("2016-12-31T23:59:60Z") == iso_ns("2017-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("number", "ns"),
    [
        (1_795_295_673, 1_795_295_673_000_000_000),
        (1_795_295_673.25, 1_795_295_673_250_000_000),
        (1_795_295_673_123, 1_795_295_673_123_000_000),
        (1_795_295_673_123.5, 1_795_295_673_123_500_000),
        (1_795_295_673_123_456, 1_795_295_673_123_456_000),
        (1_795_295_673_123_456_789, 1_795_295_673_123_456_789),
        (-1, -(10**9)),
        (1 << 63, None),
        (float("nan"), None),
        (float("inf"), None),
        (1e300, None),
    ],
)
def test_the_unit_of_a_number_is_seen_by_its_size(number: float, ns: int | None) -> None:
    """Seconds, milliseconds, microseconds and nanoseconds."""
    assert number_ns(number) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1795295673.123456789", 1_795_295_673_123_456_789),
        ("1795295673123", 1_795_295_673_123_000_000),
        ("-1.5", -1_500_000_000),
        ("1.x", None),
        ("x", None),
        ("", None),
        ("99999999999999999999", None),
        ("1795295673123.5", 1_795_295_673_123_500_000),
    ],
)
def test_decimal_digits_are_exact(text: str, ns: int | None) -> None:
    """A float would end at microseconds."""
    assert epoch_ns(text) == ns


def test_what_json_says_is_a_time_or_none() -> None:
    """Text and numbers; a bool is no number."""
    assert time_ns("2026-11-21T21:14:33Z") == time_ns("1795295673") == time_ns(1_795_295_673) == AT
    assert time_ns(True) is time_ns(None) is time_ns([1]) is None


@pytest.mark.parametrize(
    ("now", "text", "then"),
    [
        ((2026, 11, 21), "Nov 20 10:00:00", (2026, 11, 20, 10)),
        ((2026, 1, 1), "Dec 31 23:00:00", (2025, 12, 31, 23)),
        ((2026, 12, 31), "Jan  1 00:00:00", (2027, 1, 1, 0)),
        ((2026, 3, 1), "Feb 29 12:00:00", (2024, 2, 29, 12)),
        ((2026, 6, 1), "jun 1 00:00:00", (2026, 6, 1, 0)),
    ],
)
def test_a_time_without_a_year_is_in_the_nearest(
    now: tuple[int, int, int], text: str, then: tuple[int, int, int, int]
) -> None:
    """Also around New Year, on both sides."""
    now_ns = int(datetime(*now, tzinfo=UTC).timestamp()) * 10**9
    assert month_day_ns(text, now_ns) == int(datetime(*then, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize("text", ["", "Foo 1 00:00:00", "Feb 30 00:00:00", "Jan 1 0:0:0", "Jan 1 aa:bb:cc"])
def test_what_is_no_day_is_none(text: str) -> None:
    """No guess is made."""
    assert month_day_ns(text, AT) is None


def test_the_last_times_of_64_bits_are_times() -> None:
    """And what is behind them is none"""
    assert iso_ns("2262-04-11T23:47:16Z") == 9_223_372_036 * 10**9
    assert iso_ns("2262-04-11T23:47:16.854775807Z") == (1 << 63) - 1
    assert iso_ns("2262-04-11T23:47:16.854775808Z") is None
    assert iso_ns("2262-04-11T23:47:17Z") is None
