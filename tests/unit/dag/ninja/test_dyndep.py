"""Dyndep files: what they add, and how faults in them are told; the real ninja is asked as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.dag.ninja.ninja_tools import real_ninja
from vcache.dag.ninja.load import NinjaGraph, load
from vcache.dag.node import Node
from vcache.errors import GraphError

MANIFEST = """rule r
  command = touch $out
rule own
  command = touch $out
  dyndep = dd
build out | out.side: r in || dd
  dyndep = dd
build two: own in || dd
build later: r dd
build made: r in
build top: r out two
"""
HEAD = "ninja_dyndep_version = 1\n"
BOTH = "build out: dyndep\nbuild two: dyndep\n"


def graph_of(folder: Path, dyndep: str) -> NinjaGraph:
    (folder / "build.ninja").write_text(MANIFEST)
    (folder / "in").write_text("")
    (folder / "dd").write_text(dyndep)
    return load("build.ninja", base=str(folder), root=str(folder))


def node_of(graph: NinjaGraph, path: str) -> Node:
    node = graph.producer(path)
    assert node is not None
    return node


def test_a_dyndep_file_completes_all_its_nodes(tmp_path: Path) -> None:
    """Implicit inputs, implicit outputs and restat are added to each node that names the file"""
    text = f"{HEAD}build ./out | more/a more/b: dyndep | made x//y\n  restat = 1\nbuild two: dyndep\n"
    graph = graph_of(tmp_path, text)
    before = node_of(graph, "out")
    assert graph.producer("more/a") is None
    node = graph.with_dyndep(before)
    assert (node.outs, node.hidden_outs) == (("out", "out.side", "more/a", "more/b"), 3)
    assert (node.ins, node.hidden_ins, node.after) == (("in", "made", "x/y"), 2, ("dd",))
    assert (node.is_restat, node.dyndep) == (True, "dd")
    assert graph.producer("more/a") is node is node_of(graph, "out") is graph.with_dyndep(before)
    assert graph.producers("more/") == (node,)
    assert graph.consumers("made") == (node,)
    assert node_of(graph, "two") is graph.with_dyndep(node_of(graph, "two"))
    assert not node_of(graph, "two").is_restat
    assert graph.command_line(node) == "touch out"


def test_nodes_without_dyndep_are_complete(tmp_path: Path) -> None:
    """They come back as they are, and no file is read"""
    graph = graph_of(tmp_path, "")
    assert graph.with_dyndep(node_of(graph, "later")) is node_of(graph, "later")


FAULTS = {
    "no version": BOTH,
    "empty": "",
    "other variable": "x = 1\n",
    "other version": "ninja_dyndep_version = 2\n",
    "second version": HEAD + HEAD,
    "unknown output": f"{HEAD}build nope: dyndep\n",
    "source": f"{HEAD}build in: dyndep\n",
    "twice": f"{HEAD}build out: dyndep\nbuild out.side: dyndep\n",
    "explicit output": f"{HEAD}build out b: dyndep\n",
    "explicit input": f"{HEAD}build out: dyndep b\n",
    "order-only": f"{HEAD}build out: dyndep || b\n",
    "other rule": f"{HEAD}build out: r\n",
    "no output": f"{HEAD}build : dyndep\n",
    "no colon": f"{HEAD}build out\n",
    "other binding": f"{HEAD}build out: dyndep\n  command = x\n",
    "second binding": f"{HEAD}build out: dyndep\n  restat = 1\n  restat = 1\n",
    "statement": f"{HEAD}rule x\n",
    "lexing": f"{HEAD}!\n",
    "tab": f"{HEAD}build out: dyndep\n\trestat = 1\n",
    "empty path": f"{HEAD}build out: dyndep | $x\n",
    "not mentioned": f"{HEAD}build out: dyndep\n",
    "mentions others": f"{HEAD}{BOTH}build later: dyndep\n",
    "second producer": f"{HEAD}build out | made: dyndep\nbuild two: dyndep\n",
    "two new producers": f"{HEAD}build out | new: dyndep\nbuild two | new: dyndep\n",
    "cycle": f"{HEAD}build out: dyndep | top\nbuild two: dyndep\n",
}


@pytest.mark.parametrize("row", FAULTS)
def test_faults(row: str, tmp_path: Path) -> None:
    """A wrong dyndep file is refused in ninja's words"""
    graph = graph_of(tmp_path, FAULTS[row])
    with pytest.raises(GraphError) as caught:
        graph.with_dyndep(node_of(graph, "out"))
    assert f"{caught.value}\n" == real_ninja(tmp_path, "-n", "out")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Its name and the system's reason"""
    graph = graph_of(tmp_path, "")
    (tmp_path / "dd").unlink()
    with pytest.raises(GraphError, match=r"^loading 'dd': No such file or directory$"):
        graph.with_dyndep(node_of(graph, "out"))


def test_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    """What was known of the nodes stays, so that a later right file can be read"""
    graph = graph_of(tmp_path, f"{HEAD}build out | new: dyndep\nbuild two | new: dyndep\n")
    node = node_of(graph, "out")
    with pytest.raises(GraphError, match="multiple rules generate new"):
        graph.with_dyndep(node)
    assert node_of(graph, "out") is node
    (tmp_path / "dd").write_text(HEAD + BOTH)
    assert graph.with_dyndep(node).outs == ("out", "out.side")
