"""The manifest language: a table of what ninja's manual says, and of what the real ninja does.

Each row is also put to the real ninja, so that the table cannot be wrong by itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.dag.ninja.ninja_tools import real_ninja, tool_commands, tool_targets
from vcache.dag.ninja.load import load
from vcache.errors import GraphError

CAT = "rule cat\n  command = cat $in > $out\n"

COMMANDS = {
    "in and out": (CAT + "build o: cat a b\n", "cat a b > o"),
    "implicit inputs and outputs are not listed": (CAT + "build o | p: cat a | b || c |@ d\n", "cat a > o"),
    "paths are quoted for the shell": (CAT + "build o$ p: cat it's $$x\n", "cat 'it'\\''s' '$x' > 'o p'"),
    "in_newline": (
        "rule r\n  command = r @$out.rsp\n  rspfile = $out.rsp\n  rspfile_content = $in_newline\nbuild o: r a b\n",
        "r @o.rsp",
    ),
    "escapes in a value": ("rule r\n  command = a$$b$:c$ d$\n     e\nbuild o: r\n", "a$b:c de"),
    "leading spaces of a value are dropped, trailing ones stay": (
        "v =   x  \nrule r\n  command = [$v]\nbuild o: r\n",
        "[x  ]",
    ),
    "a brace-less name ends at a dot": (
        "a = 1\na.b = 2\nrule r\n  command = $a.b ${a.b}\nbuild o: r\n",
        "1.b 2",
    ),
    "an unknown variable is empty": ("rule r\n  command = [$nope]\nbuild o: r\n", "[]"),
    "a file's variable is replaced where it is used": (
        "a = 1\nb = $a\na = 2\nrule r\n  command = $a $b\nbuild o: r\n",
        "2 1",
    ),
    "a rule's variables are evaluated last": (
        "rule r\n  command = $flags\nflags = early\nbuild o: r\nflags = late\n",
        "late",
    ),
    "an edge's variables are evaluated at once, in the file's scope": (
        "f = 1\nrule r\n  command = $x $f\nbuild o: r\n  f = 2\n  x = $f\nf = 3\n",
        "1 2",
    ),
    "an edge's variable hides the rule's": (
        "rule r\n  command = x\n  description = R\nbuild o: r\n  command = $description y\n",
        " y",
    ),
    "a rule's variable may use another": (
        "rule r\n  command = $description!\n  description = D $out\nbuild o: r\n",
        "D o!",
    ),
    "a file's variable hides the rule's on an edge without variables": (
        "rule r\n  command = $description\n  description = R\ndescription = F\nbuild o: r\nbuild p: r\n  x = 1\n",
        "F\nR",
    ),
    "paths see the edge's variables": (CAT + "build $d/o: cat $d/i\n  d = sub\n", "cat sub/i > sub/o"),
    "paths do not see in and out": (CAT + "in = x\nbuild o: cat $in\n", "cat x > o"),
    "names may hold dots and dashes": (
        "rule a.b-c_d\n  command = x\nbuild o: a.b-c_d\n",
        "x",
    ),
    "keywords may name rules and variables of edges": (
        "rule build\n  command = $rule\nbuild o: build\n  rule = x\n",
        "x",
    ),
    "comments between an edge's variables": (
        "rule r\n  command = $x$y\nbuild o: r\n  x = 1\n# note\n    # note\n  y = 2 # no note\n",
        "12 # no note",
    ),
    "carriage returns": ("rule r\r\n  command = $\r\n  $x\r\nbuild $\r\n o: r\r\n  x = 1\r\n# c\r\n", "1"),
    "wrapped lines": (CAT + "build $\n  o $\n  p: $\n  cat $\n  a$\n  b $\n  || c\n", "cat ab > o p"),
}


@pytest.mark.parametrize("row", COMMANDS)
def test_commands(row: str, tmp_path: Path) -> None:
    """What a row's manifest runs"""
    text, lines = COMMANDS[row]
    (tmp_path / "build.ninja").write_text(text, newline="")
    graph = load("build.ninja", base=str(tmp_path))
    assert tool_commands(graph) == lines + "\n"
    assert real_ninja(tmp_path, "-t", "commands") == lines + "\n"


PATHS = {
    "a//b": "a/b",
    "./a/./b/.": "a/b",
    "a/../b": "b",
    "a/..": ".",
    "..": "..",
    "../../a": "../../a",
    "a/../../../b": "../../b",
    "/a/../../b": "/../b",
    "/": "/",
    "//a": "/a",
    "a/": "a",
    ".a/..b/c.": ".a/..b/c.",
    "...": "...",
}


@pytest.mark.parametrize("path", PATHS)
def test_paths(path: str, tmp_path: Path) -> None:
    """What a path is called, by us and by ninja"""
    (tmp_path / "build.ninja").write_text(f"build {path}: phony {path}x | {path} || {path}\n")
    graph = load("build.ninja", base=str(tmp_path))
    assert tool_targets(graph) == f"{PATHS[path]}: phony\n" == real_ninja(tmp_path, "-t", "targets", "all")
    assert graph.nodes[0].ins[1:] == graph.nodes[0].after == (PATHS[path],)


FAULTS = {
    "expected newline, got lexing error": "rule a\nrule b@\n",
    "tabs": "rule a\n  command = x\nbuild o: a\n\tx = 1\n",
    "tab after spaces": "rule a\n  \tcommand = x\n",
    "unknown rule": "build a: nope b\n",
    "no rule": "build a:\n",
    "no output": "build : phony\n",
    "no colon": "build a b c\n",
    "second producer": "build a: phony\n\nbuild ./a: phony\n",
    "an output twice": "build a b a: phony\n",
    "bad escape": "x = a$!b\n",
    "open brace": "build ${a: phony\n",
    "no end of line": "build a: phony b",
    "end of file after continuation": "x = 1 $\n",
    "NUL": "x = 1\0\nbuild a: phony\n",
    "carriage return alone": "x = a\rb\n",
    "empty path": "build a: phony $x\n",
    "pool without depth": "pool p\nx = 1\n",
    "negative depth": "pool p\n  depth = -3\n",
    "unknown pool": CAT + "build a: cat\n  pool = swimming\nx = 1\n",
    "second pool": "pool console\n  depth = 1\n",
    "variable of a pool": "pool p\n  width = 2\n",
    "rule without command": "rule r\n  description = x\n\n",
    "variable of a rule": "rule r\n  command = x\n  colour = red\n",
    "second rule": CAT + CAT,
    "half a response file": "rule r\n  command = x\n  rspfile = y\nx = 1\n",
    "unknown default": "default nope\n",
    "no default": "default\n",
    "no file": "include nope\n",
    "no subninja": "x = 1\nsubninja sub/nope.ninja\n",
    "directory": "include .\n",
    "newer": "ninja_required_version = 1.99\nmystery !\n",
    "indent": "x = 1\n  y = 2\n",
    "order of parts": "build a: phony b || c | d\n",
    "dyndep that is no input": CAT + "build a: cat b\n  dyndep = c\n",
    "long line": "build " + "a" * 80 + " b\n",
    "long line, early fault": "build a: nope " + "b " * 60 + "\n",
    "wide letters": "build ä ö: nope ü\n",
    "variables in a circle": "rule r\n  command = $description\n  description = $depfile\n  depfile = $description\nbuild a: r\n",
}


@pytest.mark.parametrize("row", FAULTS)
def test_faults(row: str, tmp_path: Path) -> None:
    """A wrong manifest is refused in ninja's words, with the line and the caret"""
    (tmp_path / "build.ninja").write_text(FAULTS[row], newline="")
    said = real_ninja(tmp_path, "-t", "commands").replace(".git.kitware.jobserver-pipe-1", "")
    with pytest.raises(GraphError) as caught:
        tool_commands(load("build.ninja", base=str(tmp_path)))
    assert f"{caught.value}\n" == said


def test_the_excerpt_of_a_fault(tmp_path: Path) -> None:
    """A fault is shown in its line, with a caret below it"""
    (tmp_path / "build.ninja").write_text("# one\n\nrule a !\n")
    with pytest.raises(GraphError) as caught:
        load("build.ninja", base=str(tmp_path))
    assert str(caught.value) == (
        "build.ninja:3: expected newline, got lexing error\nrule a !\n       ^ near here"
    )


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    """Without a manifest the message is ninja's"""
    with pytest.raises(GraphError) as caught:
        load("nope.ninja", base=str(tmp_path))
    assert f"{caught.value}\n" == real_ninja(tmp_path, "-f", "nope.ninja")


def test_a_file_that_includes_itself_is_told(tmp_path: Path) -> None:
    """A circle of includes ends in an error that names the file, not in a crash"""
    (tmp_path / "build.ninja").write_text("subninja other\n")
    (tmp_path / "other").write_text("x = 1\nsubninja other\n")
    with pytest.raises(GraphError, match=r"^other:2: 'other' is included 100 files deep"):
        load("build.ninja", base=str(tmp_path))


SCOPES = """
v = top
rule r
  command = $v $w $out
build a: r
subninja sub
build b: r
include inc
build c: r
build d: fresh
"""


def test_scopes_of_files(tmp_path: Path) -> None:
    """A subninja sees outer variables and rules and keeps its own; an include shares them"""
    (tmp_path / "build.ninja").write_text(SCOPES)
    (tmp_path / "sub").write_text(
        "v = sub\nw = $v\nbuild s: r\nrule r\n  command = own $v\nbuild t: r\nrule fresh\n  command = x\n"
    )
    (tmp_path / "inc").write_text("w = inc\nrule fresh\n  command = fresh $w\n")
    graph = load("build.ninja", base=str(tmp_path))
    assert graph.files == ("build.ninja", "sub", "inc")
    said = tool_commands(graph)
    assert said.splitlines() == [
        "top inc a", "sub sub s", "own sub", "top inc b", "top inc c", "fresh inc",
    ]  # fmt: skip
    assert said == real_ninja(tmp_path, "-t", "commands")


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    """Paths and commands come back byte for byte"""
    (tmp_path / "build.ninja").write_bytes(CAT.encode() + b"build \xff\xe4.o: cat \xe4$ \xc3\xa4\n")
    graph = load("build.ninja", base=str(tmp_path))
    assert graph.nodes[0].name.encode("utf-8", "surrogateescape") == b"\xff\xe4.o"
    assert tool_commands(graph) == real_ninja(tmp_path, "-t", "commands")


def test_an_old_version_is_warned_of(tmp_path: Path) -> None:
    """A manifest for ninja 0.x is read, with ninja's warning"""
    (tmp_path / "build.ninja").write_text("ninja_required_version = 0.9\n")
    (warning,) = load("build.ninja", base=str(tmp_path)).warnings
    assert warning == (
        "ninja executable version (1.13.2) greater than build file ninja_required_version (0.9); "
        "versions may be incompatible."
    )
