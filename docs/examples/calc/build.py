"""Builds calc through a cache: compile, archive, link, self-test. What was built before is not built again.

python docs/examples/calc/build.py            # outputs go to target/ beside this file
VCACHE_DIR=~/.cache/calc python …/build.py    # checkouts that share one cache
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vcache import Cache, File, Tool

ROOT = Path(__file__).resolve().parent
OUT = "target/build"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Iinclude")

cache = Cache(os.environ.get("VCACHE_DIR") or ROOT / "target/.vcache", root=ROOT)


@dataclass
class Node:
    """One piece of work, as it is shown. A step's body runs only without a hit: it says so here."""

    verb: str
    name: str
    has_run: bool = False

    def __str__(self) -> str:
        return f"{self.verb if self.has_run else 'from cache'} {self.name}"


def run(*command: str) -> str:
    """What a command writes to either stream: warnings are part of a result, so a hit shows them again."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}exit status {done.returncode}")
    return done.stdout


# `gcc` only starts the compiler proper, and a new one of those must compile anew as well.
@cache.step(inputs=[Tool("gcc")])
def find_compiler() -> str:
    return run("gcc", "-print-prog-name=cc1").strip()


# gcc names every header it read in the depfile: editing one compiles its dependents, and no others.
@cache.step(
    inputs=[Tool("gcc"), Tool("as")],
    outs=[OUT + "/{source.stem}.o"],
    depfile=OUT + "/{source.stem}.d",
    ignore=["node"],
)
def compile_c(source: File, flags: tuple[str, ...], compiler: Tool, *, node: Node) -> str:
    node.has_run = True
    target = f"{OUT}/{source.stem}"
    return run("gcc", *flags, "-MD", "-MF", f"{target}.d", "-c", str(source), "-o", f"{target}.o")


@cache.step(inputs=[Tool("ar")], outs=["{target}"], ignore=["node"])
def archive(target: str, objects: tuple[File, ...], *, node: Node) -> str:
    node.has_run = True
    Path(target).unlink(missing_ok=True)  # ar would keep members whose source is gone
    return run("ar", "rcsD", target, *map(str, objects))


@cache.step(inputs=[Tool("gcc"), Tool("ld")], outs=["{target}"], ignore=["node"])
def link(target: str, objects: tuple[File, ...], *, node: Node) -> str:
    node.has_run = True
    return run("gcc", "-o", target, *map(str, objects), "-lm")


@cache.step(ignore=["node"])
def selftest(program: File, *, node: Node) -> str:
    node.has_run = True
    return run(str(program), "--selftest")


def show(node: Node, output: str) -> Node:
    print(node)
    if output:
        print(output, end="")
    return node


def compile_all(sources: list[str]) -> list[Node]:
    """Compiles in parallel; shown in the order of names, whatever finishes first."""
    nodes = [Node("compiled", source) for source in sources]
    compiler = Tool(find_compiler())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = [pool.submit(compile_c, File(node.name), FLAGS, compiler, node=node) for node in nodes]
        try:
            return [show(node, result.result()) for node, result in zip(nodes, results, strict=True)]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what has not begun is not worth waiting for
            raise


def build() -> list[Node]:
    sources = sorted(path.as_posix() for path in Path("src").glob("*.c"))
    nodes = compile_all(sources)
    parts = {Path(source).stem: File(f"{OUT}/{Path(source).stem}.o") for source in sources}
    main = parts.pop("main")
    library, program = f"{OUT}/libcalc.a", f"{OUT}/calc"
    node = Node("archived", library)
    nodes.append(show(node, archive(library, tuple(parts.values()), node=node)))
    node = Node("linked", program)
    nodes.append(show(node, link(program, (main, File(library)), node=node)))
    node = Node("tested", f"{program} --selftest")
    nodes.append(show(node, selftest(File(program), node=node)))
    return nodes


def fail(message: object) -> NoReturn:
    sys.exit(f"build.py: {message}")


def main() -> None:
    started = time.perf_counter()
    os.chdir(ROOT)  # relative names, so that commands and objects are the same in every checkout
    Path(OUT).mkdir(parents=True, exist_ok=True)
    try:
        with cache:
            nodes = build()
    except (RuntimeError, OSError) as error:
        fail(error)
    ran = sum(node.has_run for node in nodes)
    seconds = time.perf_counter() - started
    print(f"{len(nodes)} nodes: {ran} run, {len(nodes) - ran} from cache, {seconds:.2f} s")


if __name__ == "__main__":
    main()
