"""What command lines of gcc and clang come to."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.cc.arguments import Compile, TooHard, parse

FILES = {
    "flags.rsp": b"-O2 '-DA=\"b c\"'\n-Ifrom",
    "nested.rsp": b"@flags.rsp -c",
    "loop.rsp": b"@loop.rsp",
}


def parsed(line: str) -> Compile | TooHard:
    return parse(tuple(shlex.split(line)), read=FILES.get)


def compiled(line: str) -> Compile:
    found = parsed(line)
    assert isinstance(found, Compile), found
    return found


@pytest.mark.parametrize(
    ("line", "source", "outs"),
    [
        ("gcc -c a.c", "a.c", "a.o"),
        ("gcc -c src/a.c", "src/a.c", "a.o"),
        ("gcc -c a.c -o b/c.obj", "a.c", "b/c.obj"),
        ("gcc -ob.o -c a.c", "a.c", "b.o"),
        ("gcc -S a.cc", "a.cc", "a.s"),
        ("gcc -S -c a.c", "a.c", "a.s"),
        ("gcc -c -S a.c", "a.c", "a.s"),
        ("clang++ -c -x c++ a -o a.o", "a", "a.o"),
        ("gcc -xc -c a.txt", "a.txt", "a.o"),
        ("gcc -c a.c -MD", "a.c", "a.o a.d"),
        ("gcc -c a.c -MMD -o o/a.o", "a.c", "o/a.o o/a.d"),
        ("gcc -c a.c -MD -MF d/a.dep -MT x -MQ y -MP", "a.c", "a.o d/a.dep"),
        ("gcc -c a.c -MD -MFd/a.dep", "a.c", "a.o d/a.dep"),
        ("gcc -c a.c -MD -MF 1.d -MF 2.d", "a.c", "a.o 2.d"),
        ("gcc -c a.c -Wp,-MD,.a.o.d", "a.c", "a.o .a.o.d"),
        ("gcc -c a.c -Wp,-MMD,.a.o.d,-MT,x,-MP", "a.c", "a.o .a.o.d"),
        ("gcc -c a.c -g -gsplit-dwarf", "a.c", "a.o a.dwo"),
        ("gcc -c a.c -gsplit-dwarf -g0", "a.c", "a.o"),
        ("gcc -c a.c --coverage -o b.x.o", "a.c", "b.x.o b.x.gcno"),
        ("gcc -c a.c -ftest-coverage -fstack-usage", "a.c", "a.o a.gcno a.su"),
        ("gcc -c a.s -MD", "a.s", "a.o"),
        ("gcc -c a.S -MD", "a.S", "a.o a.d"),
        ("gcc -c a.i --coverage -MD", "a.i", "a.o"),
        ("gcc -D X -U Y -I inc -isystem sys -include pre.h -L l -l m -c a.c", "a.c", "a.o"),
        ("gcc -DX=a.c -c b.c", "b.c", "b.o"),
        ("gcc -arch arm64 -arch arm64 -c a.c", "a.c", "a.o"),
        ("gcc @nested.rsp a.c", "a.c", "a.o"),
        ("gcc -Xclang -fno-foo -c a.c", "a.c", "a.o"),
        ("gcc -Wa,--noexecstack -Wl,-z,now -pipe -c a.c", "a.c", "a.o"),
    ],
)
def test_what_is_made(line, source, outs):
    """The source, and all files that come of it, the object first."""
    found = compiled(line)
    assert (found.source, " ".join(found.outs)) == (source, outs)
    assert found.output == found.outs[0]


@pytest.mark.parametrize(
    ("line", "sees"),
    [
        ("gcc -c a.c", "none"), ("gcc -c a.c -MD", "full"), ("gcc -c a.c -MMD", "partial"),
        ("gcc -c a.c -MD -MMD", "partial"), ("gcc -c a.c -MMD -MD", "partial"),
        ("gcc -c a.c -Wp,-MD,x", "full"), ("gcc -c a.i -MD", "never"), ("gcc -c a.s", "never"),
    ],
)  # fmt: skip
def test_how_headers_come_to_light(line, sees):
    """From the user's depfile where that is whole; else in a way of our own."""
    assert compiled(line).sees == sees


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("gcc a.c -o a", "it links"), ("gcc a.o b.a", "it links"), ("gcc", "there is no source"),
        ("gcc -c", "there is no source"), ("gcc -c a.c b.c", "several sources"),
        ("gcc -c a.h", "not a source"), ("gcc -c -x c-header a.h", "a language"), ("gfortran -c a.f90", "not a source"),
        ("gcc -c -", "standard input"), ("gcc -E a.c", "compiles nothing"), ("gcc -M a.c", "only lists"),
        ("gcc -MM a.c", "only lists"), ("gcc -c a.c -o -", "no file"), ("gcc -c a.c -o /dev/null", "no file"),
        ("gcc -c a.c -MD -MF -", "depfile is no file"), ("gcc -c a.c -MF a.d", "none asked for"), ("gcc -c a.c -MP", "none asked for"), ("gcc -MT x -c a.c", "none asked for"),
        ("gcc -c a.c -save-temps", "other files"), ("gcc -c a.c -save-temps=obj", "other files"),
        ("gcc -c a.c -fdump-tree-all", "other files"), ("gcc -c a.c -da", "other files"),
        ("gcc -c a.c -Wa,-adhln=a.lst", "other files"), ("gcc -c a.c -Xassembler -al", "other files"),
        ("gcc -c a.c -fdiagnostics-format=sarif-file", "other files"), ("clang -c a.c -MJ x", "other files"),
        ("gcc -c a.c -arch x86_64 -arch arm64", "several architectures"), ("gcc --version", "about itself"),
        ("gcc -print-prog-name=as", "about itself"), ("gcc -c a.c -v", "about itself"),
        ("clang -c a.cc -fmodules", "modules"), ("gcc -c a.cc -fmodules-ts", "modules"),
        ("clang -c a.c -fmodule-file=x", "modules"), ("gcc -c a.c -fplugin=x.so", "other programs"),
        ("gcc -c a.c -specs=x", "other programs"), ("gcc -c a.c -B/x", "other programs"),
        ("gcc -c a.c -B x", "other programs"), ("gcc -c a.c -wrapper gdb", "other programs"),
        ("gcc -c a.c -fprofile-use", "profiles"), ("gcc -c a.c -I-", "not understood"),
        ("clang -c a.c -Xclang -load -Xclang x.so", "not understood"), ("gcc -c a.c -Xpreprocessor -MD", "two words"),
        ("clang -Xarch_arm64 -O2 -c a.c", "not understood"), ("gcc -c a.c -ftime-report", "no two runs"),
        ("gcc -c a.c -o", "an argument is missing"), ("gcc @loop.rsp", "response files"), ("gcc -c @gone.rsp", "not a source"),
    ],
)  # fmt: skip
def test_what_is_too_hard(line, reason):
    """Whatever cannot be told from the words alone is refused, and the refusal says why."""
    found = parsed(line)
    assert isinstance(found, TooHard)
    assert reason in str(found)


def test_further_inputs_and_directories():
    """Response files, profiles and lists are read as well; directories are searched in the compiler's order."""
    found = compiled(
        "gcc -idirafter last -Ione -isystem sys -iquote quote -I two @flags.rsp -c a.c"
        " -fprofile-use=p.gcda -fsanitize-blacklist=list.txt"
    )
    assert found.inputs == ("flags.rsp", "p.gcda", "list.txt")
    assert compiled("gcc -include a.h -imacrosb.h -c a.c").forced == ("a.h", "b.h")
    assert found.searched == ("quote", "one", "two", "from", "sys", "last")


@pytest.mark.parametrize(
    ("line", "attribute"),
    [
        ("gcc -march=native -c a.c", "wants_cpu"), ("gcc -mtune=native -c a.c", "wants_cpu"),
        ("gcc -flto -c a.c", "is_bound"), ("gcc -gz -c a.c", "is_bound"),
        ("gcc -Wa,--compress-debug-sections -c a.c", "is_bound"),
        ("gcc -fdiagnostics-color -c a.c", "is_colored"), ("clang -fno-color-diagnostics -c a.c", "is_colored"),
    ],
)  # fmt: skip
def test_what_else_counts(line, attribute):
    """The processor, the place, and who decides on colours, where the words say so."""
    assert getattr(compiled(line), attribute)
    assert not getattr(compiled("gcc -march=x86-64 -gz=none -c a.c"), attribute)


@given(
    st.lists(st.sampled_from("gcc -c -S -o a.o a.c b.c -MD -MMD -MF x -x c -I -E -arch @loop.rsp -".split()))
)
def test_any_order_is_decided(words):
    """No order of words raises; what is accepted has one source and one object."""
    found = parse(("gcc", *words), read=FILES.get)
    assert isinstance(found, TooHard) or (found.source and found.outs)
