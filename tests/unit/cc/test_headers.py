"""Which files a compile read, and which it would have."""

from __future__ import annotations

import pytest

from vcache.cc.headers import IncludeLines, forbidding, included, missing_names, precompiled, probed


def test_include_lines_are_taken_out():
    """What `-H` added to standard error is gone from it, and nothing else is."""
    lines = IncludeLines()
    said = [
        b". inc/a.h\n", b".. /usr/include/b.h\n", b"x.c:3:5: warning: unused\n", b"    3 | int x;\n",
        b"! pre.h.gch\n", b"x other.h.gch\n", b"Multiple include guards may be useful for:\n",
        b"/usr/include/b.h\n", b"later words\n",
    ]  # fmt: skip
    kept = [line for line in said if lines.keep(line)]
    assert kept == [b"x.c:3:5: warning: unused\n", b"    3 | int x;\n", b"later words\n"]
    assert list(lines.names) == ["inc/a.h", "/usr/include/b.h", "pre.h.gch"]


def test_a_name_is_no_guard_hint_before_the_hint():
    """A line that is only a name is a word of the compiler until the hint was given."""
    lines = IncludeLines()
    lines.keep(b". a.h\n")
    assert lines.keep(b"a.h\n") == b"a.h\n"


@pytest.mark.parametrize(
    ("content", "is_assembly", "reason"),
    [
        (b"__TIME__", False, "__TIME__"), (b"x = __DATE__;", False, "__DATE__"),
        (b"__TIMESTAMP__", False, "__TIMESTAMP__"), (b"MY__TIME__S", False, ""), (b"__TIMER", False, ""),
        (b'.incbin "x"', False, ".incbin"), (b"# embed <x>", False, "# embed"), (b"embedded incbins", False, ""),
        (b'.include "x"', True, ".include"), (b'.include "x"', False, ""), (b"", True, ""),
    ],
)  # fmt: skip
def test_what_must_not_be_in_a_file(content, is_assembly, reason):
    """Words by which a result depends on more than files; part of a longer name is none."""
    found = forbidding(content, is_assembly=is_assembly, may_say_time=False)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_a_given_time_may_be_said():
    """With SOURCE_DATE_EPOCH the time of the build is known; that of a file is not."""
    assert forbidding(b"__TIME__", is_assembly=False, may_say_time=True) == ""
    assert forbidding(b"__TIME__ __TIMESTAMP__", is_assembly=False, may_say_time=True)


def test_what_is_asked_for():
    """The names in `__has_include`, of either form."""
    content = b'#if __has_include(<a/b.h>) || __has_include ( "c.h" )\n#if __has_include_next(<d.h>)'
    assert probed(content) == ["a/b.h", "c.h", "d.h"]


def test_where_a_header_would_have_been_taken_from(tmp_path, monkeypatch):
    """In each directory that was searched before, and beside the includer, by the whole name."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two/sub", "src"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "two/sub/a.h").touch()
    missing = missing_names(["two/sub/a.h"], source="src/x.c", searched=["one", "two/"], asked=["ask.h"])
    assert {"one/sub", "src/sub", "one/ask.h", "two/ask.h", "src/ask.h", "two/sub/a.h.gch"} <= set(missing)
    assert not any((tmp_path / name).exists() for name in missing)


def test_system_headers_are_probed_in_own_directories(tmp_path, monkeypatch):
    """A header of the system would have been taken from a directory of the project, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inc").mkdir()
    found = ["/usr/include/x86_64-linux-gnu/sys/types.h", "/usr/include/stdio.h"]
    missing = missing_names(found, source="x.c", searched=["inc"], asked=[])
    assert {"inc/stdio.h", "inc/sys", "stdio.h", "sys"} <= set(missing)


def test_what_is_included():
    """The names in #include and #import, of either form, at the beginning of a line."""
    content = (
        b'#include <a.h>\n # include "b/c.h"\nint x; // #include "no.h"\n#import "d.h"\n#include MACRO\n'
    )
    assert included(content) == ["a.h", "b/c.h", "d.h"]


def test_a_precompiled_header_is_found(tmp_path, monkeypatch):
    """Beside the source, in the working directory, and in each searched directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inc").mkdir()
    assert not precompiled(["a.h"], source="src/x.c", searched=["inc"])
    (tmp_path / "inc/a.h.gch").touch()
    assert precompiled(["b.h", "a.h"], source="src/x.c", searched=["inc"]) == "inc/a.h.gch"
