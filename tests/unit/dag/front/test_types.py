"""The front end's types, over `typed_usage.py`."""

from __future__ import annotations

from pathlib import Path

from vcache.dag.loading import load


def test_what_a_type_checker_accepts_is_a_build_file():
    """It reads without an error, and its default goals are there."""
    loaded = load(Path(__file__).with_name("typed_usage.py"))
    assert [node.name for node in loaded.targets()] == ["bin/app", "all"]
    assert {"obj/b.o", "o", "total(names=[a])", "warnings"} <= loaded.graph.nodes.keys()
