"""lua, whose makefile is written by hand, turned into a vcachefile: against make, in the same place.

The sources come out of an sdist of PyPI (tests/e2e/sources.py); nothing of them is committed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import sources
from tests.e2e.conftest import copy_tree

pytestmark = pytest.mark.e2e

# What the makefile says, without warnings, the machine's own instructions, and readline.
CFLAGS = "-Wall -O0 -std=c99 -DLUA_USE_LINUX -fno-stack-protector -fno-common"
MAKE = ("make", "-j2", "lua", f"CFLAGS={CFLAGS}", "MYLDFLAGS=-Wl,-E", "MYLIBS=-ldl", "AR=ar rcD", "RANLIB=:")

VCACHEFILE = f'''
"""The makefile of lua as a vcachefile."""

from vcache.dag import Cmd, File, build, cmd, need

cc, ar = build.tool("gcc"), build.tool("ar")
CFLAGS = {CFLAGS.split()!r}
CORE = """lapi lcode lctype ldebug ldo ldump lfunc lgc llex lmem lobject lopcodes lparser lstate lstring ltable
    ltm lundump lvm lzio ltests lauxlib lbaselib ldblib liolib lmathlib loslib ltablib lstrlib lutf8lib loadlib
    lcorolib linit"""


@build.step(outs=["{{src.stem}}.o"], depfile="{{src.stem}}.d", description="CC {{src}}")
def compile_c(src: File) -> Cmd:
    return cmd(cc, *CFLAGS, "-MMD", "-MF", build.depfile, "-c", "-o", build.out(0), src)


@build.step(outs=["liblua.a"])
def library() -> list[Cmd]:
    objects = [compile_c(File(f"{{name}}.c")) for name in CORE.split()]
    return [cmd("rm", "-f", build.out(0)), cmd(ar, "rcD", build.out(0), objects)]


@build.step(outs=["lua"], pool="link")
async def lua() -> Cmd:
    main, core = await need(compile_c(File("lua.c")), library())
    return cmd(cc, "-o", build.out(0), "-Wl,-E", main, core, "-lm", "-ldl")


@build.value
def version_of(header: File) -> str:
    parts = [line.split('"')[1] for line in header.read_text().splitlines() if "LUA_VERSION_M" in line and '"' in line]
    return ".".join(parts[:2])


@build.step(outs=["banner.txt"], depfile=None)
def banner(program: File, version: str) -> Cmd:
    return cmd(program, "-e", f"print(_VERSION, {{version!r}})", stdout=build.out(0))


build.pool("link", slots=1)
build.default(lua, banner(lua(), version_of(File("lua.h"))))
'''


@dataclass(frozen=True)
class Ran:
    ran: frozenset[str]
    hits: frozenset[str]
    said: str


@dataclass(frozen=True)
class Tree:
    root: Path
    cache: Path

    def build(self, *words: str, status: int = 0) -> Ran:
        env = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
        env |= {"VCACHE_DIR": os.fspath(self.cache), "NO_COLOR": "1"}
        before = self.journals()
        done = subprocess.run(
            [sys.executable, "-m", "vcache", "build", "-j2", *words], cwd=self.root, env=env,
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        lines = [line for path in self.journals() - before for line in path.read_text().splitlines()]
        events = [json.loads(line) for line in lines]
        ran = {each["node"] for each in events if each["event"] == "finished" and not each["status"]}
        hits = {each["node"] for each in events if each["event"] == "hit"}
        return Ran(frozenset(ran), frozenset(hits), done.stdout + done.stderr)

    def journals(self) -> set[Path]:
        return set((self.root / ".vcache/runs").glob("*.jsonl"))

    def looks(self) -> dict[str, tuple[int, str]]:
        """Mode and digest of each file that a build makes."""
        made = [*self.root.glob("*.o"), self.root / "liblua.a", self.root / "lua"]
        return {
            path.name: (path.stat().st_mode & 0o777, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in made
        }

    def clean(self) -> None:
        for name in (*self.looks(), "banner.txt"):
            (self.root / name).unlink(missing_ok=True)


def unpacked(root: Path) -> Path:
    sources.unpack_lua(root)
    (root / "vcachefile.py").write_text(VCACHEFILE)
    return root


@dataclass(frozen=True)
class Built:
    tree: Tree
    by_make: dict[str, tuple[int, str]]
    first: Ran


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("lua")
    tree = Tree(unpacked(place / "checkout"), place / "cache")
    subprocess.run(MAKE, cwd=tree.root, check=True, capture_output=True, timeout=240)
    by_make = tree.looks()
    tree.clean()
    return Built(tree, by_make, tree.build())


@pytest.fixture
def tree(tmp_path: Path, built: Built) -> Tree:
    """A copy of the first tree and its cache, up to date."""
    copy_tree(built.tree.root.parent, tmp_path / "copy")
    tree = Tree(tmp_path / "copy/checkout", tmp_path / "copy/cache")
    tree.build()
    return tree


def commands(ran: frozenset[str]) -> set[str]:
    """Without values."""
    return {name for name in ran if "(" not in name}


def includers(tree: Tree, header: str) -> set[str]:
    """The objects whose sources include a header, as the compiler sees it."""
    done = subprocess.run(
        ["gcc", *CFLAGS.split(), "-MM", *sorted(path.name for path in tree.root.glob("l*.c"))],
        cwd=tree.root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    rules = done.stdout.replace("\\\n", " ").splitlines()
    return {rule.partition(":")[0] for rule in rules if re.search(rf"\b{re.escape(header)}(\s|$)", rule)}


def test_it_equals_what_make_builds(built: Built):
    """File by file, by content and mode; every file of the makefile's is there."""
    assert built.tree.looks() == built.by_make
    assert commands(built.first.ran) == {*built.by_make, "banner.txt"}
    assert (built.tree.root / "banner.txt").read_text() == "Lua 5.4\t5.4\n"


def test_nothing_to_do(tree: Tree):
    """A second run runs nothing, and neither does one after touching everything."""
    assert not tree.build().ran
    for path in tree.root.iterdir():
        if path.is_file():
            os.utime(path)
    assert not tree.build().ran


@pytest.mark.parametrize("header", ["lzio.h", "lctype.h", "lua.h"])
def test_an_edited_header(header: str, tree: Tree):
    """A comment reruns what includes the header, and, since objects come out equal, nothing else."""
    path = tree.root / header
    path.write_text(path.read_text() + "/* a comment */\n")
    assert commands(tree.build().ran) == includers(tree, header)


def test_removed_outputs_come_from_the_cache(tree: Tree, built: Built):
    """All of them, as make made them."""
    tree.clean()
    again = tree.build()
    assert not commands(again.ran)
    assert tree.looks() == built.by_make


def test_a_second_checkout_comes_from_the_cache(tree: Tree, built: Built, tmp_path: Path):
    """In another place, unpacked anew."""
    other = Tree(unpacked(tmp_path / "somewhere/else entirely"), tree.cache)
    again = other.build()
    assert not again.ran
    assert other.looks() == built.by_make


def test_a_mistake_and_its_undoing(tree: Tree, built: Built):
    """The compiler's words are shown; what does not need the object is still made; then all is as it was."""
    path = tree.root / "lzio.c"
    text = path.read_text()
    path.write_text(text.replace("int luaZ_fill", "int int luaZ_fill"))
    assert "lzio.c:" in tree.build("-k", status=1).said
    path.write_text(text)
    assert not tree.build().ran
    assert tree.looks() == built.by_make


def test_a_cleaned_tree_without_memory(tree: Tree, built: Built):
    """Neither outputs nor .vcache: the cache alone is enough."""
    tree.clean()
    shutil.rmtree(tree.root / ".vcache")
    assert not tree.build().ran
    assert tree.looks() == built.by_make
