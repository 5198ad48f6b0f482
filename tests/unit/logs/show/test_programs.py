"""Formats for programs: each is read by a parser of its own kind."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from io import BytesIO, StringIO

import pytest
import yaml
from pyarrow import parquet

from tests.unit.logs.show.shown import AT, BARE, GAP, HOSTILE, TIMES, WARNING, bytes_of, text_of
from vcache.errors import ConfigError, UsageError
from vcache.kit.ansi import acts, safe_string
from vcache.kit.tables import parse_table
from vcache.logs.receive.formats import by_name
from vcache.logs.record import Record
from vcache.logs.show.base import Column
from vcache.logs.show.formats import FORMATS, media_type, writer

ROWS = [(AT, 13, 1), (AT + 1, 0, 2.5)]


def test_json_is_read_back():
    """A line of JSON is the record again, to the nanosecond, bytes that are no UTF-8 included"""
    text = bytes_of("json", [WARNING, HOSTILE])
    one, two = by_name("json").parse(text, now_ns=0).records
    assert (one.at_ns, one.level, one.source, one.message) == WARNING[:4]
    assert one.fields["file"] == "a.c"
    assert one.fields["line"] == 3
    assert (two.at_ns, two.source, two.message) == (HOSTILE.at_ns, HOSTILE.source, HOSTILE.message)
    assert two.fields["message"] == "m"
    assert not acts(text.decode())


def test_json_of_rows():
    """Times are RFC 3339, levels words, numbers that are none words"""
    text = text_of("json", [(AT, 13, float("nan")), (None, 14, 2)], TIMES)
    assert [json.loads(line) for line in text.splitlines()] == [
        {"@time": "2026-11-18T11:06:40.123456789Z", "level": "warning", "count": "NaN"},
        {"@time": None, "level": "warning", "count": 2},
    ]


def test_gaps_are_told_where_they_are_wanted():
    """The last lines name what could not be read"""
    assert text_of("json", [], gaps=[GAP]) == ""
    (line,) = text_of("json", [], gaps=[GAP], shows_gaps=True).splitlines()
    assert json.loads(line)["@gap"]["records"] == 12
    assert text_of("logfmt", [], gaps=[GAP], shows_gaps=True).startswith(
        'gap="segments/x.seg at 4096" reason='
    )
    assert yaml.safe_load(text_of("yaml", [], gaps=[GAP], shows_gaps=True))[0]["@gap"]["reason"] == GAP.reason
    assert parse_table(text_of("ini", [], gaps=[GAP], shows_gaps=True), ".ini")["gap 1"]["records"] == "12"  # type: ignore[index]
    assert "12 records cannot be read" in text_of("html", [], gaps=[GAP])


def test_logfmt():
    """A record is a line, whatever it says"""
    assert text_of("logfmt", [WARNING]) == (
        "@time=2026-11-18T11:06:40.123456789Z level=warning source=gcc message=\"unused variable 'x'\" "
        "file=a.c line=3 @seen=2026-11-18T11:06:40.123456790Z @id=01a20004-0\n"
    )
    text = text_of("logfmt", [HOSTILE, BARE, BARE])
    assert text.count("\n") == 3
    assert not acts(text)
    assert 'a_b="x=\\"1\\"\\n"' in text
    assert text_of("logfmt", [(True, None, "")], (Column("a"), Column("b"), Column("c"))) == 'a=true c=""\n'


def test_csv_runs_nothing():
    """A cell that a spreadsheet would take for a formula is text; one ' less and it is as it was"""
    rows = [
        (cell,) for cell in ("=1+1", "+x", "-Wall", "@SUM(A1)", "\tx", "\rx", "'quoted", "plain", -5, True)
    ]
    text = text_of("csv", rows, (Column("x"),))
    cells = [row[0] for row in csv.reader(StringIO(text, newline=""))][1:]
    assert cells == ["'=1+1", "'+x", "'-Wall", "'@SUM(A1)", "'\tx", "'\rx", "''quoted", "plain", "-5", "true"]
    assert [row[0] for row in csv.reader(StringIO(text_of("csv", rows, (Column("x"),), is_raw=True)))][
        1
    ] == "=1+1"


def test_csv_of_records():
    """Records have fixed columns; their fields are JSON, or columns where they were named"""
    heading, row = csv.reader(StringIO(text_of("csv", [WARNING])))
    assert heading == ["time", "level", "source", "message", "fields", "repeats", "marks", "seen", "id"]
    assert json.loads(row[4]) == {"file": "a.c", "line": 3}
    heading, row = csv.reader(StringIO(text_of("csv", [WARNING], fields=("line", "none"))))
    assert heading[4:6] == ["line", "none"]
    assert row[4:6] == ["3", ""]
    assert text_of("csv", []) == "time,level,source,message,fields,repeats,marks,seen,id\r\n"


def test_csv_on_a_terminal_does_not_act():
    """What a file gets as it is, a terminal is shown"""
    assert acts(text_of("csv", [HOSTILE]))
    assert not acts(text_of("csv", [HOSTILE], is_shown=True).replace("\r\n", "\n"))


def test_headings_of_csv_lose_their_sign():
    """@time is `time`, unless that would be another column's name"""
    assert text_of("csv", [], TIMES) == "time,level,count\r\n"
    assert text_of("csv", [], (Column("@time"), Column("time"))) == "'@time,time\r\n"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_html_holds_no_strange_tag():
    """What a record says is text on the page, and the page runs and loads nothing"""
    page = _Page()
    page.feed(
        text_of("html", [HOSTILE, HOSTILE._replace(source="<img src=x onerror=1>", message="</table><b>")])
    )
    assert page.tags <= {
        "html", "head", "meta", "title", "style", "body", "table", "thead", "tr", "th", "td", "time",
    }  # fmt: skip
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "datetime"}
    assert page.cells[3].rstrip("\n") == safe_string(HOSTILE.message)
    assert page.cells[7] == "<img src=x onerror=1>"


def test_html_of_rows():
    """Rows are a table with their headings"""
    text = text_of("html", ROWS, TIMES, is_utc=True)
    assert "<th>count</th>" in text
    assert '<td class="warning">warning</td><td class="n">1</td>' in text


def test_yaml_and_ini_are_read_back():
    """Both are what parsers of settings take; what YAML cannot say is escaped"""
    one, two = yaml.safe_load(text_of("yaml", [WARNING, HOSTILE]))
    assert (one["message"], one["line"]) == (WARNING.message, 3)
    assert two["message"] == HOSTILE.message.replace("\udcff", "\\xff")
    assert yaml.safe_load(text_of("yaml", [])) == []
    table = parse_table(text_of("ini", [WARNING, HOSTILE]), ".ini")
    assert table["1"]["line"] == "3"  # type: ignore[index]
    assert table["2"]["message"].startswith("two\\nlines")  # type: ignore[index]
    for name in ("yaml", "ini"):
        assert not acts(text_of(name, [HOSTILE]))


def _table(rows, columns=None, **look):
    return parquet.read_table(BytesIO(bytes_of("parquet", rows, columns, **look)))


def test_parquet_has_types():
    """Times are timestamps, fields have the narrowest type that holds all of their values"""
    rows = [WARNING, WARNING._replace(fields={"file": "b", "line": 2.5, "ok": True, "mixed": 1}),
            WARNING._replace(fields={"mixed": "x"})]  # fmt: skip
    table = _table(rows)
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert kinds["@time"] == "timestamp[ns, tz=UTC]"
    assert kinds["line"] == "double"
    assert kinds["ok"] == "bool"
    assert kinds["mixed"] == "string"
    assert table.column("@time")[0].value == AT
    assert table.column("mixed").to_pylist() == [None, "1", "x"]
    assert "@rest" not in kinds


def test_parquet_streams(monkeypatch):
    """What comes after the first row group and fits no column is kept beside it"""
    from vcache.logs.show import parquet as module

    monkeypatch.setattr(module, "_GROUP_ROWS", 2)
    one, two = WARNING._replace(fields={"n": 1}), WARNING._replace(fields={"n": "x", "late": True})
    table = _table([one, one, two, HOSTILE])
    assert table.column("n").to_pylist() == [1, 1, None, None]
    rest = [value and json.loads(value) for value in table.column("@rest").to_pylist()]
    assert rest[:3] == [None, None, {"n": "x", "late": True}]
    assert table.column("message")[3].as_py() == HOSTILE.message.replace("\udcff", "\\udcff")


def test_parquet_of_rows_and_of_nothing():
    """Aggregated rows keep their columns, and no rows are a table without rows"""
    table = _table(ROWS, TIMES)
    assert table.column_names == ["@time", "level", "count"]
    assert table.column("count").to_pylist() == [1.0, 2.5]
    assert _table([]).num_rows == 0
    assert _table([WARNING], fields=("line", "none")).column_names[-2:] == ["line", "none"]


def test_parquet_needs_its_extra(monkeypatch):
    """Without pyarrow the error names the extra"""
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"vcache\[arrow\]"):
        writer("parquet", BytesIO())


def test_an_unknown_format_names_the_nearest():
    """A slip is a usage error with a hint"""
    with pytest.raises(UsageError, match="'json'"):
        writer("jsn", BytesIO())
    assert {media_type(name).partition("/")[0] for name in FORMATS} == {"text", "application"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_long_line_is_shown(name):
    """A message of 10 MB goes through every format"""
    long = Record(AT, 13, "x", "é" * 5_000_000)
    assert len(bytes_of(name, [long])) > (10_000_000 if name != "parquet" else 100)
