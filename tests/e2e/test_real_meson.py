"""pkgconf, as Meson configures it: a shared library with its links, symbols and programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.project_laws import GeneratedLaws
from tests.e2e.projects import Project, Tree, program
from tests.e2e.sources import unpack_pkgconf

pytestmark = pytest.mark.e2e


def meson(source: Path, base: Path, maker: str) -> list[str]:
    return [program("meson"), "setup", "--buildtype=release", os.fspath(base), os.fspath(source)]


PKGCONF = Project(unpack_pkgconf, meson, "libpkgconf/iter.h", "#define LIBPKGCONF_ITER_H", "meson.build")


class TestMeson(GeneratedLaws):
    project = PKGCONF
    broken = "cli/renderer-msvc.c"

    def generator_words(self, tree: Tree) -> list[str]:
        return ["meson", "compile", "-C", os.fspath(tree.base)]
