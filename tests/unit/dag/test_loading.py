"""Finding and reading build files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.unit.dag.front.project import Project
from vcache.cache import Cache
from vcache.dag import build
from vcache.dag.loading import Loaded, inside, load
from vcache.errors import GraphError


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "p", tmp_path / "cache")


def names(loaded: Loaded) -> set[str]:
    return {f"{dep.kind} {dep.name}" for dep in loaded.front}


def stale(loaded: Loaded, cache: Cache) -> list[str]:
    """What of the front is not what it was."""
    return sorted(dep.name for dep in loaded.front if cache.observer.check(dep) is not None)


def test_a_missing_file_is_an_error(tmp_path: Path):
    """With its path and the remedy."""
    with pytest.raises(GraphError, match=r"vcachefile.py: cannot be read \(No such file or directory\)"):
        load(tmp_path / "vcachefile.py")


def test_the_file_runs_in_its_directory(project: Project):
    """As a module of its own; afterwards everything is as it was."""
    before, path = os.getcwd(), list(sys.path)
    project.load(
        """
        import os
        assert os.getcwd() == os.path.dirname(__file__), os.getcwd()
        assert __name__ == "vcachefile"
        import sys
        assert sys.modules[__name__].__file__ == __file__
        """
    )
    assert (os.getcwd(), sys.path) == (before, path)
    with pytest.raises(GraphError):
        project.load("1 / 0")
    assert (os.getcwd(), sys.path) == (before, path)


def test_inside_survives_a_directory_that_is_gone(tmp_path: Path, monkeypatch):
    """The current directory may have been removed."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with inside(str(tmp_path)):
        assert os.getcwd() == str(tmp_path)
    os.chdir(tmp_path)  # for the fixture to go on from


def test_what_was_read_is_known(project: Project):
    """The file, modules, files it opened, patterns, variables, and what was looked for in vain."""
    project.file("helpers/__init__.py", "from helpers.inner import x\n")
    project.file("helpers/inner.py", "x = 1\n")
    project.file("list.txt", "")
    project.file("src/a.c", "")
    loaded = project.load(
        """
        import helpers
        try:
            import local_settings_of_mine
        except ImportError:
            pass
        File("list.txt").read_text()
        build.glob("src/*.c")
        build.env("VC_TEST_UNSET")
        """
    )
    found = names(loaded)
    wanted = {
        "file vcachefile.py", "file helpers/__init__.py", "file helpers/inner.py", "file list.txt",
        "glob src/*.c", "env VC_TEST_UNSET", "absent local_settings_of_mine.py",
        "absent local_settings_of_mine/__init__.py",
    }  # fmt: skip
    assert wanted <= found
    assert "file src/a.c" not in found  # which files there are counts, not what they hold
    assert stale(loaded, project.cache) == []


CHANGES = {
    "the file": lambda p: p.file("vcachefile.py", "#"),
    "a module": lambda p: p.file("helpers.py", "x = 2\n"),
    "a file": lambda p: p.file("list.txt", "more"),
    "a new match": lambda p: p.file("src/b.c", ""),
    "a match that is gone": lambda p: (p.base / "src/a.c").unlink(),
    "a module that appears": lambda p: p.file("local_settings_of_mine.py", ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_is_seen(change: str, project: Project):
    """Each makes exactly one record of the front stale."""
    project.file("helpers.py", "x = 1\n")
    project.file("list.txt", "")
    project.file("src/a.c", "")
    loaded = project.load(
        """
        import helpers
        try:
            import local_settings_of_mine
        except ImportError:
            pass
        File("list.txt").read_text()
        build.glob("src/*.c")
        """
    )
    front = loaded.front
    CHANGES[change](project)
    gone = [dep for dep in front if project.cache.observer.check(dep) is not None]
    assert len(gone) == 1, gone


def test_what_bodies_and_values_read_is_known_after_the_run(project: Project):
    """They are part of what the next run may not take for granted."""
    project.file("body.txt", "1")
    project.file("value.txt", "1")
    project.load(
        """
        @build.value
        def v(): return File("value.txt").read_text()
        @build.step(outs=["o"])
        def o(v): return sh("echo $1 > o", File("body.txt").read_text())
        build.default(o(v()))
        """
    )
    for _ in range(2):  # made, and from the cache
        project.run()
        assert project.loaded is not None
        assert {"file body.txt", "file value.txt"} <= names(project.loaded)


def test_what_changed_while_it_was_read_never_holds(project: Project):
    """Nobody knows which content counted: the next run reads anew."""
    project.file("list.txt", "1")
    loaded = project.load('File("list.txt").read_text()')
    project.file("list.txt", "longer")
    assert stale(loaded, project.cache) == ["list.txt"]


def test_modules_are_read_anew(project: Project):
    """Also when another project has one of the same name."""
    project.file("helpers.py", "x = 1\n")
    text = "import helpers\nbuild.phony(f'n{helpers.x}', 'src')"
    assert [node.name for node in project.load(text).targets()] == ["n1"]
    project.file("helpers.py", "x = 23\n")
    assert [node.name for node in project.load(text).targets()] == ["n23"]
    other = Project(project.base.parent / "other", project.base.parent / "cache")
    other.file("helpers.py", "x = 'other'\n")
    assert [node.name for node in other.load(text).targets()] == ["nother"]


def test_rules_may_stand_in_a_module(project: Project):
    """`build` speaks of the graph that is being read, wherever it is used."""
    project.file(
        "rules.py",
        """
        from vcache.dag import build, cmd, File
        @build.step(outs=["out/{name}"])
        def copy(src: File, name: str):
            return cmd("cp", src, build.out())
        """,
    )
    project.file("src", "s")
    project.load('from rules import copy\nbuild.default(copy(File("src"), "a"))')
    assert project.run().ran == {"out/a"}


def test_a_build_file_can_be_imported_by_itself():
    """Outside of a load, as in a test of its functions, the words work on a graph of their own."""

    @build.step(outs=["{name}"])
    def make(name: str) -> None: ...

    assert make("x-of-test-loading").path == "x-of-test-loading"


def test_front_needs_a_cache(tmp_path: Path):
    """What files hold is known to a cache."""
    (tmp_path / "vcachefile.py").write_text("")
    loaded = load(tmp_path / "vcachefile.py")
    assert loaded.targets() == []
    with pytest.raises(GraphError, match="load it with one"):
        _ = loaded.front
