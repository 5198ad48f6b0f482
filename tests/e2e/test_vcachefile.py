"""A C project with a vcachefile, built by the real command with real compilers.

Static and dynamic dependencies, a generated header, a value that is a firewall, a query over the
warnings, and a directory as an output.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import copy_tree

pytestmark = pytest.mark.e2e

FILES = {
    "vcachefile.py": '''
"""The build of a small program with plug-ins, tables and pages."""

from __future__ import annotations

import rules
from vcache.dag import Cmd, Dir, File, Record, build, cmd, need, sh
from collections.abc import Sequence

cc = build.tool(build.env("PROJECT_CC", "gcc"))
mode = build.option("mode", "release")
flags = ["-O0", "-g"] if mode == "debug" else ["-O1"]
build.pool("link", slots=1, memory="1GB")


@build.value
def version_of(src: File) -> str:
    """The one line of the file that matters."""
    return next(line for line in src.read_text().splitlines() if not line.startswith("#"))


@build.step(outs=["gen/version.h"])
def version_header(version: str) -> Cmd:
    return sh('printf \\'#define VERSION "%s"\\\\n\\' "$1" > "$2"', version, build.out(0))


@build.step(outs=["obj/{stem}.o"], depfile="obj/{stem}.d", timeout="2m", env={"LC_ALL": "C"},
            after=[version_header(version_of(File("VERSION")))], description="CC {src}")
def compile_c(src: File, stem: str) -> Cmd:
    return cmd(cc, "-Wall", "-Igen", "-Isrc", "-MMD", "-MF", build.depfile, flags, "-c", src, "-o", build.out(0))


@build.step(outs=["bin/app"], pool="link", memory="200MB")
async def app() -> Cmd:
    objs = await need(*(compile_c(src, stem=src.stem) for src in build.glob("src/*.c")))
    return cmd(cc, "-o", build.out(0), *objs)


@build.step(outs=["pages/"])
def pages(program: File) -> Cmd:
    """One page per command that the program knows: nobody knows beforehand which."""
    return sh('mkdir -p pages && for name in $("$1" list); do "$1" show $name > pages/$name.txt; done', program)


@build.step(outs=["site.txt"])
def site(tree: Dir) -> Cmd:
    return sh('cat "$1"/*.txt > "$2"', tree, build.out(0))


@build.step(retries=2, backoff="10ms")
def check(program: File) -> Cmd:
    return cmd(program, "check")


@build.log(of=[compile_c], where="level >= warning and file ~ '^src/'")
def warnings(records: Sequence[Record]) -> list[str]:
    return sorted({record.option for record in records})


@build.step(outs=["warnings.txt"])
def report(options: list[str]) -> Cmd:
    return sh('printf "%s\\\\n" "$@" > ' + str(build.out(0)), *options)


build.phony("all", site(pages(app())), check(app()), report(warnings()), rules.licence)
build.default("all")
''',
    "rules.py": """
from vcache.dag import File, build, cmd

@build.step(outs=["bin/LICENCE"], ins=["LICENCE"])
def licence():
    return cmd("cp", File("LICENCE"), build.out())
""",
    "LICENCE": "free\n",
    "VERSION": "# the version\n1.0\n",
    "src/app.h": "#ifndef APP_H\n#define APP_H\nint show(const char *name);\n#endif\n",
    "src/main.c": """
#include <stdio.h>
#include <string.h>
#include "app.h"
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "list")) return puts("one two") < 0;
    if (argc > 2 && !strcmp(argv[1], "show")) return show(argv[2]);
    return 0;
}
""",
    "src/show.c": """
#include <stdio.h>
#include "app.h"
#include "version.h"
int show(const char *name) { int unused; return printf("%s %s\\n", name, VERSION) < 0; }
""",
}


@dataclass(frozen=True)
class Ran:
    """What a run did: the nodes that ran, and those that came from the cache."""

    ran: set[str]
    hits: set[str]
    status: int
    said: str


@dataclass(frozen=True)
class Checkout:
    root: Path
    cache: Path

    def build(self, *words: str, status: int = 0, **environ: str) -> Ran:
        env = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
        env |= {"VCACHE_DIR": os.fspath(self.cache), "NO_COLOR": "1", **environ}
        before = self.journals()
        done = subprocess.run(
            [sys.executable, "-m", "vcache", "build", *words], cwd=self.root, env=env, capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        events = [
            json.loads(line) for path in self.journals() - before for line in path.read_text().splitlines()
        ]
        ran = {each["node"] for each in events if each["event"] == "finished" and not each["status"]}
        return Ran(ran, {each["node"] for each in events if each["event"] == "hit"}, done.returncode, said)

    def journals(self) -> set[Path]:
        return set((self.root / ".vcache/runs").glob("*.jsonl"))

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def read(self, name: str) -> str:
        return (self.root / name).read_text()


def fill(root: Path) -> None:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.lstrip("\n"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Ran]:
    place = tmp_path_factory.mktemp("vcachefile")
    checkout = Checkout(place / "project", place / "cache")
    fill(checkout.root)
    return checkout, checkout.build()


@pytest.fixture
def project(tmp_path: Path, built: tuple[Checkout, Ran]) -> Checkout:
    """A copy of the project as it was built once, with its cache."""
    copy_tree(built[0].root.parent, tmp_path / "copy")
    checkout = Checkout(tmp_path / "copy/project", tmp_path / "copy/cache")
    checkout.build()
    return checkout


COMMANDS = {
    "gen/version.h", "obj/main.o", "obj/show.o", "bin/app", "pages/", "site.txt", "warnings.txt", "bin/LICENCE",
    "check(program=bin/app)",
}  # fmt: skip


def test_the_first_run_makes_everything(built: tuple[Checkout, Ran]):
    """Every node runs once, and what they make is right."""
    checkout, first = built
    assert COMMANDS | {"version_of(src=VERSION)"} <= first.ran
    assert checkout.read("site.txt") == "one 1.0\ntwo 1.0\n"
    assert checkout.read("warnings.txt") == "-Wunused-variable\n"
    assert "CC src/main.c" in first.said


def test_nothing_to_do(project: Checkout):
    """A second run runs nothing, and neither does one after touching everything."""
    assert not (again := project.build()).ran, again
    for path in project.root.rglob("*"):
        if path.is_file() and ".vcache" not in path.parts:
            os.utime(path)
    assert not (again := project.build()).ran, again


def test_a_comment_stops_at_the_value(project: Checkout):
    """What depends on the value only is not made again."""
    project.write("VERSION", "# another comment\n1.0\n")
    assert project.build().ran == {"version_of(src=VERSION)"}
    project.write("VERSION", "# another comment\n1.1\n")
    again = project.build().ran
    assert again & COMMANDS == {
        "gen/version.h", "obj/show.o", "bin/app", "pages/", "site.txt", "check(program=bin/app)"
    }  # fmt: skip
    assert project.read("site.txt") == "one 1.1\ntwo 1.1\n"


def test_a_header_reruns_what_includes_it(project: Checkout):
    """Objects that come out equal are not linked again."""
    project.replace("src/app.h", "#define APP_H\n", "#define APP_H\n/* words */\n")
    assert project.build().ran & COMMANDS == {"obj/main.o", "obj/show.o"}


def test_a_new_source_and_a_removed_one(project: Checkout):
    """The pattern is looked at in each run."""
    project.write("src/more.c", "int more;\n")
    assert {"obj/more.o", "bin/app"} <= project.build().ran
    (project.root / "src/more.c").unlink()
    assert "bin/app" in project.build().hits


def test_a_warning_that_goes_away(project: Checkout):
    """The query is asked anew; the report follows."""
    project.replace("src/show.c", "int unused; ", "")
    project.build()
    assert project.read("warnings.txt") == "\n"


def test_outputs_that_were_removed_come_back(project: Checkout):
    """All of them, directories too, without running a command."""
    for name in ("obj", "bin", "gen", "pages", "site.txt", "warnings.txt"):
        path = project.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = project.build()
    assert not again.ran & COMMANDS, again
    assert project.read("site.txt") == "one 1.0\ntwo 1.0\n"
    assert os.access(project.root / "bin/app", os.X_OK)


def test_another_checkout_comes_from_the_cache(project: Checkout, tmp_path: Path):
    """Wherever it is, as long as no absolute path counts."""
    other = Checkout(tmp_path / "elsewhere/other name", project.cache)
    fill(other.root)
    again = other.build()
    assert not again.ran & COMMANDS, again
    assert other.read("site.txt") == "one 1.0\ntwo 1.0\n"


def test_a_rule_in_a_module_is_part_of_the_build_file(project: Checkout):
    """Its change is seen."""
    project.replace("rules.py", "build.out())", 'build.out(), "--")')
    assert project.build().ran == {"bin/LICENCE"}


def test_options_and_variables(project: Checkout):
    """Another mode is another build; back again it is all there."""
    assert {"obj/main.o", "bin/app"} <= project.build("-D", "mode=debug").ran
    back = project.build()
    assert "obj/main.o" in back.hits
    assert not back.ran & COMMANDS
    assert {"obj/main.o"} <= project.build("bin/app", PROJECT_CC="cc").ran


def test_an_error_shows_the_users_lines(project: Checkout):
    """A wrong build file ends with status 2, a failed node with 1."""
    project.replace("rules.py", "build.out())", "build.owt())")
    done = project.build(status=1)
    assert "rules.py:5: AttributeError: 'Build' object has no attribute 'owt'" in done.said
    project.write("rules.py", "1 / 0\n")
    done = project.build(status=2)
    assert "rules.py:1: ZeroDivisionError: division by zero" in done.said
    assert "vcachefile.py:5, in <module>\n    import rules" in done.said


def test_a_failing_step_leaves_nothing(project: Checkout):
    """What it had written is gone; once the mistake is undone, nothing has to run."""
    project.replace("src/show.c", "< 0; }", "< 0 }")
    project.replace(
        "rules.py", "def licence():", "def licence():\n    return build.sh('echo half > bin/LICENCE; false')"
    )
    done = project.build("-k", status=1)
    assert "src/show.c:4" in done.said
    assert not (project.root / "bin/LICENCE").exists()
    assert not done.ran & COMMANDS
    fill(project.root)
    assert not project.build().ran & COMMANDS
    assert project.read("bin/LICENCE") == "free\n"
