"""What a command did against what its node says: each difference, and nothing else."""

from __future__ import annotations

import json

from vcache.dag.audit import Finding, as_json, compare, lines
from vcache.dag.node import Node


def found_by(opened=(), wrote=(), *, declared=(), found=(), outs=(), after=()) -> list[Finding]:
    return compare(
        Node(name="app.o"),
        opened,
        wrote,
        declared=declared,
        found=found,
        outs=outs,
        root="/p",
        after=after,
    )


def kinds(*args, **options) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.paths for finding in found_by(*args, **options)}


def test_a_node_that_says_what_it_does():
    """Declared, named by a depfile, below a declared directory, made: no finding"""
    opened = [
        ("file", "/p/a.c"),
        ("file", "/p/a.h"),
        ("file", "/p/data/x/y"),
        ("list", "/p/data"),
        ("list", "/p/data/x"),
        ("absent", "/p/data/z"),
        ("file", "/p/app.o"),
    ]
    wrote = ["/p/app.o", "/p/tree", "/p/tree/deep", "/p/tree/deep/f"]
    declared, outs = ["/p/a.c", "/p/data/"], ["/p/app.o", "/p/tree/"]
    assert found_by(opened, wrote, declared=declared, found=["/p/a.h"], outs=outs) == []


def test_what_is_read_and_not_declared():
    """Named each, relative to the root, as a warning"""
    findings = found_by([("file", "/p/b.h"), ("file", "/p/a.h"), ("file", "/p/a.h")])
    assert findings == [Finding("undeclared-input", "app.o", ("a.h", "b.h"))]
    assert findings[0].is_warning
    assert lines(findings)[0].startswith("app.o: reads a.h, b.h, which it does not declare")


def test_order_only_is_not_enough():
    """What is only ordered before and yet read is told apart"""
    assert kinds([("file", "/p/gen.h"), ("file", "/p/t/x")], after=["/p/gen.h", "/p/t/"]) == {
        "order-only-input": ("gen.h", "t/x")
    }
    assert kinds([("file", "/p/gen.h")], after=["/p/gen.h"], found=["/p/gen.h"]) == {}


def test_listing_and_looking():
    """A listed directory is a warning, a name that was not there is not"""
    findings = found_by([("list", "/p"), ("list", "/p/d"), ("absent", "/p/d/x"), ("absent", "/usr/x")])
    assert findings == [
        Finding("undeclared-list", "app.o", (".", "d")),
        Finding("absent-input", "app.o", ("d/x",)),
    ]
    assert [finding.is_warning for finding in findings] == [True, False]


def test_outside_is_grouped():
    """Of compilers and libraries one line tells, by directory, the largest first"""
    outside = [f"/usr/lib/x/{n}.so" for n in range(3)] + [
        "/usr/include/stdio.h",
        "/etc/passwd",
        "/pp/q",
        "/q",
    ]
    findings = found_by([("file", path) for path in outside])
    assert findings == [
        Finding("input-outside", "app.o", ("/usr/lib", "/", "/etc", "/pp", "/usr/include"), (3, 1, 1, 1, 1))
    ]
    assert not findings[0].is_warning
    assert "/usr/lib/… (3 files)" in str(findings[0])
    assert ", /… (1 file), /etc/… (1 file)" in str(findings[0])


def test_outputs_that_are_not_declared():
    """Below the root by name, outside by directory; directories on the way are none"""
    wrote = ["/p/obj", "/p/obj/app.o", "/p/obj/app.log", "/var/tmp/x", "/p/new", "/p/new/f"]
    assert kinds([], wrote, outs=["/p/obj/app.o"]) == {
        "undeclared-output": ("new/f", "obj/app.log"),
        "output-outside": ("/var/tmp",),
    }


def test_inputs_that_are_not_read():
    """Files and whole directories that nothing looked at, for information"""
    declared = ["/p/a", "/p/b", "/p/d/", "/p/e/", "/usr/bin/gcc", "/p/dd/"]
    opened = [("file", "/p/a"), ("list", "/p/d"), ("file", "/p/dd/x")]
    findings = found_by(opened, declared=declared)
    assert findings == [Finding("unused-input", "app.o", ("/usr/bin/gcc", "b", "e/"))]
    assert not findings[0].is_warning


def test_long_lists_are_cut_for_people():
    """A line names a few and counts the rest; programs get all"""
    findings = found_by([("file", f"/p/{n}.h") for n in range(9)])
    assert "0.h, 1.h, 2.h, 3.h, 4.h and 4 more, which" in lines(findings)[0]
    assert len(json.loads(as_json(findings))[0]["paths"]) == 9


def test_for_programs():
    """Every finding as an object; names that are no text do not break it"""
    findings = found_by([("absent", "/p/\udcff"), ("file", "/etc/x"), ("file", "/p/a")])
    assert json.loads(as_json(findings)) == [
        {"kind": "undeclared-input", "node": "app.o", "is_warning": True, "paths": ["a"], "counts": []},
        {"kind": "absent-input", "node": "app.o", "is_warning": False, "paths": ["\udcff"], "counts": []},
        {"kind": "input-outside", "node": "app.o", "is_warning": False, "paths": ["/etc"], "counts": [1]},
    ]
    assert as_json([]) == "[]"


def test_warnings_come_first():
    """Whatever the order of the nodes"""
    findings = [Finding("unused-input", "a", ("x",)), Finding("undeclared-output", "b", ("y",))]
    assert [line[0] for line in lines(findings)] == ["b", "a"]
