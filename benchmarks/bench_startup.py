"""Starting: `import vcache` and `vcache stats` against an interpreter that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.measure import Scale
from benchmarks.peers import Values
from benchmarks.result import Compare, Figure, Row, Spread
from vcache import Cache

TITLE = "starting"

_BARE = "python -c pass"


def run(scale: Scale, directory: Path) -> list[Row]:
    """Wall time of whole processes, taking turns."""
    where = directory / "warm"
    with Cache(f"disk:{where}") as cache:
        cache.put_many(dict(Values(100).take(scale.pick(1000, 10))))
    python = sys.executable
    commands = {
        _BARE: [python, "-c", "pass"],
        "import vcache": [python, "-c", "import vcache"],
        "from vcache import Cache": [python, "-c", "from vcache import Cache"],
        "open and get": [
            python,
            "-c",
            f"from vcache import Cache; Cache({str(where)!r}).get('object-00000001')",
        ],
        "vcache stats": [python, "-m", "vcache", "stats"],
    }
    environment = _environment(where)
    times = _times(commands, environment, runs=scale.pick(30, 2))
    bounds = {"import vcache": 40.0, "from vcache import Cache": 40.0, "vcache stats": 60.0}
    notes = {
        "open and get": "Cache(DIR): memory over disk",
        "vcache stats": f"as python -m vcache; {_slowest(environment)}",
    }
    return [
        Row(name, Compare.PLUS, "ms", times[name], times[_BARE], bounds.get(name), notes.get(name, ""))
        for name in commands
        if name != _BARE
    ]


def _environment(where: Path) -> dict[str, str]:
    """Bytecode is kept, as an installer does: some environments ask Python not to write any."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"VCACHE_DIR": str(where), "PYTHONPYCACHEPREFIX": str(where.parent / "bytecode")}


def _times(commands: dict[str, list[str]], environment: dict[str, str], *, runs: int) -> dict[str, Figure]:
    taken: dict[str, list[float]] = {name: [] for name in commands}
    names = list(commands)
    for number in range(-1, runs):  # one to warm up
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            started = perf_counter()
            subprocess.run(commands[name], check=True, stdout=subprocess.DEVNULL, env=environment)
            if number >= 0:
                taken[name].append((perf_counter() - started) * 1e3)
    return {name: Figure(name, tuple(each), Spread.of(each)) for name, each in taken.items()}


def _slowest(environment: dict[str, str]) -> str:
    """The modules whose own code takes longest on the way to a Cache, by -X importtime."""
    command = [sys.executable, "-X", "importtime", "-c", "from vcache import Cache"]
    answer = subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
    own: list[tuple[int, str]] = []
    for line in answer.stderr.splitlines():
        microseconds, _, name = line.removeprefix("import time:").split("|")
        if microseconds.strip().isdigit():
            own.append((int(microseconds), name.strip()))
    slowest = sorted(own, reverse=True)[:5]
    return "slowest imports: " + ", ".join(f"{name} {took / 1000:.1f} ms" for took, name in slowest)
