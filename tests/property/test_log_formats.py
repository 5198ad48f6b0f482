"""Whatever a record says, each format gives it back or shows it as text, and nothing of it acts."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from io import BytesIO, StringIO

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.logs.show.shown import bytes_of, text_of
from vcache.kit.ansi import acts, safe_string
from vcache.kit.tables import parse_table
from vcache.logs.receive.formats import by_name
from vcache.logs.record import Mark, Record
from vcache.logs.remote.rows import record_of
from vcache.logs.show.base import Column
from vcache.logs.show.delimited import RISKY, guarded
from vcache.logs.show.values import plain
from vcache.query.levels import LEVELS

YEAR_NS = 31_556_952 * 10**9
INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(-(292 * YEAR_NS), 292 * YEAR_NS)
# Letters, and all that could act: controls, escapes, marks of direction, signs of formulas, markup, bytes.
TEXT = st.text(
    st.one_of(
        st.sampled_from(
            "abc é日 \t\n\r\x00\x07\x1b\x7f\x85\x9b\u200f\u202e\u2028\u2066=+-@'\"\\<>&;,#[]:{}|%"
        ),
        st.characters(exclude_categories=()),
    ),
    max_size=12,
)
SGR = st.sampled_from(["\x1b[31m", "\x1b[0m", "\x1b]0;x\x07", "\x1b[2J", "=1+1", "<script>", "\udcff"])
WORDS = st.lists(st.one_of(TEXT, SGR), max_size=3).map("".join)
CALM = settings(max_examples=60, deadline=None)
VALUES = st.one_of(WORDS, INT64, st.floats(), st.booleans())
RECORDS = st.builds(
    Record,
    at_ns=TIMES,
    level=st.sampled_from([0, *LEVELS.values()]),
    source=WORDS,
    message=WORDS,
    fields=st.dictionaries(WORDS.filter(bool), VALUES, max_size=3),
    marks=st.integers(0, max(Mark) * 2 - 1),
    repeats=st.integers(1, 5),
    seen_ns=TIMES,
    id=st.just(""),
)


@CALM
@given(st.lists(RECORDS, max_size=3))
def test_json_gives_all_back(records):
    """Time, level, source, message and fields are as they were, and no line acts"""
    data = bytes_of("json", records)
    assert not acts(data.decode())
    lines = data.decode().split("\n")[:-1]
    assert len(lines) == len(records)
    for line, record in zip(lines, records, strict=True):
        found = json.loads(line)
        assert (found["source"], found["message"]) == (record.source, record.message)
        (back,) = by_name("json").parse(line.encode(), now_ns=0).records
        assert (back.at_ns, back.level) == (record.at_ns, record.level)


@CALM
@given(st.lists(RECORDS, max_size=3))
@pytest.mark.parametrize("name", ["text", "logfmt", "ini", "yaml"])
def test_what_people_see_does_not_act(name, records):
    """Nothing of a record moves a cursor, rings, or turns text around"""
    text = text_of(name, records)
    assert not acts(text)
    if name == "logfmt":
        assert text.count("\n") == len(records)


@CALM
@given(st.lists(st.tuples(VALUES, VALUES), max_size=4))
def test_a_table_does_not_act(rows):
    """Rows stay lines, whatever their values say"""
    text = text_of("text", rows, (Column("a"), Column("b")))
    assert not acts(text)
    assert text.count("\n") == len(rows) + 1


@CALM
@given(st.lists(RECORDS, max_size=3))
def test_csv_gives_all_back(records):
    """A reader of CSV that takes one ' away has the texts, and no cell is a formula"""
    rows = list(csv.reader(StringIO(bytes_of("csv", records).decode(), newline="")))[1:]
    assert len(rows) == len(records)
    for row, record in zip(rows, records, strict=True):
        for cell, text in zip(row[2:4], (record.source, record.message), strict=True):
            assert not cell.startswith(RISKY) or cell.startswith("'")
            assert cell.removeprefix("'") == text.encode("utf-8", "backslashreplace").decode()


@CALM
@given(TEXT)
def test_guarding_can_be_undone(text):
    """No two texts look the same when they are guarded"""
    assert str(guarded(text)).removeprefix("'") == text


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, _):
        self.tags.add(tag)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


@CALM
@given(RECORDS)
def test_html_shows_all_as_text(record):
    """The message is the text of its cell, and makes no tag"""
    page = _Cells()
    page.feed(text_of("html", [record]))
    page.close()
    assert "script" not in page.tags
    assert page.cells[3] == safe_string(record.message)
    assert page.cells[2] == safe_string(record.source)


@CALM
@given(st.lists(RECORDS, max_size=3))
def test_yaml_and_ini_are_read_back(records):
    """As many as there are, each with its message"""
    found = yaml.safe_load(text_of("yaml", records))
    assert len(found) == len(records)
    table = parse_table(text_of("ini", records), ".ini")
    assert len(table) == len(records)
    for row, record in zip(found, records, strict=True):
        if not any("\ud800" <= char <= "\udfff" for char in record.message):
            assert row["message"] == record.message


@CALM
@given(st.lists(RECORDS, max_size=4))
def test_parquet_gives_all_back(records):
    """Times to the nanosecond, messages with what is no UTF-8 escaped"""
    from pyarrow import parquet

    table = parquet.read_table(BytesIO(bytes_of("parquet", records)))
    assert [each.value for each in table.column("@time")] == [record.at_ns for record in records]
    assert table.column("message").to_pylist() == [
        record.message.encode("utf-8", "backslashreplace").decode() for record in records
    ]


@CALM
@given(RECORDS)
def test_a_server_gives_records_back(record):
    """What goes over the wire is the record again; numbers that are none are words"""
    said = json.loads(bytes_of("json", [record]))
    found = record_of(said)
    fields = {name: plain(value) for name, value in record.fields.items()}
    assert found == record._replace(fields=fields)
