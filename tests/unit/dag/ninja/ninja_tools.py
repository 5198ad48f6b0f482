"""What ninja's own tools print, worked out from our graph, and the real ninja to compare with."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from vcache.dag.ninja.load import NinjaGraph
from vcache.dag.ninja.nodes import NinjaNode
from vcache.dag.ninja.scope import quoted
from vcache.dag.node import Node

_NINJA = shutil.which("ninja", path=str(Path(sys.executable).parent)) or shutil.which("ninja") or "ninja"


def real_ninja(base: Path, *args: str) -> str:
    """What the real ninja prints, warnings left out; of a failure, what it says behind "error: "."""
    done = subprocess.run([_NINJA, *args], cwd=base, capture_output=True, check=False)
    err = done.stderr.decode("utf-8", "surrogateescape")
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "surrogateescape")
    found = re.search(r"^ninja: (?:error|fatal): (.*)", err, re.DOTALL | re.MULTILINE)
    assert found, err
    return found.group(1).rstrip("\n") + "\n"


def is_phony(node: Node) -> bool:
    return isinstance(node, NinjaNode) and node.is_phony


def tool_targets(graph: NinjaGraph) -> str:
    """`ninja -t targets all`."""
    return "".join(f"{out}: {node.rule}\n" for node in graph.nodes for out in node.outs)


def tool_commands(graph: NinjaGraph, *words: str) -> str:
    """`ninja -t commands`."""
    order: dict[Node, None] = {}
    seen: set[Node] = set()

    def visit(node: Node | None) -> None:
        if node is None or node in seen:
            return
        seen.add(node)
        for path in node.ins + node.after:
            visit(graph.producer(path))
        if not is_phony(node):
            order[node] = None

    for target in graph.named(words):
        visit(target if isinstance(target, Node) else None)
    return "".join(f"{graph.command_line(node)}\n" for node in order)


def tool_inputs(graph: NinjaGraph, path: str) -> str:
    """`ninja -t inputs PATH`."""
    found: set[str] = set()
    seen: set[str] = set()

    def visit(at: str) -> None:
        node = graph.producer(at)
        for needed in node.ins + node.after if node else ():
            if needed not in seen:
                seen.add(needed)
                visit(needed)
                made = graph.producer(needed)
                if made is None or not is_phony(made):
                    found.add(quoted(needed))

    visit(path)
    return "".join(f"{name}\n" for name in sorted(found, key=lambda name: name.encode()))


def tool_query(graph: NinjaGraph, paths: Iterable[str]) -> str:
    """`ninja -t query PATH…`."""
    lines: list[str] = []
    for path in paths:
        lines.append(f"{path}:")
        if node := graph.producer(path):
            lines.append(f"  input: {node.rule}")
            shown = len(node.ins) - node.hidden_ins
            lines += [f"    {name}" for name in node.ins[:shown]]
            lines += [f"    | {name}" for name in node.ins[shown:]]
            lines += [f"    || {name}" for name in node.after]
            if node.checks:
                lines += ["  validations:", *(f"    {name}" for name in node.checks)]
        lines.append("  outputs:")
        # Once for each time that the path is needed.
        users = [user for user in graph.nodes for name in user.ins + user.after if name == path]
        lines += [f"    {out}" for user in users for out in user.outs]
        users = [user for user in graph.nodes if path in user.checks]
        if users:
            lines += ["  validation for:", *(f"    {out}" for user in users for out in user.outs)]
    return "".join(f"{line}\n" for line in lines)
