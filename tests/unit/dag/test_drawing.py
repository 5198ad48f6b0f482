"""Pictures of plans."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vcache.dag.drawing import as_dot, as_html, as_json, as_svg
from vcache.dag.node import Command, Node
from vcache.dag.plan import Planned


def planned(name: str, *needs: str, cost_s: float = 0.0) -> Planned:
    return Planned(
        node=Node(name=name, outs=(name,), rule="cc", work=Command(shell="true")),
        outs=(name,), needs=needs, sources=(), standing="has to run", reason="never built here",
        cost_ns=int(cost_s * 1e9), command=None,
    )  # fmt: skip


NODES = [planned("a", cost_s=1), planned("b", cost_s=3), planned("c", "a", "b", cost_s=2)]
CHAIN = ["b", "c"]


def test_dot_is_what_graphviz_takes():
    """Names are quoted, the critical path is bold."""
    text = as_dot([*NODES, planned('odd "name"\\', "c")], CHAIN)
    assert '"b" -> "c" [penwidth=3];' in text
    assert '"a" -> "c";' in text
    assert '"odd \\"name\\"\\\\"' in text


def test_json_has_everything():
    """Nodes with costs and needs, and the critical path."""
    found = json.loads(as_json(NODES, CHAIN))
    assert found["critical_path"] == CHAIN
    assert [node["name"] for node in found["nodes"]] == ["a", "b", "c"]
    assert found["nodes"][2]["needs"] == ["a", "b"]
    assert found["nodes"][1]["cost_s"] == 3


def test_the_dearest_is_the_darkest():
    """And the critical path has the thick frame."""
    root = ET.fromstring(as_svg(NODES, CHAIN))
    rects = {group.get("data-name"): group[1] for group in root.iter("{http://www.w3.org/2000/svg}g")}
    assert rects["b"].get("fill") == "#9e4d14"
    assert rects["b"].get("stroke-width") == "3"
    assert rects["a"].get("stroke-width") != "3"


names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=60)


@given(st.lists(names, min_size=1, max_size=12, unique=True), st.data())
def test_any_graph_is_a_sound_picture_without_overlap(found: list[str], data: st.DataObject):
    """Whatever names and edges there are, XML parses and no two boxes share a place."""
    nodes = [
        planned(name, *data.draw(st.lists(st.sampled_from(found[:i]), unique=True, max_size=3)) if i else ())
        for i, name in enumerate(found)
    ]
    root = ET.fromstring(as_svg(nodes, found[:1]))
    spans: dict[str, list[tuple[float, float]]] = {}
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        x, width = float(rect.get("x", "")), float(rect.get("width", ""))
        spans.setdefault(rect.get("y", ""), []).append((x, x + width))
    for row in spans.values():
        row.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(row))


def test_a_page_loads_nothing():
    """It is whole by itself, and its title is text."""
    page = as_html(NODES, CHAIN, title="<app>")
    assert "&lt;app&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
