"""graph, why, why-not, clean and compdb, over a small vcachefile and a small ninja file."""

from __future__ import annotations

import json

import pytest

FILE = """\
from vcache.dag import build, cmd, need, File, sh

@build.step(outs=["obj/{stem}"])
def part(src: File, stem: str, word: str = "x"):
    return sh('{ cat "$1"; echo "$2"; } > "$3"', src, word, build.out(0))

@build.step(outs=["whole"])
async def whole():
    parts = await need(*(part(s, stem=s.stem) for s in build.glob("src/*")))
    return sh('cat "$@" > whole', *parts)

build.default(whole)
"""


@pytest.fixture
def project(elsewhere):
    (elsewhere / "src").mkdir()
    for name in ("a", "b"):
        (elsewhere / "src" / name).write_text(name)
    (elsewhere / "vcachefile.py").write_text(FILE)
    return elsewhere


def test_a_graph_shows_what_bodies_ask_for(project, vcache):
    """Dynamic dependencies are there before anything was built, and the file is not built by looking."""
    found = json.loads(vcache("graph", "--format", "json").stdout)
    nodes = {node["name"]: node for node in found["nodes"]}
    assert set(nodes) == {"whole", "obj/a", "obj/b"}
    assert set(nodes["whole"]["needs"]) == {"obj/a", "obj/b"}
    assert nodes["obj/a"]["standing"] == "has to run"
    assert not (project / "whole").exists()


def test_the_ending_says_the_form(project, vcache):
    """An unknown one is refused, with those there are."""
    for name in ("g.svg", "g.html", "g.dot", "g.json"):
        assert vcache("graph", "-o", name).exit_code == 0
        assert (project / name).stat().st_size > 100
    refused = vcache("graph", "-o", "g.png")
    assert refused.exit_code == 2
    assert "dot, json, svg, html" in refused.stderr


def test_why_not_names_what_changed(project, vcache):
    """For each node that would run: its input, from what to what."""
    assert vcache("build", "-q").exit_code == 0
    assert vcache("why-not", "whole").exit_code == 0
    (project / "src/a").write_text("A")
    asked = vcache("why-not", "whole")
    assert asked.exit_code == 1
    assert "changed file src/a: " in asked.stdout
    assert "obj/b" not in asked.stdout
    (row, *_) = [
        row for row in json.loads(vcache("why-not", "--json", "whole").stdout) if row["name"] == "obj/a"
    ]
    assert [change["name"] for change in row["changes"]] == ["src/a"]


def test_why_tells_how_what_is_here_came_about(project, vcache):
    """After the build the same difference is the reason of the past."""
    vcache("build", "-q")
    (project / "vcachefile.py").write_text(FILE.replace('word: str = "x"', 'word: str = "y"'))
    vcache("build", "-q")
    told = vcache("why", "obj/a").stdout
    assert told.startswith("obj/a: up to date")
    assert "changed argument: x → y" in told
    (answer,) = json.loads(vcache("why", "--json", "obj/a").stdout)
    assert answer["standing"] == "up to date"
    assert answer["changes"][0]["kind"] == "argv"


def test_a_target_that_nobody_knows_is_a_key(project, vcache):
    """As it was without a build file."""
    asked = vcache("why", "nothing")
    assert asked.exit_code == 1
    assert "nothing is stored under this key" in asked.stdout


def test_clean_removes_what_was_made_and_the_cache_gives_it_back(project, vcache):
    """Sources stay; a dry run only says."""
    vcache("build", "-q")
    assert vcache("clean", "-n").stdout.split() == ["whole", "obj/a", "obj/b"]
    assert (project / "whole").exists()
    assert vcache("clean").exit_code == 0
    assert not (project / "whole").exists()
    assert (project / "src/a").exists()
    again = json.loads(vcache("build", "--json").stdout)
    assert (again["run_count"], again["hit_count"]) == (0, 3)
    vcache("clean", "--all")
    assert not (project / ".vcache").exists()


def test_ninja_files_are_looked_at_the_same_way(elsewhere, vcache):
    """graph, why-not and compdb know them; phony names can be left out."""
    (elsewhere / "a.c").write_text("int a;\n")
    (elsewhere / "build.ninja").write_text(
        "rule cc\n  command = cp $in $out\nbuild a.o: cc a.c\nbuild all: phony a.o\ndefault all\n"
    )
    found = json.loads(vcache("graph", "--format", "json").stdout)
    assert {node["name"] for node in found["nodes"]} == {"a.o", "all"}
    bare = json.loads(vcache("graph", "--format", "json", "--without-names").stdout)
    assert [node["name"] for node in bare["nodes"]] == ["a.o"]
    (row,) = json.loads(vcache("compdb").stdout)
    assert row == {"directory": str(elsewhere), "file": "a.c", "output": "a.o", "command": "cp a.c a.o"}
    assert "a.o: would run: never built here" in vcache("why-not", "all").stdout


def test_without_a_build_file_it_says_which_ones_it_looked_for(elsewhere, vcache):
    """And how to name another."""
    asked = vcache("graph")
    assert asked.exit_code == 2
    assert "there is no vcachefile.py and no build.ninja" in asked.stderr
