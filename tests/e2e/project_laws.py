"""What must hold for every project of others: subclass it and say which project."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from tests.e2e.projects import (
    CHANGE,
    COMMENT,
    Looks,
    Project,
    Ran,
    Reference,
    Tree,
    program,
    reference,
    strike,
    wait_for,
)

__all__ = ["Built", "GeneratedLaws", "ProjectLaws", "same"]


@dataclass(frozen=True)
class Built:
    """A project as vcache built it first, and what ninja did in the same place."""

    tree: Tree
    by_ninja: Reference
    first: Ran


def same(found: Looks, wanted: Looks, *, only: AbstractSet[str] | None = None) -> None:
    names = {name for name in {*found, *wanted} if found.get(name) != wanted.get(name)}
    wrong = {name: (found.get(name), wanted.get(name)) for name in names if only is None or name in only}
    assert not wrong, wrong


class ProjectLaws:
    """Subclasses say which project.

    Attributes:
        kind: how it is laid out and built.
        broken: a source of it that is to be spoilt.
    """

    kind: ClassVar[type[Tree]] = Tree
    project: ClassVar[Project]
    broken: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def built(cls, tmp_path_factory: pytest.TempPathFactory) -> Built:
        place = tmp_path_factory.mktemp("project")
        tree = cls.kind(cls.project, place / "checkout", place / "cache")
        by_ninja = reference(tree)
        tree.unpack()
        tree.configure("vcache-ninja")
        return Built(tree, by_ninja, tree.build())

    @pytest.fixture
    def tree(self, built: Built) -> Tree:
        """The first checkout, as its authors wrote it, up to date."""
        tree = built.tree
        tree.undo()
        if tree.maker != "vcache-ninja":
            tree.clean()
            tree.configure("vcache-ninja")
        tree.build()
        return tree

    def test_a_full_build_makes_what_ninja_makes(self, built: Built, tree: Tree):
        """Every file, its mode, every link."""
        assert built.first.ran
        assert {name for name in built.first.ran if name not in built.by_ninja.made} == set()
        same(tree.looks(), built.by_ninja.looks)

    def test_nothing_to_do(self, tree: Tree):
        """Neither at once nor after touching everything does anything run."""
        again = tree.build()
        assert not again.ran | again.hits, again
        tree.touch_all()
        again = tree.build()
        assert not again.ran | again.hits, again

    def test_a_comment_in_a_header(self, built: Built, tree: Tree):
        """Compiles what ninja compiles, and stops there."""
        tree.insert(COMMENT)
        again = tree.build()
        assert again.ran == {name for name in built.by_ninja.commented if name.endswith(".o")}
        assert again.ran < built.by_ninja.commented

    def test_a_change_in_a_header(self, built: Built, tree: Tree):
        """Reruns what ninja reruns, to the same end."""
        tree.insert(COMMENT)
        tree.insert(CHANGE)
        again = tree.build()
        compiled = {name for name in built.by_ninja.edited if name.endswith(".o")}
        assert compiled <= again.ran <= built.by_ninja.edited
        same(tree.looks(), built.by_ninja.after)
        tree.undo()
        again = tree.build()
        assert again.hits
        assert not again.ran
        same(tree.looks(), built.by_ninja.looks)

    def test_from_the_cache_after_everything_is_removed(self, built: Built, tree: Tree):
        """Build directory and all that was remembered in it."""
        tree.clean()
        tree.configure("vcache-ninja")
        again = tree.build()
        assert not again.ran, again
        same(tree.looks(), built.by_ninja.looks)

    def test_another_checkout(self, built: Built, tree: Tree, tmp_path: Path):
        """Comes from the cache wherever it is, when no path is part of what is made."""
        other = self.kind(tree.project, tmp_path / "somewhere/else", tree.cache)
        other.unpack()
        other.configure("vcache-ninja")
        again = other.build()
        assert not again.ran, again
        outputs = built.by_ninja.made - {"build.ninja"}
        expected, found = built.by_ninja.looks, other.looks()
        same(found, expected, only=outputs)

    def test_a_source_that_does_not_compile(self, built: Built, tree: Tree):
        """The compiler's words are shown, nothing is left, and the next run goes on."""
        path = tree.source / self.broken
        right, before = path.read_text(), tree.looks()
        path.write_text(right + "\nthis is no C;\n")
        failed = tree.build("-k", status=1)
        assert "unknown type name" in failed.said
        assert self.broken in failed.said
        assert len(failed.failed) >= 1
        after = tree.looks()  # what was there before, whole, or nothing
        assert {name: after[name] for name in failed.failed if name in after}.items() <= before.items()
        path.write_text(right)
        assert not tree.build().ran
        same(tree.looks(), built.by_ninja.looks)

    def test_a_header_that_comes_and_goes(self, built: Built, tree: Tree):
        """Is known from the compile on that reads it; without it, all is as before."""
        path = tree.source / self.broken
        right, header = path.read_text(), path.with_name("extra.h")
        header.write_text("int extra_(void);\n")
        path.write_text('#include "extra.h"\n' + right)
        assert (compiled := tree.build().ran)
        header.write_text("int extra_(int);\n")
        assert tree.build().ran <= compiled
        header.unlink()
        path.write_text(right)
        again = tree.build()
        assert again.hits
        assert not again.ran
        same(tree.looks(), built.by_ninja.looks)

    def test_outputs_that_were_spoilt(self, built: Built, tree: Tree):
        """Come back from the cache, and nothing else does."""
        name = max(built.first.ran, key=lambda each: (tree.base / each).lstat().st_size)
        (tree.base / name).write_bytes(b"spoilt")
        again = tree.build()
        assert not again.ran
        assert again.hits == {name}
        same(tree.looks(), built.by_ninja.looks)

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
    def test_stopped_in_the_middle(self, built: Built, tree: Tree, tmp_path: Path, signum: signal.Signals):
        """The next run goes on to the same result."""
        fresh = replace(tree, cache=tmp_path / "cache")
        tree.clean()
        fresh.configure("ninja")
        process = fresh.start("-j2")
        wait_for(lambda: len(list(fresh.base.rglob("*.o"))) >= 3, process)
        strike(process, signum)
        assert process.returncode == (-signum if signum == signal.SIGKILL else 130)
        stopped = fresh.since()
        again = fresh.build()
        assert again.ran
        assert not again.ran & stopped.ran
        same(fresh.looks(), built.by_ninja.looks)

    @pytest.mark.slow
    def test_killed_again_and_again(self, built: Built, tree: Tree, tmp_path: Path):
        """Wherever that happens, tree and cache stay sound."""
        fresh = replace(tree, cache=tmp_path / "cache")
        tree.clean()
        fresh.configure("ninja")
        chance = random.Random(7)
        for number in range(12):
            process = fresh.start("-j2")
            time.sleep(chance.uniform(0.1, 1.2))
            strike(process, signal.SIGKILL, all_of_it=bool(number % 2))
        fresh.build()
        same(fresh.looks(), built.by_ninja.looks)
        fresh.verify()
        fresh.clean()
        fresh.configure("ninja")
        assert not fresh.build().ran
        same(fresh.looks(), built.by_ninja.looks)

    def test_two_at_once(self, built: Built, tree: Tree, tmp_path: Path):
        """Together they make everything once."""
        fresh = replace(tree, cache=tmp_path / "cache")
        tree.clean()
        fresh.configure("ninja")
        pair = [fresh.start("-j2"), fresh.start("-j2")]
        said = [each.communicate(timeout=120)[0] for each in pair]
        assert [each.returncode for each in pair] == [0, 0], said
        journals = [path.read_text() for path in fresh.journals()]
        assert sum(text.count('"event":"finished"') for text in journals) == len(built.first.ran)
        same(fresh.looks(), built.by_ninja.looks)


class GeneratedLaws(ProjectLaws):
    """For projects whose build file is generated."""

    def test_the_recipe(self, tree: Tree):
        """Touching it does not configure again, a real change does, and once."""
        recipe = tree.source / tree.project.recipe
        recipe.touch()
        assert not tree.build().ran
        with recipe.open("a") as file:
            file.write("\n# a comment is a change here\n")
        again = tree.build()
        assert again.ran == {"build.ninja"}, again
        assert not tree.build().ran
        tree.clean()  # CMake writes another build.ninja the second time

    def test_cleaned_by_its_tool(self, built: Built, tree: Tree):
        """What ninja's own `-t clean` removes comes back from the cache."""
        tree.build("-C", os.fspath(tree.base), "-t", "clean", by=(program("vcache-ninja"),))
        assert not any((tree.base / name).exists() for name in built.first.ran)
        again = tree.build()
        assert not again.ran
        assert again.hits == built.first.ran
        same(tree.looks(), built.by_ninja.looks)

    def test_by_the_generators_own_words(self, built: Built, tree: Tree):
        """The generator starts vcache-ninja as it would start ninja."""
        for path in tree.base.rglob("*.o"):
            path.unlink()
        words = self.generator_words(tree)
        again = tree.build(by=(program(words[0]), *words[1:]))
        assert not again.ran
        assert again.hits
        same(tree.looks(), built.by_ninja.looks)

    def generator_words(self, tree: Tree) -> list[str]:
        raise AssertionError("a subclass says which")
