"""The programs of shell lines."""

from __future__ import annotations

import pytest

from vcache.dag.ninja.programs import programs

LINES = {
    "/usr/bin/cc -DX=1 -c a.c -o a.o": ("/usr/bin/cc",),
    "gcc": ("gcc",),
    "gcc -D'A=\"x y\"' -DB=\\\"c\\\" $$x": (),
    "gcc -D'A=\"$x y\"' -DB=\\\"c\\\" -c a.c": ("gcc",),
    "cd /b/sub && /usr/bin/cmake -E touch x": ("/usr/bin/cmake",),
    "cd sub && ./gen x && cd deep && ../tool && cc y": ("sub/./gen", "sub/deep/../tool", "cc"),
    ": && /usr/bin/c++ -O2 a.o -o app && :": ("/usr/bin/c++",),
    "/usr/bin/cmake -E rm -f l.a && /usr/bin/ar qc l.a a.o && /usr/bin/ranlib l.a && :": (
        "/usr/bin/cmake", "/usr/bin/ar", "/usr/bin/ranlib",
    ),
    "LC_ALL=C sort <in 2>&1 >out | uniq -c >> log": ("sort", "uniq"),
    "A=1 B='2 3' gcc x": ("gcc",),
    "A=1": (),
    "ccache gcc -c x.c": ("ccache", "gcc"),
    "env FOO=1 nice gcc x": ("env", "nice", "gcc"),
    "nice -n 5 gcc x": (),
    "'/opt/my tools/cc' -c x": ("/opt/my tools/cc",),
    "/opt/my\\ tools/cc -c x": ("/opt/my tools/cc",),
    '"/opt/my tools/cc" -c x': ("/opt/my tools/cc",),
    "gcc a; gcc b; ld c || true": ("gcc", "ld"),
    "cp a b": ("cp",),
    "echo done": (),
    "echo # cc": (),
    "cc a#b": ("cc",),
    "a && cc # b": (),
    "$CC x": (),
    "gcc $(pkg-config --cflags x)": (),
    "gcc `pkg-config`": (),
    "(cd x && gcc)": (),
    "if test -f x; then gcc; fi": (),
    "for i in a b; do gcc $i; done": (),
    "gcc x &": (),
    "gcc 'unclosed": (),
    "cat <<END": (),
    "gcc >": (),
    "*/gcc x": (),
    "~/bin/gcc x": (),
    "cd $HOME && ./x": (),
    "cd && ./x": (),
    "! gcc x": (),
    "-x": (),
    "": (),
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_programs(line: str) -> None:
    """First words of simple commands, through cd, variables and launchers; nothing where it is unsure"""
    assert programs(line) == LINES[line]


def test_a_long_line_is_read_quickly() -> None:
    """Ten thousand words do not make a fault of a regular expression"""
    words = " ".join(f"'o/{number}.o'" for number in range(10_000))
    assert programs(f"ld -o x {words} && strip x") == ("ld", "strip")
