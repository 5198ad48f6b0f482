"""Builds zstd, and a program that round-trips with it, through the cache in $VCACHE_DIR.

    python zstd_build.py CHECKOUT [FLAG …]

CHECKOUT holds `zstd/` and `roundtrip.c`; outputs go to its `target/`. One line a node is printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vcache import Cache, File, Tool

ROOT = Path(sys.argv[1]).resolve()
FLAGS = ("-Izstd", "-Izstd/common", *sys.argv[2:])

cache = Cache(os.environ["VCACHE_DIR"], root=ROOT)


def run(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}exit status {done.returncode}")
    return done.stdout


def output_of(source: str) -> str:
    return "target/" + source.removesuffix(".c").replace("/", "-")


@cache.step(inputs=[Tool("gcc")], outs=["{target}.o"], depfile="{target}.d", ignore=["ran"])
def compile_c(source: File, target: str, flags: tuple[str, ...], ran: list[str]) -> str:
    ran.append(str(source))
    return run("gcc", *flags, "-MD", "-MF", f"{target}.d", "-c", str(source), "-o", f"{target}.o")


@cache.step(inputs=[Tool("ar")], outs=["target/libzstd.a"], ignore=["ran"])
def archive(objects: tuple[File, ...], ran: list[str]) -> str:
    ran.append("target/libzstd.a")
    Path("target/libzstd.a").unlink(missing_ok=True)
    return run("ar", "rcsD", "target/libzstd.a", *map(str, objects))


@cache.step(inputs=[Tool("gcc")], outs=["target/roundtrip"], ignore=["ran"])
def link(program: File, library: File, ran: list[str]) -> str:
    ran.append("target/roundtrip")
    return run("gcc", str(program), str(library), "-o", "target/roundtrip")


def build(ran: list[str]) -> list[str]:
    """All nodes, in order; those whose step had to run are added to `ran`."""
    sources = [*sorted(map(str, Path().glob("zstd/*/*.c"))), "roundtrip.c"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda source: compile_c(File(source), output_of(source), FLAGS, ran), sources))
    *library, program = [File(f"{output_of(source)}.o") for source in sources]
    archive(tuple(library), ran)
    link(program, File("target/libzstd.a"), ran)
    return [*sources, "target/libzstd.a", "target/roundtrip"]


if __name__ == "__main__":
    os.chdir(ROOT)
    Path("target").mkdir(exist_ok=True)
    ran: list[str] = []
    with cache:
        nodes = build(ran)
    for node in nodes:
        print("ran" if node in ran else "hit", node)
