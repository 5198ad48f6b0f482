from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import UsageError
from vcache.kit.units import (
    MAX_DURATION_S,
    format_bytes,
    format_duration,
    nanoseconds,
    seconds,
    size_bytes,
    yes_or_no,
)


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        (0, 0),
        (1.5, 1.5),
        ("90", 90),
        ("500ms", 0.5),
        ("10 m", 600),
        ("7d", 604_800),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        (".5h", 1800),
        ("2 weeks", 1_209_600),
        ("250µs", 0.000_25),
        ("1_000s", 1000),
        (timedelta(minutes=2), 120),
    ],
)
def test_durations_are_read(value: float | str | timedelta, expected_s: float) -> None:
    """a number, a timedelta or text with units is that many seconds"""
    assert seconds(value) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    "value",
    ["", " ", "ten", "10x", "-5s", "1h30", "5 5", "10M", "1e3", "s", "--1", "3s!", -1, -0.1, math.nan, math.inf,
     MAX_DURATION_S + 1, "101000d", True, None, b"5s", [5], timedelta(seconds=-1)],
)  # fmt: skip
def test_what_is_no_duration_is_refused(value: object) -> None:
    """a value that is no duration raises and shows itself and what to give"""
    with pytest.raises(UsageError, match="500ms") as caught:
        seconds(value)  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)


@given(st.integers(0, MAX_DURATION_S))
def test_whole_seconds_are_exact(whole: int) -> None:
    """whole seconds are exact in nanoseconds, as number and as text"""
    assert nanoseconds(whole) == nanoseconds(f"{whole}s") == nanoseconds(str(whole)) == whole * 10**9


def test_nanoseconds_round() -> None:
    """parts of a second are rounded to the nearest nanosecond"""
    assert nanoseconds("100ms") == 100_000_000
    assert nanoseconds(0.1) == 100_000_000
    assert nanoseconds(timedelta(microseconds=3)) == 3_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (7.0, 7),
        ("4096", 4096),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("20GB", 20_000_000_000),
        ("512MiB", 536_870_912),
        ("1.5 gb", 1_500_000_000),
        ("20G", 20_000_000_000),
        ("2Ti", 2 << 40),
        ("3PiB", 3 << 50),
        ("12 bytes", 12),
    ],
)
def test_sizes_are_read(value: float | str, expected: int) -> None:
    """kB is 1000 and KiB is 1024, in upper and lower case"""
    assert size_bytes(value) == expected


@pytest.mark.parametrize(
    "value",
    ["", "GB", "12 parsecs", "-1", "1 GB 2 MB", "0x10", -1, 1.5, math.nan, math.inf, True, None, b"1"],
)
def test_what_is_no_size_is_refused(value: object) -> None:
    """a value that is no size raises and shows itself and what to give"""
    with pytest.raises(UsageError, match="512MiB") as caught:
        size_bytes(value)  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)


@given(st.integers(0, 10**18))
def test_a_formatted_size_reads_back_as_nearly_the_same(number: int) -> None:
    """what format_bytes writes, size_bytes reads, to three digits"""
    assert size_bytes(format_bytes(number)) == pytest.approx(number, rel=0.006)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_500, "1.00 MB"),
        (20 * 10**9, "20.0 GB"),
        (10**18, "1000 PB"),
    ],
)
def test_sizes_are_shown_in_decimal_units(number: int, text: str) -> None:
    """a size is shown with three digits and never as 1000 of a smaller unit"""
    assert format_bytes(number) == text


@given(st.floats(0, MAX_DURATION_S))
def test_a_formatted_duration_reads_back_as_nearly_the_same(duration_s: float) -> None:
    """what format_duration writes, seconds reads, to its two units"""
    assert seconds(format_duration(duration_s)) == pytest.approx(duration_s, rel=0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0, "0 s"), (8.5e-7, "850 ns"), (0.00125, "1.25 ms"), (12.5, "12.5 s"), (59.99, "1m"), (200, "3m 20s"),
     (3600, "1h"), (7500, "2h 5m"), (615_600, "7d 3h")],
)  # fmt: skip
def test_durations_are_shown_in_two_units(duration_s: float, text: str) -> None:
    """a duration is shown as people say it"""
    assert format_duration(duration_s) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), (" Yes ", True), ("ON", True), ("0", False), ("off", False), ("", None), ("maybe", None)],
)
def test_yes_and_no(text: str, expected: bool | None) -> None:
    """In any case, with blanks around; whatever else is neither."""
    assert yes_or_no(text) is expected
