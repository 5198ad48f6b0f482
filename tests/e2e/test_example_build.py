"""The example that the README starts with: a C program built through the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import World, copy_tree

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "docs/examples/calc"
SUMMARY = re.compile(r"(\d+) nodes: (\d+) run, (\d+) from cache, (\d+\.\d\d) s")


def checkout(directory: Path, counting_gcc: Path) -> World:
    root = directory / "calc"
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("target", "__pycache__"))
    return World(root, directory / "cache", counting_gcc, (os.fspath(root / "build.py"),))


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, counting_gcc: Path) -> tuple[World, str]:
    world = checkout(tmp_path_factory.mktemp("example"), counting_gcc)
    return world, world.build().output


@pytest.fixture
def world(tmp_path: Path, built_once: tuple[World, str]) -> World:
    """A copy of the example as it was built once."""
    first = built_once[0]
    copy_tree(first.root.parent, tmp_path / "copy")
    root = tmp_path / "copy/calc"
    return World(root, tmp_path / "copy/cache", first.bin, (os.fspath(root / "build.py"),))


def summary(output: str) -> tuple[int, int, int]:
    match = SUMMARY.fullmatch(output.splitlines()[-1])
    assert match is not None, output
    total, ran, hit = map(int, match.groups()[:3])
    return total, ran, hit


def test_first_run_builds_everything(built_once: tuple[World, str]) -> None:
    """The first run compiles every source without a warning, links, and passes the self-test."""
    world, output = built_once
    sources = sorted(path.name for path in (EXAMPLE / "src").glob("*.c"))
    lines = output.splitlines()
    assert lines[: len(sources)] == [f"compiled src/{name}" for name in sources]
    assert re.fullmatch(r"selftest: \d+ checks, 0 failed, sum [0-9a-f]{8}", lines[-2])
    assert summary(output) == (len(sources) + 3, len(sources) + 3, 0)
    assert (world.root / "target/build/calc").stat().st_mode & 0o111


def test_second_run_is_all_from_cache(world: World, built_once: tuple[World, str]) -> None:
    """A second run starts no compiler, and shows what the first one showed."""
    built = world.build()
    total = summary(built.output)[0]
    assert summary(built.output) == (total, 0, total)
    assert built.calls == ()
    assert built.output.splitlines()[-2] == built_once[1].splitlines()[-2]
    assert "compiled" not in built.output


def test_deleted_outputs_come_back(world: World) -> None:
    """Outputs that were deleted are restored, and the program runs."""
    before = world.outputs()
    shutil.rmtree(world.root / "target/build")
    assert world.build().calls == ()
    assert world.outputs() == before
    answer = subprocess.check_output([world.root / "target/build/calc", "-e", "2 ^ 100"], text=True)
    assert answer == "1267650600228229401496703205376\n"


@pytest.mark.parametrize("header", ["csv.h", "bigint.h", "common.h"])
def test_a_header_compiles_its_dependents(world: World, header: str) -> None:
    """An edit in a header compiles the sources that read it, as gcc -MM tells, and no others."""
    expected = world.dependents(f"include/{header}", "-Iinclude")
    world.edit(f"include/{header}", "\nstruct edited;\n")
    built = world.build()
    assert built.compiled == expected
    # A declaration changes no object: what comes after the compiles is found by content.
    assert summary(built.output)[1] == len(expected)


def test_a_change_is_tested_again(world: World) -> None:
    """A change of what the program prints is archived, linked and tested again."""
    source = world.root / "src/selftest.c"
    source.write_text(source.read_text().replace('"selftest: %d', '"the selftest: %d'))
    built = world.build()
    assert summary(built.output)[1] == 4
    assert "the selftest: " in built.output


def test_a_removed_source_leaves_the_library(world: World) -> None:
    """A source added and removed again leaves no member behind in the archive."""
    extra = world.root / "src/extra.c"
    extra.write_text("int extra(void);\nint extra(void)\n{\n    return 1;\n}\n")
    library = world.root / "target/build/libcalc.a"
    world.build()
    assert "extra.o" in subprocess.check_output(["ar", "t", library], text=True).split()
    extra.unlink()
    assert world.build().calls == ()
    assert "extra.o" not in subprocess.check_output(["ar", "t", library], text=True).split()


def test_warnings_are_shown_on_hits(world: World) -> None:
    """What gcc warned of when a source was compiled is shown again when it comes from the cache."""
    world.edit("src/utf8.c", "\nstatic int unused_one(void)\n{\n    return 1;\n}\n")
    first, second = world.build(), world.build()
    for built in (first, second):
        assert "unused_one" in built.output
    assert first.compiled == {"src/utf8.c"}
    assert second.calls == ()


def test_a_failure_is_told_and_not_kept(world: World) -> None:
    """A source that does not compile ends the build with gcc's message and exit status 1."""
    world.edit("src/csv.c", "\n#error on purpose\n")
    for _ in range(2):
        built = world.attempt()
        assert built.returncode == 1
        assert "on purpose" in built.output
        assert "Traceback" not in built.output


def test_failing_checks_fail_the_build(world: World) -> None:
    """A self-test that fails ends the build, shows what failed, and is not remembered."""
    source = world.root / "src/bigmag.c"
    source.write_text(source.read_text().replace("carry >>= 32;", "carry >>= 31;", 1))
    for _ in range(2):
        built = world.attempt()
        assert built.returncode == 1
        assert "FAILED: " in built.output


def test_a_second_checkout_hits(world: World, tmp_path: Path) -> None:
    """Another checkout with the same cache builds without a compiler."""
    root = tmp_path / "else where/calc"
    shutil.copytree(world.root, root, ignore=shutil.ignore_patterns("target"))
    other = World(root, world.cache, world.bin, (os.fspath(root / "build.py"),))
    built = other.build()
    assert built.calls == ()
    assert summary(built.output)[1] == 0
    assert other.outputs() == world.outputs()


def test_without_a_shared_cache_it_keeps_its_own(world: World) -> None:
    """Without VCACHE_DIR the cache lies in target/, beside the outputs."""
    shutil.rmtree(world.root / "target")
    environ = {name: value for name, value in world.environ.items() if name != "VCACHE_DIR"}
    command = [sys.executable, *world.script]
    for ran in (True, False):
        output = subprocess.check_output(command, env=environ, text=True, cwd="/")
        assert (summary(output)[1] > 0) == ran
    assert (world.root / "target/.vcache/CACHEDIR.TAG").exists()
