"""What one run says that another does not."""

from __future__ import annotations

from vcache.logs.diff import COLUMNS, Said, compared, question, said_of, telling_line
from vcache.logs.memory import MemoryLogs
from vcache.logs.record import Record
from vcache.query.syntax import Compare


def _said(level: int, template: str, count: int, node: str = "a.o") -> Said:
    return Said(level, "gcc", node, template, count, f"{template}!")


def test_the_gravest_of_what_is_new_comes_first():
    """new, more, fewer, gone; within each by level; what is equal is left out"""
    before = [_said(13, "same", 1), _said(13, "more", 1), _said(13, "fewer", 3), _said(17, "gone", 1)]
    after = [
        _said(13, "same", 1),
        _said(13, "more", 2),
        _said(13, "fewer", 1),
        _said(13, "n1", 1),
        _said(17, "n2", 1),
    ]
    changes = compared(before, after)
    assert [(each.how, each.template, each.before, each.after) for each in changes] == [
        ("new", "n2", 0, 1), ("new", "n1", 0, 1), ("more", "more", 1, 2), ("fewer", "fewer", 3, 1),
        ("gone", "gone", 1, 0),
    ]  # fmt: skip


def test_the_node_and_the_level_tell_messages_apart():
    """The same words of another node are new"""
    changes = compared([_said(13, "x", 1, "a.o")], [_said(13, "x", 1, "b.o")])
    assert [(each.how, each.node) for each in changes] == [("new", "b.o"), ("gone", "a.o")]


def test_numbers_in_messages_do_not_differ():
    """A store's answer is compared by shape; a record that was said several times in a row counts so often"""
    store = MemoryLogs()
    for run, message, repeats in (("1", "took 3 ms", 1), ("2", "took 5 ms", 4), ("2", "broke", 1)):
        store.append([Record(1, 13, "s", message, {"run": run}, repeats=repeats)])
    said = []
    for run in ("1", "2"):
        result = store.search(question(Compare("run", "=", run), least_level=13))
        assert result.columns == COLUMNS
        said.append(said_of(result.rows))  # type: ignore[arg-type]
    changes = compared(*said)
    assert [(each.how, each.before, each.after, each.example) for each in changes] == [
        ("new", 0, 1, "broke"), ("more", 1, 4, "took 5 ms"),
    ]  # fmt: skip


def test_equal_runs_do_not_differ():
    """Comparing a run with itself says nothing"""
    said = [_said(13, "x", 2), _said(0, "y", 1)]
    assert compared(said, said) == []


def test_a_message_of_several_lines_is_told_by_one():
    """What a compiler says before and after its warning makes no other warning of it"""
    one = "f.c: In function 'f':\nf.c:1:3: warning: unused variable 'x'\n    1 | int f"
    two = "f.c:9:3: warning: unused variable 'y'\n    9 | long g"
    assert telling_line(one, 13) == "f.c:1:3: warning: unused variable 'x'"
    assert telling_line("a\nb", 0) == telling_line("a\nb", 13) == "a"
    before, after = (said_of([(13, "gcc", None, message, 1, message, None)]) for message in (one, two))
    assert compared(before, after) == []


def test_the_lines_behind_a_message_are_shown():
    """Where a build took a message out of its line, the example is the line, with its place"""
    (said,) = said_of([(13, "gcc", "a.o", "unused <str>", 1, "unused 'x'", "a.c:1:2: warning: unused 'x'")])
    assert (said.template, said.example) == ("unused <str>", "a.c:1:2: warning: unused 'x'")
