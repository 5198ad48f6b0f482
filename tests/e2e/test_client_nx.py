"""The real Nx over the real server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients import npm
from tests.e2e.served import FULL, WRONG_TOKEN, asked, clean_environ, guarded, killed, new_token, pointed, ran
from tests.servers import vcache_serve

pytestmark = pytest.mark.e2e

VERSION = "24.0.6"
PROJECTS = ("a", "b")


@dataclass(frozen=True)
class Run:
    """What one run of Nx came to."""

    status: int
    words: str
    built: int

    @property
    def from_remote(self) -> int:
        """How many tasks Nx says came from the remote cache."""
        return self.words.count("[remote cache]")


@dataclass
class Workspace:
    """Two projects, and for each run a copy of them with nothing of its own."""

    root: Path
    runs: int = 0

    def build(self, settings: Mapping[str, str], *, each: str = "") -> Run:
        """Build everything in a new place.

        Args:
            each: what each task does besides.
        """
        self.runs += 1
        place = self.root / f"place{self.runs}"
        programs = npm("nx", VERSION)
        files: dict[str, object] = {"package.json": {"name": "root", "private": True}, "nx.json": {}}
        for name in PROJECTS:
            command = f"echo {name} >> built && mkdir -p {name}/dist && cp {name}/src.txt {name}/dist/"
            options = {"command": command + (f" && {each}" if each else "")}
            target = {
                "executor": "nx:run-commands", "cache": True, "inputs": ["{projectRoot}/src.txt"],
                "outputs": ["{projectRoot}/dist"], "options": options,
            }  # fmt: skip
            files[f"{name}/project.json"] = {"name": name, "root": name, "targets": {"build": target}}
        for file, content in files.items():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_text(json.dumps(content))
        for name in PROJECTS:
            (place / name / "src.txt").write_text(f"{name}\n")
        (place / "node_modules").symlink_to(programs.parent)
        home = place / "home"
        environ = clean_environ(home, "NX_") | {
            "NX_DAEMON": "false", "NX_NO_CLOUD": "true", "NX_TUI": "false", "CI": "1", "NO_COLOR": "1",
            "NX_CACHE_DIRECTORY": str(home / "cache"), "NX_WORKSPACE_DATA_DIRECTORY": str(home / "data"),
            **settings,
        }  # fmt: skip
        command_line: list[str | Path] = [programs / "nx", "run-many", "-t", "build", "--parallel=1"]
        done = ran(command_line, place, environ)
        if done.returncode == 0:
            assert all((place / name / "dist" / "src.txt").read_text() == f"{name}\n" for name in PROJECTS)
        log = place / "built"
        built = len(log.read_text().splitlines()) if log.exists() else 0
        return Run(done.returncode, done.stdout + done.stderr, built)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_second_place_builds_nothing(tmp_path: Path, workspace: Workspace) -> None:
    """What one run stored, another with nothing of its own finds, and both sides count so."""
    with vcache_serve(tmp_path / "cache") as server:
        settings = pointed("nx", server)
        cold = workspace.build(settings)
        assert (cold.status, cold.built, cold.from_remote) == (0, 2, 0), cold.words
        assert asked(server, "nx") == {"miss": 2, "put": 2}
        warm = workspace.build(settings)
        assert (warm.status, warm.built, warm.from_remote) == (0, 0, 2), warm.words
        assert asked(server, "nx") == {"miss": 2, "put": 2, "hit": 2}


def test_a_reader_finds_and_writes_nothing(tmp_path: Path, workspace: Workspace) -> None:
    """A reader's tasks succeed though what they made is refused."""
    directory = tmp_path / "cache"
    tokens = {role: new_token(directory, "team", role)["token"] for role in ("writer", "reader", "admin")}
    with guarded(directory) as server:
        alone = workspace.build(pointed("nx", server, tokens["reader"]))
        assert (alone.status, alone.built) == (0, 2), alone.words
        assert asked(server, "nx", tokens["admin"])["403"] == 2
        assert workspace.build(pointed("nx", server, tokens["writer"])).status == 0
        warm = workspace.build(pointed("nx", server, tokens["reader"]))
        assert (warm.status, warm.built, warm.from_remote) == (0, 0, 2), warm.words


def test_a_wrong_token_costs_hits_and_nothing_else(tmp_path: Path, workspace: Workspace) -> None:
    """Every task runs and succeeds, though a 403 to its GET would have kept Nx from it."""
    directory = tmp_path / "cache"
    admin = new_token(directory, "team", "admin")["token"]
    with guarded(directory) as server:
        run = workspace.build(pointed("nx", server, WRONG_TOKEN))
        assert (run.status, run.built) == (0, 2), run.words
        assert asked(server, "nx", admin)["401"] == 4


def test_a_full_store_costs_hits_and_nothing_else(tmp_path: Path, workspace: Workspace) -> None:
    """Nothing is kept, everything is built."""
    with vcache_serve(tmp_path / "cache", env=FULL) as server:
        for _ in range(2):
            run = workspace.build(pointed("nx", server))
            assert (run.status, run.built) == (0, 2), run.words
        assert asked(server, "nx")["put"] == 0


def test_without_its_server_nx_fails(tmp_path: Path, workspace: Workspace) -> None:
    """Which no server can change: the how-to says what to do. With the variable unset it builds."""
    with vcache_serve(tmp_path / "cache") as server:
        settings = pointed("nx", server)
        killed(server)
        run = workspace.build(settings)
        assert (run.status, run.built) == (1, 0), run.words
    assert workspace.build({}).status == 0


def test_a_server_that_dies_fails_the_task_that_was_to_be_stored(
    tmp_path: Path, workspace: Workspace
) -> None:
    """Killed by the first task, in the middle: Nx tries to store it six times, for some 20 s."""
    with vcache_serve(tmp_path / "cache") as server:
        run = workspace.build(pointed("nx", server), each=f"(kill -9 {server.process.pid} || true)")
        assert run.status == 1
        assert run.built >= 1
