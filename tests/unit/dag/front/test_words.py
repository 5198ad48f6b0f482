"""Commands: what their words become on the way to a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.dag.front.graph import PyGraph
from vcache.dag.front.scene import Frame, graph_var
from vcache.dag.front.words import Cmd, cmd, joined, sh
from vcache.dag.node import Command, Node

WORDS = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), max_size=4
)


def whole(*pieces: Cmd) -> Command:
    graph = PyGraph("/base")
    token = graph_var.set(graph)
    try:
        made, _ = joined(list(pieces), Frame(Node(name="n")), graph, Command(env={"STEP": "s"}))
    finally:
        graph_var.reset(token)
    assert made is not None
    return made


def ran(command: Command, place: Path) -> bytes:
    argv = command.argv or ("/bin/sh", "-c", command.shell)
    env = {"PATH": "/usr/bin:/bin", **command.env}
    return subprocess.run(argv, cwd=place, env=env, capture_output=True, check=True).stdout


@settings(max_examples=40, deadline=None)
@given(WORDS, WORDS, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
def test_words_arrive_as_they_were(tmp_path_factory, first: list[str], second: list[str], value: str):
    """Through a sequence of commands, a variable and a line with words, whatever they hold."""
    printf = ("/usr/bin/printf", "%s\\0", "w")
    command = whole(
        cmd(*printf, *first), cmd(*printf, *second, env={"X": value}), sh('printf "%s\\0" "$X" "$@"', *first, env={"X": value})
    )  # fmt: skip
    got = ran(command, tmp_path_factory.getbasetemp()).decode().split("\0")
    assert got == ["w", *first, "w", *second, value, *first, ""]


def test_a_single_command_needs_no_shell():
    """Its words are its words; a line is the shell's."""
    assert whole(cmd("a", "b c")).argv == ("a", "b c")
    assert whole(sh("a | b")).shell == "a | b"
    assert whole(sh("a $1", "x")).argv == ("/bin/sh", "-c", "a $1", "sh", "x")
    assert whole(cmd("a", env={"X": 1})).env == {"STEP": "s", "X": "1"}


def test_the_programs_of_a_sequence_are_tools():
    """Each first word counts, as it does alone."""
    assert whole(cmd("a"), sh("b | c"), cmd("d", "e")).tools == ("a", "d")
