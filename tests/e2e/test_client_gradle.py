"""The real Gradle over the real server."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.served import (
    FULL,
    WRONG_TOKEN,
    asked,
    clean_environ,
    guarded,
    new_token,
    ran,
    saved_s,
)
from tests.servers import VcacheServer, needed, vcache_serve

pytestmark = pytest.mark.e2e

TASK = ":compileJava"


@dataclass
class Project:
    """A class to compile, and for each run a checkout and a Gradle home with nothing in them."""

    root: Path
    runs: int = 0

    def build(self, server: VcacheServer, token: str = "", *, script: str = "") -> str:
        """Build in a new place, which must succeed: what Gradle says.

        Args:
            script: of the build, besides what every build has.
        """
        self.runs += 1
        place, home = self.root / f"place{self.runs}", self.root / f"home{self.runs}"
        source = place / "src" / "main" / "java" / "A.java"
        source.parent.mkdir(parents=True)
        source.write_text("public class A { int answer() { return 42; } }\n")
        (place / "build.gradle").write_text(f"apply plugin: 'java'\n{script}\n")
        (place / "settings.gradle").write_text(
            "rootProject.name = 'one'\nbuildCache { local(DirectoryBuildCache) { enabled = false } }\n"
        )
        (home / "init.d").mkdir(parents=True)
        (home / "init.d" / "vcache.gradle").write_text(init_script(server, token))
        done = ran(
            [needed("gradle", "gradle"), "--no-daemon", "--build-cache", "--info", "-g", home, "compileJava"],
            place, clean_environ(home, "GRADLE_") | {"CACHE_TOKEN": token}, timeout_s=240,
        )  # fmt: skip
        words = done.stdout + done.stderr
        assert done.returncode == 0, words
        assert (place / "build" / "classes" / "java" / "main" / "A.class").exists()
        return words


def init_script(server: VcacheServer, token: str) -> str:
    """What `vcache env gradle` prints."""
    command = [sys.executable, "-m", "vcache", "env", "gradle", "--url", server.url]
    command += ["--token-env", "CACHE_TOKEN"] if token else []
    return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_second_place_compiles_nothing(tmp_path: Path, project: Project) -> None:
    """What one run stored, another finds; both sides count so, and know what it saved."""
    with vcache_serve(tmp_path / "cache") as server:
        assert f"{TASK} FROM-CACHE" not in project.build(server)
        assert asked(server, "gradle") == {"miss": 1, "put": 1}
        assert f"{TASK} FROM-CACHE" in project.build(server)
        assert asked(server, "gradle") == {"miss": 1, "put": 1, "hit": 1}
        assert saved_s(server, "gradle") > 0


@pytest.mark.slow
def test_a_reader_finds_and_writes_nothing(tmp_path: Path, project: Project) -> None:
    """A writer stores; a reader's PUT is refused, its GET is not."""
    directory = tmp_path / "cache"
    tokens = {role: new_token(directory, "team", role)["token"] for role in ("writer", "reader", "admin")}
    with guarded(directory) as server:
        project.build(server, tokens["reader"])
        assert asked(server, "gradle", tokens["admin"])["403"] == 1
        project.build(server, tokens["writer"])
        assert f"{TASK} FROM-CACHE" in project.build(server, tokens["reader"])


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["token", "full", "killed"])
def test_no_trouble_fails_a_build(tmp_path: Path, project: Project, trouble: str) -> None:
    """A wrong token, a full store, a server that is killed while the build begins."""
    directory = tmp_path / "cache"
    if trouble == "token":
        new_token(directory, "team", "writer")
        with guarded(directory) as server:
            assert "disabled" in project.build(server, WRONG_TOKEN)
        return
    with vcache_serve(directory, env=FULL if trouble == "full" else {}) as server:
        script = f"['kill', '-9', '{server.process.pid}'].execute().waitFor()" if trouble == "killed" else ""
        for _ in range(2):
            assert f"{TASK} FROM-CACHE" not in project.build(server, script=script)
        if trouble == "full":
            assert asked(server, "gradle")["put"] == 0
