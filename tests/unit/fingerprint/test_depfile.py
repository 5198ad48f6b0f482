"""Depfiles as compilers write them."""

from __future__ import annotations

import subprocess

import pytest

from vcache.errors import UsageError
from vcache.fingerprint.depfile import parse_depfile, parse_show_includes


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("\n\n", ()),
        ("a.o: a.c a.h\n", ("a.c", "a.h")),
        ("a.o: a.c a.h", ("a.c", "a.h")),
        ("a.o:\n", ()),
        ("a.o : a.c\n", ("a.c",)),
        ("a.o:a.c b.h\n", ("a.c", "b.h")),
        ("a.o a.d: a.c\n", ("a.c",)),
        ("a.o: a.c \\\n  a.h \\\n  b.h\n", ("a.c", "a.h", "b.h")),
        ("a.o: a.c \\\r\n  a.h\r\n", ("a.c", "a.h")),
        ("a.o: a.c\ta.h\n", ("a.c", "a.h")),
        ("a.o: a.h b.h a.h\n", ("a.h", "b.h")),
        ("a.o: a.c\n\na.h:\nb.h:\n", ("a.c",)),
        ("a.o: a.c\nb.o: b.c a.c\n", ("a.c", "b.c")),
        ("a.o: a.c | dir\n", ("a.c", "dir")),
        ("# a comment: of words\na.o: a.c # behind\n", ("a.c",)),
        ("a.o: a\\ b.h c\\#d.h e$$f.h g\\:h.h\n", ("a b.h", "c#d.h", "e$f.h", "g:h.h")),
        ("a.o: g:h.h std::x.h C:/x.h\n", ("g:h.h", "std::x.h", "C:/x.h")),
        ("a.o: k\\l.h m\\\\\\ n.h o\\\\ p.h\n", ("k\\l.h", "m\\ n.h", "o\\", "p.h")),
        ("a.o: x#y.h $x\n", ("x#y.h", "$x")),
        ("a.o: ü.h \udcff.h\n", ("ü.h", "\udcff.h")),
    ],
)
def test_rules_name_their_prerequisites(text, names):
    """Every prerequisite is found once, in order, unquoted; targets, comments and empty rules are not."""
    assert parse_depfile(text) == names


@pytest.mark.parametrize("text", ["garbage\n", "a.o: a.c\nwords without a colon\n", "\0\1\2", "a.o:a.c\n:b"])
def test_what_is_no_rule_is_said(text):
    """A line without target and colon is refused: an input might be forgotten."""
    with pytest.raises(UsageError, match="no rule of a depfile"):
        parse_depfile(text)


def test_gcc_is_read_back(tmp_path):
    """Names with blanks, backslashes and other odd characters come back from gcc as they are."""
    names = ["a b.h", "c#d.h", "e$f.h", "g:h.h", "i%j.h", "k\\l.h", "m\\ n.h", "q'r.h", "ü.h", "x y.c"]
    for name in names[:-1]:
        (tmp_path / name).write_text("")
    (tmp_path / "x y.c").write_text("".join(f'#include "{name}"\n' for name in names[:-1]))
    subprocess.run(
        ["gcc", "-MMD", "-MP", "-MF", "out.d", "-c", "x y.c", "-o", "o p.o"], cwd=tmp_path, check=True
    )
    assert sorted(parse_depfile((tmp_path / "out.d").read_text())) == sorted(names)


@pytest.mark.parametrize(
    ("said", "prefix", "names", "left"),
    [
        (b"", None, (), b""),
        (b"a.c\r\nNote: including file: C:\\x y\\a.h\r\n", None, ("C:\\x y\\a.h",), b""),
        (
            b"A.CPP\nNote: including file:    deep.h\nNote: including file: a.h\n",
            None,
            ("deep.h", "a.h"),
            b"",
        ),
        (b"Note: including file: a.h\nNote: including file: a.h\n", None, ("a.h",), b""),
        (b"warning: x\nNote: including file: a.h\nwarning: y", None, ("a.h",), b"warning: x\nwarning: y"),
        (b"Note: including file: a.h\nsee b.c\n", None, ("a.h",), b"see b.c\n"),
        (b"Note: including file:\n", None, (), b""),
        (b" Note: including file: a.h\n", None, (), b" Note: including file: a.h\n"),
        ("Hinweis: Einlesen: ä.h\n".encode(), "Hinweis: Einlesen:", ("ä.h",), b""),
        (b"Note: including file: \xff.h\n", None, ("\udcff.h",), b""),
    ],
)
def test_lines_of_msvc(said, prefix, names, left):
    """Included files are named in order, once; the compiler's other words stay as they were, byte for byte."""
    assert (parse_show_includes(said, prefix) if prefix else parse_show_includes(said)) == (names, left)
