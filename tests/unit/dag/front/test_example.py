"""The example that the front end was asked for, as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.dag.front.project import Project

EXAMPLE = """
from vcache.dag import build, cmd, need, File

cc = build.tool("gcc")                                     # its digest is an input

@build.step(outs=["obj/{stem}.o"], depfile="obj/{stem}.d", pool="cpu", timeout="2m")
def compile(src: File, stem: str, flags=("-O2",)):
    return cmd(cc, "-c", src, "-o", build.out(0), "-MMD", "-MF", build.depfile, *flags)

@build.step(outs=["bin/app"], pool="link")
async def link():
    objs = await need(*(compile(s, stem=s.stem) for s in build.glob("src/*.c")))   # dynamic dependencies
    return cmd(cc, "-o", build.out(0), *objs)

@build.value
def api_of(src: File) -> list[str]:
    return [line for line in src.read_text().splitlines() if line.endswith(");")]

@build.log(of=[compile, link], where="level >= warning")   # a log node: a query over the captured logs
def warnings(records):
    return [(record.file, record.level, record.option) for record in records]

build.pool("link", slots=1); build.default(link)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "p", tmp_path / "cache")
    project.file("vcachefile.py", EXAMPLE)
    project.file("src/a.c", '#include "b.h"\nint main(void) { return b(); }\n')
    project.file("src/b.c", '#include "b.h"\n#warning "soon"\nint b(void) { return 0; }\n')
    project.file("src/b.h", "/* words */\nint b(void);\n")
    return project


def test_the_example_builds_and_then_does_nothing(project: Project):
    """The default goal is linked from what the pattern finds; a second run runs nothing."""
    assert project.run().ran == {"obj/a.o", "obj/b.o", "bin/app"}
    assert (project.base / "bin/app").exists()
    assert project.run().ran == set()


def test_a_new_source_is_found(project: Project):
    """A file that the pattern matches from now on is compiled and linked, and nothing else."""
    project.run()
    project.file("src/c.c", "int c;\n")
    assert project.run().ran == {"obj/c.o", "bin/app"}


def test_an_edited_header_reruns_what_includes_it(project: Project):
    """What the depfile named counts; objects that come out equal are not linked again."""
    project.run()
    project.file("src/b.h", "/* other words */\nint b(void);\n")
    assert project.run().ran == {"obj/a.o", "obj/b.o"}


def test_the_log_node_sees_the_warnings(project: Project):
    """The query is answered over all nodes of a step, also those that a body asked for."""
    project.run("warnings")
    assert project.value("warnings") == [("src/b.c", "warning", "-Wcpp")]
    again = project.run("warnings")
    assert again.value("warnings") == [("src/b.c", "warning", "-Wcpp")]
    assert again.ran == set()


def test_the_value_is_asked_for_by_its_call(project: Project):
    """A value's call can be written on the command line."""
    project.run("api_of[src=src/b.h]")
    assert project.value("api_of[src=src/b.h]") == ["int b(void);"]
    assert project.run("api_of[src=src/b.h]").ran == set()
