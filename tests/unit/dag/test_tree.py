"""What a tree remembers: results, changes, and who has to be looked at because of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.unit.dag.trees import Toy, late_clock, make, phony
from vcache.dag.node import Made
from vcache.dag.tree import Tree
from vcache.entry import Dep
from vcache.fingerprint.digests import FileDigests
from vcache.hash import digest


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Two objects that read headers, a program, and a generated header."""
    toy = Toy(
        tmp_path,
        [
            make("gen.h", "gen.in"),
            make("a.o", "a.c", after=["gen.h"], found="a.d"),
            make("b.o", "b.c", found="b.d"),
            make("app", "a.o", "b.o"),
            phony("all", "app"),
        ],
        defaults=["all"],
    )
    for name in ("gen.in", "a.c", "b.c", "h.h", "only.h"):
        toy.write(name, name)
    toy.write("a.d", "gen.h h.h")
    toy.write("b.d", "h.h only.h")
    assert toy.build()
    return toy


def test_a_result_comes_back(tmp_path: Path) -> None:
    """every field, from another process"""
    (tmp_path / "h").write_text("h")
    digests = FileDigests(tmp_path, clock=late_clock)
    tree = Tree.open(os.fspath(tmp_path), root=os.fspath(tmp_path), digests=digests)
    made = Made(
        base=digest(b"base"),
        found=(
            Dep("file", "h", digest(b"h"), b"", ""),
            Dep("env", "LANG", digest(b"C"), note="set"),
            Dep("absent", "x.h", b""),
        ),
        outs=(digest(b"1"), b"", b"short"),
        took_ns=12_345_678_901,
        result="dag:a\udc80:00",
        log=b"l" * 32,
    )
    tree.record("a", made)
    tree.record("plain", Made(base=b""))
    tree.record("gone", made)
    tree.forget("gone")
    assert tree.last("a") == made
    tree.save(graph=None, goals=None, wanted=(), seen={}, looks=lambda name: ())
    again = Tree.open(os.fspath(tmp_path), root=os.fspath(tmp_path), digests=digests)
    assert again.last("a") == made
    assert again.last("plain") == Made(base=b"")
    assert again.last("gone") is None
    assert again.last("never") is None
    assert sorted(again.names()) == ["a", "plain"]
    elsewhere = Tree.open(os.fspath(tmp_path), root="/", digests=digests)
    assert list(elsewhere.names()) == []


def test_a_complete_build_is_clean(toy: Toy) -> None:
    """nothing has changed, nothing is affected, and the frozen look says so"""
    assert sorted(toy.ran) == ["a.o", "app", "b.o", "gen.h"]
    assert toy.is_clean()
    assert not toy.is_clean("app")
    tree = toy.open()
    stored = tree.graph()
    assert stored is not None
    goals = stored.targets(())
    assert goals is not None
    assert [node.name for node in goals] == ["all"]
    assert tree.changes() == set()
    assert stored.affected(set(), goals) == []
    assert stored.producer("app") is None
    assert toy.build("app")
    assert toy.looked_at == []
    assert toy.is_clean("app")
    assert toy.is_clean()


@pytest.mark.parametrize(
    ("changed", "ran"),
    [
        ("a.c", ["a.o", "app"]),
        ("h.h", ["a.o", "app", "b.o"]),
        ("only.h", ["app", "b.o"]),
        ("gen.in", ["a.o", "app", "gen.h"]),
        ("b.o", ["b.o"]),
    ],
)
def test_a_change_leads_to_who_reads_it(toy: Toy, changed: str, ran: list[str]) -> None:
    """declared or found, through generated files, and to who makes it; then the tree is clean again"""
    toy.add(changed)
    assert not toy.is_clean()
    assert toy.build()
    assert sorted(toy.ran) == ran
    assert set(toy.looked_at) < {"a.o", "app", "b.o", "gen.h"} or changed in ("h.h", "gen.in")
    assert toy.is_clean()
    assert toy.build()
    assert toy.looked_at == []


def test_a_touch_changes_nothing(toy: Toy) -> None:
    """another signature over the same content is taken over"""
    os.utime(toy.base / "a.c")
    assert not toy.is_clean()
    tree = toy.open()
    assert tree.changes() == set()
    assert toy.build()
    assert toy.looked_at == []
    assert toy.is_clean()


def test_a_removed_output_is_made_again(toy: Toy) -> None:
    """and what reads it is looked at, and left"""
    (toy.base / "b.o").unlink()
    assert toy.open().changes() == {os.fspath(toy.base / "b.o")}
    assert toy.build()
    assert toy.ran == ["b.o"]
    assert toy.is_clean()


def test_found_inputs_come_and_go(toy: Toy) -> None:
    """a header that is read no longer may change or go; a new one counts"""
    toy.write("b.d", "h.h new.h")
    toy.write("new.h", "new")
    toy.add("b.c")
    assert toy.build()
    assert toy.is_clean()
    (toy.base / "only.h").unlink()
    assert toy.is_clean()
    toy.add("new.h")
    assert not toy.is_clean()
    assert toy.build()
    assert sorted(toy.ran) == ["app", "b.o"]
    assert toy.is_clean()


def test_what_failed_is_run_again(toy: Toy) -> None:
    """although nothing changes any more; what it would have led to as well"""
    toy.fails = {"b.o"}
    toy.add("h.h")
    assert not toy.build()
    assert sorted(toy.ran) == ["a.o", "b.o"]
    assert not toy.is_clean()
    assert toy.open().last("b.o") is None
    toy.fails = set()
    assert toy.build()
    assert sorted(toy.ran) == ["app", "b.o"]
    assert toy.is_clean()


def test_a_change_is_not_forgotten_by_other_goals(toy: Toy) -> None:
    """a header that one goal has seen anew is still news to another"""
    toy.add("h.h")
    assert toy.build("a.o")
    assert toy.ran == ["a.o"]
    assert toy.is_clean("a.o")
    last = toy.open().last("b.o")
    assert last is not None
    assert [dep.identity for dep in last.found if dep.name == "h.h"] == [b""]
    assert not toy.is_clean()
    assert toy.build()
    assert sorted(toy.ran) == ["app", "b.o"]
    assert toy.is_clean()


def test_a_declared_change_is_not_forgotten_by_other_goals(tmp_path: Path) -> None:
    """the same for two readers of one declared input"""
    toy = Toy(tmp_path, [make("a", "s"), make("b", "s")])
    toy.write("s", "s")
    assert toy.build()
    toy.add("s")
    assert toy.build("a")
    assert toy.ran == ["a"]
    assert not toy.is_clean()
    assert toy.build("b")
    assert toy.ran == ["b"]
    assert toy.build()
    assert toy.looked_at == []
    assert toy.is_clean()


def test_a_change_behind_a_phony_name_is_not_forgotten(tmp_path: Path) -> None:
    """the same where one of the readers names what stands for the input"""
    toy = Toy(tmp_path, [phony("p", "s"), make("a", "p"), make("b", "s", after=["p"])])
    toy.write("s", "s")
    assert toy.build()
    toy.add("s")
    assert toy.build("b")
    assert toy.ran == ["b"]
    assert toy.build()
    assert toy.ran == ["a"]
    assert toy.is_clean()


def test_an_edit_during_the_run_is_news(toy: Toy) -> None:
    """the signature that is kept belongs to the content that the run saw"""
    toy.add("a.c")
    tree = toy.open()
    stored = tree.graph()
    assert stored is not None
    goals = stored.targets(())
    assert goals is not None
    nodes = stored.affected(tree.changes(), goals)
    digests = FileDigests(toy.base, clock=late_clock)
    seen = {os.fspath(toy.base / name): digests.look(name) for name in ("a.c", "b.o")}
    for node in nodes:
        last = tree.last(node.name)
        if last is not None:
            tree.record(node.name, last)
    toy.add("a.c", "meanwhile")
    tree.save(
        graph=stored, goals=(), wanted=nodes, looks=lambda name: (), file="build.ninja",
        seen={path: state for path, state in seen.items() if state is not None},
    )  # fmt: skip
    assert not toy.is_clean()
    assert toy.open().changes() == {os.fspath(toy.base / "a.c")}


def test_a_fresh_file_is_not_trusted(tmp_path: Path) -> None:
    """what was written a moment ago is read again by the next run, and settled when it is old"""
    toy = Toy(tmp_path, [make("o", "s")])
    toy.write("s", "s")
    toy.clock = time.time_ns
    assert toy.build()
    tree = toy.open()
    numbers = {tree.things.number(name) for name in ("o", "s", "build.ninja")}
    assert tree.things.unsettled() == numbers
    assert set(tree.things.suspects()) == numbers
    assert tree.changes() == set()
    assert toy.build()
    assert toy.looked_at == []
    toy.clock = late_clock
    assert toy.build()
    assert toy.looked_at == []
    assert toy.open().things.unsettled() == set()
    assert toy.is_clean()


def test_a_few_fresh_files_are_read_by_the_quick_look(tmp_path: Path) -> None:
    """the build after a build is quick as well; content decides, not time"""
    toy = Toy(tmp_path, [make("o", "s")])
    toy.write("s", "s")
    toy.clock = time.time_ns
    assert toy.build()
    assert toy.is_clean()
    os.utime(toy.base / "s")
    assert toy.is_clean()
    stamp = (toy.base / "s").stat()
    toy.write("s", "t")
    os.utime(toy.base / "s", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert not toy.is_clean()
    toy.write("s", "s")
    assert toy.is_clean()
    (toy.base / "s").unlink()
    assert not toy.is_clean()
    (toy.base / "s").mkdir()
    assert not toy.is_clean()


@pytest.mark.parametrize(("count", "size"), [(65, 1), (1, (16 << 20) + 1)])
def test_many_or_large_fresh_files_are_not_read(tmp_path: Path, count: int, size: int) -> None:
    """reading them would cost more than the full way"""
    toy = Toy(tmp_path, [make(f"o{at}", f"s{at}") for at in range(count)])
    for at in range(count):
        toy.write(f"s{at}", "x" * size)
    toy.clock = time.time_ns
    assert toy.build()
    assert not toy.is_clean()


def test_a_changed_build_file_takes_the_graph_away(toy: Toy) -> None:
    """another content, not another time"""
    os.utime(toy.front)
    assert toy.open().graph() is not None
    toy.front.write_text("another graph")
    assert toy.open().graph() is None
    assert not toy.is_clean()
    toy.front.unlink()
    assert toy.open().graph() is None


def test_results_outlive_a_new_graph(toy: Toy) -> None:
    """also those of nodes that it does not have, for the branch that comes back"""
    nodes = toy.whole.nodes
    toy.whole = type(toy.whole)([node for node in nodes if node.name != "b.o"], ("a.o",))
    toy.front.write_text("without b.o")
    assert toy.build()
    assert toy.ran == []
    assert toy.is_clean()
    toy.whole = type(toy.whole)(nodes, ("all",))
    toy.front.write_text("with b.o")
    assert toy.build()
    assert toy.ran == []
    assert sorted(toy.looked_at) == ["a.o", "app", "b.o", "gen.h"]
    assert toy.is_clean()


@pytest.mark.parametrize("name", ["tree", "graph"])
@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_damage_is_as_if_absent(toy: Toy, name: str, how: str) -> None:
    """a damaged file costs looking at everything, and gives no wrong answer"""
    path = toy.base / ".vcache" / name
    data = path.read_bytes()
    for at in range(0, len(data), max(len(data) // 20, 1)):
        if how == "flip":
            path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        else:
            path.write_bytes(data[:at] if how == "cut" else b"")
        tree = toy.open()
        stored = tree.graph()
        if stored is not None:
            assert stored.targets(()) is not None
    path.unlink()
    assert toy.build()
    assert toy.build()
    assert toy.looked_at == []
    assert toy.is_clean()


def test_a_moved_tree_remembers_nothing(toy: Toy) -> None:
    """absolute paths in it may mean other files"""
    moved = toy.base.parent / "moved"
    toy.base.rename(moved)
    digests = FileDigests(moved, clock=late_clock)
    tree = Tree.open(os.fspath(moved), root=os.fspath(moved), digests=digests)
    assert list(tree.names()) == []
    assert tree.graph() is None


def test_heeded_variables_and_tools_count(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """a change of one leads to the nodes that heed it, and makes the tree unclean"""
    monkeypatch.setenv("HEEDED", "1")
    bin_ = toy.base / "bin"
    bin_.mkdir()
    toy.write("bin/tool", "#!/bin/sh\n")
    (bin_ / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    tool = digest((bin_ / "tool").read_bytes())
    toy.heeds = {
        "b.o": (Dep("env", "HEEDED", digest(b"1")), Dep("argv", "argv", b"x" * 32)),
        "app": (Dep("tool", "tool", tool),),
    }
    assert toy.build(anew=True)
    assert toy.is_clean()
    assert toy.open().changes() == set()
    monkeypatch.setenv("HEEDED", "2")
    assert not toy.is_clean()
    assert toy.open().changes() == {"env:HEEDED"}
    toy.heeds["b.o"] = (Dep("env", "HEEDED", digest(b"2")),)
    assert toy.build()
    assert toy.ran == ["b.o"]
    assert toy.is_clean()
    toy.add("bin/tool")
    assert not toy.is_clean()
    assert toy.open().changes() == {"tool:tool"}
    toy.heeds["app"] = (Dep("tool", "tool", digest((bin_ / "tool").read_bytes())),)
    assert toy.build()
    assert toy.ran == ["app"]
    assert toy.is_clean()


def test_an_earlier_tool_in_path_counts(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """a tool that comes to be where it is looked for first"""
    for name in ("one", "two"):
        (toy.base / name).mkdir()
    toy.write("two/tool", "")
    (toy.base / "two/tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{toy.base / 'one'}:{toy.base / 'two'}:{os.environ['PATH']}")
    toy.heeds = {"app": (Dep("tool", "tool", digest(b"")),)}
    assert toy.build(anew=True)
    assert toy.is_clean()
    toy.write("one/tool", "other")
    (toy.base / "one/tool").chmod(0o755)
    assert not toy.is_clean()
