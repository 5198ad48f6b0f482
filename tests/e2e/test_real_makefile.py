"""lua, whose makefile is written by hand, and the vcachefile that does the same."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.project_laws import ProjectLaws
from tests.e2e.projects import Looks, Project, Tree, program
from tests.e2e.sources import unpack_lua

pytestmark = pytest.mark.e2e

CFLAGS = "-Wall -O0 -std=c99 -DLUA_USE_LINUX -fno-stack-protector -fno-common"
VCACHEFILE = f'''
"""lua's makefile in other words; what a source includes is told by the compiler."""

from __future__ import annotations

from vcache.dag import Cmd, File, build, cmd, need, sh

cc, ar, ranlib = build.tool("gcc"), build.tool("ar"), build.tool("ranlib")
FLAGS = "{CFLAGS}".split()
CORE = """lapi lcode lctype ldebug ldo ldump lfunc lgc llex lmem lobject lopcodes lparser lstate lstring ltable
    ltm lundump lvm lzio ltests""".split()
LIB = """lbaselib ldblib liolib lmathlib loslib ltablib lstrlib lutf8lib loadlib lcorolib linit""".split()


@build.step(outs=["{{stem}}.o"], depfile="{{stem}}.d")
def compile_c(src: File, stem: str) -> Cmd:
    return cmd(cc, FLAGS, "-MMD", "-MF", build.depfile, "-c", "-o", build.out(0), src)


@build.step(outs=["liblua.a"])
async def library() -> Cmd:
    objs = await need(*(compile_c(File(f"{{stem}}.c"), stem) for stem in (*CORE, "lauxlib", *LIB)))
    line = 'ar=$1 ranlib=$2; shift 2; "$ar" rc "$@" && "$ranlib" "$1"'
    return sh(line, ar, ranlib, build.out(0), *objs)


@build.step(outs=["lua"])
async def lua() -> Cmd:
    main, lib = await need(compile_c(File("lua.c"), "lua"), library())
    return cmd(cc, "-o", build.out(0), "-Wl,-E", main, lib, "-lm", "-ldl")


build.default(lua())  # `touch all` only tells make that all is made
'''


class Makefile(Tree):
    """Built where the sources are."""

    @property
    def base(self) -> Path:
        return self.source

    def configure(self, maker: str) -> str:
        (self.base / "vcachefile.py").write_text(VCACHEFILE.lstrip())
        (self.place / "maker").write_text(maker)
        return ""

    @property
    def maker(self) -> str:
        return (self.place / "maker").read_text()

    def clean(self) -> None:
        self.unpack()

    def looks(self) -> Looks:
        """But for what only one of the two writes."""
        theirs = {name for name in super().looks() if name.endswith(".d")} | {"vcachefile.py"}
        return {name: look for name, look in super().looks().items() if name not in theirs}

    def ninja(self, *words: str) -> set[str]:
        """Build by make."""
        done = subprocess.run(
            [program("make"), f"CFLAGS={CFLAGS}", "MYLDFLAGS=-Wl,-E", "MYLIBS=-ldl", *words],
            cwd=self.base, env=self.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return set(re.findall(r"^(?:gcc .*-o |ar rc )(\S+)", done.stdout, re.MULTILINE))


LUA = Project(unpack_lua, lambda *_: [], "lzio.h", "#define lzio_h", "makefile")


class TestMakefile(ProjectLaws):
    kind = Makefile
    project = LUA
    broken = "lzio.c"

    def test_the_program_runs(self, tree: Tree):
        """And says what it is told."""
        said = subprocess.check_output([tree.base / "lua", "-e", "print(6 * 7)"], text=True)
        assert said == "42\n"

    def test_the_build_file(self, tree: Tree):
        """Neither touching it nor a comment in it runs anything, a flag runs what has it."""
        path = tree.base / "vcachefile.py"
        path.touch()
        assert not tree.build().ran
        path.write_text(path.read_text() + "\n# a comment\n")
        assert not tree.build().ran
        path.write_text(path.read_text().replace('"-Wl,-E"', '"-Wl,-E", "-s"'))
        assert tree.build().ran == {"lua"}
