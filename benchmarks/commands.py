"""Whole processes: the command as it is installed, what it runs in, and sides that take turns.

It knows no benchmark.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.result import Figure, Spread

__all__ = ["environ_of", "installed", "peak_mb", "run_ms", "tool", "turns"]

_FRONT = Path(__file__).parents[1] / "scripts/vcache"
# The peak of a process counts that of who started it: a small interpreter does, and tells it.
_PEAK = (
    "import os, sys\n"
    "null = os.open(os.devnull, os.O_WRONLY)\n"
    "pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])\n"
    "_, status, usage = os.wait4(pid, 0)\n"
    "print(usage.ru_maxrss)\n"
    "sys.exit(os.waitstatus_to_exitcode(status))\n"
)


def tool(name: str) -> str:
    """A program of this environment, or of the system.

    Raises:
        SystemExit: it is not there.
    """
    path = os.path.join(sysconfig.get_path("scripts"), name)
    found = path if os.access(path, os.X_OK) else shutil.which(name)
    if found is None:
        raise SystemExit(f"this benchmark needs {name}: pip install --group bench, or apt-get install {name}")
    return found


def installed(directory: Path) -> str:
    """`vcache` as an installation has it: the script in front, Python behind."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(_FRONT, directory / "vcache")
    python = directory / "vcache-py"
    python.write_text(f"#!{sys.executable}\nimport sys\nfrom vcache.__main__ import main\nsys.exit(main())\n")
    python.chmod(0o755)
    return os.fspath(directory / "vcache")


def environ_of(directory: Path, **more: str) -> dict[str, str]:
    """Caches of their own below a directory; bytecode is kept, as an installer does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VCACHE_", "NINJA"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    caches = {
        name: os.fspath(directory / name.lower()) for name in ("VCACHE_DIR", "CCACHE_DIR", "SCCACHE_DIR")
    }
    return {**kept, **caches, "LC_ALL": "C", "PYTHONPYCACHEPREFIX": os.fspath(directory / "bytecode"), **more}


def run_ms(command: Sequence[str], directory: Path, environ: Mapping[str, str]) -> float:
    """How many ms a command takes from start to end.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    started = perf_counter()
    done = subprocess.run(
        command, cwd=directory, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    took_ms = (perf_counter() - started) * 1e3
    if done.returncode:
        said = done.stdout.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{said}")
    return took_ms


def peak_mb(command: Sequence[str], directory: Path, environ: Mapping[str, str]) -> float:
    """The most memory that one process of a command had; what others share with it is in it."""
    measure = [sys.executable, "-I", "-S", "-c", _PEAK, *command]
    done = subprocess.run(measure, cwd=directory, env=environ, check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


def turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Figure]:
    """What each side returns, round by round; another one begins each, and the first round is not counted."""
    names, taken = list(sides), {name: list[float]() for name in sides}
    for number in range(-1, rounds):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            value = sides[name]()
            if number >= 0:
                taken[name].append(value)
    return {name: Figure(name, tuple(each), Spread.of(each)) for name, each in taken.items()}
