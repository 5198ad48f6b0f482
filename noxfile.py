"""The project's checks, each one a session: `nox` runs what a change must pass.

`nox -s slow` adds the campaigns of minutes, `nox -s bench -- --full` the whole benchmark.
Arguments after `--` go to the tool of the session. An environment is filled once per state of
pyproject.toml and used again after that.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "imports", "tests", "bench", "docs"]
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")


def fill(session: nox.Session, *groups: str, editable: bool = True) -> None:
    """Install dependency groups, and vcache, unless this environment already has them."""
    packages = list(dict.fromkeys(nox.project.dependency_groups(PYPROJECT, *groups)))
    wanted = hashlib.sha256(
        (ROOT / "pyproject.toml").read_bytes() + repr((ROOT, packages)).encode()
    ).hexdigest()
    stamp = Path(session.virtualenv.location) / "filled"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    session.install(*packages, *(["--editable", "."] if editable else []))
    stamp.write_text(wanted)


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Style and formatting, by ruff; nothing is changed."""
    fill(session, "lint", editable=False)
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(reuse_venv=True)
def types(session: nox.Session) -> None:
    """Types of the package, its tests and its tools, by mypy --strict."""
    fill(session, "types")
    session.run("mypy", *session.posargs)


@nox.session(reuse_venv=True)
def imports(session: nox.Session) -> None:
    """The layers and the other contracts between rooms, by import-linter."""
    fill(session, "imports", editable=False)
    # Imports are read, never run: the package and its libraries need not be installed. The cache
    # of import-linter 2.16 goes by a file's time and does not see that a module it imports is new.
    command = ["lint-imports", "--no-logo", "--no-cache", *session.posargs]
    session.run(*command, env={"PYTHONPATH": str(ROOT / "src")})


@nox.session(reuse_venv=True)
def tests(session: nox.Session) -> None:
    """Every test but the slow campaigns."""
    fill(session, "tests")
    workers = str(min(os.cpu_count() or 1, 4))
    session.run(
        "pytest", "-q", "-n", workers, "--dist=worksteal", "--timeout=300", "-m", "not slow", *session.posargs
    )


@nox.session(reuse_venv=True)
def slow(session: nox.Session) -> None:
    """The campaigns: kills, bit flips, full disks, a million entries."""
    fill(session, "tests")
    # One after the other: they count on the cores, and some fill a file system.
    session.run("pytest", "-q", "--timeout=1800", "-m", "slow", *session.posargs)


@nox.session(reuse_venv=True)
def bench(session: nox.Session) -> None:
    """A smoke run of the benchmarks; `-- --full` for the real one."""
    fill(session, "bench")
    arguments = [argument for argument in session.posargs if argument != "--full"]
    if "--full" not in session.posargs:
        arguments.insert(0, "--smoke")
    session.run("python", "-m", "benchmarks", *arguments)


@nox.session(reuse_venv=True)
def docs(session: nox.Session) -> None:
    """The reference pages are built and every snippet in the docs runs."""
    fill(session, "docs")
    session.run("python", "docs/build.py", *(session.posargs or ["--check"]))
