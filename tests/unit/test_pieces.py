"""What a result says of its outputs: believed only as far as it is about these outputs."""

from __future__ import annotations

import pytest

from vcache.artifacts import plan
from vcache.pieces import Output, branch_of

DIGEST = bytes(32)
HOSTILE = [
    [["other", 0o644, DIGEST]],
    [["out", 0o644, DIGEST], ["other", 0o644, DIGEST]],
    [["out", 0o644, DIGEST], ["out", 0o644, DIGEST]],
    [["out", 0o120000, b"../src"], ["out/s", 0o644, DIGEST]],
    [["out/l", 0o120000, b"../../src"], ["out/l/s", 0o644, DIGEST]],
    [["out/d", 0o040755, b""], ["out/d/s", 0o644, DIGEST]],
    [["out/../src/s", 0o644, DIGEST]],
    [["out//s", 0o644, DIGEST]],
    [["/out", 0o644, DIGEST]],
    [["out", 0o644, DIGEST[:31]]],
    [["out", 0o120777, b"x"]],
    [["out", 0o120000, b""]],
    [["out", 0o120000, b"a\0b"]],
    [["out", 0o120000, b"a" * 4096]],
    [["out", 0o040755, b"x"]],
    [["out", 0o060644, b""]],
    [["out", -1, DIGEST]],
    [["out", 1 << 70, DIGEST]],
    [["out", True, DIGEST]],
    [["outside", 0o644, DIGEST]],
    [],
    "out",
    None,
    {"out": 1},
]


@pytest.mark.parametrize("stored", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_list_of_these_outputs_has_no_plan(stored):
    """Names beside the outputs, twice, below links, wrong modes and contents: such a result is none."""
    assert plan(stored, ["out"]) is None


def test_a_plan_gives_no_privileges():
    """Set-uid and its kin, and what a stat says of a regular file, are passed over."""
    outputs = plan([["out", 0o107755, DIGEST]], ["out"])
    assert outputs is not None
    assert outputs[0].pieces[0].mode == 0o755


def test_a_plan_wants_all_outputs():
    """One that is missing makes the result none; one within another is part of it."""
    files = [["gen/a", 0o644, DIGEST], ["gen/b/c", 0o644, DIGEST]]
    for outs in (["gen", "o"], ["gen/a"], ["gen/a", "gen/b", "gen/d"]):
        assert plan(files, outs) is None
    for outs in (["gen"], ["gen/", "gen/a"], ["gen/a", "gen/b"], ["gen/a", "gen/b/c"]):
        assert plan(files, outs) is not None


def test_a_branch_is_what_a_directory_holds():
    """Files and links by name, directories by what is in them, the empty ones too."""
    files: list[list[object]] = [
        ["gen/a/b/f", 0o644, DIGEST],
        ["gen/a/g", 0o120000, b"x"],
        ["gen/e/d", 0o040755, b""],
    ]
    output = the_one(files)
    assert output.is_tree
    assert branch_of(output) == {"a": {"b": {"f": None}, "g": None}, "e": {"d": {}}}
    empty = the_one([["gen", 0o040755, b""]])
    assert (empty.is_tree, branch_of(empty)) == (True, {})
    assert not the_one([["gen", 0o120000, b"x"]]).is_tree


def the_one(files: list[list[object]]) -> Output:
    outputs = plan(files, ["gen"])
    assert outputs is not None
    return outputs[0]
