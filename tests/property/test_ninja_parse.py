"""Laws of the ninja front end: on any manifest it says what the real ninja says, right or wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.dag.ninja.ninja_tools import (
    real_ninja,
    tool_commands,
    tool_inputs,
    tool_query,
    tool_targets,
)
from vcache.dag.ninja.load import NinjaGraph, load
from vcache.errors import GraphError

CALM = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

VARIABLES = ("v", "w.x", "flags", "description", "depfile", "restat", "generator", "rspfile", "in", "out")
PATHS = (
    "a",
    "b",
    "c/d",
    "./e",
    "c//f",
    "c/../g",
    "../h",
    "/i/j",
    "k l",
    "it's",
    "m:n",
    "o$p",
    "é",
    "q/",
    "#r",
)


def escaped(path: str) -> str:
    return path.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


PATH = st.one_of(
    st.sampled_from(PATHS).map(escaped),
    st.sampled_from(("$v", "${w.x}", "s$v", "$flags/t", "u$\n   v", "${w.x}$v")),
)
PIECE = st.one_of(
    st.sampled_from(("x", " ", "  ", "$$", "$:", "$ ", "a=b", "'q'", "|", ":", "$\n  ", "#", "-I$v", "é")),
    st.sampled_from([f"${{{name}}}" for name in (*VARIABLES, "in_newline", "command", "pool")]),
)
VALUE = st.lists(PIECE, max_size=5).map("".join)
GAP = st.sampled_from((" ", " ", " ", "  ", " $\n    "))


@st.composite
def bindings(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    chosen = draw(st.lists(st.sampled_from(names), max_size=3))
    comment = draw(st.sampled_from(("", "", "  # note\n")))
    return comment.join(f"  {name} = {draw(VALUE)}\n" for name in chosen)


@st.composite
def rule(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(("r3", "r4", "r5", "r6", "r7", "rule", "build", "r", "phony")))
    rsp = draw(st.sampled_from(("", "", "  rspfile = $out.rsp\n  rspfile_content = $in_newline\n")))
    more = draw(bindings(("depfile", "deps", "description", "generator", "restat", "pool")))
    return f"rule {name}\n  command = run {draw(VALUE)} $in -o $out\n{rsp}{more}"


@st.composite
def edge(draw: st.DrawFn, number: int) -> str:
    """A build statement, of outputs that are mostly its own."""

    def paths(mark: str, source: st.SearchStrategy[str], most: int) -> str:
        words = draw(st.lists(source, max_size=most))
        return "".join(draw(GAP) + word for word in ([mark, *words] if mark and words else words))

    is_odd = draw(st.integers(0, 9)) == 0
    side = (f"p{number}/$v", f"./q{number}", f"u{number}$\n  v", f"t$ {number}", f"${{w.x}}{number}")
    own_out = st.sampled_from(side)
    out = st.one_of(own_out, PATH) if is_odd else own_out
    needed = st.one_of(PATH, st.integers(0, number).map("o{}".format))
    first = f"{draw(GAP)}{draw(PATH) if is_odd else f'o{number}'}"
    outs = first + paths(draw(st.sampled_from(("", "|"))), out, 1)
    name = draw(
        st.sampled_from(("r", "r", "r.2", "phony", "phony", "r3") if is_odd else ("r", "r.2", "phony"))
    )
    ins = paths("", needed, 3) + paths("|", needed, 2) + paths("||", needed, 2) + paths("|@", needed, 1)
    more = draw(bindings((*VARIABLES, "pool", "dyndep") if is_odd else VARIABLES))
    return f"build{outs}: {name}{ins}\n{more}"


PLAIN = st.one_of(
    st.tuples(st.sampled_from(VARIABLES), VALUE).map(lambda pair: f"{pair[0]} = {pair[1]}\n"),
    st.sampled_from(("\n", "   \n", "# c\n", "  # c\n", "pool p\n  depth = 2\n")),
    st.sampled_from(("v = a\n", "w.x = b\n", "flags = -O2 c\n", "description = D\n", "dyndep =\n")),
    rule(),
)


@st.composite
def statements(draw: st.DrawFn, start: int, most: int) -> str:
    """Some statements; their outputs are numbered from `start`."""
    said = []
    for number in range(start, start + draw(st.integers(0, most))):
        kind = draw(st.integers(0, 19))
        said.append(draw(PLAIN) if kind < 6 else draw(edge(number)))
        if kind == 19:
            said.append(f"default o{number}\n" if draw(st.booleans()) else f"default {draw(PATH)}\n")
    return "".join(said)


HEAD = "v = v1\nw.x = w1\nflags = f\nrule r\n  command = cc $flags $v -c $in -o $out\n  depfile = $out.d\n"
HEAD += "rule r.2\n  command = ld $in\n  description = LD $out\n"


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, str]:
    """Files by name, of statements that may well be wrong."""
    files = {"one": draw(statements(100, 4)), "two": draw(statements(200, 4))}
    use = draw(st.sampled_from(("", "include one\n", "subninja one\n", "subninja one\ninclude two\n")))
    files["build.ninja"] = HEAD + draw(statements(0, 6)) + use + draw(statements(10, 6))
    if draw(st.booleans()):
        files = {name: text.replace("\n", "\r\n") for name, text in files.items()}
    return files


def agree(base: Path, args: tuple[str, ...], ours: Callable[[NinjaGraph], str]) -> None:
    """Our answer is the real ninja's, faults included."""
    try:
        said = ours(load("build.ninja", base=str(base), root=str(base)))
    except GraphError as error:
        said = f"{error}\n"
    assert said == real_ninja(base, *args)


def written(folder: str, files: dict[str, str]) -> Path:
    base = Path(folder)
    for name, text in files.items():
        (base / name).write_bytes(text.encode())
    return base


@CALM
@given(manifests())
def test_manifests_mean_what_ninja_takes_them_for(files: dict[str, str]) -> None:
    """Outputs, rules, command lines, inputs of every kind and faults are those of the real ninja"""
    with tempfile.TemporaryDirectory() as folder:
        base = written(folder, files)
        agree(base, ("-t", "targets", "all"), tool_targets)
        try:
            graph = load("build.ninja", base=folder, root=folder)
        except GraphError:
            return
        agree(base, ("-t", "commands"), tool_commands)
        outs = [out for node in graph.nodes for out in node.outs]
        # ninja goes on listing a phony output as a user of itself, though it dropped that input.
        if outs and not graph.warnings:
            agree(base, ("-t", "query", *outs), lambda graph: tool_query(graph, outs))
            agree(base, ("-t", "inputs", outs[-1]), lambda graph: tool_inputs(graph, outs[-1]))


@CALM
@given(
    manifests(),
    st.integers(0, 10_000),
    st.sampled_from(("", *" $:|\n#=\t@x\r\0", "||", "|@", " \n")),
    st.booleans(),
)
@example({"build.ninja": HEAD}, 0, "\0", False)
def test_faults_are_told_in_the_words_of_ninja(
    files: dict[str, str], at: int, mark: str, is_replaced: bool
) -> None:
    """A manifest with one wrong character fails, or not, exactly as with the real ninja"""
    text = files["build.ninja"]
    at = len(HEAD) // 2 + at % (len(text) - len(HEAD) // 2)
    files["build.ninja"] = text[:at] + mark + text[at + is_replaced :]
    with tempfile.TemporaryDirectory() as folder:
        agree(written(folder, files), ("-t", "targets", "all"), tool_targets)


@st.composite
def tangles(draw: st.DrawFn) -> str:
    """A manifest of few names that need each other as they like."""
    names = st.sampled_from("abcdef")
    lines = []
    free = list("abcdef")
    while free and (len(free) >= 4 or draw(st.booleans())):
        outs = [free.pop(0) for _ in range(min(len(free), draw(st.integers(1, 2))))]
        hidden = " | ".join(outs) if draw(st.booleans()) else " ".join(outs)
        ins = " ".join(draw(st.lists(names, max_size=2)))
        more = draw(st.sampled_from(("", " | ", " || ", " |@ ")))
        lines.append(f"build {hidden}: {draw(st.sampled_from(('r', 'phony')))} {ins}{more}")
        lines.append(" ".join(draw(st.lists(names, max_size=2))) + "\n" if more else "\n")
    return "rule r\n  command = true $in\n" + "".join(lines)


@CALM
@given(tangles(), st.lists(st.sampled_from("abcdef"), max_size=2))
def test_cycles_are_told_by_their_whole_path(text: str, wanted: list[str]) -> None:
    """Wanting what needs itself fails, or not, with the path that ninja shows"""
    with tempfile.TemporaryDirectory() as folder:
        base = written(folder, {"build.ninja": text, **dict.fromkeys("abcdef", "")})

        for flag in ("phonycycle=warn", "phonycycle=err"):
            said = real_ninja(base, "-n", "-w", flag, *wanted)
            graph = load(
                "build.ninja", base=folder, root=folder, is_phonycycle_error=flag == "phonycycle=err"
            )
            ours = ""
            try:
                graph.targets(wanted)
            except GraphError as error:
                ours = f"{error}\n"
            # What ninja says of a plan that can be made is not compared: that is the runner's part.
            is_fault = said.startswith(("dependency cycle", "unknown target", "could not determine"))
            assert ours == (said if is_fault else "")
