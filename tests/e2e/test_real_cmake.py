"""c-blosc2, as CMake configures it: a shared library with its links, and traces that name files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.project_laws import GeneratedLaws, same
from tests.e2e.projects import Project, Tree, program
from tests.e2e.sources import unpack_blosc2

pytestmark = pytest.mark.e2e

FEW = (
    "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS_RELEASE=-O0 -DNDEBUG", "-DBUILD_STATIC=OFF", "-DBUILD_TESTS=OFF",
    "-DBUILD_FUZZERS=OFF", "-DBUILD_BENCHMARKS=OFF", "-DBUILD_EXAMPLES=OFF", "-DBUILD_PLUGINS=OFF",
    "-DDEACTIVATE_ZLIB=ON", "-DDEACTIVATE_ZSTD=ON", "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",
)  # fmt: skip


ALL = (
    "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG", "-DBUILD_TESTS=OFF", "-DBUILD_FUZZERS=OFF",
    "-DBUILD_BENCHMARKS=OFF", "-DBUILD_EXAMPLES=OFF", "-DBUILD_PLUGINS=ON",
)  # fmt: skip


def cmake(source: Path, base: Path, maker: str, *options: str) -> list[str]:
    return [
        program("cmake"), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={maker}", *options, "-S", os.fspath(source),
        "-B", os.fspath(base),
    ]  # fmt: skip


def few(source: Path, base: Path, maker: str) -> list[str]:
    """Traces of c-blosc2 name the file that they stand in, here by its name below the root."""
    return cmake(source, base, maker, *FEW, f"-DCMAKE_C_FLAGS=-fmacro-prefix-map={source}=.")


def few_with_places(source: Path, base: Path, maker: str) -> list[str]:
    return cmake(source, base, maker, *FEW)


def everything(source: Path, base: Path, maker: str) -> list[str]:
    return cmake(source, base, maker, *ALL)


BLOSC2 = Project(unpack_blosc2, few, "blosc/stune.h", "#define BLOSC_STUNE_H", "CMakeLists.txt")


class TestCMake(GeneratedLaws):
    project = BLOSC2
    broken = "blosc/stune.c"

    def generator_words(self, tree: Tree) -> list[str]:
        return ["cmake", "--build", os.fspath(tree.base)]


def test_what_names_its_place_stays_there(tmp_path: Path):
    """What holds the path of its checkout is made anew in another one, and nothing else; `why` says so."""
    project = replace(BLOSC2, configure=few_with_places)
    here = Tree(project, tmp_path / "here", tmp_path / "cache")
    there = Tree(project, tmp_path / "over/there", here.cache)
    for tree in (here, there):
        tree.unpack()
        tree.configure("ninja")
    made = here.build().ran
    bound = {name for name in made if os.fsencode(here.place) in (here.base / name).read_bytes()}
    assert {name for name in made if name.endswith("stune.c.o")} < bound < made
    said = there.tell("why", *(name for name in bound if name.endswith("stune.c.o")))
    assert f"changed root: {here.place} → {there.place}" in said
    again = there.build()
    assert again.ran == bound
    assert again.hits == made - bound


@pytest.mark.slow
def test_all_of_it(tmp_path: Path):
    """zstd, zlib-ng and plugins too: equal to ninja's, and all of it comes from the cache."""
    tree = Tree(replace(BLOSC2, configure=everything), tmp_path / "project", tmp_path / "cache")
    tree.unpack()
    tree.configure("ninja")
    tree.ninja()
    looks = tree.looks()
    tree.clean()
    tree.configure("vcache-ninja")
    assert len(tree.build().ran) > 250
    same(tree.looks(), looks)
    tree.clean()
    tree.configure("vcache-ninja")
    again = tree.build()
    assert not again.ran
    same(tree.looks(), looks)
