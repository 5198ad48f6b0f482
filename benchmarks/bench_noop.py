"""Nothing to do: `vcache build` against ninja, doit and SCons, whole processes over made trees.

Each target is like a compile of one source that reads ten headers. ninja's log is that of a real run,
of a command that costs little. vcache's memory of the largest trees is written by what writes it at
the end of a run (`graphs.remember`): running 100,000 commands for it would show nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.commands import environ_of, installed, peak_mb, run_ms, tool, turns
from benchmarks.graphs import age, remember, write_sources
from benchmarks.measure import Scale
from benchmarks.result import Compare, Figure, Row

TITLE = "builds: nothing to do"

_OURS = "vcache build"
_MEMORY_MB = 300.0


def run(scale: Scale, directory: Path) -> list[Row]:
    """Small trees with all peers, large ones with ninja."""
    vcache = installed(directory / "bin")
    environ = environ_of(directory)
    sides = {_OURS: [vcache, "build", "-f", "build.ninja"], "ninja": [tool("ninja")]}
    scripts = {"doit": [tool("doit"), "-v0"], "SCons": [tool("scons"), "-Q"]}
    counts = {count: scale.pick(count, count // 1000) for count in (1_000, 10_000, 100_000)}
    places = {count: directory / f"of-{count}" for count in counts}
    for count, size in counts.items():
        write_sources(places[count], size)
        run_ms(sides["ninja"], places[count], environ)
    peers.write_dodo(places[1_000], counts[1_000])
    peers.write_sconstruct(places[1_000], counts[1_000])
    for _ in range(scale.pick(2, 1)):  # what was too young to be trusted the first time has settled
        for command in (sides[_OURS], *scripts.values()):
            run_ms(command, places[1_000], environ)
        age(places[1_000])
    rows = _small(sides | scripts, places[1_000], environ, scale.pick(9, 1))
    for count, rounds, bound in ((10_000, 30, 1.2), (100_000, 9, 0.8)):
        age(places[count])
        remember(places[count], counts[count])
        times = _times(sides, places[count], environ, scale.pick(rounds, 1))
        what = f"no-op, {count:,} targets"
        rows.append(Row(what, Compare.WITHIN, "ms", times[_OURS], times["ninja"], bound))
    return [*rows, _memory(sides, places[100_000], environ, scale.pick(3, 1))]


def _small(sides: Mapping[str, list[str]], place: Path, environ: dict[str, str], rounds: int) -> list[Row]:
    times = _times(sides, place, environ, rounds)
    what = "no-op, 1,000 targets"
    return [
        Row(what, Compare.FASTER, "ms", times[_OURS], times["doit"], 5.0),
        Row(what, Compare.FASTER, "ms", times[_OURS], times["SCons"], 50.0),
        Row(what, Compare.WITHIN, "ms", times[_OURS], times["ninja"],
            note="starting an interpreter takes longer than ninja does"),
    ]  # fmt: skip


def _times(
    sides: Mapping[str, list[str]], place: Path, environ: dict[str, str], rounds: int
) -> dict[str, Figure]:
    return turns({name: partial(run_ms, command, place, environ) for name, command in sides.items()}, rounds)


def _memory(sides: Mapping[str, list[str]], place: Path, environ: dict[str, str], rounds: int) -> Row:
    peaks = {
        name: Figure(name, tuple(peak_mb(command, place, environ) for _ in range(rounds)))
        for name, command in sides.items()
    }
    return Row(
        "no-op, 100,000 targets: memory", Compare.ALONE, "MB", peaks[_OURS], None, _MEMORY_MB,
        f"the largest process; ninja: {peaks['ninja'].value:.0f} MB",
    )  # fmt: skip
