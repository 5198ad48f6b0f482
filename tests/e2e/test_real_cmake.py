"""c-blosc2, as CMake configures it: a shared library with its links, and traces that name files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.project_laws import ProjectLaws
from tests.e2e.projects import Project, Tree, program
from tests.e2e.sources import unpack_blosc2

pytestmark = pytest.mark.e2e

FEW = (
    "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS_RELEASE=-O0 -DNDEBUG", "-DBUILD_STATIC=OFF", "-DBUILD_TESTS=OFF",
    "-DBUILD_FUZZERS=OFF", "-DBUILD_BENCHMARKS=OFF", "-DBUILD_EXAMPLES=OFF", "-DBUILD_PLUGINS=OFF",
    "-DDEACTIVATE_ZLIB=ON", "-DDEACTIVATE_ZSTD=ON", "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",
)  # fmt: skip


def cmake(source: Path, base: Path, maker: str, *more: str) -> list[str]:
    return [
        program("cmake"), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={maker}", *FEW, *more,
        f"-DCMAKE_C_FLAGS=-fmacro-prefix-map={source}=.", "-S", os.fspath(source),
        "-B", os.fspath(base),
    ]  # fmt: skip


BLOSC2 = Project(unpack_blosc2, cmake, "blosc/stune.h", "#define BLOSC_STUNE_H", "CMakeLists.txt")


class TestCMake(ProjectLaws):
    project = BLOSC2
    broken = "blosc/stune.c"

    def generator_words(self, tree: Tree) -> list[str]:
        return ["cmake", "--build", os.fspath(tree.base)]
