"""Compilers: `vcache cc` against ccache and sccache, warm and cold, on lua by its own makefile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.measure import Scale
from benchmarks.result import Compare, Figure, Row, Spread
from tests.e2e.sources import unpack_lua

TITLE = "compilers"

_FRONT = Path(__file__).parents[1] / "scripts/vcache"
_SETTLED_S = 2.1  # younger signatures are trusted by nobody
_PLAIN = "gcc alone"
_OURS, _CCACHE, _SCCACHE = "vcache cc", "ccache", "sccache"
_BY_PYTHON = "vcache cc, by Python"


def run(scale: Scale, directory: Path) -> list[Row]:
    """Hits of one compile, and whole builds, taking turns."""
    peers = _compilers(directory)
    environ = _environ(directory)
    with _sccache_server(environ):
        builds = {
            name: _Build(directory / name.replace(" ", "-"), words, environ) for name, words in peers.items()
        }
        sleep(_SETTLED_S)
        cold = {name: _figure(name, [build.make(scale)]) for name, build in builds.items()}
        compiles = {name: build.hit for name, build in builds.items() if name != _PLAIN}
        hits = _turns(compiles, scale.pick(100, 2))
        cached = {name: partial(build.make, scale) for name, build in builds.items() if name != _PLAIN}
        warm = _turns(cached, scale.pick(15, 1))
    what = "make -j2 of lua"
    return [
        Row("a hit", Compare.WITHIN, "ms", hits[_OURS], hits[_CCACHE], 3.0),
        Row("a hit", Compare.FASTER, "ms", hits[_OURS], hits[_SCCACHE], 1.0),
        Row("a hit without the compiled helper", Compare.WITHIN, "ms", hits[_BY_PYTHON], hits[_CCACHE],
            note="before the first miss, or where the helper cannot be compiled"),
        Row(f"{what}, warm", Compare.WITHIN, "ms", warm[_OURS], warm[_CCACHE], 3.0),
        Row(f"{what}, warm", Compare.FASTER, "ms", warm[_OURS], warm[_SCCACHE], 1.0),
        Row(f"{what}, cold", Compare.WITHIN, "ms", cold[_OURS], cold[_PLAIN], note="one build, its cache empty"),
        Row(f"{what}, cold", Compare.WITHIN, "ms", cold[_CCACHE], cold[_PLAIN], note="ccache"),
    ]  # fmt: skip


def _compilers(directory: Path) -> dict[str, list[str]]:
    """By name, what CC is; `vcache` as it is installed: the script in front, Python behind."""
    for tool in (_CCACHE, _SCCACHE, "gcc", "make"):
        if shutil.which(tool) is None:
            raise SystemExit(f"this benchmark needs {tool}: apt-get install {tool}")
    place = directory / "bin"
    place.mkdir()
    shutil.copy(_FRONT, place / "vcache")
    python = place / "vcache-py"
    python.write_text(f"#!{sys.executable}\nimport sys\nfrom vcache.__main__ import main\nsys.exit(main())\n")
    python.chmod(0o755)
    return {
        _PLAIN: ["gcc"],
        _OURS: [os.fspath(place / "vcache"), "cc", "gcc"],
        _BY_PYTHON: [os.fspath(python), "cc", "gcc"],
        _CCACHE: [_CCACHE, "gcc"],
        _SCCACHE: [_SCCACHE, "gcc"],
    }


@contextmanager
def _sccache_server(environ: Mapping[str, str]) -> Iterator[None]:
    """The resident helper of sccache, as a child of ours, so that it ends with the benchmark."""
    variables = {**environ, "SCCACHE_START_SERVER": "1", "SCCACHE_NO_DAEMON": "1"}
    with subprocess.Popen(
        [_SCCACHE], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            while not Path(environ["SCCACHE_SERVER_UDS"]).exists():
                if server.poll() is not None:
                    raise SystemExit(f"sccache's server ended with {server.returncode}")
                sleep(0.01)
            yield
        finally:
            server.terminate()


def _environ(directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    caches = {name: os.fspath(directory / name) for name in ("VCACHE_DIR", "CCACHE_DIR", "SCCACHE_DIR")}
    return kept | caches | {"SCCACHE_SERVER_UDS": os.fspath(directory / "sccache.socket"), "LC_ALL": "C"}


class _Build:
    """A checkout of lua, built by one compiler."""

    def __init__(self, root: Path, words: list[str], environ: Mapping[str, str]) -> None:
        self._root, self._words, self._environ = root, words, environ
        unpack_lua(root)

    def make(self, scale: Scale) -> float:
        """How many ms a build takes whose objects are gone."""
        self._run(["make", "clean"])
        goals = ["lzio.o", "lctype.o"] if scale.is_smoke else []
        return self._timed(
            ["make", "-j2", f"CC={' '.join(self._words)}", "MYLIBS=-ldl", "MYCFLAGS=-std=c99", *goals]
        )

    def hit(self) -> float:
        """How many ms one compile takes that the makefile has done before."""
        flags = ["-Wall", "-O2", "-std=c99", "-fno-stack-protector", "-fno-common", "-march=native"]
        return self._timed([*self._words, *flags, "-c", "-o", "lzio.o", "lzio.c"])

    def _timed(self, command: list[str]) -> float:
        started = perf_counter()
        self._run(command)
        return (perf_counter() - started) * 1e3

    def _run(self, command: list[str]) -> None:
        subprocess.run(command, cwd=self._root, env=self._environ, check=True, capture_output=True)


def _turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Figure]:
    names, taken = list(sides), {name: list[float]() for name in sides}
    for number in range(-1, rounds):  # one to warm up
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            took_ms = sides[name]()
            if number >= 0:
                taken[name].append(took_ms)
    return {name: _figure(name, each) for name, each in taken.items()}


def _figure(name: str, taken: list[float]) -> Figure:
    return Figure(name, tuple(taken), Spread.of(taken))
