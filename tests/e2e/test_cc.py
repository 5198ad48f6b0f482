"""`CC="vcache cc gcc" make`: lua, by its own makefile, and single files for what lua does not have."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import sources
from vcache.cc import launching
from vcache.cc.launching import HELPER

pytestmark = pytest.mark.e2e

VCACHE = f"{sys.executable} -m vcache"
OBJECTS = 34
MAKE = ("make", "-j2", "MYLIBS=-ldl", "CFLAGS=-O0 -g0 -std=c99 -Wall")


@dataclass(frozen=True)
class Bench:
    """A directory with sources, and the cache that its compiles use."""

    root: Path
    cache: Path

    def environ(self, **more: str) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
        return {**plain, "VCACHE_DIR": os.fspath(self.cache), "LC_ALL": "C", **more}

    def run(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=self.root, env=self.environ(**more), text=True, capture_output=True, check=False
        )

    def cc(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run(*VCACHE.split(), "cc", *argv, **more)

    def make(self, compiler: str = f"{VCACHE} cc gcc", **more: str) -> subprocess.CompletedProcess[str]:
        done = self.run(*MAKE, f"CC={compiler}", **more)
        assert done.returncode == 0, done.stderr
        return done

    def clean(self) -> None:
        self.run("make", "clean")
        assert not self.objects()

    def objects(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.root.glob("*.o")}

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}

    def stats(self) -> dict[str, int]:
        """Counts by their titles; titles that only appear with a count are 0 when they do not."""
        lines = self.cc("--stats").stdout.splitlines()
        found = {line.rsplit("  ", 1)[0].strip(): line.rsplit("  ", 1)[1] for line in lines}
        return {title: int(number.split()[0]) for title, number in found.items()}

    def since(self, before: dict[str, int], title: str) -> int:
        return self.stats().get(title, 0) - before.get(title, 0)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """lua's objects as gcc makes them."""
    bench = Bench(tmp_path_factory.mktemp("plain") / "lua", Path("/nonexistent"))
    sources.unpack_lua(bench.root)
    bench.make("gcc")
    return bench.objects()


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """lua, built once through an empty cache."""
    directory = tmp_path_factory.mktemp("first")
    bench = Bench(directory / "lua", directory / "cache")
    sources.unpack_lua(bench.root)
    (bench.root / ".git").mkdir()  # the top of a project
    time.sleep(2.1)  # or signatures are too young to be trusted
    bench.make()
    return bench


@pytest.fixture
def lua(first: Bench, tmp_path: Path) -> Bench:
    """lua in the place where it was built, with a cache of the test's own; built."""
    cache = tmp_path / "cache"
    shutil.copytree(first.cache, cache, symlinks=True)
    return Bench(first.root, cache)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place for single files."""
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    return Bench(root, tmp_path / "cache")


# --- a whole project -------------------------------------------------------------------------


def test_first_build_makes_what_gcc_makes(first, plain):
    """Through an empty cache, each object is bit by bit what gcc makes alone."""
    assert first.objects() == plain
    assert len(plain) == OBJECTS
    assert first.stats()["misses"] == OBJECTS


def test_second_build_is_all_hits(lua, plain):
    """After `make clean` every object comes from the cache, bit by bit."""
    before = lua.stats()
    lua.clean()
    lua.make()
    assert lua.objects() == plain
    assert lua.since(before, "hits") == OBJECTS
    assert lua.since(before, "misses") == 0


def test_hits_by_the_compiled_helper(lua, plain):
    """With the launchers in front of PATH, `make` needs no CC, and hits start no interpreter."""
    launchers = lua.cc("--launchers").stdout.strip()
    assert os.path.realpath(f"{launchers}/gcc") == os.path.realpath(lua.cache / "cc" / HELPER)
    path = f"{launchers}:{os.environ['PATH']}"
    lua.clean()
    lua.make("gcc", PATH=path)  # records are of one place, cache and PATH: this one's are written here
    before = lua.stats()
    lua.clean()
    lua.make("gcc", PATH=path)
    assert lua.objects() == plain
    assert lua.since(before, "by their records") == OBJECTS


def test_a_header_recompiles_its_dependents(lua):
    """After an edit of a header, those compile that read it, and no other."""
    header = lua.root / "lzio.h"
    rules = subprocess.check_output(["gcc", "-MM", *map(str, lua.root.glob("*.c"))], text=True, cwd=lua.root)
    compiled = {path.stem for path in lua.root.glob("*.o")}
    dependents = {
        rule.partition(".o:")[0] for rule in rules.replace("\\\n", " ").splitlines() if f"{header}" in rule
    } & compiled
    assert 3 < len(dependents) < OBJECTS
    before, text = lua.stats(), header.read_text()
    try:
        header.write_text(f"{text}\n#define EDITED 1\n")
        lua.clean()
        lua.make()
        assert lua.since(before, "misses") == len(dependents)
        assert lua.since(before, "hits") == OBJECTS - len(dependents)
    finally:
        header.write_text(text)
    before = lua.stats()
    lua.clean()
    lua.make()  # the edit is taken back: what was compiled for it first is still there
    assert lua.since(before, "hits") == OBJECTS


def test_touching_changes_nothing(lua):
    """New times on all files recompile nothing."""
    for path in lua.root.glob("*.[ch]"):
        os.utime(path)
    before = lua.stats()
    lua.clean()
    lua.make()
    assert lua.since(before, "hits") == OBJECTS


def test_a_second_checkout_hits(lua, plain, tmp_path):
    """The same sources in another directory come from the cache."""
    other = Bench(tmp_path / "elsewhere/lua", lua.cache)
    shutil.copytree(lua.root, other.root, ignore=shutil.ignore_patterns("*.o", "*.a", "lua"))
    before = other.stats()
    other.make()
    assert other.since(before, "hits") == OBJECTS
    assert other.objects() == plain


def test_two_makes_at_once(plain, tmp_path):
    """Two builds of two trees share an empty cache, and both are right."""
    benches = [Bench(tmp_path / name / "lua", tmp_path / "cache") for name in "ab"]
    for bench in benches:
        sources.unpack_lua(bench.root)
    running = [
        subprocess.Popen(
            [*MAKE, f"CC={VCACHE} cc gcc"],
            cwd=bench.root, env=bench.environ(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for bench in benches
    ]  # fmt: skip
    for process, bench in zip(running, benches, strict=True):
        assert process.communicate(timeout=200)[1] is not None
        assert process.returncode == 0
        assert bench.objects() == plain


@pytest.mark.parametrize(
    "more",
    [
        {"VCACHE_DISABLE": "1"},
        {"VCACHE_DIR": "/proc/self/nowhere"},
        {"VCACHE_DIR": "/dev/null"},
        {"VCACHE_MAX_BYTES": "1"},
        {"VCACHE_READ_ONLY": "1"},
        {"VCACHE_COMPRESS": "nonsense"},
    ],
    ids=lambda more: "=".join(*more.items()),
)
def test_without_a_usable_cache_the_build_goes_on(bench, more):
    """A cache that is off, cannot be written, has no room, or is configured wrongly fails no compile."""
    (bench.root / "x.c").write_text("int x(void) { return 1; }\n")
    for _ in range(2):
        done = bench.cc("gcc", "-c", "x.c", **more)
        assert (done.returncode, done.stderr) == (0, "")
        assert (bench.root / "x.o").exists()
        (bench.root / "x.o").unlink()


# --- single compiles -------------------------------------------------------------------------


def same_as_gcc(bench: Bench, *argv: str) -> None:
    """A command says and leaves the same through vcache, twice, as alone."""
    alone = bench.run(*argv)
    made = bench.files()
    for is_first in (True, False):
        done = bench.cc(*argv)
        assert (done.returncode, done.stdout, done.stderr) == (alone.returncode, alone.stdout, alone.stderr)
        if is_first and "--coverage" in argv:  # gcc puts a stamp into it that differs each time
            assert bench.files().keys() == made.keys()
            made = bench.files()
        assert bench.files() == made


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    "flags",
    ["-Wall", "-Wall -MD", "-Wall -MMD -MP", "-MD -MF deps/x.d -MT target", "-g", "-g -gsplit-dwarf", "--coverage",
     "-Wp,-MD,deps/x.d", "-S", "-x c -O2", "-include inc/y.h", "@flags.rsp"],
)  # fmt: skip
def test_all_files_and_words_are_replayed(bench, compiler, flags):
    """Objects, depfiles, what else is made, and warnings are those of the compiler."""
    (bench.root / "inc").mkdir()
    (bench.root / "deps").mkdir()
    (bench.root / "inc/y.h").write_text("#define Y 2\n")
    (bench.root / "flags.rsp").write_text("-O1 -DNAME='\"a b\"'\n")
    (bench.root / "x.c").write_text(
        '#include "y.h"\n#include <stddef.h>\nint f(int a) { int unused; return a + Y; }\n'
    )
    same_as_gcc(
        bench, compiler, *flags.split(), "-Iinc", "-c", "x.c", *(() if "-S" in flags else ("-o", "x.o"))
    )
    assert bench.stats()["misses"] == 1
    assert bench.stats()["hits"] == 1


def test_a_failing_compile_is_passed_on(bench):
    """Its words and exit code are the compiler's, each time."""
    (bench.root / "x.c").write_text("int x = ;\n")
    same_as_gcc(bench, "gcc", "-c", "x.c")
    assert bench.stats()["failed compiles"] == 2


@pytest.mark.parametrize(
    ("text", "flags", "reason"),
    [
        ("const char *t = __TIME__;", "-c", "__TIME__ is in a file"),
        ('__asm__(".incbin \\"data\\"");', "-c", ".incbin is in a file"),
        ("int x;", "-c -save-temps", "it makes other files"),
        ("int main(void) { return 0; }", "-o program", "nothing is compiled"),
        ("int x;", "-E", "nothing is compiled"),
        ("int x;", "-M -c", "it only lists dependencies"),
    ],
    ids=lambda value: re.sub(r"\W+", "-", value),
)
def test_what_is_too_hard_runs_as_it_is(bench, text, flags, reason):
    """What cannot be answered from a cache is done by the compiler, and counted with its reason."""
    bench.cc("gcc", "-c", "none.c")  # there is a cache
    (bench.root / "data").write_text("0123")
    (bench.root / "x.c").write_text(f"{text}\n")
    for _ in range(2):
        assert bench.cc("gcc", *flags.split(), "x.c").returncode == 0
    assert bench.stats()[reason] == 2
    assert bench.stats()["hits"] == 0


def test_a_header_that_appears_earlier_is_seen(bench):
    """A header that is new in front of the one that was found makes a miss."""
    for name in ("first", "second"):
        (bench.root / name).mkdir()
    (bench.root / "second/y.h").write_text("int second_y;\n")
    (bench.root / "x.c").write_text("#include <y.h>\n#if __has_include(<z.h>)\nint z;\n#endif\n")
    argv = ("gcc", "-Ifirst", "-Isecond", "-c", "x.c")
    bench.cc(*argv)
    for appears, symbol in (("first/y.h", "first_y"), ("second/z.h", "z")):
        (bench.root / appears).write_text(f"int {symbol};\n")
        bench.cc(*argv)
        assert f" {symbol}\n" in bench.run("nm", "x.o").stdout
    assert bench.stats()["misses"] == 3


def test_a_precompiled_header_is_left_to_the_compiler(bench):
    """gcc tells nobody what it read for a precompiled header: nothing is kept, before and after one appears."""
    (bench.root / "y.h").write_text("#define Y 1\n")
    (bench.root / "x.c").write_text('#include "y.h"\nint x[Y];\n')
    bench.cc("gcc", "-c", "x.c")
    (bench.root / "y.h").write_text("#define Y 2\n")
    bench.run("gcc", "-c", "y.h")
    for size in (8, 12):
        bench.cc("gcc", "-c", "x.c")
        assert f"{size:016x} B x" in bench.run("nm", "-S", "x.o").stdout
        (bench.root / "y.h").write_text("#define Y 3\n")
        bench.run("gcc", "-c", "y.h")
    assert bench.stats()["hits"] == 0


def test_a_directory_that_is_not_there_is_an_error(bench):
    """A hit makes no directory that the compiler would have missed."""
    (bench.root / "x.c").write_text("int x;\n")
    (bench.root / "o").mkdir()
    bench.cc("gcc", "-c", "x.c", "-o", "o/x.o")
    shutil.rmtree(bench.root / "o")
    done = bench.cc("gcc", "-c", "x.c", "-o", "o/x.o")
    assert done.returncode == 1
    assert not (bench.root / "o").exists()


def test_debug_information_names_its_own_directory(bench, tmp_path):
    """With -g a second checkout compiles anew; with -ffile-prefix-map it hits."""
    other = Bench(tmp_path / "other", bench.cache)
    for each in (bench, other):
        (each.root / ".git").mkdir(parents=True, exist_ok=True)
        (each.root / "x.c").write_text("int x;\n")
        assert each.cc("gcc", "-g", "-c", "x.c").returncode == 0
        assert os.fsencode(each.root) in (each.root / "x.o").read_bytes()
    before = bench.stats()
    assert before["misses"] == 2
    for each in (bench, other):
        each.cc("gcc", "-g", f"-ffile-prefix-map={each.root}=.", "-c", "x.c")
    assert bench.since(before, "misses") == 1
    assert bench.since(before, "hits") == 1


@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_damaged_record_is_a_miss(bench, how):
    """A record that is not whole is passed over; the cache answers."""
    (bench.root / "x.c").write_text("int x;\n")
    bench.cc("gcc", "-c", "x.c")
    (record,) = [path for path in bench.cache.glob("cc/??/*") if path.is_file()]
    data = bytearray(record.read_bytes())
    data[len(data) // 2] ^= 1
    record.write_bytes({"flipped": bytes(data), "cut": bytes(data[:100]), "empty": b""}[how])
    made = (bench.root / "x.o").read_bytes()
    (bench.root / "x.o").unlink()
    assert bench.cc("gcc", "-c", "x.c").returncode == 0
    assert (bench.root / "x.o").read_bytes() == made
    assert bench.stats()["hits"] == 1
    assert bench.stats()["by their records"] == 0


def test_a_removed_cache_is_gone(bench):
    """Who removes the cache's directory removes every short cut with it."""
    (bench.root / "x.c").write_text("int x;\n")
    bench.cc("gcc", "-c", "x.c")
    shutil.rmtree(bench.cache)
    bench.cc("gcc", "-c", "x.c")
    assert bench.stats()["misses"] == 1
    assert bench.stats()["hits"] == 0


def test_ended_by_the_signal_that_ends_the_compiler(bench, tmp_path):
    """Who kills the wrapper kills the compiler, and sees the wrapper end by that signal."""
    (tmp_path / "gcc").write_text("#!/bin/sh\ntouch started\nexec sleep 30\n")
    (tmp_path / "gcc").chmod(0o755)
    (bench.root / "x.c").write_text("int x;\n")
    process = subprocess.Popen(
        [*VCACHE.split(), "cc", os.fspath(tmp_path / "gcc"), "-c", "x.c"], cwd=bench.root, env=bench.environ()
    )
    while not (bench.root / "started").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM


def test_it_says_why(bench):
    """--explain names what changed, the log what became of each command."""
    (bench.root / "x.c").write_text("int x;\n")
    bench.cc("gcc", "-c", "x.c", VCACHE_CC_LOG="log")
    (bench.root / "x.c").write_text("int y;\n")
    assert "changed file x.c" in bench.cc("--explain", "gcc", "-c", "x.c").stderr
    assert "miss, and kept: gcc -c x.c\n" in (bench.root / "log").read_text()


def test_what_is_no_compiler_just_runs(bench):
    """Any other program runs as it is."""
    done = bench.cc("echo", "-c", "x.c")
    assert (done.returncode, done.stdout) == (0, "-c x.c\n")
    assert bench.cc("no-such-program").returncode == 127


def test_a_configure_test_program_runs(bench):
    """Links and questions are the compiler's own, by way of Python and of the helper."""
    (bench.root / "x.c").write_text("int main(void) { return 7; }\n")
    helper = os.fspath(bench.cache / "cc" / HELPER)
    bench.cc("gcc", "-c", "x.c")
    for command in ([*VCACHE.split(), "cc"], [helper]):
        assert bench.run(*command, "gcc", "x.c", "-o", "x").returncode == 0
        assert bench.run("./x").returncode == 7
        assert "gcc" in bench.run(*command, "gcc", "--version").stdout
    assert bench.stats()["nothing is compiled"] == 4


AGREEMENT = """
import os, subprocess, sys
from vcache.cc import lean
home = lean.home()
for argv in (["gcc", "-c", "ü\\n.c"], ["clang", *["x" * 300] * 50], ["gcc", "-march=native", "", " "]):
    path = lean.record_path(home, lean.request(lean.find_compiler(argv[0], home), argv, os.getcwd()))
    told = subprocess.run([sys.argv[1], "--vcache-name", *argv], stdout=subprocess.PIPE, check=True).stdout
    assert told == os.fsencode(path + "\\n"), argv
"""


def test_the_helper_agrees_about_names(bench):
    """The compiled helper and Python give a request the same name, whatever its words."""
    (bench.root / "x.c").write_text("int x;\n")
    bench.cc("gcc", "-c", "x.c")
    helper = os.fspath(bench.cache / "cc" / HELPER)
    done = bench.run(
        sys.executable, "-c", AGREEMENT, helper, CPATH="/ä b", VCACHE_X="1", PWD="/tmp", LANG="C"
    )
    assert done.returncode == 0, done.stderr


# --- the command that is installed -----------------------------------------------------------

FRONT = Path(__file__).parents[2] / "scripts/vcache"


@pytest.fixture
def installed(bench: Bench, tmp_path: Path) -> Path:
    """A directory with the command as a wheel installs it: the script in front, Python behind."""
    place = tmp_path / "bin"
    place.mkdir()
    shutil.copy(FRONT, place / "vcache")
    behind = place / "vcache-py"
    behind.write_text(
        f"#!{sys.executable}\nimport os, sys\nprint(*sys.argv[1:], file=open({str(tmp_path / 'asked')!r}, 'a'))\n"
        "from vcache.__main__ import main\nsys.exit(main())\n"
    )
    behind.chmod(0o755)
    (bench.root / "x.c").write_text("int x;\n")
    return place


def asked(place: Path) -> list[str]:
    """What Python was asked, and not the helper."""
    path = place.parent / "asked"
    return path.read_text().splitlines() if path.exists() else []


def test_the_front_answers_hits_alone(bench, installed):
    """The first compile goes to Python, which makes the helper; later hits never do."""
    time.sleep(2.1)  # the source's signature becomes one to trust
    command = (os.fspath(installed / "vcache"), "cc", "gcc", "-c", "x.c")
    for _ in range(3):
        assert bench.run(*command).returncode == 0
        assert (bench.root / "x.o").exists()
        (bench.root / "x.o").unlink()
    assert asked(installed) == ["cc gcc -c x.c"]
    (bench.root / "x.c").write_text("int y;\n")
    assert bench.run(*command).returncode == 0
    assert asked(installed) == ["cc gcc -c x.c"] * 2  # the helper passed it on


def test_the_front_through_path_and_links(bench, installed, tmp_path):
    """It finds Python beside itself, however it was called; words pass through as they are."""
    (tmp_path / "link").symlink_to(installed / "vcache")
    for words in (
        ["vcache"],
        [os.fspath(tmp_path / "link")],
        [os.path.relpath(installed / "vcache", bench.root)],
    ):
        done = bench.run(*words, "cc", "echo", "a  b", "$c", "", PATH=f"{installed}:{os.environ['PATH']}")
        assert (done.returncode, done.stdout) == (0, "a  b $c \n")
        assert bench.run(*words, "no-such-command", PATH=f"{installed}:{os.environ['PATH']}").returncode == 2


def test_somebody_elses_helper_is_not_run(bench, installed):
    """A helper that belongs to another user is passed over; so is one that cannot be run."""
    helper = bench.cache / "cc" / HELPER
    helper.parent.mkdir(parents=True)
    helper.write_text("#!/bin/sh\necho stolen\n")
    if os.geteuid() == 0:
        helper.chmod(0o755)
        os.chown(helper, 12345, 12345)
    assert bench.run(os.fspath(installed / "vcache"), "cc", "echo", "x").stdout == "x\n"


def test_a_helper_without_its_python_becomes_the_compiler(bench, tmp_path):
    """Where the Python that it was made for is gone, a launcher still compiles."""
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    source = os.path.dirname(os.path.dirname(os.path.dirname(launching.__file__)))
    paths = os.pathsep.join([source, *(path for path in sys.path if path.endswith("site-packages"))])
    made = bench.run(os.fspath(python), "-m", "vcache", "cc", "--launchers", PYTHONPATH=paths)
    assert made.returncode == 0, made.stderr
    shutil.rmtree(tmp_path / "venv")
    (bench.root / "x.c").write_text("int x;\n")
    assert bench.run(f"{made.stdout.strip()}/gcc", "-c", "x.c").returncode == 0
    assert (bench.root / "x.o").exists()


def test_a_header_that_changes_meanwhile_is_not_kept(bench, tmp_path):
    """Nobody knows which state of it the compiler read."""
    (tmp_path / "gcc").write_text('#!/bin/sh\ngcc "$@"; status=$?\necho "int late;" >> y.h\nexit $status\n')
    (tmp_path / "gcc").chmod(0o755)
    (bench.root / "y.h").write_text("int y;\n")
    (bench.root / "x.c").write_text('#include "y.h"\n')
    assert bench.cc(os.fspath(tmp_path / "gcc"), "-c", "x.c").returncode == 0
    assert bench.stats()["not kept"] == 1


def test_cxx_headers_and_native_code(bench):
    """A C++ file with system headers, and code for this very processor, are hits the second time."""
    (bench.root / "x.cc").write_text("#include <vector>\nint f(std::vector<int> &v) { return v.at(0); }\n")
    for compiler in ("g++", "clang++"):
        for _ in range(2):
            assert bench.cc(compiler, "-O1", "-march=native", "-MMD", "-c", "x.cc").returncode == 0
    assert (bench.stats()["misses"], bench.stats()["hits"]) == (2, 2)
