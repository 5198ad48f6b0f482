"""`vcache-ninja` in the place of ninja: the same lines and exit codes, under CMake and Meson too."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e]

BIN = Path(sys.executable).parent
SETTLED_S = 0.05  # longer than a tick of the clock that stamps files

SHOWN = """\
rule touch
  command = touch $out
  description = MAKE $out
rule say
  command = echo "of $out"; echo "to err" >&2; touch $out
rule colour
  command = printf '\\033[1;31mred\\033[0m \\033[Kplain\\n'; touch $out
  description = A rather long description of the colourful step that is being done for $out
rule fail
  command = echo "before"; exit $status
  description = FAILING $out
rule kill
  command = kill -$signal $$$$
rule con
  command = echo on the console
  pool = console
  description = CON $out
rule never
  command = true
rule silent
  command = touch $out
  description =
build a: touch
build b: say a
build c: colour b
build d: silent c
build e: never
build bad: fail
  status = 3
build worse: fail || bad
  status = 5
build above: touch bad
build dead: kill
  signal = KILL
build stopped: kill
  signal = INT
build con: con
build con2: con a
build missing: touch nowhere
build many | more: fail
  status = 1
build phon: phony a b
default d
"""

ALIKE = [
    ("", ""),
    ("-n", ""),
    ("-v", ""),
    ("--quiet", ""),
    ("-j1 d phon", ""),
    ("-C . a", ""),
    ("--quiet -C . a", ""),
    ("e", "e"),
    ("bad", ""),
    ("-j1 -k0 bad a b", ""),
    ("-j1 -k2 bad many", ""),
    ("-k0 above worse", ""),
    ("--quiet bad", ""),
    ("-v bad", ""),
    ("dead", ""),
    ("stopped", ""),
    ("con", ""),
    ("-n con", ""),
    ("con2", ""),
    ("--quiet con2", ""),
    ("-v con", ""),
    ("many", ""),
    ("missing", ""),
    ("nowhere", ""),
    ("a", "a"),
    ("a b phon", "phon"),
    ("nope-nothing-like-it", ""),
    ("clean", ""),
    ("help", ""),
    ("a^", "a"),
    ("d^", ""),
    ("./a ../t/a", ""),
    ("-j0 -l 100 a", ""),
    ("-d keeprsp -d keepdepfile a", ""),
    ("-d bogus", ""),
]


@dataclass
class Desk:
    """A directory for both programs, each with a tree of its own of the same name."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        """`vcache-ninja`, as a script that needs no installation."""
        path = self.home / "vcache-ninja"
        if not path.exists():
            path.write_text(f"#!{sys.executable}\nfrom vcache.__main__ import ninja\nninja()\n")
            path.chmod(0o755)
        return os.fspath(path)

    @property
    def full_environ(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("VCACHE_", "NINJA")) and name not in {"MAKEFLAGS", "CLICOLOR_FORCE"}
        }
        path = os.pathsep.join((os.fspath(BIN), kept["PATH"]))
        cache = os.fspath(self.home / "cache")
        return {**kept, "PATH": path, "VCACHE_DIR": cache, "LC_ALL": "C", "TERM": "xterm", **self.environ}

    def tree(self, tool: str, text: str) -> Path:
        place = self.home / tool / "t"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "build.ninja").write_text(text)
        return place

    def run(self, tool: str, place: Path, *words: str) -> tuple[int, str, str]:
        program = self.program if tool == "ours" else "ninja"
        done = subprocess.run(
            [program, *words], cwd=place, env=self.full_environ, capture_output=True, check=False, timeout=60
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def ours(self, place: Path, *words: str) -> str:
        """What we print where all must go well."""
        status, out, err = self.run("ours", place, *words)
        assert status == 0, out + err
        return out

    def on_terminal(self, tool: str, place: Path, *words: str, columns: int = 40) -> tuple[int, str]:
        program = self.program if tool == "ours" else "ninja"
        terminal, side = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [program, *words], cwd=place, env=self.full_environ, stdin=side, stdout=side, stderr=side
        )
        os.close(side)
        told = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # EIO: nobody holds the other side any more
                break
            if not part:
                break
            told += part
        os.close(terminal)
        return process.wait(timeout=30), told.decode()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(("words", "before"), ALIKE)
def test_lines_and_statuses_are_those_of_ninja(words: str, before: str, desk: Desk):
    """The same command line prints the same on both streams and ends with the same status."""
    said = []
    for tool in ("ours", "theirs"):
        place = desk.tree(tool, SHOWN)
        if before:
            desk.run(tool, place, *before.split())
        said.append(desk.run(tool, place, *words.split()))
    assert said[0] == said[1]


def test_results_from_the_cache_print_the_same(desk: Desk):
    """In a second tree nothing runs, and every line and all output is there as if it had."""
    first = desk.run("ours", desk.tree("ours", SHOWN), "-j1")
    second = desk.run("ours", desk.tree("ours", SHOWN), "-j1")
    assert first == second
    assert "of b\n" in first[1]
    desk.environ["VCACHE_NINJA_SUMMARY"] = "1"
    assert "vcache: 4 from the cache, 0 run" in desk.run("ours", desk.tree("ours", SHOWN))[1]


@pytest.mark.parametrize("words", ["-j1", "-n", "bad", "con", "-v b", "--quiet con2", "-j1 con2", "-C . a"])
def test_terminals_show_what_ninja_shows(words: str, desk: Desk):
    """On a terminal lines are written over and shortened at the same places."""
    desk.environ["VCACHE_NINJA_SUMMARY"] = "0"
    said = [desk.on_terminal(tool, desk.tree(tool, SHOWN), *words.split()) for tool in ("ours", "theirs")]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "environ",
    [
        {"NINJA_STATUS": "%s/%t/%r/%u/%f/%p%% "},
        {"NINJA_STATUS": ""},
        {"CLICOLOR_FORCE": "1"},
        {"CLICOLOR_FORCE": "0"},
        {"NINJA_STATUS": "%q"},
    ],
)
def test_the_environment_means_what_it_means_to_ninja(environ: Mapping[str, str], desk: Desk):
    """NINJA_STATUS and CLICOLOR_FORCE are heeded."""
    desk.environ.update(environ)
    for words in ("c", "bad"):
        said = [desk.run(tool, desk.tree(tool, SHOWN), "-j1", words) for tool in ("ours", "theirs")]
        assert said[0] == said[1]


def test_a_terminal_is_told_what_the_cache_did(desk: Desk):
    """People get one more line, programs that read a pipe do not."""
    desk.on_terminal("ours", desk.tree("ours", SHOWN), "a", "b")
    _, told = desk.on_terminal("ours", desk.tree("ours", SHOWN), "a", "b")
    assert "vcache: 2 from the cache, 0 run" in told


def test_explanations_and_statistics(desk: Desk):
    """-d explain says why on standard error; -d stats ends with a table."""
    place = desk.tree("ours", SHOWN)
    _, out, err = desk.run("ours", place, "-d", "explain", "-d", "stats", "a")
    assert err.startswith("ninja explain: ")
    assert re.search(r"^metric +\tcount +\tavg \(us\) +\ttotal \(ms\)$", out, re.MULTILINE)
    assert re.search(r"^command *\t1 ", out, re.MULTILINE)


MAKES_ITSELF = """\
rule make
  command = {command}
  generator = 1
rule touch
  command = touch $out
build build.ninja: make template
build round: phony round
build a: touch
"""


@pytest.mark.parametrize("command", ["false", "cp template build.ninja", "echo no; exit 7"])
def test_a_manifest_makes_itself_first(command: str, desk: Desk):
    """It is made anew before the build, read again, and a failure to make it is an error."""
    said = []
    for tool in ("ours", "theirs"):
        place = desk.tree(tool, MAKES_ITSELF.format(command=command))
        changed = MAKES_ITSELF.format(command="cp template build.ninja") + "build b: touch\n"
        (place / "template").write_text(changed)
        os.utime(place / "build.ninja", (1, 1))
        said.append(desk.run(tool, place, "-j1"))
        said.append(desk.run(tool, place, "-j1"))
        assert (place / "build.ninja").exists()
        assert (place / "b").exists() is command.startswith("cp")

    def told(answer: tuple[int, str, str]) -> tuple[int, str]:
        # ninja goes on counting from the manifest's own build: its total is one too high.
        return answer[0], re.sub(r"/\d+\]", "/n]", answer[1])

    assert [told(each) for each in said[:2]] == [told(each) for each in said[2:]]
    # ninja repeats its warnings in each run and after each reading.
    assert "ninja: warning: phony target 'round' names itself" in said[0][2]
    assert said[0][2].splitlines()[-1] == said[2][2].splitlines()[-1]


def test_an_interrupt_stops_the_build(desk: Desk):
    """Ctrl-C ends the commands and the build, with ninja's words and status."""
    text = "rule slow\n  command = touch began; sleep 30; touch $out\nbuild slow: slow\n"
    place = desk.tree("ours", text)
    process = subprocess.Popen(
        [desk.program], cwd=place, env=desk.full_environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 30
        while not (place / "began").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert out.decode().endswith("ninja: build stopped: interrupted by user.\n")
    assert not (place / "slow").exists()


HEADERS = """\
rule cc
  command = gcc -c $in -o $out -MMD -MF $out.d
  depfile = $out.d
  deps = gcc
rule touch
  command = touch $out
build gen.h: touch
build sure.h: touch
build a.o: cc a.c
build b.o: cc b.c || sure.h
"""


def header_tree(desk: Desk, tool: str) -> Path:
    place = desk.tree(tool, HEADERS)
    (place / "a.c").write_text('#include "gen.h"\n#include "own.h"\n')
    (place / "b.c").write_text('#include "sure.h"\n')
    (place / "own.h").write_text("int own;\n")
    desk.run(tool, place, "gen.h", "sure.h")
    desk.run(tool, place)
    return place


def test_what_runs_discovered_is_told_as_ninja_tells_it(desk: Desk):
    """-t deps lists the headers of each object, -t missingdeps those that nobody declared."""
    ours, theirs = header_tree(desk, "ours"), header_tree(desk, "theirs")

    def blocks(text: str) -> list[list[str]]:
        plain = re.sub(r"deps mtime \d+", "deps mtime", text)
        return sorted(
            [lines[0], *sorted(lines[1:])] for each in plain.split("\n\n") if (lines := each.splitlines())
        )

    assert blocks(desk.ours(ours, "-t", "deps")) == blocks(desk.run("theirs", theirs, "-t", "deps")[1])
    assert blocks(desk.ours(ours, "-t", "deps", "b.o")) == blocks(
        desk.run("theirs", theirs, "-t", "deps", "b.o")[1]
    )
    assert desk.run("ours", ours, "-t", "missingdeps") == desk.run("theirs", theirs, "-t", "missingdeps")
    assert desk.run("ours", ours, "-t", "missingdeps")[0] == 3


def test_dead_outputs_are_removed(desk: Desk):
    """What the manifest made once and does not name any more goes; sources and all else stay."""
    said = []
    for tool in ("ours", "theirs"):
        place = header_tree(desk, tool)
        text = HEADERS.replace("build b.o: cc b.c || sure.h\n", "").replace("build sure.h: touch\n", "")
        (place / "build.ninja").write_text(text)
        said.append(desk.run(tool, place, "-t", "cleandead"))
        assert not (place / "b.o").exists()
        assert not (place / "sure.h").exists()
        assert (place / "a.o").exists()
        assert (place / "b.c").exists()
    assert said[0] == said[1]


# --- generators ----------------------------------------------------------------------------------

CMAKE = """\
cmake_minimum_required(VERSION 3.20)
project(demo C)
configure_file(config.h.in config.h)
add_custom_command(OUTPUT gen.c COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/gen.txt gen.c
                   DEPENDS gen.txt)
add_library(util STATIC util.c gen.c)
target_include_directories(util PUBLIC ${CMAKE_CURRENT_BINARY_DIR})
add_executable(app main.c)
target_link_libraries(app util)
enable_testing()
add_test(NAME runs COMMAND app)
"""


def settle() -> None:
    """Let files be older than a tick of the clock that stamps them."""
    time.sleep(SETTLED_S)


@dataclass
class Project:
    """A small C project that CMake or Meson configures."""

    desk: Desk
    root: Path

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words, cwd=self.root, env=self.desk.full_environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def project(desk: Desk) -> Project:
    root = desk.home / "project"
    root.mkdir()
    (root / "config.h.in").write_text("#define ANSWER 42\n")
    (root / "config.h").write_text("#define ANSWER 42\n")
    (root / "gen.txt").write_text("int gen(void) { return 1; }\n")
    (root / "util.h").write_text("int util(void);\nint gen(void);\n")
    (root / "util.c").write_text(
        '#include "config.h"\n#include "util.h"\nint util(void) { return ANSWER; }\n'
    )
    (root / "main.c").write_text('#include "util.h"\nint main(void) { return util() + gen() != 43; }\n')
    settle()
    return Project(desk, root)


def steps(output: str) -> list[str]:
    """The status lines, without their numbers."""
    return sorted(re.findall(r"^\[\d+/\d+\] (.*)$", output, re.MULTILINE))


def test_cmake_builds_with_it(project: Project):
    """Configure, build, edit, clean, rebuild from the cache, test, reconfigure."""
    (project.root / "CMakeLists.txt").write_text(CMAKE)
    configure = ("cmake", "-S", ".", "-B", "b", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={project.desk.program}")
    build = ("cmake", "--build", "b")
    project.run(*configure)
    first = project.run(*build)
    assert len(steps(first)) == 6
    assert first.rstrip().splitlines()[-1].startswith("[6/6] Linking C executable app")
    assert project.run(*build) == "ninja: no work to do.\n"
    assert "100% tests passed" in project.run(*build, "--target", "test")

    (project.root / "main.c").touch()
    assert project.run(*build) == "ninja: no work to do.\n"
    settle()
    (project.root / "util.h").write_text("int util(void);\nint gen(void);\nint more(void);\n")
    edited = steps(project.run(*build))
    assert "Building C object CMakeFiles/util.dir/util.c.o" in edited
    assert "Generating gen.c" not in edited

    project.desk.environ["VCACHE_NINJA_SUMMARY"] = "1"
    assert "Cleaning" in project.run(*build, "--target", "clean")
    assert not (project.root / "b" / "app").exists()
    assert "vcache: 6 from the cache, 0 run" in project.run(*build)
    shutil.rmtree(project.root / "b")
    project.run(*configure)
    rebuilt = project.run(*build)
    assert "vcache: 6 from the cache, 0 run" in rebuilt
    assert steps(rebuilt) == steps(first)
    assert subprocess.run([project.root / "b" / "app"], check=False).returncode == 0


def test_cmake_is_run_again_when_its_files_change(project: Project):
    """An edited CMakeLists.txt makes build.ninja anew; one that CMake has seen since does not."""
    lists = project.root / "CMakeLists.txt"
    lists.write_text(CMAKE)
    settle()
    configure = ("cmake", "-S", ".", "-B", "b", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={project.desk.program}")
    build = ("cmake", "--build", "b")
    project.run(*configure)
    assert "Re-running CMake" not in project.run(*build)
    settle()
    lists.write_text(CMAKE + "add_executable(other main.c)\ntarget_link_libraries(other util)\n")
    again = project.run(*build)
    assert "Re-running CMake" in again
    assert "Linking C executable other" in again
    assert project.run(*build) == "ninja: no work to do.\n"
    settle()
    lists.write_text(CMAKE)
    project.run(*configure)
    assert project.run(*build) == "ninja: no work to do.\n"


def test_the_compilation_database_is_that_of_ninja(project: Project):
    """-t compdb of a real project is what ninja prints."""
    (project.root / "CMakeLists.txt").write_text(CMAKE)
    project.run("cmake", "-S", ".", "-B", "b", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={project.desk.program}")
    for words in (
        ("-t", "compdb"),
        ("-t", "compdb-targets", "app"),
        ("-t", "inputs"),
        ("-t", "targets", "all"),
    ):
        ours = project.desk.run("ours", project.root / "b", *words)
        assert ours == project.desk.run("theirs", project.root / "b", *words)
        if words[1] == "compdb":
            assert {"directory", "command", "file", "output"} == set(json.loads(ours[1])[0])


MESON = """\
project('demo', 'c')
gen = custom_target('gen', input: 'gen.txt', output: 'gen.c', command: ['cp', '@INPUT@', '@OUTPUT@'])
util = static_library('util', 'util.c', gen)
app = executable('app', 'main.c', link_with: util)
test('runs', app)
"""


def test_meson_builds_with_it(project: Project):
    """Set up, compile, test, reconfigure, and again from the cache."""
    (project.root / "meson.build").write_text(MESON)
    project.desk.environ["NINJA"] = project.desk.program
    project.run("meson", "setup", "b")
    first = project.run("meson", "compile", "-C", "b")
    assert len(steps(first)) == 6
    assert "no work to do" in project.run("meson", "compile", "-C", "b")
    assert re.search(r"^Ok: +1", project.run("meson", "test", "-C", "b"), re.MULTILINE)
    settle()
    (project.root / "meson.build").write_text(MESON + "executable('other', 'main.c', link_with: util)\n")
    assert "Linking target other" in project.run("meson", "compile", "-C", "b")
    shutil.rmtree(project.root / "b")
    (project.root / "meson.build").write_text(MESON)
    project.run("meson", "setup", "b")
    project.desk.environ["VCACHE_NINJA_SUMMARY"] = "1"
    rebuilt = project.run("meson", "compile", "-C", "b")
    assert steps(rebuilt) == steps(first)
    assert "vcache: 6 from the cache, 0 run" in rebuilt
