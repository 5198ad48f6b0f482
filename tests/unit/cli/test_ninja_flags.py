"""The words behind `vcache-ninja` mean what they mean to ninja."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vcache.cli.getopt import BadOption, Options
from vcache.cli.ninja import main
from vcache.cli.ninja_flags import MANY, TOOLS, VERSION, Flags, Stop, nearest, read

NINJA = shutil.which("ninja", path=str(Path(sys.executable).parent)) or shutil.which("ninja") or "ninja"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Flags()),
        ("a b", Flags(words=["a", "b"])),
        (
            "-j8 -k 0 -l1.5 -n -v",
            Flags(jobs=8, keep_going=0, load_limit=1.5, is_dry_run=True, verbosity="verbose"),
        ),
        ("-nvj 08 x", Flags(jobs=8, is_dry_run=True, verbosity="verbose", words=["x"])),
        ("-j0", Flags(jobs=MANY)),
        ("-k -1", Flags(keep_going=0)),
        ("-l -3", Flags()),
        ("--verb --quiet", Flags(verbosity="quiet")),
        ("x -C d -f f y", Flags(directory="d", file="f", words=["x", "y"])),
        ("-- -n", Flags(words=["-n"])),
        ("- x", Flags(words=["-", "x"])),
        ("-d explain -dstats -d nostatcache", Flags(modes={"explain", "stats", "nostatcache"})),
        ("-w phonycycle=err", Flags(is_phonycycle_error=True)),
        ("-t clean -g x", Flags(tool="clean", words=["-g", "x"])),
        ("-ntclean -v", Flags(tool="clean", is_dry_run=True, words=["-v"])),
        ("gone -t rules -d", Flags(tool="rules", words=["-d"])),
    ],
)
def test_what_words_ask_for(words: str, expected: Flags):
    """Flags, values and targets come out as ninja takes them."""
    assert read(words.split()) == expected


ALIKE = [
    "--bogus",
    "--ver",
    "--verbose=3",
    "-Z",
    "-v-",
    "-j",
    "-j x",
    "-j -1",
    "-j 8x",
    "-k x",
    "-l x",
    "-t",
    "-d bogus",
    "-d state",
    "-w bogus",
    "-w phonycycl=err",
    "-w dupbuild",
    "-t bogus",
    "-t clen",
    "-C /nonexistent",
    "-f nope",
    "-f .",
    "-w dupbuild=err -f nope",
]


@pytest.mark.parametrize("words", ALIKE)
def test_complaints_are_those_of_ninja(
    words: str, elsewhere: Path, capfdbinary: pytest.CaptureFixture[bytes]
):
    """The status is the same, and so is what comes before the usage."""
    theirs = subprocess.run(["ninja", *words.split()], executable=NINJA, capture_output=True, check=False)
    status = main(words.split())
    ours = capfdbinary.readouterr()
    assert (status, ours.out) == (theirs.returncode, theirs.stdout)
    assert ours.err.partition(b"usage:")[0] == theirs.stderr.partition(b"usage:")[0]
    assert (b"usage:" in ours.err) == (b"usage:" in theirs.stderr)
    assert not list(elsewhere.iterdir()), "nothing is left where nothing was built"


@pytest.mark.parametrize("words", ["-h", "--help", "-d list", "-w list", "-t list", "--version"])
def test_answers_come_where_those_of_ninja_come(words: str, capfdbinary: pytest.CaptureFixture[bytes]):
    """Lists and help go to the same stream with the same status."""
    theirs = subprocess.run([NINJA, *words.split()], capture_output=True, check=False)
    status = main(words.split())
    ours = capfdbinary.readouterr()
    assert status == theirs.returncode
    assert (bool(ours.out), bool(ours.err)) == (bool(theirs.stdout), bool(theirs.stderr))


def test_the_lists_name_what_those_of_ninja_name(capfdbinary: pytest.CaptureFixture[bytes]):
    """Every tool, mode and warning of the real ninja is there, and no other."""
    for what in ("-t", "-d", "-w"):
        theirs = subprocess.run([NINJA, what, "list"], capture_output=True, check=False).stdout.decode()
        main([what, "list"])
        ours = capfdbinary.readouterr().out.decode()

        def names(text: str) -> list[str]:
            return [
                line.split("  ")[0].strip() or line.split()[0]
                for line in text.splitlines()[1:]
                if "  " in line
            ]

        assert names(ours) == names(theirs)


def test_the_first_word_is_acted_on_first():
    """A version is printed though a later word is wrong."""
    with pytest.raises(Stop) as caught:
        read(["--version", "-Z"])
    assert (caught.value.status, caught.value.out) == (0, VERSION + "\n")


def test_the_version_is_that_of_the_language():
    """What is printed and what manifests are checked against are of one minor version."""
    from vcache.dag.ninja.manifest import NINJA_VERSION

    assert VERSION.split(".")[:2] == NINJA_VERSION.split(".")[:2]


def test_nearest_takes_three_edits():
    """A slip of the pen is understood, anything else is not."""
    assert nearest("clen", list(TOOLS)) == "clean"
    assert nearest("nothing like it", list(TOOLS)) == ""


def test_long_options_with_values():
    """A value may follow, or stand behind "="; lacking one is an error."""
    names = {"delimiter=": "d", "print0": "0"}
    assert list(Options(["--delim", ":", "--delimiter=;", "--print0"], "d:0", names)) == [
        ("d", ":"), ("d", ";"), ("0", ""),
    ]  # fmt: skip
    with pytest.raises(BadOption, match="option '--delimiter' requires an argument"):
        list(Options(["--delimiter"], "d:0", names))
