"""The scheduler over a small graph, a real cache and real commands."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vcache.cache import Cache
from vcache.dag import events
from vcache.dag.files import Files
from vcache.dag.local import LocalExecutor
from vcache.dag.node import Call, Command, Made, Need, Node, Pool, Retry, Script
from vcache.dag.run import Options
from vcache.dag.runner import Runner
from vcache.dag.state import ENDS, NEXT, State
from vcache.discovery import begin
from vcache.errors import GraphError


class DictGraph:
    """Nodes by what they make."""

    def __init__(self, base: Path, *nodes: Node, pools: Sequence[Pool] = ()) -> None:
        self.base = str(base)
        self.pools = {pool.name: pool for pool in pools}
        self.nodes = {out: node for node in nodes for out in node.outs}

    def producer(self, path: str) -> Node | None:
        return self.nodes.get(path)

    def producers(self, path: str) -> tuple[Node, ...]:
        return tuple(node for out, node in self.nodes.items() if out.startswith(path))

    def with_dyndep(self, node: Node) -> Node:
        raise AssertionError("no dyndep here")


class Notebook:
    """A tree's memory that is only remembered."""

    def __init__(self) -> None:
        self.made: dict[str, Made] = {}

    def last(self, name: str) -> Made | None:
        return self.made.get(name)

    def record(self, name: str, made: Made) -> None:
        self.made[name] = made

    def forget(self, name: str) -> None:
        self.made.pop(name, None)

    def generated(self) -> tuple[int, ...]:
        return ()


class World:
    """A tree, a cache, and what happened."""

    def __init__(self, base: Path, cache: Cache) -> None:
        self.base, self.cache, self.tree = base, cache, Notebook()
        self.events: list[events.Event] = []
        self.runner: Runner

    def run(
        self, *nodes: Node, goals: Sequence[Node] = (), pools: Sequence[Pool] = (), **options: Any
    ) -> int:
        self.events.clear()
        files = Files(self.cache.observer, self.cache.digests, base=str(self.base), root=self.cache.root)
        executor = LocalExecutor(slots=2)
        self.runner = Runner(
            DictGraph(self.base, *nodes, pools=pools), self.cache, self.tree, files, executor,
            emit=self.events.append, options=Options(**options),
        )  # fmt: skip
        try:
            return self.runner.run(goals or nodes)
        finally:
            executor.close()

    def said(self, kind: type[Any]) -> list[str]:
        found: list[Any] = [event for event in self.events if isinstance(event, kind)]
        return [event.node.name for event in found]

    def write(self, name: str, text: str) -> None:
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        old = time.time_ns() - 10_000_000_000
        os.utime(path, ns=(old, old))
        begin(waits=True)  # what is written from here on has another time than a run that follows


@pytest.fixture
def world(tmp_path: Path):
    (tmp_path / "root").mkdir()
    with Cache(f"disk:{tmp_path / 'cache'}", root=tmp_path / "root") as cache:
        yield World(tmp_path / "root", cache)


def sh(line: str, outs: str = "", ins: str = "", **more: Any) -> Node:
    words = outs.split()
    work = {
        key: more.pop(key)
        for key in ("depfile", "deps", "retry", "timeout_s", "env", "heeds", "is_traced")
        if key in more
    }
    return Node(
        name=str(more.pop("name", "")) or words[0], outs=tuple(words), ins=tuple(ins.split()),
        work=Command(shell=line, **work), **more,
    )  # fmt: skip


def chain() -> tuple[Node, Node]:
    return sh("tr a-z A-Z < a > b", "b", "a"), sh("cat b b > c", "c", "b")


def test_a_chain_is_made_once_and_then_up_to_date(world: World):
    """What nothing changed of is not run, not even looked up."""
    world.write("a", "x\n")
    assert world.run(*chain()) == 0
    assert world.said(events.Finished) == ["b", "c"]
    assert (world.base / "c").read_text() == "X\nX\n"
    assert world.run(*chain()) == 0
    assert world.said(events.UpToDate) == ["b", "c"]
    assert world.said(events.Started) == []


def test_what_was_removed_comes_back_from_the_cache(world: World):
    """Outputs are restored without a run, also when the tree remembers nothing."""
    world.write("a", "x\n")
    world.run(*chain())
    (world.base / "b").unlink()
    (world.base / "c").unlink()
    world.tree.made.clear()
    assert world.run(*chain()) == 0
    assert world.said(events.Hit) == ["b", "c"]
    assert (world.base / "c").read_text() == "X\nX\n"


def test_a_result_that_did_not_change_cuts_off_what_follows(world: World):
    """Early cut-off goes by content."""
    world.write("a", "x\n")
    nodes = sh("tr -d '#' < a > b", "b", "a"), sh("cat b b > c", "c", "b")
    world.run(*nodes)
    world.write("a", "#x\n")
    assert world.run(*nodes) == 0
    assert world.said(events.Finished) == ["b"]
    assert world.said(events.UpToDate) == ["c"]


def test_a_failure_stops_what_needs_it_and_leaves_no_half_written_output(world: World):
    """Its own output is removed, its dependents are skipped, and nothing is recorded."""
    world.write("a", "x\n")
    bad = sh("echo half > b; exit 3", "b", "a"), sh("cat b > c", "c", "b")
    assert world.run(*bad) == 1
    assert not (world.base / "b").exists()
    assert world.said(events.Skipped) == ["c"]
    assert world.tree.made == {}
    failed = [event for event in world.events if isinstance(event, events.Finished)]
    assert [event.status for event in failed] == [3]


def test_a_failure_leaves_no_half_filled_directory(world: World):
    """What a failed command put into a directory that it makes is no result either."""
    assert world.run(sh("mkdir -p d; echo half > d/a; exit 3", "d/")) == 1
    assert not (world.base / "d").exists()


def test_a_result_holds_nothing_of_an_earlier_one(world: World):
    """What a command adds to, file or directory, begins anew: its result is that of a clean tree."""
    assert world.run(sh("echo 1 >> log; echo 1 > d/one", "log d/")) == 0
    assert world.run(sh("echo 2 >> log; echo 2 > d/two", "log d/")) == 0
    assert (world.base / "log").read_text() == "2\n"
    assert [path.name for path in (world.base / "d").iterdir()] == ["two"]


@pytest.mark.parametrize("more", [{"is_restat": True}, {"is_kept": False}])
def test_what_looks_at_its_own_output_finds_it(world: World, more: dict[str, Any]):
    """A rule that says so, or whose result nobody else gets, goes on from what is there."""
    world.run(sh("echo 1 >> log; echo 1 > d/one", "log d/", **more))
    world.run(sh("echo 2 >> log; echo 2 > d/two", "log d/", **more))
    assert (world.base / "log").read_text() == "1\n2\n"
    assert sorted(path.name for path in (world.base / "d").iterdir()) == ["one", "two"]


@pytest.mark.parametrize("line", ["touch d/made", "touch d/made; exit 1"])
def test_a_directory_that_holds_more_than_its_maker_s_files_is_not_emptied(world: World, line: str):
    """What a command reads, and what the tree itself is, stays whatever an output claims."""
    world.write("d/a", "x\n")
    world.run(sh(line, "d/", "d/a"))
    assert (world.base / "d/a").exists()
    world.write("a", "x\n")
    world.run(sh(line, "../root/ d/"))
    assert (world.base / "a").exists()


def test_keep_going_makes_what_does_not_need_the_failed_one(world: World):
    """With keep_going=0 everything else is made; with 1 nothing new is started."""
    nodes = sh("exit 1", "b"), sh("touch d", "d"), sh("touch e", "e", "d")
    assert world.run(*nodes, keep_going=0) == 1
    assert (world.base / "e").exists()


def test_outputs_are_told_whole_and_replayed(world: World):
    """What a node wrote comes as one event after it ended, and again with a hit."""
    node = sh("echo out; echo err >&2; touch b", "b")
    world.run(node)
    (first,) = [event for event in world.events if isinstance(event, events.Output)]
    assert [(stream, data) for stream, _, data in first.chunks] == [(1, b"out\n"), (2, b"err\n")]
    (world.base / "b").unlink()
    world.tree.made.clear()
    world.run(node)
    (again,) = [event for event in world.events if isinstance(event, events.Output)]
    assert again.is_replayed
    assert again.chunks == first.chunks


def test_a_discovered_input_counts(world: World):
    """A header named by a depfile leads to a run when it changes, and back to a hit when it changes back."""
    world.write("a.c", "int a;\n")
    world.write("a.h", "1")
    line = "cat a.c a.h > a.o; echo 'a.o: a.c a.h' > a.d"
    node = sh(line, "a.o", "a.c", depfile="a.d", deps="gcc")
    world.run(node)
    assert not (world.base / "a.d").exists()
    world.write("a.h", "2")
    world.run(node)
    assert world.said(events.Finished) == ["a.o"]
    world.write("a.h", "1")
    world.run(node)
    assert world.said(events.Hit) == ["a.o"]
    assert (world.base / "a.o").read_text() == "int a;\n1"


def test_an_input_that_changes_while_its_node_runs_is_not_published(world: World):
    """The run says so, keeps nothing, and runs again the next time."""
    world.write("a", "x\n")
    node = sh("cat a > b; sleep 0.05; echo y > a", "b", "a")
    assert world.run(node) == 0
    (said,) = [event for event in world.events if isinstance(event, events.Finished)]
    assert "changed while it ran" in said.remark
    assert any(isinstance(event, events.Noted) for event in world.events)
    world.run(sh("cat a > b; sleep 0.05; echo y > a", "b", "a"))
    assert world.said(events.Finished) == ["b"]


def test_a_generator_that_writes_what_it_reads_is_nothing_to_note(world: World):
    """Meson's own files are inputs of build.ninja, and made anew with it."""
    world.write("a", "x\n")
    node = sh("echo y > a; sleep 0.05; cat a > b", "b", "a", is_generator=True, is_kept=False)
    for is_run in (True, False):
        assert world.run(node) == 0
        assert world.said(events.Started) == ["b"] * is_run
        assert not any(isinstance(event, events.Noted) for event in world.events)


def test_a_second_checkout_hits(world: World, tmp_path: Path):
    """A command that names its place in full is found from another place, unless its output names it."""
    other = tmp_path / "other"
    for root in (world.base, other):
        root.mkdir(exist_ok=True)
        (root / "a").write_text("x\n")

    def nodes(root: Path) -> tuple[Node, Node]:
        return sh(f"cat {root}/a > b", "b", "a"), sh("pwd > p", "p", "a")

    world.run(*nodes(world.base))
    with Cache(world.cache.store, root=other) as cache:
        there = World(other, cache)
        assert there.run(*nodes(other)) == 0
        assert there.said(events.Hit) == ["b"]
        assert there.said(events.Finished) == ["p"]
        assert (other / "p").read_text() == f"{other}\n"


def test_a_phony_name_stands_for_what_it_names(world: World):
    """A change behind a phony input counts; a phony name without inputs or file is always out of date."""
    world.write("a", "1")
    alias = Node(name="all", outs=("all",), ins=("a",))
    user = sh("cat a > b", "b", "all")
    world.run(alias, user, goals=[user])
    world.write("a", "2")
    world.run(alias, user, goals=[user])
    assert (world.base / "b").read_text() == "2"
    force = Node(name="force", outs=("force",))
    always = sh("date +%N > t", "t", "force")
    world.run(force, always, goals=[always])
    world.run(force, always, goals=[always])
    assert world.said(events.Finished) == ["t"]


def test_order_only_inputs_come_first_and_do_not_count(world: World):
    """They are made before; a change of them alone runs nothing."""
    world.write("a", "1")
    gen, use = sh("cat a > g", "g", "a"), sh("cat g > b", "b", "", after=("g",))
    world.run(gen, use)
    world.write("a", "2")
    world.run(gen, use)
    assert world.said(events.Finished) == ["g"]
    assert world.said(events.UpToDate) == ["b"]


def test_a_script_may_need_more_while_it_runs(world: World):
    """Dynamic dependencies: what was needed counts, and comes before."""
    world.write("a", "x\n")
    part = sh("cat a > part", "part", "a")

    async def body():
        class Ask:
            def __await__(self):
                return (yield Need(nodes=(part,)))

        (paths,) = await Ask()
        return Command(shell=f"cat {paths[0]} > whole")

    whole = Node(name="whole", outs=("whole",), work=Script(body))
    assert world.run(part, whole, goals=[whole]) == 0
    assert world.said(events.Finished) == ["part", "whole"]
    world.write("a", "y\n")
    world.run(part, whole, goals=[whole])
    assert (world.base / "whole").read_text() == "y\n"


def test_a_cycle_is_reported_with_its_whole_path(world: World):
    """Static or dynamic, nothing hangs."""
    with pytest.raises(GraphError, match=r"dependency cycle: .*a -> .*b|b -> .*a"):
        world.run(sh("true", "a", "b"), sh("true", "b", "a"))


def test_a_missing_source_is_named(world: World):
    """With who needs it, in ninja's words."""
    world.run(sh("cat a > b", "b", "a"))
    assert "'a', needed by 'b', missing and no known rule to make it" in world.runner.tally.error


def test_a_value_is_a_firewall(world: World):
    """A function whose value is the same does not let its consumers run again."""
    world.write("a", "one two")
    count = Node(
        name="count", ins=("a",),
        work=Call(lambda: (len((world.base / "a").read_text().split()), False)),
    )  # fmt: skip

    async def body():
        class Ask:
            def __await__(self):
                return (yield Need(nodes=(count,)))

        (number,) = await Ask()
        return Command(shell=f"echo {number} > n")

    user = Node(name="n", outs=("n",), work=Script(body))
    world.run(count, user, goals=[user])
    world.write("a", "three four")
    world.run(count, user, goals=[user])
    assert world.said(events.UpToDate) == ["n"]


def test_a_remembered_value_is_up_to_date_where_it_was_so_before(world: World):
    """It counts as taken from the cache where this tree had another one, or lacked a file of it."""

    def node(value: int) -> Node:
        def run() -> tuple[object, bool]:
            (world.base / "v").write_text("v")
            return value, True

        return Node(name="v", outs=("v",), work=Call(run))

    for value, kind in ((1, events.Hit), (1, events.UpToDate), (2, events.Hit), (2, events.UpToDate)):
        assert world.run(node(value)) == 0
        assert world.said(kind) == ["v"]
    (world.base / "v").unlink()
    assert world.run(node(2)) == 0
    assert world.said(events.Hit) == ["v"]


def test_a_pool_bounds_its_nodes(world: World):
    """Of a pool of one slot never two run at once, while others do."""
    nodes = [
        sh(f"mkdir busy && sleep 0.02 && rmdir busy && touch p{i}", f"p{i}", pool="one") for i in range(4)
    ]
    assert world.run(*nodes, pools=[Pool("one", 1)]) == 0


def test_an_unknown_pool_is_named_with_the_nearest(world: World):
    """A slip in a pool's name says which ones there are."""
    assert world.run(sh("true", "a", pool="lnik"), pools=[Pool("link", 1)]) == 1
    assert "unknown pool 'lnik'; did you mean 'link'?" in world.runner.tally.error


def test_memory_bounds_what_runs_together(world: World):
    """Two nodes that need more than there is run one after the other."""
    nodes = [
        sh(f"mkdir busy && sleep 0.02 && rmdir busy && touch m{i}", f"m{i}", memory_bytes=600)
        for i in range(3)
    ]
    assert world.run(*nodes, memory_bytes=1000) == 0


def test_a_failure_is_tried_again(world: World):
    """As often as its node says, after a wait."""
    node = sh(
        "test -e ../tried || { touch ../tried; exit 7; }; touch b", "b", retry=Retry(times=1, base_s=0.01)
    )
    assert world.run(node) == 0
    assert [event.will_retry for event in world.events if isinstance(event, events.Finished)] == [True, False]


def test_a_command_that_takes_too_long_is_ended(world: World):
    """With status 124, as of timeout(1)."""
    assert world.run(sh("sleep 30; touch b", "b", timeout_s=0.05)) == 1
    (failed,) = [event for event in world.events if isinstance(event, events.Finished)]
    assert failed.status == 124


def test_a_stop_ends_what_runs(world: World):
    """The run ends at once, with status 130 and without the half-made output."""
    node = sh("echo half > b; sleep 30", "b")

    def stop() -> None:
        while not (world.base / "b").exists():
            time.sleep(0.005)
        world.runner.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    assert world.run(node) == 130
    thread.join()
    assert not (world.base / "b").exists()


def test_a_dry_run_changes_nothing(world: World):
    """It tells what would run and what would come from the cache."""
    world.write("a", "x\n")
    assert world.run(*chain(), is_dry_run=True) == 0
    assert world.said(events.Started) == ["b", "c"]
    assert not (world.base / "b").exists()
    world.run(*chain())
    (world.base / "b").unlink()
    (world.base / "c").unlink()
    world.tree.made.clear()
    world.run(*chain(), is_dry_run=True)
    assert world.said(events.Hit) == ["b", "c"]
    assert not (world.base / "b").exists()


def test_directories_and_links_are_outputs(world: World):
    """A directory is restored with all that is in it, a link as a link."""
    node = sh("mkdir -p d/e && echo 1 > d/e/f && ln -sf d/e/f l", "d/ l")
    world.run(node)
    import shutil

    shutil.rmtree(world.base / "d")
    (world.base / "l").unlink()
    assert world.run(node) == 0
    assert world.said(events.Hit) == ["d/"]
    assert (world.base / "l").is_symlink()
    assert (world.base / "l").read_text() == "1\n"


def test_a_strict_run_fails_where_an_output_is_not_made(world: World):
    """ninja lets it pass, and runs it again each time."""
    node = sh("true", "b")
    assert world.run(node, is_strict=True) == 1
    assert "did not make its output 'b'" in world.runner.tally.error
    assert world.run(node) == 0
    assert world.run(node) == 0
    assert world.said(events.Finished) == ["b"]


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_only_ends_have_no_successor(state: State):
    """Every state but the ends leads on, and none to itself."""
    assert (state in ENDS) == (not NEXT[state])
    assert state not in NEXT[state]


def test_a_traced_command_is_not_answered_by_what_an_untraced_run_saw(world: World):
    """What tracing discovers counts from the first traced run on."""
    world.write("a", "1")
    node = sh("cat a > b", "b")
    world.run(node)
    assert world.run(node, trace="on") == 0
    assert world.said(events.Finished) == ["b"]
    world.write("a", "2")
    world.run(node, trace="on")
    assert world.said(events.Finished) == ["b"]
    assert (world.base / "b").read_text() == "2"


def test_what_was_found_is_waited_for(world: World):
    """A header that a compile was found to read is made anew before the compile, though nobody declares it."""
    world.write("in", "1")
    gen = sh("sleep 0.05; cat in > a.h", "a.h", "in")
    use = sh("cat a.h > a.o; echo 'a.o: a.h' > a.d", "a.o", depfile="a.d", deps="gcc")
    world.run(gen, use, goals=[gen])
    world.run(gen, use)
    world.write("in", "2")
    assert world.run(gen, use, goals=[use, gen]) == 0
    assert (world.base / "a.o").read_text() == "2"


def test_what_was_found_makes_no_cycle(world: World):
    """A source that became the output of its own reader is no reason to wait for ever."""
    world.write("a.h", "1")
    use = sh("cat a.h > a.o; echo 'a.o: a.h' > a.d", "a.o", depfile="a.d", deps="gcc")
    world.run(use)
    made = sh("tr 1 2 < a.o > a.h", "a.h", "a.o")
    assert world.run(use, made) == 0
    assert (world.base / "a.h").read_text() == "2"


def test_an_audit_does_not_ask_a_traced_node_to_be_traced(world: World):
    """All that it opens counts already; of an untraced one undeclared inputs are told."""
    world.write("a", "1")
    world.run(sh("cat a > b", "b", is_traced=True), trace="audit")
    assert [
        event.text for event in world.events if isinstance(event, events.Noted) and not event.is_detail
    ] == []
    world.run(sh("cat a > c", "c"), trace="audit")
    (told,) = [
        event.text for event in world.events if isinstance(event, events.Noted) and not event.is_detail
    ]
    assert told.startswith("reads a, which it does not declare")
