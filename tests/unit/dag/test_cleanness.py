"""Everything that a run looked at is looked at again before anybody says that nothing is to be done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.dag.trees import Toy, late_clock, make, phony
from vcache.dag import frozen
from vcache.dag.node import Call, Command, Made, Node, Script
from vcache.dag.tree import Tree
from vcache.entry import Dep
from vcache.fingerprint.digests import FileDigests, FileState
from vcache.fingerprint.inputs import Absent, Dir, File, Glob, Listing
from vcache.fingerprint.observe import Observer
from vcache.hash import digest


class One(Toy):
    """A graph that is made anew in each run, with one node, and what is known of it."""

    def save(
        self,
        node: Node,
        *,
        found: tuple[Dep, ...] = (),
        looks: tuple[Dep, ...] = (),
        front: tuple[Dep, ...] = (),
    ) -> Tree:
        tree = self.open()
        seen: dict[str, FileState] = {}
        digests = FileDigests(self.base, clock=late_clock)
        for path in (*node.ins, *node.outs):
            if (self.base / path).is_file() and not (self.base / path).is_symlink():
                state = digests.look(path)
                assert state is not None
                seen[os.fspath(self.base / path)] = state
        if isinstance(node.work, Command):
            outs = tuple(self.content(path) for path in node.outs)
            tree.record(node.name, Made(b"b" * 32, found, outs))
        tree.save(
            graph=None,
            goals=(),
            wanted=[node],
            seen=seen,
            looks=lambda name: looks,
            front=front,
            file="build.ninja",
        )
        return tree

    def content(self, path: str) -> bytes:
        full = self.base / path
        return digest(full.read_bytes()) if full.is_file() and not full.is_symlink() else b"content"

    def observe(self, *specs: object) -> tuple[Dep, ...]:
        digests = FileDigests(self.base, clock=late_clock)
        return Observer(self.base, digests=digests, base=self.base).observe_all(specs)  # type: ignore[arg-type]


@pytest.fixture
def toy(tmp_path: Path) -> One:
    toy = One(tmp_path, [])
    for name in ("in", "out", "dir/a", "dir/sub/b"):
        toy.write(name, name)
    return toy


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (Absent("gone"), lambda base: (base / "gone").touch()),
        (Listing("dir"), lambda base: (base / "dir/new").touch()),
        (Dir("dir"), lambda base: (base / "dir/sub/new").touch()),
        (Glob("dir/*"), lambda base: (base / "dir/new").touch()),
        (Glob("dir/**/*.c"), lambda base: (base / "dir/sub/new.c").touch()),
        (Glob("*.c"), lambda base: (base / "new.c").touch()),
        (File("dir/a"), lambda base: (base / "dir/a").write_text("other")),
    ],
)
@pytest.mark.parametrize("where", ["found", "front"])
def test_every_kind_of_input_counts(
    toy: One, spec: object, change: Callable[[Path], object], where: str
) -> None:
    """found by a node, or by the build file: clean until it changes"""
    deps = toy.observe(spec)
    toy.save(make("out", "in"), **{where: deps})
    assert toy.is_clean()
    change(toy.base)
    assert not toy.is_clean()


def test_an_unknown_kind_is_never_clean(toy: One) -> None:
    """what cannot be looked at by stats takes the full way"""
    toy.save(make("out", "in"), found=(Dep("entry", "key", b"1"),))
    assert not toy.is_clean()
    toy.save(make("out", "in"), found=())
    assert toy.is_clean()
    toy.save(make("out", "in"), found=(Dep("entry", "key", b"1"),))
    assert not toy.is_clean()


def test_functions_are_clean_only_with_what_they_looked_at(toy: One) -> None:
    """a value node's inputs are known to its own cache alone"""
    node = Node(name="f()", work=Call(lambda: (1, False)))
    toy.save(node)
    assert not toy.is_clean()
    toy.save(node, looks=toy.observe(File("in")))
    assert toy.is_clean()
    toy.add("in")
    assert not toy.is_clean()


def test_what_a_body_asked_for_counts(toy: One) -> None:
    """a script's base manifest holds files that its node does not declare"""
    toy.save(Node(name="s", work=Script(lambda: None)), looks=toy.observe(File("in")))
    assert toy.is_clean()
    toy.add("in")
    assert not toy.is_clean()


def test_what_was_not_kept_is_not_clean(toy: One) -> None:
    """a node whose result was forgotten has to run"""
    tree = toy.open()
    tree.forget("out")
    tree.save(graph=None, goals=(), wanted=[make("out")], seen={}, looks=lambda name: (), file="build.ninja")
    assert not toy.is_clean()


@pytest.mark.parametrize("kind", ["directory", "link", "input"])
def test_directories_and_links_count_as_a_whole(toy: One, kind: str) -> None:
    """what is in an output directory, where an output link leads, what is below an input directory"""
    (toy.base / "link").symlink_to("in")
    node = {
        "directory": make("dir/", "in"),
        "link": make("link", "out"),
        "input": make("out", "dir/"),
    }[kind]
    toy.save(node)
    assert toy.is_clean()
    assert toy.open().changes() == set()
    if kind == "link":
        (toy.base / "link").unlink()
        (toy.base / "link").symlink_to("out")
    else:
        (toy.base / "dir/sub/b").write_text("other")
    assert not toy.is_clean()
    changed = toy.base / {"directory": "dir", "link": "link", "input": "dir"}[kind]
    assert toy.open().changes() == {os.fspath(changed)}


def test_what_is_only_waited_for_must_only_be_there(tmp_path: Path) -> None:
    """its content does not count; nor does that of what a phony name alone stands for"""
    toy = Toy(tmp_path, [make("a", "s", after=["o"]), phony("all", "a", "p")])
    for name in "sop":
        toy.write(name, name)
    assert toy.build()
    toy.add("o")
    toy.add("p")
    assert toy.is_clean()
    (toy.base / "p").unlink()
    assert not toy.is_clean()


def test_a_phony_name_that_is_a_file_counts_as_that_file(tmp_path: Path) -> None:
    """CMake lists what it reads as phony names: an edit of one is news, and so is one that comes or goes"""
    toy = Toy(tmp_path, [make("a", "lists.txt"), phony("lists.txt")])
    toy.write("lists.txt", "1")
    assert toy.build()
    assert toy.is_clean()
    toy.add("lists.txt")
    assert not toy.is_clean()
    assert toy.open().changes() == {os.fspath(toy.base / "lists.txt")}
    assert toy.build()
    assert toy.ran == ["a"]


def test_only_the_newest_few_are_kept(toy: One) -> None:
    """each set of goals leaves a file, up to a number"""
    tree = toy.save(make("out", "in"))
    for number in range(20):
        tree.save(
            graph=None, goals=(f"g{number}",), wanted=[make("out", "in")], seen={}, looks=lambda name: (),
            file="build.ninja",
        )  # fmt: skip
    names = [name for name in os.listdir(toy.base / frozen.DIRECTORY) if name.startswith("clean-")]
    assert len(names) == 16
    assert toy.is_clean("g19")
