"""Build trees of any size, as they are after a build that made everything: a graph to find nothing to do in.

`python -m benchmarks.graphs DIRECTORY COUNT` makes COUNT sources and objects, COUNT / 10 headers of
which each source reads ten, a build.ninja over them, and what vcache would remember of its run.
With `--real`, ninja builds it once with a command that costs little, so that its log is there too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vcache.dag.node import Command, Made, Node, Pool
from vcache.dag.tree import Tree
from vcache.entry import Dep
from vcache.fingerprint.digests import FileDigests, FileState
from vcache.hash import digest

__all__ = ["Whole", "age", "compile_like", "headers_of", "main", "remember", "write_sources"]

_READ = 10
_AGE_S = 60
_RULE = (
    "rule cc\n"
    "  command = printf '%s' $depwords > $out.d && : > $out\n"
    "  depfile = $out.d\n"
    "  deps = gcc\n"
    "  description = CC $out\n"
)


@dataclass
class Whole:
    """A graph as a front end gives it."""

    nodes: list[Node]
    pools: Mapping[str, Pool]
    defaults: tuple[str, ...] = ()


def headers_of(number: int, count: int) -> list[str]:
    pool = max(count // 10, _READ)
    return [f"include/h{(number * 7 + step * 13) % pool}.h" for step in range(_READ)]


def write_sources(directory: Path, count: int) -> None:
    for name in ("src", "include", "obj"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (directory / f"src/f{number}.c").write_text(f"int f{number};\n")
    for number in range(max(count // 10, _READ)):
        (directory / f"include/h{number}.h").write_text(f"#define H{number}\n")
    with open(directory / "build.ninja", "w", encoding="utf-8") as file:
        file.write(_RULE)
        for number in range(count):
            words = " ".join(headers_of(number, count))
            file.write(
                f"build obj/f{number}.o: cc src/f{number}.c\n  depwords = 'obj/f{number}.o: {words}'\n"
            )


def compile_like(count: int) -> Iterator[Node]:
    """The nodes of `build.ninja`, as its reader gives them."""
    for number in range(count):
        out, words = f"obj/f{number}.o", " ".join(headers_of(number, count))
        yield Node(
            name=out,
            outs=(out,),
            ins=(f"src/f{number}.c",),
            work=Command(
                shell=f"printf '%s' '{out}: {words}' > {out}.d && : > {out}", depfile=f"{out}.d", deps="gcc"
            ),
            rule="cc",
            text=f"CC {out}",
            place=f"build.ninja:{number * 2 + 6}",
        )


def remember(directory: Path, count: int, *, goals: tuple[str, ...] = ()) -> Tree:
    """What a complete run of vcache leaves."""
    base = os.path.realpath(directory)
    digests = FileDigests(base)
    seen: dict[str, FileState] = {}

    def look(path: str) -> FileState:
        full = os.path.join(base, path)
        if full not in seen:
            state = digests.look(full)
            assert state is not None
            seen[full] = state
        return seen[full]

    tree = Tree.open(base, root=base, digests=digests)
    nodes = list(compile_like(count))
    tool = Dep("tool", "sh", digest(Path("/bin/sh").read_bytes()))
    for number, node in enumerate(nodes):
        look(node.ins[0])
        deps = [Dep("file", path, look(path).digest, look(path).hint) for path in headers_of(number, count)]
        result = f"dag:{node.name}:{digest(node.name.encode()).hex()}"
        outs = (look(node.outs[0]).digest,)
        tree.record(node.name, Made(digest(node.name.encode()), tuple(deps), outs, 50_000_000, result))
    state = look("build.ninja")
    tree.save(
        graph=Whole(nodes, {}),
        goals=goals,
        file="build.ninja",
        wanted=nodes,
        seen=seen,
        looks=lambda name: (tool,),
        front=[Dep("file", "build.ninja", state.digest, state.hint)],
    )
    return tree


def age(directory: Path) -> None:
    """Wait until files have settled: nothing else can make a ctime older."""
    newest = max(path.stat().st_ctime for path in directory.rglob("*") if path.is_file())
    time.sleep(max(newest + 2.5 - time.time(), 0))


def main(words: list[str]) -> None:
    directory, count = Path(words[0]), int(words[1])
    write_sources(directory, count)
    if "--real" in words:
        subprocess.run(["ninja"], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    else:
        for number in range(count):
            (directory / f"obj/f{number}.o").touch()
    age(directory)
    began = time.perf_counter()
    remember(directory, count)
    print(f"{count} nodes remembered in {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
