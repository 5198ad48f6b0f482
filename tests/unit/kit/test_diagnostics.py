"""What compilers and linkers write, read back."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from vcache.kit.diagnostics import Diagnostic, parse, plain

A_HEADER = "static int unused(void) { int x; return 1 }\n"
A_SOURCE = '#include "h.h"\nint main(void) { int y = "a"; return nobody(); }\n'


def wrote(*argv: str, cwd: Path) -> str:
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, env=env)
    return done.stderr


def brief(found: list[Diagnostic]) -> list[tuple[str, str, int, str]]:
    return [(each.level, each.file.removeprefix("./"), each.line, each.option) for each in found]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "h.h").write_text(A_HEADER)
    (tmp_path / "a.c").write_text(A_SOURCE)
    (tmp_path / "n.c").write_text('#include "nope.h"\n')
    (tmp_path / "l.c").write_text("int f(void);\nint main(void) { return f(); }\n")
    return tmp_path


@pytest.mark.parametrize("colour", ["always", "never"])
def test_gcc(colour: str, place: Path):
    """Places, levels and options, with and without colours; an excerpt belongs to its message."""
    text = wrote("gcc", "-Wall", "-c", "a.c", f"-fdiagnostics-color={colour}", cwd=place)
    found = parse(text)
    assert brief(found)[:2] == [("error", "h.h", 1, ""), ("warning", "h.h", 1, "-Wunused-variable")]
    assert {("warning", "a.c", 2, "-Wint-conversion")} < set(brief(found))
    first = found[0]
    assert first.within == ("a.c:1",)
    assert first.message.startswith("expected")
    assert first.column > 1
    lines = plain(text).split("\n")
    assert lines[first.first].startswith("In file included from a.c:1")
    assert set(lines[first.last].strip()) <= set("|^~; ")
    # Nothing is left between two messages but the words that lead to the next one.
    taken = {line for each in found for line in range(each.first, each.last + 1)}
    assert [lines[at] for at in range(len(lines)) if at not in taken] == [""]


def test_clang(place: Path):
    """The same; its excerpts have no line numbers."""
    text = wrote("clang", "-Wall", "-c", "a.c", cwd=place)
    found = parse(text)
    assert brief(found)[0] == ("error", "h.h", 1, "")
    assert ("warning", "a.c", 2, "-Wint-conversion") in brief(found)
    lines = text.split("\n")
    taken = {line for each in found for line in range(each.first, each.last + 1)}
    (left,) = [lines[at] for at in range(len(lines)) if at not in taken and lines[at]]
    assert left.endswith("generated.")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_drivers_and_linkers(compiler: str, place: Path):
    """A missing header is fatal; an undefined name has the file of its use; a driver has no file."""
    (fatal,) = parse(wrote(compiler, "-c", "n.c", cwd=place))
    assert (fatal.level, fatal.file, fatal.line) == ("critical", "n.c", 1)
    undefined, ended = parse(wrote(compiler, "l.c", cwd=place))
    assert undefined.level == ended.level == "error"
    assert (undefined.file, undefined.message) == ("l.c", "undefined reference to `f'")
    assert ended.file == ""
    undefined = parse(wrote(compiler, "-g", "l.c", cwd=place))[0]
    assert (Path(undefined.file).name, undefined.line) == ("l.c", 2)
    for each in parse(wrote(compiler, "nofile.c", cwd=place)):
        assert each.level in ("error", "critical")
        assert each.file == ""


def test_gcc_as_json(place: Path):
    """One array for a compile: the same messages as in the text."""
    as_text = parse(wrote("gcc", "-Wall", "-c", "a.c", cwd=place))
    as_json = parse(wrote("gcc", "-Wall", "-c", "a.c", "-fdiagnostics-format=json", cwd=place))
    assert sorted(brief(as_json)) == sorted(brief(as_text))


def test_sarif():
    """A result is a message with its place and rule."""
    text = (
        '{"runs": [{"results": [{"ruleId": "-Wunused", "level": "warning", "message": {"text": "m"}, '
        '"locations": [{"physicalLocation": {"artifactLocation": {"uri": "a.c"}, "region": '
        '{"startLine": 3, "startColumn": 4}}}]}]}]}\n'
    )
    assert parse(text) == [Diagnostic("warning", "m", "a.c", 3, 4, "-Wunused", (), 0, 0)]


CASES = {
    "a.c:3: warning: w": ("warning", "a.c", 3, 0, "w", ""),
    "a.c:3:4: fatal error: f [-Wall]": ("critical", "a.c", 3, 4, "f", "-Wall"),
    "C:/x/a.c:3:4: note: n": ("note", "C:/x/a.c", 3, 4, "n", ""),
    "a.c:3:4: error: e [-Werror=format=]": ("error", "a.c", 3, 4, "e", "-Werror=format"),
    "a.c:3:4: error: e [-Werror,-Wformat]": ("error", "a.c", 3, 4, "e", "-Werror"),
    "error: no place": ("error", "", 0, 0, "no place", ""),
    "cc1: warning: command-line option": ("warning", "", 0, 0, "command-line option", ""),
    "a.c:1:1: sorry, unimplemented: s": ("error", "a.c", 1, 1, "s", ""),
    "a.c:1:1: internal compiler error: i": ("critical", "a.c", 1, 1, "i", ""),
    "ld: file.o: undefined reference to `x'": ("error", "file.o", 0, 0, "undefined reference to `x'", ""),
    "a.o:a.c:(.text+0x5): undefined reference to `x'": (
        "error",
        "a.c",
        0,
        0,
        "undefined reference to `x'",
        "",
    ),
    "b.o:b.c:7: multiple definition of `x'": ("error", "b.c", 7, 0, "multiple definition of `x'", ""),
    "ld: warning: stack": ("warning", "", 0, 0, "stack", ""),
    "/usr/bin/ld: cannot find -lx": ("error", "", 0, 0, "cannot find -lx", ""),
    "ld.lld: error: undefined symbol: f": ("error", "", 0, 0, "undefined symbol: f", ""),
}


@pytest.mark.parametrize("line", CASES)
def test_a_line(line: str):
    """Each form of a first line."""
    (found,) = parse(line)
    assert (found.level, found.file, found.line, found.column, found.message, found.option) == CASES[line]


@pytest.mark.parametrize(
    "text",
    ["", "all is well\n", "0 errors, 0 warnings", "errors: none", "{}", "[1, 2]", '[{"kind": 1}', '{"runs": 3}',
     '[{"kind": "error"}]', "In file included from a.c:1:\n", "a.c: In function 'f':\n", "old: 3"],
)  # fmt: skip
def test_other_text_is_none(text: str):
    """What is no diagnostic gives none, however much it looks like one."""
    assert parse(text) == []


def test_a_long_log_is_read_quickly():
    """A megabyte of lines that say nothing takes no time worth counting, and neither does a hostile one."""
    began = time.perf_counter()
    parse("compiling something or other, one of many\n" * 25_000)
    parse("a.c:1:1: warning: w\n" + "x" * 100_000 + "\n" + ":" * 20_000 + " " * 20_000)
    assert time.perf_counter() - began < 2
