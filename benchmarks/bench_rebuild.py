"""Something to do: `vcache build` after an edit, from a warm cache, and from nothing.

One changed file: an edit of one source and the build that follows it, over the made trees of
`graphs`, whose compile costs little; what vcache takes longer than ninja is its own.

A cached step: a generated C project of many sources that include ten headers each. A rebuild of all
objects less a rebuild of one, over the number of steps between them, is what one more step costs a
build: judged, looked up, restored, told and remembered, without what a run costs in any case. The
peer is a whole process of ccache that finds the same compile, as ninja would start one for each.

The CMake project is c-blosc2, built as a shared library with the codecs in it. Each rebuild is of a
build directory that was removed and is put back as CMake had just configured it: configuring is the
same on both sides. ccache is its compiler launcher, as CMake offers it, and ninja runs it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter

from benchmarks.commands import environ_of, installed, run_ms, tool, turns
from benchmarks.graphs import age, remember, write_sources
from benchmarks.measure import Scale
from benchmarks.result import Compare, Figure, Row, Spread
from tests.e2e.sources import unpack_blosc2

TITLE = "builds: something to do"

_OURS = "vcache build"
_HEADERS = 10
_LEFT_OUT = ("TESTS", "BENCHMARKS", "EXAMPLES", "FUZZERS", "STATIC")


def run(scale: Scale, directory: Path) -> list[Row]:
    """Edits, hits, and real builds."""
    vcache = installed(directory / "bin")
    environ = environ_of(directory)
    return [
        *_edits(scale, directory, vcache, environ),
        *_hits(scale, directory / "hits", vcache, environ),
        *_real(scale, directory / "real", vcache, environ),
    ]


# -- one changed file --------------------------------------------------------------------------------


def _edits(scale: Scale, directory: Path, vcache: str, environ: Mapping[str, str]) -> list[Row]:
    sizes = {number: scale.pick(number, number // 1000) for number in (1_000, 10_000)}
    sides = {_OURS: [vcache, "build", "-f", "build.ninja"], "ninja": [tool("ninja")]}
    places = {(number, name): directory / f"{name}-{number}" for number in sizes for name in sides}
    for (number, _), place in places.items():
        write_sources(place, sizes[number])
        run_ms(sides["ninja"], place, environ)
    for place in places.values():
        age(place)
    rows = []
    for number, size in sizes.items():
        remember(places[number, _OURS], size)
        times = turns(
            {
                name: partial(_edited, command, places[number, name], environ, count())
                for name, command in sides.items()
            },
            scale.pick(20, 1),
        )
        what = f"one file changed, of {number:,}"
        rows.append(Row(what, Compare.PLUS, "ms", times[_OURS], times["ninja"], 60.0))
    return rows


def _edited(command: Sequence[str], place: Path, environ: Mapping[str, str], numbers: count[int]) -> float:
    number = next(numbers)
    (place / f"src/f{number % 7}.c").write_text(f"int edited{number};\n")
    return run_ms(command, place, environ)


# -- cached steps ------------------------------------------------------------------------------------


def _hits(scale: Scale, place: Path, vcache: str, environ: Mapping[str, str]) -> list[Row]:
    steps = scale.pick(400, 3)
    write_project(place, steps)
    build = [vcache, "build", "-f", "build.ninja"]
    flags = _flags("0")
    run_ms(build, place, environ)
    compiles = [[tool("ccache"), "gcc", *_flags(str(number))] for number in range(scale.pick(100, 2))]
    for command in compiles:
        run_ms(command, place, environ)
    age(place)
    for command in (build, *compiles, [tool("ccache"), "gcc", *flags]):
        run_ms(command, place, environ)

    def ours() -> float:
        return (rebuilt(steps) - rebuilt(1)) / (steps - 1)

    def rebuilt(most: int) -> float:
        for number in range(most):
            (place / f"obj/f{number}.o").unlink()
        return run_ms(build, place, environ)

    def fresh() -> float:
        """As in a new checkout: nothing is remembered of this tree but by the cache."""
        shutil.rmtree(place / "obj")
        shutil.rmtree(place / ".vcache")
        return run_ms(build, place, environ) / steps

    rounds = scale.pick(15, 1)
    times = turns({_OURS: ours, "ccache": partial(_each, compiles, place, environ)}, rounds)
    new = turns({_OURS: fresh, "ccache": partial(_each, compiles, place, environ)}, rounds)
    return [
        Row("a cached compile step in a build", Compare.FASTER, "ms", times[_OURS], times["ccache"], 20.0),
        Row("the same where nothing is remembered", Compare.FASTER, "ms", new[_OURS], new["ccache"],
            note=f"a whole build of {steps} steps, its start and its end included, over their number"),
    ]  # fmt: skip


def write_project(place: Path, steps: int, *, launcher: str = "") -> None:
    """A C project of many sources that include ten headers each, built by ninja.

    Args:
        launcher: what stands before the compiler.
    """
    for name in ("src", "include", "obj"):
        (place / name).mkdir(parents=True)
    for number in range(_HEADERS):
        (place / f"include/h{number}.h").write_text(f"#define H{number} {number}\nint of_h{number}(int);\n")
    includes = "".join(f'#include "h{number}.h"\n' for number in range(_HEADERS))
    lines = [
        f"rule cc\n  command = {launcher}gcc {' '.join(_flags('$name'))}\n  depfile = $out.d\n  deps = gcc\n",
    ]
    for number in range(steps):
        (place / f"src/f{number}.c").write_text(f"{includes}int f{number}(void) {{ return {number}; }}\n")
        lines.append(f"build obj/f{number}.o: cc src/f{number}.c\n  name = {number}\n")
    (place / "build.ninja").write_text("".join(lines))


def _flags(name: str) -> list[str]:
    out = f"obj/f{name}.o"
    return ["-O1", "-Wall", "-Iinclude", "-MMD", "-MF", f"{out}.d", "-c", f"src/f{name}.c", "-o", out]


def _each(commands: Sequence[list[str]], place: Path, environ: Mapping[str, str]) -> float:
    """How many ms one of some commands takes."""
    null = os.open(os.devnull, os.O_WRONLY)
    here = os.getcwd()
    os.chdir(place)
    try:
        started = perf_counter()
        for command in commands:
            actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
            pid = os.posix_spawn(command[0], command, environ, file_actions=actions)
            if os.waitpid(pid, 0)[1]:
                raise RuntimeError(f"{command} failed")
        return (perf_counter() - started) * 1e3 / len(commands)
    finally:
        os.chdir(here)
        os.close(null)


# -- a real project ----------------------------------------------------------------------------------


def _real(scale: Scale, directory: Path, vcache: str, environ: Mapping[str, str]) -> list[Row]:
    """c-blosc2 from nothing, and after `rm -rf build`."""
    source = directory / "src"
    (_write_tiny if scale.is_smoke else unpack_blosc2)(source)
    build, ninja, by_ccache = [vcache, "build", "-f", "build.ninja"], [tool("ninja")], "ninja with ccache"
    checkouts = {
        _OURS: _Checkout(source, directory / "ours", build, environ),
        "ninja": _Checkout(source, directory / "alone", ninja, environ),
        by_ccache: _Checkout(source, directory / "ccache", ninja, environ, launcher="ccache"),
    }
    cold = {name: _once(name, checkout.build()) for name, checkout in checkouts.items()}
    warm = turns({name: checkouts[name].build for name in (_OURS, by_ccache)}, scale.pick(9, 1))
    bound = 1.05 + 1000 / cold["ninja"].value
    again, new = "c-blosc2 after rm -rf build, warm", "c-blosc2 from nothing"
    return [
        Row(again, Compare.FASTER, "ms", warm[_OURS], warm[by_ccache], 1.0),
        Row(new, Compare.WITHIN, "ms", cold[_OURS], cold["ninja"], bound,
            note="one build; the bound is 5 % and a second"),
        Row(f"{new}: ccache", Compare.WITHIN, "ms", cold[by_ccache], cold["ninja"], note="one build"),
    ]  # fmt: skip


def _write_tiny(source: Path) -> None:
    """A project of one file, to see that all of it runs."""
    source.mkdir(parents=True)
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(tiny C)\nadd_library(tiny SHARED tiny.c)\n"
    )
    (source / "tiny.c").write_text("int tiny(void) { return 1; }\n")


class _Checkout:
    """A configured build directory that can be had again."""

    def __init__(
        self, source: Path, place: Path, command: list[str], environ: Mapping[str, str], *, launcher: str = ""
    ) -> None:
        self._place, self._kept = place, place.with_suffix(".kept")
        self._command, self._environ = command, environ
        words = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *(f"-DBUILD_{name}=OFF" for name in _LEFT_OUT)]
        if launcher:
            words.append(f"-DCMAKE_C_COMPILER_LAUNCHER={tool(launcher)}")
        run_ms([tool("cmake"), *words, "-S", os.fspath(source), "-B", os.fspath(place)], source, environ)
        shutil.copytree(place, self._kept, symlinks=True)

    def build(self) -> float:
        """How many ms a build takes of which nothing is there but its configuration."""
        shutil.rmtree(self._place)
        shutil.copytree(self._kept, self._place, symlinks=True)
        return run_ms(self._command, self._place, self._environ)


def _once(name: str, took_ms: float) -> Figure:
    return Figure(name, (took_ms,), Spread.of([took_ms]))
