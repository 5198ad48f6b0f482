"""Builds of real sources by real compilers, each in a process of its own.

The `gcc` that a build finds on its PATH is a script that writes its arguments to a log and becomes
the real one: what is not in the log did not run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import sources

HERE = Path(__file__).parent
SCRIPT = HERE / "zstd_build.py"


@dataclass(frozen=True)
class Built:
    """What one run of a build script did."""

    output: str
    calls: tuple[str, ...]  # the arguments of each run of gcc
    returncode: int = 0

    @property
    def compiled(self) -> set[str]:
        """The sources that gcc compiled."""
        return {word for call in self.compiles for word in call.split() if word.endswith(".c")}

    @property
    def compiles(self) -> list[str]:
        return [call for call in self.calls if "-c" in call.split()]


@dataclass(frozen=True)
class World:
    """A checkout, the cache it uses, and a compiler that counts."""

    root: Path
    cache: Path
    bin: Path
    script: tuple[str, ...]

    @property
    def log(self) -> Path:
        return self.root.parent / f"{self.root.name}.log"

    @property
    def environ(self) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
        path = os.pathsep.join((os.fspath(self.bin), environ["PATH"]))
        return {**environ, "PATH": path, "VCACHE_DIR": os.fspath(self.cache), "GCC_LOG": os.fspath(self.log)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A build, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, *self.script, *arguments],
            env=self.environ, cwd=self.root.parent, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str]) -> Built:
        output, _ = process.communicate(timeout=120)
        return Built(output, self.calls(), process.returncode)

    def build(self, *arguments: str) -> Built:
        """A build that must succeed."""
        built = self.attempt(*arguments)
        assert built.returncode == 0, built.output
        return built

    def attempt(self, *arguments: str) -> Built:
        self.log.unlink(missing_ok=True)
        return self.finish(self.start(*arguments))

    def calls(self) -> tuple[str, ...]:
        return tuple(self.log.read_text().splitlines()) if self.log.exists() else ()

    def outputs(self) -> dict[str, tuple[int, bytes]]:
        """Mode and content of everything that was built, but for depfiles and the cache."""
        return {
            path.relative_to(self.root).as_posix(): (path.stat().st_mode, path.read_bytes())
            for path in sorted((self.root / "target").rglob("*"))
            if path.is_file() and path.suffix != ".d" and ".vcache" not in path.parts
        }

    def edit(self, name: str, text: str) -> None:
        """Add lines to the end of a source."""
        with open(self.root / name, "a") as file:
            file.write(text)

    def dependents(self, header: str, *flags: str) -> set[str]:
        """The sources that read a header, as gcc itself says."""
        return {source for source, read in self._rules(flags).items() if header in read}

    def _rules(self, flags: tuple[str, ...]) -> dict[str, set[str]]:
        names = [path.relative_to(self.root).as_posix() for path in self.root.rglob("*.c")]
        text = subprocess.check_output(["gcc", "-MM", *flags, *names], cwd=self.root, text=True)
        rules: dict[str, set[str]] = {}
        for rule in text.replace("\\\n", " ").splitlines():
            source, *read = (os.path.normpath(word) for word in rule.partition(":")[2].split())
            rules[source] = set(read)
        return rules


@pytest.fixture(scope="session")
def counting_gcc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for the front of PATH with the `gcc` that counts."""
    real = shutil.which("gcc")
    assert real is not None, "these tests need gcc: apt-get install gcc"
    directory = tmp_path_factory.mktemp("bin")
    script = directory / "gcc"
    script.write_text(f'#!/bin/sh\necho "$*" >> "$GCC_LOG"\nexec {real} "$@"\n')
    script.chmod(0o755)
    return directory


@dataclass(frozen=True)
class FirstBuild:
    """zstd, built once from nothing: what tests copy instead of compiling again."""

    world: World
    built: Built
    outputs: dict[str, tuple[int, bytes]]


@pytest.fixture(scope="session")
def first_build(tmp_path_factory: pytest.TempPathFactory, counting_gcc: Path) -> FirstBuild:
    world = _zstd_world(tmp_path_factory.mktemp("first"), counting_gcc)
    built = world.build("-O0")
    return FirstBuild(world, built, world.outputs())


@pytest.fixture
def empty(tmp_path: Path, counting_gcc: Path) -> World:
    """The zstd sources, with nothing in the cache."""
    return _zstd_world(tmp_path, counting_gcc)


@pytest.fixture
def warm(tmp_path: Path, first_build: FirstBuild) -> World:
    """A copy of the first build, with its cache."""
    first = first_build.world
    copy_tree(first.cache, tmp_path / "cache")
    return another_checkout(World(first.root, tmp_path / "cache", first.bin, ()), tmp_path / "zstd")


def copy_tree(source: Path, target: Path) -> None:
    """A copy with modes and times, in which holes stay holes: the store's files grow in large steps."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", "--sparse=auto", source, target], check=True)


def another_checkout(world: World, root: Path) -> World:
    """A copy of a checkout in another directory, with the same cache."""
    copy_tree(world.root, root)
    return World(root, world.cache, world.bin, (os.fspath(SCRIPT), os.fspath(root)))


def _zstd_world(directory: Path, bin_directory: Path) -> World:
    root = directory / "zstd"
    root.mkdir()
    sources.unpack_zstd(root)
    shutil.copy(HERE / "roundtrip.c", root)
    return World(root, directory / "cache", bin_directory, (os.fspath(SCRIPT), os.fspath(root)))


@pytest.fixture
def started() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Remembers processes, so that none outlives a failing test."""
    processes: list[subprocess.Popen[str]] = []

    def remember(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        processes.append(process)
        return process

    yield remember
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
