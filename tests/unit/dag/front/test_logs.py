"""Log nodes: functions and files over what other nodes wrote, made again only when that has changed."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from tests.unit.dag.front.project import Project
from vcache.dag import Rows

# Says what its source holds: a line that begins with "#" is a comment.
SAYING = """
@build.step(outs=["{src.stem}.o"])
def say(src: File):
    return sh('grep -v "^#" "$1" >&2; cp "$1" "$2"', src, build.out(0))

objects = [say(File(name)) for name in ("a.c", "b.c")]
"""
ROWS = """
calls = []

@build.log(of=[say], query="level >= warning | count by file, level | sort -count, file | limit 20")
def report(rows):
    return [(row["file"], row["level"], row["count"]) for row in rows]

@build.value
def shown(found: list) -> str:
    return str(found)

build.default(objects, shown(report()))
"""
FILE = """
table = build.log_report("out/warnings.txt", of=[say], query="level >= warning | count by file, option | sort file")

@build.step(outs=["copy"])
def copy(table: File):
    return cmd("cp", table, build.out(0))

build.default(copy(table))
"""
TWO = "a.c:1:2: warning: w [-Wx]\na.c:3:4: warning: v [-Wx]\nmake: done\n"
ONE = "b.c:1:1: error: e\n"


@pytest.fixture
def saying(project: Project) -> Project:
    project.file("a.c", TWO)
    project.file("b.c", ONE)
    return project


def test_a_function_is_given_the_rows_of_a_query(saying: Project):
    """By name; levels are words."""
    saying.load(SAYING + ROWS)
    saying.run()
    assert saying.value("report") == [("a.c", "warning", 2), ("b.c", "error", 1)]


def test_nothing_is_asked_again_of_what_said_the_same(saying: Project):
    """A source that changes and says the same makes no report again; one that says something else does."""
    saying.load(SAYING + ROWS)
    assert "report: query" in saying.run().ran
    saying.file("a.c", "# a comment\n" + TWO)
    again = saying.run()
    assert again.ran == {"a.o"}
    assert "report: query" in again.hits
    saying.file("a.c", TWO.replace("make", "cake"))
    again = saying.run()
    assert again.ran == {"a.o"}  # another log, and the same answer
    saying.file("a.c", TWO.splitlines(keepends=True)[0])
    assert saying.run().ran >= {"a.o", "report: query"}
    assert saying.value("report") == [("a.c", "warning", 1), ("b.c", "error", 1)]


def test_an_answer_that_is_the_same_cuts_its_users_off(saying: Project):
    """The value is what it was, so who uses it stays."""
    saying.load(SAYING + ROWS)
    saying.run()
    saying.file("a.c", TWO.replace("3:4", "5:6"))
    assert not any(name.startswith("shown") for name in saying.run().ran)


def test_a_query_may_leave_records_as_they_are(saying: Project):
    """Then rows have what a record has."""
    saying.load(
        SAYING + '@build.log(of=[say], query="level = error")\ndef found(rows):\n    return list(rows)\n'
    )
    saying.run("found")
    rows: Any = saying.value("found")
    (row,) = rows
    assert (row["node"], row["level"], row["file"], row["message"]) == ("b.o", "error", "b.c", "e")


def test_a_report_is_a_file_that_others_read(saying: Project):
    """It is made again when its rows change, and its users with it."""
    saying.load(SAYING + FILE)
    saying.run()
    assert saying.read("copy") == "file  option  count\na.c   -Wx         2\nb.c               1\n"
    saying.file("a.c", "# a comment\n" + TWO)
    assert saying.run().ran == {"a.o"}
    saying.file("b.c", "fine\n")
    assert saying.run().ran >= {"b.o", "copy"}
    assert saying.read("copy") == "file  option  count\na.c   -Wx         2\n"


def test_a_report_that_was_removed_is_there_again(saying: Project):
    """From the cache."""
    saying.load(SAYING + FILE)
    saying.run()
    before = saying.read("out/warnings.txt")
    (saying.base / "out/warnings.txt").unlink()
    assert saying.run().ran == set()
    assert saying.read("out/warnings.txt") == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('query="level >= wraning"', "no level 'wraning'"),
        ('query="* | cuont"', "no step 'cuont'; did you mean 'count'"),
        ('query="node ~ x | count by nod"', "no field 'nod'"),
        ('where="line", query="line"', "in front of the query"),
    ],
)
def test_a_wrong_query_is_shown_with_its_place(saying: Project, options: str, said: str):
    """When the file is read."""
    from vcache.errors import GraphError

    with pytest.raises(GraphError, match=r"vcachefile\.py:") as caught:
        saying.load(SAYING + f"@build.log(of=[say], {options})\ndef w(rows): ...\n")
    assert said in str(caught.value)


def test_a_format_that_is_none_is_refused(saying: Project):
    """With those that there are."""
    from vcache.errors import GraphError

    with pytest.raises(GraphError, match=r"'cvs'; did you mean 'csv'"):
        saying.load(SAYING + 'build.log_report("w", of=[say], query="line", format="cvs")\n')


def test_rows_are_written_as_csv_and_json():
    """Each reads back as it was."""
    from vcache.dag.reports import format_of, rendered

    rows = Rows(("file", "count"), [('a,"b"\n', 2), (None, 0.5)])
    assert list(csv.reader(io.StringIO(rendered(rows, "csv"))))[1:] == [['a,"b"\n', "2"], ["", "0.5"]]
    assert [json.loads(line) for line in rendered(rows, "json").splitlines()] == list(rows)
    assert [format_of(path) for path in ("a.csv", "b.jsonl", "c.txt", "d")] == ["csv", "json", "text", "text"]
    assert rendered(Rows(("a",), []), "text") == "a\n"


def test_rows_are_a_sequence():
    """Equal by what they hold."""
    rows = Rows(("a", "b"), [(1, 2), (3, 4)])
    assert rows[1:] == [{"a": 3, "b": 4}]
    assert rows == Rows(("a", "b"), [(1, 2), (3, 4)])
    assert rows != Rows(("a", "c"), [(1, 2), (3, 4)])
    assert repr(rows) == "<2 rows of a, b>"
