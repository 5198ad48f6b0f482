"""The graph of a manifest: its nodes, what words mean, and what real generators write."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.dag.ninja.ninja_tools import (
    real_ninja,
    tool_commands,
    tool_inputs,
    tool_query,
    tool_targets,
)
from vcache.dag.ninja.load import NinjaGraph, load
from vcache.dag.node import Command, Node, Pool
from vcache.errors import GraphError, UsageError

MANIFEST = """builddir = out
pool link
  depth = 2
rule cc
  command = gcc -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = CC $out
rule ld
  command = ld @$out.rsp -o $out
  rspfile = $out.rsp
  rspfile_content = $in_newline
  pool = link
  restat = 1
rule cl
  command = cl $in
  deps = msvc
rule configure
  command = ./configure
  generator = 1
build a$ b.o | a.side: cc a$ b.c | config.h || headers |@ lint
build c.o: cc c.c
build app: ld a$ b.o c.o
build w.obj: cl w.c
build lint: phony
build headers: phony config.h
build build.ninja: configure
  pool = console
build ../elsewhere/x: cc x.c
build docs/a/index: cc docs
build docs/b: cc docs
build all: phony app docs/b
"""


@pytest.fixture
def graph(tmp_path: Path) -> NinjaGraph:
    (tmp_path / "build.ninja").write_text(MANIFEST)
    return load("build.ninja", base=str(tmp_path), root=str(tmp_path))


def node_of(graph: NinjaGraph, path: str) -> Node:
    node = graph.producer(path)
    assert node is not None
    return node


def test_a_node_says_what_its_statement_says(graph: NinjaGraph) -> None:
    """Outputs, inputs of every kind, rule, pool, text and place are those of the statement"""
    node = node_of(graph, "a.side")
    assert node.name == "a b.o"
    assert (node.outs, node.hidden_outs) == (("a b.o", "a.side"), 1)
    assert (node.ins, node.hidden_ins) == (("a b.c", "config.h"), 1)
    assert (node.after, node.checks) == (("headers",), ("lint",))
    assert (node.rule, node.text, node.place) == ("cc", "CC 'a b.o'", "build.ninja:21")
    assert (node.pool, node.is_restat, node.is_generator, node.is_kept) == ("", False, False, True)


def test_a_command_says_what_its_rule_says(graph: NinjaGraph) -> None:
    """Names of files are plain, what the shell or a response file gets is quoted"""
    assert node_of(graph, "a b.o").work == Command(
        shell="gcc -c 'a b.c' -o 'a b.o'", tools=("gcc",), depfile="a b.o.d", deps="gcc"
    )
    assert node_of(graph, "app").work == Command(
        shell="ld @app.rsp -o app", tools=("ld",), rspfile="app.rsp", rsp_content="'a b.o'\nc.o"
    )
    work = node_of(graph, "w.obj").work
    assert isinstance(work, Command)
    assert (work.deps, work.msvc_prefix) == ("msvc", "Note: including file: ")
    assert node_of(graph, "lint").work is None


def test_pools_are_known_by_name(graph: NinjaGraph) -> None:
    """Declared pools and the console"""
    assert graph.pools == {"console": Pool("console", slots=1), "link": Pool("link", slots=2)}
    assert (node_of(graph, "app").pool, node_of(graph, "app").is_restat) == ("link", True)


def test_what_is_not_kept(graph: NinjaGraph) -> None:
    """Generators, users of the console, and what writes outside the root have no stored result"""
    assert [node.name for node in graph.nodes if not node.is_kept] == ["build.ninja", "../elsewhere/x"]
    assert node_of(graph, "build.ninja").is_generator


def test_outputs_between_base_and_root_are_kept(tmp_path: Path) -> None:
    """The root counts, not the build directory; absolute paths are judged too"""
    base = tmp_path / "build"
    base.mkdir()
    outside = tmp_path.parent / "far"
    text = f"rule r\n  command = x\nbuild ../near: r\nbuild {tmp_path}/abs: r\nbuild {outside}: r\nbuild ..x: r\n"
    (base / "build.ninja").write_text(text)
    graph = load("build.ninja", base=str(base), root=str(tmp_path))
    assert [node.is_kept for node in graph.nodes] == [True, True, False, True]


def test_nodes_are_one_object(graph: NinjaGraph) -> None:
    """However a node is asked for, it is the same"""
    node = node_of(graph, "app")
    assert node is node_of(graph, "app")
    assert node in graph.nodes
    assert graph.targets(["app"]) == [node]
    assert node.work is node.work


def test_a_node_can_be_replaced_but_not_changed(graph: NinjaGraph) -> None:
    """A lazily made node is a node: `dataclasses.replace` works, assignment does not"""
    node = node_of(graph, "app")
    other = dataclasses.replace(node, text="T")
    assert (other.text, other.work, other.outs) == ("T", node.work, node.outs)
    with pytest.raises(dataclasses.FrozenInstanceError):
        node.text = "x"  # type: ignore[misc]


def test_a_node_travels(graph: NinjaGraph) -> None:
    """Pickled and back, as an executor elsewhere needs it, it says the same, without its manifest"""
    node = node_of(graph, "app")
    raw = pickle.dumps(node)
    other = pickle.loads(raw)
    assert {name: getattr(other, name) for name in Node.__slots__} == {
        name: getattr(node, name) for name in Node.__slots__
    }
    assert len(raw) < 1_000
    assert graph.command_line(other) == graph.command_line(node)


def test_who_needs_and_who_makes(graph: NinjaGraph) -> None:
    """Users of a path, makers below a directory, None for sources"""
    assert [node.name for node in graph.consumers("config.h")] == ["a b.o", "headers"]
    assert [node.name for node in graph.producers("docs/")] == ["docs/a/index", "docs/b"]
    assert graph.producers("doc/") == ()
    assert graph.producer("c.c") is None


def test_words(graph: NinjaGraph) -> None:
    """A word is a path however it is written, a source, or what is made of one; each counts once"""
    app = node_of(graph, "app")
    assert graph.targets(["./app", "x/../app", "c.c", "c.c^"]) == [app, "c.c", node_of(graph, "c.o")]


@pytest.mark.parametrize("word", ["ap", "c.c^^", "nope-at-all", "clean", "help", "all^", ""])
def test_words_that_mean_nothing(graph: NinjaGraph, word: str) -> None:
    """An unknown target is refused in ninja's words, with the nearest name"""
    with pytest.raises(GraphError) as caught:
        graph.targets([word])
    assert f"{caught.value}\n" == real_ninja(Path(graph.base), "-n", word)


def test_headers_are_known_by_who_read_them(graph: NinjaGraph) -> None:
    """A path that no statement names counts if a step was seen to read it"""
    read = {"a.h": "c.o"}

    def reader(path: str) -> str:
        return read.get(path, "")

    assert graph.targets(["a.h", "a.h^"], reader=reader) == ["a.h", node_of(graph, "c.o")]
    with pytest.raises(GraphError, match=r"^unknown target 'b.hpp'"):
        graph.targets(["b.hpp"], reader=reader)


def test_rules_are_known(graph: NinjaGraph) -> None:
    """Those of the manifest, and phony"""
    assert sorted(graph.rules) == ["cc", "cl", "configure", "ld", "phony"]


def test_without_words_roots_are_wanted(graph: NinjaGraph) -> None:
    """Every output that nothing needs, when no default is declared"""
    roots = graph.targets([])
    assert [node.name for node in roots if isinstance(node, Node)] == [
        "a b.o", "w.obj", "lint", "build.ninja", "../elsewhere/x", "docs/a/index", "all",
    ]  # fmt: skip


def test_without_words_defaults_are_wanted(tmp_path: Path) -> None:
    """Default statements, sources among them"""
    (tmp_path / "build.ninja").write_text("build a b: phony s\nbuild c: phony\ndefault b s\ndefault a\n")
    graph = load("build.ninja", base=str(tmp_path))
    assert graph.defaults == ("b", "s", "a")
    assert graph.targets([]) == [graph.producer("a"), "s"]


def test_checks_may_lead_back(tmp_path: Path) -> None:
    """A check that needs what it checks is no cycle; a cycle among what is checked is one"""
    (tmp_path / "build.ninja").write_text(
        "build a: phony |@ b\nbuild b: phony a\nbuild c: phony |@ d\nbuild d: phony e\nbuild e: phony d\n"
    )
    graph = load("build.ninja", base=str(tmp_path))
    assert graph.targets(["a"]) == [graph.producer("a")]
    with pytest.raises(GraphError, match=r"^dependency cycle: d -> e -> d$"):
        graph.targets(["c"])
    assert graph.named(["c"]) == [graph.producer("c")]


def test_bindings(graph: NinjaGraph) -> None:
    """Any variable of a node can be asked for, as tools do; foreign nodes cannot"""
    node = node_of(graph, "app")
    assert graph.binding(node, "rspfile_content") == "'a b.o'\nc.o"
    assert graph.binding(node, "builddir") == graph.variables["builddir"] == "out"
    assert graph.command_line(node) == "ld @app.rsp -o app"
    assert graph.command_line(node_of(graph, "lint")) == ""
    with pytest.raises(UsageError, match="not of this graph"):
        graph.command_line(Node(name="x"))


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("deps = clang", "unknown deps type 'clang'"),
        ("deps = gcc", "edge with deps=gcc but no depfile makes no sense"),
    ],
    ids=["unknown", "no depfile"],
)
def test_deps_that_make_no_sense(lines: str, fault: str, tmp_path: Path) -> None:
    """They are told, with the place, when the work is asked for: tools that do not run get by"""
    (tmp_path / "build.ninja").write_text(f"rule r\n  command = x\n  {lines}\nbuild o: r\n")
    graph = load("build.ninja", base=str(tmp_path))
    node = node_of(graph, "o")
    assert graph.command_line(node) == "x"
    with pytest.raises(GraphError, match=f"^build.ninja:4: {fault}$"):
        assert node.work


def test_a_phony_target_that_needs_itself(tmp_path: Path) -> None:
    """It is mended with a warning, or a cycle where that is asked for"""
    (tmp_path / "build.ninja").write_text("build a: phony a b || a\n")
    graph = load("build.ninja", base=str(tmp_path))
    assert (node_of(graph, "a").ins, node_of(graph, "a").after) == (("b",), ())
    assert graph.warnings == ("phony target 'a' names itself as an input; ignoring [-w phonycycle=warn]",)
    strict = load("build.ninja", base=str(tmp_path), is_phonycycle_error=True)
    with pytest.raises(GraphError, match=r"^dependency cycle: a -> a \[-w phonycycle=err\]$"):
        strict.targets(["a"])


CMAKE = """cmake_minimum_required(VERSION 3.16)
project(tiny C)
add_custom_command(OUTPUT gen.h COMMAND ${CMAKE_COMMAND} -E echo "#define A 1" > gen.h DEPENDS in.txt)
add_library(part SHARED part.c gen.h)
target_include_directories(part PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
target_compile_definitions(part PRIVATE NAME="a b" COST=$5)
add_executable(app main.c)
target_link_libraries(app part)
add_custom_target(report ALL COMMAND ${CMAKE_COMMAND} -E echo done DEPENDS app)
enable_testing()
install(TARGETS app)
"""
MESON = """project('tiny', 'c')
gen = custom_target('gen', output: 'gen.h', capture: true, command: ['echo', '#define A 1', 'it\\'s $x'])
lib = shared_library('part', 'part.c', gen)
executable('app', 'main.c', link_with: lib, c_args: ['-DNAME="a b"'])
run_target('hello', command: ['echo', 'hello world'])
"""


def generated(kind: str, folder: Path) -> Path:
    """The build directory that a real generator made of a tiny C project."""
    for name, text in (("part.c", "int part(void) { return 0; }\n"), ("in.txt", ""), ("meson.build", MESON)):
        (folder / name).write_text(text)
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    (folder / "CMakeLists.txt").write_text(CMAKE)
    build = folder / "build"
    tools = Path(sys.executable).parent
    if kind == "cmake":
        argv = [str(tools / "cmake"), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools}/ninja", "-B", str(build)]
    else:
        argv = [str(tools / "meson"), "setup", str(build)]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return build


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["cmake", "meson"])
def test_what_real_generators_write(kind: str, tmp_path: Path) -> None:
    """Targets, commands, inputs and queries of a generated manifest are the real ninja's"""
    (tmp_path / "tiny project").mkdir()
    build = generated(kind, tmp_path / "tiny project")
    graph = load("build.ninja", base=str(build))
    assert graph.root == str(tmp_path / "tiny project")
    assert graph.nodes
    outs = [out for node in graph.nodes for out in node.outs]
    assert tool_targets(graph) == real_ninja(build, "-t", "targets", "all")
    assert tool_commands(graph) == real_ninja(build, "-t", "commands")
    assert tool_commands(graph, "all") == real_ninja(build, "-t", "commands", "all")
    assert tool_inputs(graph, "all") == real_ninja(build, "-t", "inputs", "all")
    assert tool_query(graph, outs) == real_ninja(build, "-t", "query", *outs)
    for node in graph.nodes:
        assert node.work is None or node.work.tools or "cd" in node.work.shell  # type: ignore[union-attr]
