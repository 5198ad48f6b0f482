"""A build file as a type checker sees it: mypy checks it with all tests, and test_types.py reads it.

An `ignore` that is not needed is an error: each states that mypy refuses the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_type

from vcache.dag import Cmd, File, Record, Rows, Target, build, cmd, need, sh

cc = build.tool("gcc")


@dataclass(frozen=True)
class Api:
    names: tuple[str, ...]


@build.step(outs=["obj/{stem}.o"], depfile="obj/{stem}.d", pool="cpu", timeout="2m")
def compile_c(src: File, stem: str, flags: Sequence[str] = ("-O2",)) -> Cmd:
    return cmd(cc, "-c", src, "-o", build.out(0), "-MMD", "-MF", build.depfile, *flags)


@build.step
def check() -> Cmd:
    return cmd("true")


@build.step(outs=["bin/app"], pool="link")
async def link() -> Cmd:
    objs = await need(*(compile_c(s, stem=s.stem) for s in build.glob("src/*.c")))
    assert_type(objs, list[Target])
    return cmd(cc, "-o", build.out(0), *objs)


@build.step(outs=["many"])
async def many() -> list[Cmd]:
    one = await compile_c(File("a"), "b")
    assert_type(one, Target)
    files = await need("a", "b")
    assert_type(files, list[File])
    apis = await need(api_of(File("x")))
    assert_type(apis, list[Api])
    both = await need(check, link)
    assert_type(both, list[Target])
    return [cmd("a", one.outs), sh("b", *files)]


@build.value
def api_of(src: File) -> Api:
    return Api(tuple(src.read_text().split()))


@build.value(inputs=[File("x")], tags=["slow"])
def count(api: Api) -> int:
    return len(api.names)


@build.value
async def total(names: Sequence[str]) -> int:
    return sum(await need(*(count(api_of(File(name))) for name in names)))


@build.step(outs=["o"])
def use(api: Api, n: int) -> Cmd:
    return cmd("echo", *api.names, n)


@build.log(of=[compile_c, link], where="level >= warning")
def warnings(records: Sequence[Record]) -> list[str]:
    return [record.file for record in records]


@build.log(of=[compile_c], query="level >= warning | count by file")
def counts(rows: Rows) -> list[object]:
    return [row["count"] for row in rows]


assert_type(counts(), list[object])
assert_type(build.log_report("w.csv", of=[compile_c], query="level = error"), Target)
assert_type(compile_c(File("a"), stem="b"), Target)
assert_type(count(api_of(File("a"))), int)
assert_type(total(["a"]), int)
assert_type(warnings(), list[str])
assert_type(build.env("CC"), str)
assert_type(build.env("CC", None), str | None)
use(api_of(compile_c(File("a"), "a")), total(["b"]))
build.pool("link", slots=1)
build.phony("all", link, warnings, api_of(File("a")))
build.default(link, "all")

if TYPE_CHECKING:
    compile_c(src="a", stem=1)  # type: ignore[arg-type]
    compile_c(File("a"))  # type: ignore[call-arg]
    compile_c(File("a"), "b", 3, 4)  # type: ignore[arg-type, call-arg]
    count("x")  # type: ignore[arg-type]
    build.step(outs=["a"], deepfile="x")  # type: ignore[call-overload]

    @build.step(outs=["a"])  # type: ignore[arg-type]
    def wrong() -> int:
        return 1
