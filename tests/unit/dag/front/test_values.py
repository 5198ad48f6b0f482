"""Values: remembered functions between nodes, and what their users depend on."""

from __future__ import annotations

import pytest

from tests.unit.dag.front.project import Project
from vcache.dag.front.asking import Asking

FIREWALL = """
@build.value
def api_of(src: File) -> list[str]:
    return [line for line in src.read_text().splitlines() if not line.startswith("#")]

@build.value
def words(api: list[str]) -> int:
    return sum(len(line.split()) for line in api)

@build.step(outs=["out"])
def use(api: list[str], count: int):
    return sh('echo "$@" > out', count, *api)

build.default(use(api_of(File("in")), words(api_of(File("in")))))
"""


def test_users_of_a_value_are_cut_off_by_it(project: Project):
    """A comment reruns what reads the file; what reads its value stays."""
    project.file("in", "# one\nint f\n")
    project.load(FIREWALL)
    in_api, in_words = "api_of(src=in)", "words(api=api_of(src=in))"
    assert project.run().ran == {in_api, in_words, "out"}
    assert project.read("out") == "2 int f\n"
    again = project.run()
    assert (again.ran, again.hits) == (set(), {in_api, in_words})
    project.file("in", "# two\nint f\n")
    assert project.run().ran == {in_api}
    project.file("in", "# two\nint g\n")
    assert project.run().ran == {in_api, in_words, "out"}


def test_a_value_in_no_word_counts_all_the_same(project: Project):
    """A step that takes a value depends on it, whatever its command says."""
    text = '@build.value\ndef v(): return 1\n@build.step(outs=["o"])\ndef o(v): return sh("echo >> o")\nbuild.default(o(v()))'
    project.load(text)
    assert project.run().ran == {"v", "o"}
    project.load(text.replace("return 1", "return 2"))
    assert project.run().ran == {"v", "o"}


def test_a_value_sees_what_it_opens(project: Project):
    """A file that was opened counts, and so does the code."""
    project.file("table.txt", "1")
    text = '@build.value\ndef v():\n    return int(File("table.txt").read_text()) + 1\nbuild.default(v)'
    project.load(text)
    assert project.run().ran == {"v"}
    assert project.run().ran == set()
    project.file("table.txt", "2")
    assert project.run().ran == {"v"}
    assert project.value("v") == 3
    assert project.loaded is not None
    assert "table.txt" in {dep.name for dep in project.loaded.front}
    project.load(text.replace("+ 1", "+ 2"))
    assert project.run().ran == {"v"}


def test_a_value_reads_what_steps_make(project: Project):
    """A target among its arguments is made first, and is a file by then."""
    project.load(
        """
        @build.step(outs=["gen"])
        def gen(): return sh("echo 42 > gen")
        @build.value
        def number(source: File) -> int: return int(source.read_text())
        build.default(number(gen()))
        """
    )
    assert project.run().ran == {"gen", "number(source=gen)"}
    assert project.value("number[source=gen]") == 42


def test_a_value_may_make_files(project: Project):
    """They are restored with it."""
    project.load(
        """
        @build.value(outs=["out/{name}.txt"])
        def write(name: str) -> int:
            from pathlib import Path
            Path("out").mkdir(exist_ok=True)
            return build.out(0).write_text(name)
        @build.step(outs=["copy"])
        def copy(): return cmd("cp", File("out/n.txt"), build.out())
        write("n")
        build.default(copy)
        """
    )
    assert project.run().ran == {"out/n.txt", "copy"}
    (project.base / "out/n.txt").unlink()
    assert project.run().hits == {"out/n.txt"}
    assert project.read("out/n.txt") == "n"


def test_an_async_value_asks_while_it_runs(project: Project):
    """It gets values and files, and its users are cut off by what it gives."""
    project.file("a", "1")
    project.file("b", "2")
    project.load(
        """
        @build.value
        def number(source: File) -> int: return int(source.read_text())
        @build.value
        async def total() -> int:
            return sum(await need(*(number(File(name)) for name in "ab")))
        @build.step(outs=["out"])
        def out(n): return sh('echo $1 > out', n)
        build.default(out(total()))
        """
    )
    assert project.run().ran >= {"total", "out"}
    assert project.read("out") == "3\n"
    assert project.run().ran == set()
    project.file("a", "2")
    project.file("b", "1")
    assert "out" not in project.run().ran
    project.file("a", "3")
    assert "out" in project.run().ran
    assert project.read("out") == "4\n"


def test_values_of_a_project_module(project: Project):
    """A module beside the build file is imported anew, and its functions are part of the code."""
    project.file("helpers.py", "def f(): return 1\n")
    project.load("import helpers\n@build.value\ndef v(): return helpers.f()\nbuild.default(v)")
    assert project.run().value("v") == 1
    project.file("helpers.py", "def f(): return 2 + 0\n")
    again = project.run()
    assert again.ran == {"v"}
    assert again.value("v") == 2


def test_a_phony_name_stands_for_values_and_files(project: Project):
    """All of it is made."""
    project.load(
        """
        @build.value
        def v(): return 1
        @build.step(outs=["o"])
        def o(): return cmd("touch", build.out())
        build.phony("files", o)
        build.phony("all", "files", v)
        """
    )
    assert project.run("files").ran == {"o"}
    assert project.run("all").ran == {"v"}


def test_a_value_depends_on_what_it_asks_of_build(project: Project, monkeypatch):
    """Which files a pattern matches, and a variable, count inside of a value as well."""
    monkeypatch.setenv("VC_TEST", "1")
    project.file("d/a", "x")
    project.load(
        """
        @build.value
        def v(): return [str(one) for one in build.glob("d/*")] + [build.env("VC_TEST")]
        build.default(v)
        """
    )
    assert project.run().value("v") == ["d/a", "1"]
    assert project.run().ran == set()
    project.file("d/b", "x")
    assert project.run().value("v") == ["d/a", "d/b", "1"]
    monkeypatch.setenv("VC_TEST", "2")
    assert project.run().value("v") == ["d/a", "d/b", "2"]


def test_an_option_is_no_input_of_a_value(project: Project):
    """Its key could not know it: it is refused, with the remedy."""
    project.load('build.option("n", "1")\n@build.value\ndef v(): return build.option("n")\nbuild.default(v)')
    assert (
        "vcachefile.py:4: build.option('n') in a value: take it as an argument" in project.run(status=1).error
    )


def test_a_value_of_a_class_of_the_file(project: Project):
    """It is read back as that class."""
    project.load(
        """
        from dataclasses import dataclass
        @dataclass
        class Point:
            x: int
        @build.value
        def v() -> Point: return Point(3)
        @build.step(outs=["o"])
        def o(point: Point): return sh("echo $1 > o", point.x)
        build.default(o(v()))
        """
    )
    assert project.run().ran == {"v", "o"}
    (project.base / "o").unlink()
    assert project.run().hits == {"v", "o"}


ASKING = """
@build.value
def lines(source: File) -> list[str]: return source.read_text().split()
@build.step(outs=["up/{name}"])
def upper(name: str): return sh('tr a-z A-Z < "$1" > "$2"', File(name), build.out())
@build.value
async def shout(index: File, sign: str = "!") -> str:
    (names,) = await need(lines(index))
    extra = File("extra").read_text()
    files = await need(*(upper(name) for name in names))
    (last,) = await need("last")
    return "".join(file.read_text() for file in files) + extra + last.read_text() + sign
build.default(shout(File("index")))
"""


def test_an_async_value_is_found_again_by_what_it_asked(project: Project):
    """As long as every answer and every file is as it was; back in an earlier state, it is found too."""
    for name, text in {"index": "a b", "a": "x", "b": "y", "extra": "-", "last": "z"}.items():
        project.file(name, text)
    project.load(ASKING)
    node = "shout(index=index)"
    word = "shout[index=index]"
    assert node in project.run().ran
    assert project.value(word) == "XY-z!"
    assert project.run().hits >= {node}
    for name, old, new, value in [
        ("a", "x", "v", "VY-z!"),
        ("extra", "-", "+", "XY+z!"),
        ("last", "z", "w", "XY-w!"),
        ("index", "a b", "b a", "YX-z!"),
        ("index", "a b", "a", "X-z!"),
    ]:
        project.file(name, new)
        assert node in project.run().ran, (name, new)
        assert project.value(word) == value
        project.file(name, old)
        assert node in project.run().hits, (name, old)
        assert project.value(word) == "XY-z!"


def test_what_an_earlier_run_asked_is_not_asked_for_nothing(project: Project):
    """A file that only an earlier state needed may be gone."""
    for name, text in {"index": "a b", "a": "x", "b": "y", "extra": "-", "last": "z"}.items():
        project.file(name, text)
    project.load(ASKING)
    project.run()
    project.file("index", "a")
    (project.base / "b").unlink()
    assert project.run().value("shout[index=index]") == "X-z!"


def test_what_is_no_trace_is_passed_over(project: Project, monkeypatch: pytest.MonkeyPatch):
    """Another version's words beside our own are no reason to fail, nor to run anything."""
    for name, text in {"index": "a b", "a": "x", "b": "y", "extra": "-", "last": "z"}.items():
        project.file(name, text)
    project.load(ASKING)
    project.run()
    ours = Asking._traces
    odd: list[object] = [
        None, 7, "text", [1], [[1, 2, 3]], [[[[1, 2, 3]], [], []]], [[[], [[]], []]], [[[], [["call"]], []]],
        [[[], [["call", "lines", 3, {}]], []]], [[[], [["path"]], []]], [[[], [["call", "lines", [], 3]], []]], [[[], [["more", 1]], []]],
    ]  # fmt: skip
    monkeypatch.setattr(Asking, "_traces", lambda self: [*odd, *ours(self)])
    assert project.run().hits >= {"shout(index=index)"}


def test_an_async_value_of_another_process_is_found(project: Project):
    """What it asked is written down as calls, with files, targets and values among their arguments."""
    project.file("in", "5")
    text = """
    @build.step(outs=["copy"])
    def copy(src: File): return cmd("cp", src, build.out())
    @build.value
    def number(source: File, more: dict, scale=(1, 2.0, None)) -> int:
        return int(source.read_text()) + more["x"][0]
    @build.value
    async def total() -> int:
        first = number(copy(File("in")), {"x": [1]})
        (again,) = await need(number(copy(File("in")), {"x": [first]}))
        return again
    build.default(total)
    """
    project.load(text)
    assert project.run().value("total") == 11
    other = Project(project.base.parent / "other", project.base.parent / "cache")
    other.file("in", "5")
    other.load(text)
    assert other.run().value("total") == 11
    assert other.ran == set()


def test_a_value_may_speak_of_targets_and_promises(project: Project):
    """Global handles, steps and values in its code do no harm."""
    project.file("in", "1")
    project.load(
        """
        @build.value
        def number(source: File) -> int: return int(source.read_text())
        promise = number(File("in"))
        @build.step(outs=["o"])
        def o(): return cmd("touch", build.out())
        target = o()
        @build.value
        def v(): return [target.path, promise.node.name, o.name]
        build.default([v, target], "o")
        """
    )
    assert project.run().value("v") == ["o", "number(source=in)", "o"]
    assert project.run().hits == {"v"}


def test_values_call_steps_from_their_threads(project: Project):
    """Many at once, and the same calls: each is one node."""
    project.load(
        """
        @build.step(outs=["out/{n}"])
        def make(n: int): return cmd("touch", build.out())
        @build.value
        def v(seed: int): return [make(n).path for n in range(50)][seed]
        build.phony("all", *(v(seed) for seed in range(8)))
        """
    )
    project.run("all")
    assert project.loaded is not None
    assert len([name for name in project.loaded.graph.nodes if name.startswith("out/")]) == 50
