"""Steps: what a call becomes, and what its command is."""

from __future__ import annotations

import os

import pytest

from tests.unit.dag.front.project import Project
from vcache.dag.node import Command, Node, Retry, Script
from vcache.errors import GraphError


def command_of(node: Node) -> Command:
    """What a body gives that needs nothing more."""
    assert isinstance(node.work, Script)
    command = node.work.start()
    assert isinstance(command, Command)
    return command


def only(project: Project, text: str, *words: str) -> Node:
    (node,) = project.load(text).targets(words)
    return node


def test_equal_calls_are_one_node(project: Project):
    """However the arguments are spelled; a default that is given counts as left out."""
    loaded = project.load(
        """
        @build.step(outs=["{name}"])
        def a(name: str, flags=("-O2",)):
            return cmd("touch", build.out(), *flags)
        one, two, three = a("x"), a(name="x"), a("x", flags=("-O2",))
        assert one is two is three
        assert a("y") is not one
        """
    )
    assert [node.name for node in loaded.targets()] == ["x", "y"]


def test_options_reach_the_node_and_its_command(project: Project):
    """Pool, slots, memory, timeout, retries, environment, tools, description."""
    node = only(
        project,
        """
        build.pool("link", slots=2, memory="8GB")
        @build.step(
            outs=["out/{n}.txt"], pool="link", slots=2, memory="2GB", timeout="2m", retries=3, backoff="500ms",
            backoff_most="10s", retry_on=[75], env={"N": 1, "WHERE": File("x")}, heeds=["LANG"], tools=["awk"],
            description="MAKE {n}", keep=False, trace=True, tags=["slow"],
        )
        def make(n: str):
            return cmd("touch", build.out(0))
        make("a")
        """,
        "tag:slow",
    )
    assert (node.name, node.outs, node.pool, node.slots, node.memory_bytes) == (
        "out/a.txt", ("out/a.txt",), "link", 2, 2_000_000_000,
    )  # fmt: skip
    assert (node.text, node.is_kept, node.rule, node.place) == ("MAKE a", False, "make", "vcachefile.py:4")
    assert command_of(node) == Command(
        argv=("touch", "out/a.txt"),
        env={"N": "1", "WHERE": "x"},
        heeds=("LANG",),
        tools=("awk",),
        timeout_s=120,
        retry=Retry(3, 0.5, 10, frozenset({75})),
        is_traced=True,
    )
    assert project.loaded is not None
    assert project.loaded.graph.pools["link"].memory_bytes == 8_000_000_000


def test_words_of_every_kind(project: Project):
    """Numbers, paths, files, patterns, sequences and generators become words; files become inputs."""
    project.file("d/b.txt", "")
    project.file("d/a.txt", "")
    node = only(
        project,
        """
        from pathlib import Path
        @build.step(outs=["out"])
        def a():
            return cmd("x", 1, 2.5, Path("p/q"), File("in.txt"), [("a",), (n for n in "bc")], Glob("d/*.txt"),
                       Dir("tree/"), build.out())
        a()
        """,
    )
    assert isinstance(node.work, Script)
    coroutine = node.work.start()
    assert not isinstance(coroutine, Command)
    assert coroutine is not None
    need = coroutine.send(None)  # type: ignore[arg-type]
    assert need.paths == ("in.txt", "d/a.txt", "d/b.txt", "tree/")
    with pytest.raises(StopIteration) as end:
        coroutine.send(())
    assert end.value.value.argv == tuple("x 1 2.5 p/q in.txt a b c d/a.txt d/b.txt tree out".split())


def test_arguments_that_are_files_are_inputs(project: Project):
    """Wherever they are in the arguments; text is none."""
    node = only(
        project,
        """
        @build.step(outs=["out"], ins=["more/{name}.txt", File("again")], after=["gen.h"], tools=["cc"])
        def a(one: File, name: str, many=(), table=None):
            return cmd("x")
        a(File("./one"), "n", [File("two"), (File("three"),)], {"k": File("four"), "d": Dir("five")})
        """,
    )
    assert node.ins == ("one", "two", "three", "four", "five/", "more/n.txt", "again")
    assert node.after == ("gen.h",)


def test_several_commands_are_one_line(project: Project):
    """They run in sequence and stop at the first failure; each with its own place, variables and streams."""
    project.file("vcachefile.py", "")
    project.load(
        """
        @build.step(outs=["out/a b.txt", "out/second"], env={"STEP": "s"})
        def both():
            return [
                cmd("printf", "%s %s\\n", "it's", "$HOME", stdout=build.out(0)),
                cmd("sh", "-c", "echo $STEP $X >> 'a b.txt'", cwd="out", env={"X": "y z"}),
                sh("echo $X | tr a-z A-Z >> 'out/a b.txt'", env={"X": "line"}),
                sh('cat "$1" > "$2"', build.out(0), build.out(1)),
            ]
        """
    )
    assert project.run().ran == {"out/a b.txt"}
    assert project.read("out/second") == "it's $HOME\ns y z\nLINE\n"


def test_a_failing_command_ends_the_sequence(project: Project):
    """What comes after it does not run."""
    project.load(
        """
        @build.step(outs=["out"])
        def a():
            return [cmd("false"), cmd("touch", "trace")]
        """
    )
    project.run("a", status=1)
    assert not (project.base / "trace").exists()


def test_files_are_named_from_where_the_command_runs(project: Project):
    """With a working directory of its own, files and outputs among the words are relative to it."""
    project.file("sub/in.txt", "words")
    project.load(
        """
        @build.step(outs=["sub/out.txt"], cwd="sub")
        def a():
            return cmd("cp", File("sub/in.txt"), build.out(0))
        """
    )
    project.run("a")
    assert project.read("sub/out.txt") == "words"


def test_a_generated_program_runs(project: Project):
    """A target may be the first word; when its content changes, what it makes is made anew."""
    project.file("tool.sh", "#!/bin/sh\necho one\n")
    project.load(
        """
        @build.step(outs=["tool"])
        def tool(src: File):
            return [cmd("cp", src, build.out()), cmd("chmod", "+x", build.out())]
        @build.step(outs=["out"])
        def use():
            return cmd(tool(File("tool.sh")), stdout=build.out())
        """
    )
    assert project.run("use").ran == {"tool", "out"}
    assert project.read("out") == "one\n"
    project.file("tool.sh", "#!/bin/sh\necho two\n")
    assert project.run("use").ran == {"tool", "out"}
    assert project.read("out") == "two\n"


def test_a_generated_header_is_there_first(project: Project):
    """An order-only input is made before, and counts only where the depfile names it."""
    project.load(
        """
        @build.step(outs=["gen/config.h"])
        def config():
            return sh('echo "#define N 3" > gen/config.h')
        @build.step(outs=["obj/{stem}.o"], depfile="obj/{stem}.d", after=[config])
        def compile(src: File, stem: str):
            return cmd("gcc", "-MMD", "-MF", build.depfile, "-Igen", "-c", src, "-o", build.out())
        build.phony("all", compile(File("a.c"), "a"), compile(File("b.c"), "b"))
        """
    )
    project.file("a.c", '#include "config.h"\nint n = N;\n')
    project.file("b.c", "int m;\n")
    assert project.run("all").ran == {"gen/config.h", "obj/a.o", "obj/b.o"}
    project.file("vcachefile.py", project.read("vcachefile.py").replace("N 3", "N 4"))
    assert project.run("all").ran == {"gen/config.h", "obj/a.o"}


def test_a_directory_is_an_output(project: Project):
    """All that is below it is kept and restored; what reads a file in it waits for its maker."""
    project.load(
        """
        @build.step(outs=["gen/"])
        def generate():
            return sh("mkdir -p gen/sub && echo a > gen/a && echo b > gen/sub/b")
        generate()
        @build.step(outs=["out"])
        def use():
            return cmd("cat", File("gen/a"), File("gen/sub/b"), stdout=build.out())
        @build.step(outs=["list"])
        def listing(tree: Dir):
            return sh('ls -R "$1" > "$2"', tree, build.out())
        build.default(use, listing(generate()))
        """
    )
    assert project.run().ran == {"gen/", "out", "list"}
    assert project.read("out") == "a\nb\n"
    for name in ("gen/a", "gen/sub/b", "out", "list"):
        (project.base / name).unlink()
    assert project.run().hits == {"gen/", "out", "list"}
    assert project.read("gen/sub/b") == "b\n"


def test_a_step_without_outputs_waits_and_runs_once(project: Project):
    """Such as a test: its success is remembered, and others may wait for it."""
    project.load(
        """
        @build.step()
        def check():
            return sh("echo ran >> trace")
        @build.step(outs=["out"], after=[check])
        def use():
            return cmd("touch", build.out())
        """
    )
    assert project.run("use").ran == {"check", "out"}
    assert project.run("use").ran == set()
    assert project.read("trace") == "ran\n"


def test_need_takes_paths_targets_and_functions(project: Project):
    """Files come back for paths and steps, values for values; one target can be awaited by itself."""
    project.file("src", "s")
    project.load(
        """
        @build.step(outs=["b"])
        def b(): return cmd("cp", File("src"), build.out())
        @build.value
        def v(): return 7
        @build.step(outs=["a"])
        async def a():
            src, other, number = await need("src", b, v())
            assert isinstance(src, File), src
            again = await b()
            assert again.path == other.path == "b"
            assert await v() == number == 7
            return sh('cat "$1" "$2" > a; echo $3 >> a', src, other, number)
        """
    )
    assert project.run("a").ran == {"b", "v", "a"}
    assert project.read("a") == "ss7\n"
    project.file("src", "t")
    assert project.run("a").ran == {"b", "a"}


def test_needs_may_follow_each_other(project: Project):
    """What a generated list names is asked for after the list is made."""
    project.load(
        """
        @build.step(outs=["names"])
        def names(): return sh("printf 'x y' > names")
        @build.step(outs=["out/{name}"])
        def one(name: str): return sh('echo "$1" > "$2"', name, build.out())
        @build.step(outs=["all"])
        async def everything():
            (listed,) = await need(names)
            parts = await need(*(one(name) for name in listed.read_text().split()))
            return cmd("cat", parts, stdout=build.out())
        """
    )
    assert project.run("all").ran == {"names", "out/x", "out/y", "all"}
    assert project.read("all") == "x\ny\n"
    assert project.run("all").ran == set()


def test_calls_can_be_written_on_the_command_line(project: Project):
    """By the function's name and its arguments; by an output; by a directory that holds outputs."""
    loaded = project.load(
        """
        @build.step(outs=["out/{name}-{n}"])
        def make(name: str, n: int = 1, fast: bool = False): return cmd("touch", build.out())
        make("a"); make("b", 2)
        """
    )
    names = {
        "make": ["out/a-1", "out/b-2"],
        "make[name=a]": ["out/a-1"],
        "make[name=c,n=3,fast=true]": ["out/c-3"],
        "./out/a-1": ["out/a-1"],
        os.path.join(loaded.graph.base, "out/b-2"): ["out/b-2"],
        "out": ["out/a-1", "out/b-2", "out/c-3"],
    }
    for word, nodes in names.items():
        assert [node.name for node in loaded.targets([word])] == nodes, word


def test_options_and_variables_shape_the_graph(project: Project, monkeypatch):
    """`-D` and the environment; both are what the reading of the file depended on."""
    monkeypatch.setenv("VC_TEST_CC", "clang")
    loaded = project.load(
        """
        mode = build.option("mode", "debug")
        cc = build.env("VC_TEST_CC", "gcc")
        @build.step(outs=[f"{mode}-{cc}"])
        def make(): return cmd("touch", build.out())
        """,
        defines={"mode": "release"},
    )
    assert [node.name for node in loaded.targets()] == ["release-clang"]
    kinds = {(dep.kind, dep.name) for dep in loaded.front}
    assert {("env", "VC_TEST_CC"), ("value", "-D mode"), ("file", "vcachefile.py")} <= kinds


def test_a_result_of_other_arguments_is_kept_beside(project: Project):
    """Flags that go back and forth hit."""
    text = '@build.step(outs=["out"])\ndef a():\n    return sh("echo FLAG > out")\n'
    project.load(text.replace("FLAG", "1"))
    assert project.run().ran == {"out"}
    project.load(text.replace("FLAG", "2"))
    assert project.run().ran == {"out"}
    project.load(text.replace("FLAG", "1"))
    assert project.run().hits == {"out"}


def test_arguments_are_those_of_the_call(project: Project):
    """A list that is changed later is another argument."""
    loaded = project.load(
        """
        @build.step(outs=["{name}"])
        def a(name: str, flags): return cmd("x", flags["all"])
        flags = {"all": ["-a"]}
        a("one", flags)
        flags["all"].append("-b")
        a("two", flags=flags)
        """
    )
    assert [command_of(node).argv for node in loaded.targets()] == [("x", "-a"), ("x", "-a", "-b")]


def test_nothing_to_need(project: Project):
    """An empty pattern needs nothing."""
    project.load(
        """
        @build.step(outs=["a"])
        async def a():
            assert await need(*map(str, build.glob("none/*"))) == []
            return cmd("touch", build.out())
        """
    )
    assert project.run().ran == {"a"}


def test_a_body_that_needs_itself_is_a_cycle(project: Project):
    """Also over others; the whole path is shown."""
    project.load(
        """
        @build.step(outs=["a"])
        async def a():
            await need(b)
        @build.step(outs=["b"])
        async def b():
            await need("a")
        """
    )
    with pytest.raises(GraphError, match=r"dependency cycle: (a -> b -> a|b -> a -> b)"):
        project.run("a")
