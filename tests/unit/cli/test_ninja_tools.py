"""`vcache-ninja -t …` tells what the real ninja tells: both are run on the same manifests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vcache.cli.ninja import main

NINJA = shutil.which("ninja", path=str(Path(sys.executable).parent)) or shutil.which("ninja") or "ninja"

WIDE = """\
cflags = -O2
pool two
  depth = 2
rule cc
  command = cc -c $in -o $out $cflags
  description = CC ${out} $$x a$ b$
     c $in_newline
rule cat
  command = cat $in > $out
  pool = two
rule gen
  command = touch $out
  generator = 1
rule rsp
  command = cat @$rspfile > $out
  rspfile = $out.rsp
  rspfile_content = $in_newline -x
rule unused
  command = nothing
build b/a.o: cc a.c | cfg.h || order
build b/b.o b/b.x | b/hidden: cat b.txt a.c
build order: phony src.txt
build g.txt: gen
build r.txt: rsp a.c b.txt |@ val
build val: cat b.txt
build twice: cat a.c a.c || a.c
build a$ b: cat n$ x o'q "z | ü
build all: phony b/a.o b/b.o
build more: phony all r.txt
subninja sub.ninja
default all
"""
SUB = """\
rule cc
  command = sub $in
rule onlysub
  command = x
build z: cc zz b/b.x
build w: onlysub
"""
DYNDEP = """\
rule r
  command = make $out
build dd: r dd.in
build o: r i || dd
  dyndep = dd
build p: r o
"""

ALIKE = [
    "-t targets",
    "-t targets depth 0",
    "-t targets depth 2",
    "-t targets depth x",
    "-t targets rule",
    "-t targets rule cat",
    "-t targets rule nope",
    "-t targets all",
    "-t targets depht",
    "-t targets bogus",
    "-t rules",
    "-t rules -d",
    "-t query b/a.o all",
    "-t query a.c b/b.x",
    "-t query a.c^",
    "-t query r.txt val z",
    "-t query twice",
    "-t query",
    "-t query nope/at/all/such",
    "-t commands",
    "-t commands more w",
    "-t commands -s b/b.o all b/b.x",
    "-t commands -- -s",
    "-t inputs",
    "-t inputs more",
    "-t inputs --dep more",
    "-t inputs -0 all",
    "-t inputs -E a\\ b",
    "-t inputs a\\ b",
    "-t inputs z twice",
    "-t multi-inputs all more",
    "-t multi-inputs -d : a\\ b",
    "-t multi-inputs --delimiter= -0 z",
    "-t compdb",
    "-t compdb cat cc",
    "-t compdb -x rsp",
    "-t compdb nope",
    "-t compdb-targets more z",
    "-t compdb-targets -x r.txt",
    "-t compdb-targets w",
    "-t missingdeps",
    "-t recompact",
    "-t restat",
    "-t restat g.txt",
    "-t cleandead",
    "-t deps b/b.o",
    "-t deps",
    "-t nothing/like/any/tool",
    "-t clen",
    "-C . -t targets",
    "-C /nonexistent -t targets",
    "-f nope -t targets",
    "-tall",
    "all -t targets rule gen",
]


def split(words: str) -> list[str]:
    return [word.replace("\0", " ") for word in words.replace("\\ ", "\0").split(" ")]


def both(
    words: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> tuple[tuple[int, bytes, bytes], tuple[int, bytes, bytes]]:
    """What we say and what ninja says: status, standard output, standard error."""
    theirs = subprocess.run([NINJA, *words], capture_output=True, check=False)
    capfdbinary.readouterr()
    status = main(words)
    ours = capfdbinary.readouterr()
    return (status, ours.out, ours.err), (theirs.returncode, theirs.stdout, theirs.stderr)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "build.ninja").write_text(WIDE)
    (tmp_path / "sub.ninja").write_text(SUB)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", ALIKE)
def test_tools_tell_what_ninja_tells(words: str, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    """Status, output and errors are the same."""
    ours, theirs = both(split(words), capfdbinary)
    assert ours == theirs


@pytest.mark.parametrize("words", ["-t graph", "-t graph more z", "-t graph a\\ b"])
def test_pictures_are_the_same_but_for_names(
    words: str, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]
):
    """Nodes come in the same order with the same labels; ninja names them by addresses."""

    def renamed(text: bytes) -> str:
        names: dict[str, str] = {}
        # ninja does not escape quotes in labels, and graphviz then refuses its file.
        plain = text.decode().replace('\\"', '"')
        return re.sub("0x[0-9a-f]+", lambda found: names.setdefault(found[0], f"n{len(names)}"), plain)

    ours, theirs = both(split(words), capfdbinary)
    assert renamed(ours[1]) == renamed(theirs[1])
    assert ours[0] == theirs[0] == 0


@pytest.mark.parametrize(
    "words",
    ["-t query o p", "-t graph", "-t inputs", "-t commands", "-t targets depth 0", "-n -t clean"],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_dyndep_files_are_read_where_ninja_reads_them(
    words: str, is_there: bool, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]
):
    """What a dyndep file adds shows in the same tools, and its absence is told in the same words."""
    (tree / "build.ninja").write_text(DYNDEP)
    if is_there:
        (tree / "dd").write_text("ninja_dyndep_version = 1\nbuild o | o2: dyndep | more\n")
    ours, theirs = both(split(words), capfdbinary)
    assert ours[2] == theirs[2].replace(b"\n\n", b"\n")
    assert ours[0] == theirs[0]
    if words != "-t graph":  # its names are others
        assert ours[1] == theirs[1]


CLEANS = [
    "-t clean",
    "-v -t clean",
    "-n -t clean",
    "-t clean -g",
    "-v -t clean -gr cat cc",
    "-v -t clean all",
    "-v -t clean more z",
    "-n -v -t clean -r cat",
    "-t clean -r nope",
    "-t clean nope b/a.o",
    "-t clean -r",
    "--quiet -t clean",
    "-v -t clean order",
    "-v -t clean twice",
]
MADE = ["b/a.o", "b/b.o", "b/b.x", "b/hidden", "g.txt", "r.txt", "r.txt.rsp", "val", "twice", "a b", "z", "w"]
KEPT = ["a.c", "b.txt", "src.txt", "cfg.h", "other"]


@pytest.mark.parametrize("words", CLEANS)
def test_cleaning_removes_what_ninja_removes(
    words: str, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]
):
    """The same files go, in the same order, with the same words; sources stay."""
    left = []
    said = []
    for tool in ("ours", "theirs"):
        (tree / "b").mkdir(exist_ok=True)
        for name in (*MADE, *KEPT):
            (tree / name).write_text(name)
        if tool == "ours":
            said.append((main(split(words)), *capfdbinary.readouterr()))
        else:
            done = subprocess.run([NINJA, *split(words)], capture_output=True, check=False)
            said.append((done.returncode, done.stdout, done.stderr))
        left.append(sorted(name for name in (*MADE, *KEPT) if (tree / name).exists()))
    assert left[0] == left[1]
    assert said[0] == said[1]
    assert set(KEPT) <= set(left[0])


def test_what_cannot_be_removed_is_told(tree: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    """A directory with something in it stays, and the status says so."""
    (tree / "val").mkdir()
    (tree / "val" / "kept").write_text("")
    ours, theirs = both(["-t", "clean", "val"], capfdbinary)
    assert ours == theirs
    assert ours[0] == 1
    assert (tree / "val" / "kept").exists()


@pytest.mark.parametrize(
    "words",
    ["clean -z", "commands -x", "compdb -h", "compdb-targets", "inputs --bad", "multi-inputs -d", "rules -z", "restat -h"],
)  # fmt: skip
def test_wrong_words_are_answered_with_how_to_use_the_tool(
    words: str, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]
):
    """Complaints are ninja's, the status too; the usage is in our own words."""
    ours, theirs = both(["-t", *words.split()], capfdbinary)
    assert ours[0] == theirs[0] == 1
    assert ours[2] == theirs[2]
    assert ours[1].lower().startswith(b"usage: ninja -t ")


def test_browsing_is_refused_with_a_remedy(tree: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    """No web server is started; another tool is named."""
    assert main(["-t", "browse"]) == 1
    assert b"-t graph" in capfdbinary.readouterr().err


def test_a_reader_that_went_away_ends_a_tool(tree: Path):
    """`… | head` does not end in a traceback."""
    (tree / "build.ninja").write_text("".join(f"build out{i}: phony\n" for i in range(20_000)))
    code = "from vcache.cli.ninja import main; raise SystemExit(main(['-t', 'targets', 'all']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
