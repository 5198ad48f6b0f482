"""Generated manifests, built by ninja and by us after the same edits: the same files, and no more work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.e2e]

BIN = Path(sys.executable).parent
NINJA = shutil.which("ninja", path=os.fspath(BIN)) or "ninja"
N_SOURCES = 3
SETTLED_S = 0.02  # two edits must not fall into one tick of the clock that stamps files

RULES = """\
rule cat
  command = cat $in > $out
rule split
  command = cat $in > $out; echo more of $out > $out.more
rule stable
  command = cat $in | head -c 1 > $out.new; cmp -s $out.new $out && rm $out.new || mv $out.new $out
  restat = 1
rule found
  command = cat $in $hidden > $out; echo "$out: $hidden" > $out.d
  depfile = $out.d
  deps = gcc
rule kept
  command = cat $in $hidden > $out; echo "$out: $hidden" > $out.d
  depfile = $out.d
rule rsp
  command = xargs cat < $rspfile > $out
  rspfile = $out.rsp
  rspfile_content = $in
rule fail
  command = cat $in; echo; test ! -s $source
rule con
  command = cat $in > $out
  pool = console
"""


@dataclass(frozen=True)
class Step:
    """One build statement; numbers below the number of sources are sources, others earlier steps."""

    rule: str
    ins: tuple[int, ...]
    implicit: tuple[int, ...]
    after: tuple[int, ...]
    hidden: int

    def text(self, number: int) -> str:
        out = name(number)
        outs = f"{out} | {out}.more" if self.rule == "split" else out
        parts = [f"build {outs}: {self.rule} {names(self.ins)}"]
        # What a depfile brings up may be another step's output only if it is waited for, in ninja too.
        after = (*self.after, self.hidden) if self.rule in {"found", "kept"} else self.after
        if self.implicit:
            parts.append(f"| {names(self.implicit)}")
        if after and self.rule != "phony":
            parts.append(f"|| {names(after)}")
        return (
            " ".join(parts)
            + f"\n  hidden = {name(self.hidden)}\n  source = {name(self.hidden % N_SOURCES)}\n"
        )


def name(number: int) -> str:
    return f"s{number}" if number < N_SOURCES else f"o{number}"


def names(numbers: Sequence[int]) -> str:
    return " ".join(map(name, numbers))


KINDS = ["cat", "cat", "split", "stable", "found", "kept", "rsp", "con", "phony", "fail"]


@st.composite
def graphs(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    for number in range(N_SOURCES, N_SOURCES + draw(st.integers(2, 7))):
        # A phony name is no file that a command could read.
        known = [
            n for n in range(number) if n < N_SOURCES or steps[n - N_SOURCES].rule not in {"phony", "fail"}
        ]
        earlier = st.sampled_from(known)
        some = st.lists(earlier, max_size=2, unique=True).map(tuple)
        ins = draw(st.lists(earlier, min_size=1, max_size=2, unique=True).map(tuple))
        waits = draw(st.lists(st.integers(0, number - 1), max_size=2, unique=True).map(tuple))
        steps.append(Step(draw(st.sampled_from(KINDS)), ins, draw(some), waits, draw(earlier)))
    return steps


EDITS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, N_SOURCES - 1), st.sampled_from(["", "a", "ab", "b"])),
    st.tuples(st.just("touch"), st.integers(0, N_SOURCES - 1), st.just("")),
    st.tuples(st.just("remove"), st.integers(N_SOURCES, N_SOURCES + 7), st.just("")),
    st.tuples(st.just("rules"), st.just(0), st.sampled_from(["; true", "; :"])),
)


class Tree:
    """One build directory, and the program that builds it."""

    def __init__(self, place: Path, program: Sequence[str], steps: list[Step]) -> None:
        self.place, self.program, self.steps = place, program, steps
        place.mkdir()
        for number in range(N_SOURCES):
            (place / name(number)).write_text(f"{number}")
        self.write(RULES)

    def write(self, rules: str) -> None:
        texts = [step.text(number) for number, step in enumerate(self.steps, N_SOURCES)]
        (self.place / "build.ninja").write_text(rules + "".join(texts))

    def edit(self, edit: tuple[str, int, str]) -> None:
        kind, number, text = edit
        if kind == "write":
            (self.place / name(number)).write_text(text)
        elif kind == "touch":
            (self.place / name(number)).touch()
        elif kind == "remove":
            (self.place / name(number)).unlink(missing_ok=True)
        else:
            self.write(RULES.replace("cat $in > $out\n", f"cat $in > $out{text}\n"))

    def build(self, cache: Path) -> tuple[int, list[str], str]:
        """The status, the commands that ran or were answered, and all that was printed."""
        environ = {
            key: value for key, value in os.environ.items() if key not in {"NINJA_STATUS", "MAKEFLAGS"}
        }
        done = subprocess.run(
            [*self.program, "-k0", "-v"], cwd=self.place, env={**environ, "VCACHE_DIR": os.fspath(cache)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        text = done.stdout + done.stderr
        return done.returncode, re.findall(r"^\[\d+/\d+\] (.*)$", text, re.MULTILINE), text

    def files(self) -> dict[str, bytes]:
        """What the steps have made, and what they found in the sources; not what a program remembers."""
        return {
            path.name: path.read_bytes()
            for path in self.place.iterdir()
            if path.is_file() and not path.name.startswith((".", "build.ninja"))
        }


def check(steps: list[Step], edits: list[tuple[str, int, str]]) -> None:
    ours_program = [sys.executable, "-c", "from vcache.__main__ import ninja; ninja()"]
    with tempfile.TemporaryDirectory() as home:
        # One job at a time: of the lines that ninja holds back while a console step runs it prints the last only.
        theirs = Tree(Path(home, "theirs"), [NINJA, "-j1"], steps)
        ours = Tree(Path(home, "ours"), ours_program, steps)
        note((ours.place / "build.ninja").read_text().replace(RULES, ""))
        for edit in (None, *edits):
            time.sleep(SETTLED_S)
            for tree in (theirs, ours):
                if edit is not None:
                    tree.edit(edit)
            expected, seen = theirs.build(Path(home, "cache")), ours.build(Path(home, "cache"))
            note(f"{edit}\nninja:\n{expected[2]}\nours:\n{seen[2]}")
            assert seen[0] == expected[0]
            assert ours.files() == theirs.files()
            assert set(seen[1]) <= set(expected[1]), "it did what ninja did not do"


QUICK = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
THOROUGH = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(graphs(), st.lists(EDITS, min_size=1, max_size=3))
def test_builds_agree_with_ninja(steps: list[Step], edits: list[tuple[str, int, str]]):
    """After every edit both have the same files and status, and we do nothing that ninja does not."""
    check(steps, edits)


@pytest.mark.slow
@THOROUGH
@given(graphs(), st.lists(EDITS, min_size=1, max_size=5))
def test_many_builds_agree_with_ninja(steps: list[Step], edits: list[tuple[str, int, str]]):
    """The same law, over hundreds of graphs."""
    check(steps, edits)
