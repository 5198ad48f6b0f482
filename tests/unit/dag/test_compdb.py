"""Compilation databases."""

from __future__ import annotations

import json

import pytest

from vcache.dag.compdb import command_of, compdb
from vcache.dag.node import Command, Node, Script


def node(command: Command | None, *, ins: tuple[str, ...] = ("a.c",), after: tuple[str, ...] = ()) -> Node:
    return Node(name="a.o", outs=("a.o", "a.d"), ins=ins, after=after, work=command)


def test_an_entry_for_each_node_with_an_input():
    """First input, first output, the line, and where it runs; nodes without inputs are left out."""
    nodes = [
        node(Command(shell='cc "é\t" a.c')),
        node(Command(shell="x"), ins=()),
        node(None, ins=(), after=("b",)),
    ]
    assert json.loads("".join(compdb("/b", nodes))) == [
        {"directory": "/b", "command": 'cc "é\t" a.c', "file": "a.c", "output": "a.o"},
        {"directory": "/b", "command": "", "file": "b", "output": "a.o"},
    ]


def test_nothing_to_compile_is_an_empty_database():
    """A graph without commands gives valid JSON."""
    assert json.loads("".join(compdb("/b", []))) == []


def test_words_are_quoted_and_scripts_are_unknown():
    """Words become a line that a shell splits into them again; what only a run tells is left empty."""
    assert command_of(node(Command(argv=("cc", "-DX=a b", "a.c")))) == "cc '-DX=a b' a.c"
    assert command_of(Node(name="s", work=Script(lambda: None))) == ""


@pytest.mark.parametrize(
    ("line", "expanded"),
    [
        ("cc @r.rsp -c", "cc a\\b c -c"),
        ("cc -f r.rsp -c", "cc a\\b c -c"),
        ("cc --option-file=r.rsp -c", "cc a\\b c -c"),
        ("cc r.rsp @r.rsp", "cc r.rsp @r.rsp"),  # as ninja: the first mention decides
        ("r.rsp", "r.rsp"),
        ("cc", "cc"),
    ],
)
def test_response_files_are_put_in_place(line: str, expanded: str):
    """A response file's content stands for it where it is asked for, newlines as spaces."""
    work = Command(shell=line, rspfile="r.rsp", rsp_content="a\\b\nc")
    assert command_of(node(work), expands_rsp=True) == expanded
    assert command_of(node(work)) == line
