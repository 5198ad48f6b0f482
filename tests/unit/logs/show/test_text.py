"""Records and rows for people, as golden views."""

from __future__ import annotations

import pytest

from tests.unit.logs.show.shown import AT, BARE, HOSTILE, TIMES, WARNING, text_of
from vcache.logs.show.base import Column, columns_of
from vcache.query.parser import parse
from vcache.query.pipeline import columns_after


def test_a_record_is_a_line():
    """Time, level, source, message, fields"""
    assert text_of("text", [WARNING], is_utc=True) == (
        "2026-11-18 11:06:40.123Z  warning   gcc: unused variable 'x'  file=a.c line=3\n"
    )


def test_what_is_odd_is_said_and_nothing_acts():
    """Further lines are indented, marks and repeats are told, controls are shown as pictures"""
    assert text_of("text", [HOSTILE, BARE], is_utc=True) == (
        '2026-11-18 11:06:40.123Z  error     =cmd: two  (3x) [future] [bytes] message=m a_b="x=\\"1\\"\\n"\n'
        "    lines␛]0;t␇ \\u202e\\xff <script>\n"
        "1969-12-31 23:59:59.999Z            \n"
    )


def test_colours_tell_the_level():
    """On a terminal level, source and fields are told apart, and a message keeps its colours"""
    red = WARNING._replace(message="\x1b[31mred", fields={})
    assert text_of("text", [red], is_utc=True, has_colour=True, keeps_colour=True) == (
        "\x1b[2m2026-11-18 11:06:40.123Z\x1b[0m  \x1b[33mwarning\x1b[0m   \x1b[1mgcc\x1b[0m: \x1b[31mred\x1b[0m\n"
    )
    assert "\x1b[31m" not in text_of("text", [red], has_colour=True)


def test_chosen_fields_only():
    """Of the fields only those that were asked for, in that order"""
    assert text_of("text", [WARNING], fields=("line", "none")).endswith("'x'  line=3\n")


def test_what_the_terminal_cannot_show_is_escaped():
    """An ASCII terminal gets ASCII"""
    assert "caf\\xe9" in text_of("text", [WARNING._replace(message="café")], encoding="ascii")


def test_times_are_the_readers(monkeypatch):
    """Without --utc, times are in the local zone"""
    import time

    from vcache.logs.show import values

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    values._second.cache_clear()
    try:
        assert text_of("text", [WARNING]).startswith("2026-11-18 20:06:40.123  ")
    finally:
        monkeypatch.undo()
        time.tzset()
        values._second.cache_clear()


def test_rows_are_a_table():
    """Columns are aligned, numbers to the right, levels in words; None is a dash"""
    columns = (Column("level", "level"), Column("file"), Column("count"))
    rows = [(13, "a.c", 5), (0, None, 12), (17, "long/name.c", None)]
    assert text_of("text", rows, columns) == (
        "level    file         count\n"
        "warning  a.c              5\n"
        "unset    -               12\n"
        "error    long/name.c      -\n"
    )


def test_a_histogram_has_bars():
    """Beside buckets of time the first number is drawn, in eighths of a cell"""
    rows = [(AT // 10**9 * 10**9 + 60 * 10**9 * at, 13, count) for at, count in enumerate((0, 3, 16))]
    assert text_of("text", rows, TIMES, is_utc=True) == (
        "@time                 level    count\n"
        "2026-11-18 11:06:40Z  warning      0\n"
        "2026-11-18 11:07:40Z  warning      3  █████▋\n"
        "2026-11-18 11:08:40Z  warning     16  ██████████████████████████████\n"
    )
    assert text_of("text", rows, TIMES, is_utc=True, encoding="ascii").splitlines()[2].endswith("3  ######")


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_a_long_table_is_whole(count):
    """Whatever comes after the rows that decide the widths is shown too"""
    rows = [(number, "x" * (number % 7)) for number in range(count)]
    lines = text_of("text", rows, (Column("n"), Column("x"))).splitlines()
    assert [int(line.split()[0]) for line in lines[1:]] == list(range(count))


def test_cells_are_one_line():
    """A value of many lines stays in its row, and nothing in it acts"""
    text = text_of("text", [("a\nb\x1b[2J",)], (Column("x"),))
    assert text == "x\na⏎b␛[2J\n"


def test_what_says_nothing_to_people_is_left_out():
    """A build's digest and the text behind a message are shown to who names them"""
    record = WARNING._replace(fields={"action": "ab12", "text": "a.c:1: …", "node": "a.o"})
    assert text_of("text", [record]).endswith("'x'  node=a.o\n")
    assert text_of("text", [record], fields=("action",)).endswith("'x'  action=ab12\n")


@pytest.mark.parametrize("format_", ["text", "html"])
def test_a_histogram_shows_when_it_was_quiet(format_: str) -> None:
    """Buckets without records are there for people, with 0; of a long silence only its ends"""
    query = parse("| histogram 1m by source", now_ns=0)
    columns = columns_of(query, columns_after(query))
    minute = 60 * 10**9
    rows = [(0, "a", 2), (0, "b", 1), (3 * minute, "a", 4), (9999 * minute, "a", 1)]
    shown = text_of(format_, rows, columns, is_utc=True)
    assert shown.count("1970-01-01 00:01:00") == shown.count("1970-01-01 00:02:00") == 1
    assert shown.count(" 00:") + shown.count(" 22:") == len(rows) + 4
    assert text_of("csv", rows, columns).count("1970-") == len(rows)
    sorted_by_count = parse("| histogram 1m by source | sort -count", now_ns=0)
    columns = columns_of(sorted_by_count, columns_after(sorted_by_count))
    shown = text_of(format_, rows, columns, is_utc=True)
    assert shown.count(" 00:") + shown.count(" 22:") == len(rows)
