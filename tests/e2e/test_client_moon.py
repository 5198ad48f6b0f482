"""The real moon over the real server, by HTTP and by gRPC."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients import npm
from tests.e2e.served import FULL, WRONG_TOKEN, Asked, asked, clean_environ, killed, new_token
from tests.servers import VcacheServer, needed, vcache_serve, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PROTOCOLS = ("http", "grpc")
_DIALECTS = {"http": "bazel", "grpc": "reapi"}
_CACHED = "cached from remote"

_TASKS = """\
tasks:
  build:
    command: 'sh make.sh'
    inputs: ['in.txt', 'make.sh']
    outputs: ['out.txt', 'many']
  pack:
    command: 'cp out.txt packed.txt'
    deps: ['build']
    inputs: ['out.txt']
    outputs: ['packed.txt']
"""
_SCRIPT = (
    "{wait}\nsed s/in/out/ in.txt > out.txt; mkdir -p many; for n in 1 2 3; do echo $n > many/$n; done\n"
)


@dataclass
class Repository:
    """A repository, checked out anew for each run, with a home that has nothing in it."""

    root: Path
    runs: int = 0
    wait: str = ":"

    def run(self, server: VcacheServer, protocol: str, token: str = "") -> str:
        """Run the tasks in a new checkout, which must succeed: what moon says."""
        self.runs += 1
        place = self.place = self.root / f"place{self.runs}"
        home = self.root / f"home{self.runs}"
        (place / ".moon").mkdir(parents=True)
        (place / ".moon" / "workspace.yml").write_text(
            "projects: ['app']\ntelemetry: false\n" + settings(server, protocol, token)
        )
        app = place / "app"
        app.mkdir()
        (app / "moon.yml").write_text(_TASKS)
        (app / "in.txt").write_text("in and so on\n")
        (app / "make.sh").write_text(_SCRIPT.format(wait=self.wait))
        environ = clean_environ(home, "MOON_", "CI", "GITHUB_", "PROTO_") | {
            "CACHE_TOKEN": token,
            "NO_COLOR": "1",
        }
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
            who = ["-c", "user.name=n", "-c", "user.email=n@localhost"]
            subprocess.run([needed("git", "git"), *who, *command], cwd=place, env=environ, check=True)
        done = subprocess.run(
            [npm("@moonrepo/cli") / "moon", "run", "app:pack", "--log", "warn"], cwd=place, env=environ,
            capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        words = done.stdout + done.stderr
        assert done.returncode == 0, words
        assert (app / "out.txt").read_text() == "out and so on\n"
        assert (app / "packed.txt").read_text() == "out and so on\n"
        assert sorted(path.name for path in (app / "many").iterdir()) == ["1", "2", "3"]
        return words


def settings(server: VcacheServer, protocol: str, token: str) -> str:
    """What `vcache env moon` prints; by gRPC what its page says."""
    if protocol == "grpc":
        auth = "  auth:\n    token: 'CACHE_TOKEN'\n" if token else ""
        return f"remote:\n  api: 'grpc'\n  host: 'grpc://{server.grpc}'\n{auth}"
    command = [sys.executable, "-m", "vcache", "env", "moon", "--url", server.url]
    command += ["--token-env", "CACHE_TOKEN"] if token else []
    return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)


def counted(server: VcacheServer, protocol: str, admin: str = "") -> Asked:
    return asked(server, _DIALECTS[protocol], admin)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_second_checkout_runs_nothing(tmp_path: Path, repository: Repository, protocol: str) -> None:
    """What one run stored another finds; both sides count so."""
    with vcache_serve(tmp_path / "cache", grpc=True) as server:
        assert repository.run(server, protocol).count(_CACHED) == 0
        first = counted(server, protocol)
        assert (first["hit"], first["miss"]) == (0, 2)
        assert first["put"] >= 4
        assert repository.run(server, protocol).count(_CACHED) == 2
        second = counted(server, protocol)
        assert (second["miss"], second["put"]) == (first["miss"], first["put"])
        assert second["hit"] >= 4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tokens(tmp_path: Path, repository: Repository, protocol: str) -> None:
    """A writer stores, a reader finds; who has a wrong token runs all, and nothing is stored."""
    directory = tmp_path / "cache"
    writer = new_token(directory, "team", "writer")["token"]
    reader = new_token(directory, "team", "reader")["token"]
    admin = new_token(directory, "team", "admin")["token"]
    with vcache_serve(directory, "--tokens", directory / "server" / "tokens.json", grpc=True) as server:
        assert repository.run(server, protocol, WRONG_TOKEN).count(_CACHED) == 0
        assert counted(server, protocol, admin)["401"] >= 1
        assert counted(server, protocol, admin)["put"] == 0
        assert repository.run(server, protocol, writer).count(_CACHED) == 0
        assert repository.run(server, protocol, reader).count(_CACHED) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_full_store_leaves_the_run_alone(tmp_path: Path, repository: Repository, protocol: str) -> None:
    """Nothing is taken; all is made here."""
    with vcache_serve(tmp_path / "cache", grpc=True, env=FULL) as server:
        assert repository.run(server, protocol).count(_CACHED) == 0
        assert counted(server, protocol)["miss"] == 2
        assert repository.run(server, protocol).count(_CACHED) == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_killed_within_a_run(tmp_path: Path, repository: Repository, protocol: str) -> None:
    """The run goes on without it; so does one that finds nobody from the start."""
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    repository.wait = f"touch '{begun}'; until [ -e '{go_on}' ]; do sleep 0.05; done"
    with vcache_serve(tmp_path / "cache", grpc=True) as server:

        def end() -> None:
            wait_until(begun.exists, "the first task runs")
            killed(server)
            go_on.touch()

        thread = threading.Thread(target=end)
        thread.start()
        assert _CACHED not in repository.run(server, protocol)
        thread.join()
        assert _CACHED not in repository.run(server, protocol)
