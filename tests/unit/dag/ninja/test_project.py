"""The top of a project, as CMake, Meson and GN write it down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vcache.dag.ninja.project import project_root


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("VCACHE_ROOT", raising=False)
    (tmp_path / "out" / "build").mkdir(parents=True)
    return tmp_path / "out" / "build"


def test_cmake(build: Path) -> None:
    """The nearest directory above both the source that CMakeCache.txt names and the build directory"""
    cache = build / "CMakeCache.txt"
    cache.write_text(
        f"# CMAKE_HOME_DIRECTORY:INTERNAL=/x\nCMAKE_HOME_DIRECTORY:INTERNAL={build.parent}/src\n"
    )
    assert project_root(str(build)) == str(build.parent)
    cache.write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={build.parent.parent}\n")
    assert project_root(str(build)) == str(build.parent.parent)
    cache.write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={build}\n")
    assert project_root(f"{build}/") == str(build)


def test_meson(build: Path) -> None:
    """meson-info.json names the source directory"""
    (build / "meson-info").mkdir()
    info = build / "meson-info" / "meson-info.json"
    info.write_text(
        json.dumps({"directories": {"source": str(build.parent / "project"), "build": str(build)}})
    )
    assert project_root(str(build)) == str(build.parent)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"directories": {"source": 3}}'])
def test_a_damaged_note_counts_for_nothing(text: str, build: Path) -> None:
    """Without a usable note the build directory is the root"""
    (build / "meson-info").mkdir()
    (build / "meson-info" / "meson-info.json").write_text(text)
    assert project_root(str(build)) == str(build)


def test_gn(build: Path) -> None:
    """The rule that reruns GN names the root, relative to the build directory"""
    (build / "args.gn").write_text("")
    (build / "build.ninja").write_text(
        "rule gn\n  command = ../../buildtools/gn --root=../.. -q gen .\n  description = Regenerating\n"
    )
    assert project_root(str(build)) == str(build.parent.parent)


def test_gn_wants_both_files(build: Path) -> None:
    """A manifest that looks like GN's is not enough"""
    (build / "build.ninja").write_text("rule gn\n  command = gn --root=../.. -q gen .\n")
    assert project_root(str(build)) == str(build)


def test_the_environment_overrides(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VCACHE_ROOT is the root, whatever generators say"""
    (build / "CMakeCache.txt").write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={build.parent}\n")
    monkeypatch.setenv("VCACHE_ROOT", f"{build.parent.parent}/")
    assert project_root(str(build)) == str(build.parent.parent)
