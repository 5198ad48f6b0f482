"""Builds calc as a graph: `vcache build` beside this file, or `vcache build -C docs/examples/calc`.

It makes what build.py makes. `-D mode=debug` builds a second program beside the first.
"""

from __future__ import annotations

from collections.abc import Sequence

from vcache.dag import Cmd, File, build, cmd

mode = build.option("mode", "release")
OUT = f"target/graph/{mode}"
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Iinclude", *(("-O0", "-g") if mode == "debug" else ("-O2",)))

gcc = build.tool("gcc")
ar = build.tool("ar")


@build.step(outs=[OUT + "/{src.stem}.o"], depfile=OUT + "/{src.stem}.d", description="compile {src}")
def compile_c(src: File) -> Cmd:
    # Without it debug information names this directory, and other checkouts do not hit.
    here = f"-ffile-prefix-map={build.base}=."
    return cmd(gcc, *FLAGS, here, "-MMD", "-MF", build.depfile, "-c", src, "-o", build.out(0))


@build.step(outs=["{target}"], description="archive {target}")
def archive(target: str, objects: Sequence[File]) -> list[Cmd]:
    # ar would keep members whose source is gone.
    return [cmd("rm", "-f", build.out(0)), cmd(ar, "rcsD", build.out(0), *objects)]


@build.step(outs=["{target}"], pool="link", description="link {target}")
def link(target: str, objects: Sequence[File]) -> Cmd:
    return cmd(gcc, "-o", build.out(0), *objects, "-lm")


@build.step(outs=[OUT + "/selftest.txt"], timeout="1m", tags=["test"], description="test {program}")
def selftest(program: File) -> Cmd:
    return cmd(program, "--selftest", stdout=build.out(0))


objects = {source.stem: compile_c(source) for source in build.glob("src/*.c")}
main = objects.pop("main")
library = archive(f"{OUT}/libcalc.a", list(objects.values()))
calc = link(f"{OUT}/calc", [main, library])

build.pool("link", slots=1)
build.default(selftest(calc))
