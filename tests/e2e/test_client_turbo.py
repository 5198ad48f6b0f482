"""The real Turborepo over the real server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients import npm
from tests.e2e.served import (
    FULL,
    WRONG_TOKEN,
    asked,
    clean_environ,
    guarded,
    metrics,
    new_token,
    pointed,
    ran,
    saved_s,
)
from tests.servers import vcache_serve

pytestmark = pytest.mark.e2e

VERSION = "2.11.11"
PACKAGES = ("a", "b")
KEY = "a key for signatures of 32 bytes or so"


@dataclass
class Repository:
    """Two packages whose build takes a moment, and each time a checkout with nothing of its own.

    Attributes:
        built: how many builds really ran, in all checkouts.
    """

    root: Path
    remote: Mapping[str, object]
    checkouts: int = 0

    @property
    def built(self) -> int:
        log = self.root / "built"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def build(self, settings: Mapping[str, str], *, each: str = "", changed: str = "") -> tuple[int, str]:
        """Build in a new checkout, which must succeed: how many tasks turbo says were cached, and its words.

        Args:
            each: what each build does besides.
            changed: a package that is another one than before.
        """
        self.checkouts += 1
        place = self.root / f"checkout{self.checkouts}"
        self._write(place, each)
        if changed:
            (place / "packages" / changed / "source.txt").write_text("new")
        environ = clean_environ(place / "home", "TURBO_") | {"TURBO_TELEMETRY_DISABLED": "1", **settings}
        environ |= {"BUILT": str(self.root / "built")}
        done = ran(
            [npm("turbo", VERSION) / "turbo", "run", "build", "--cache=remote:rw", "--no-daemon", "--ui=stream",
             "--env-mode=loose", "--concurrency=1"],
            place, environ,
        )  # fmt: skip
        words = done.stdout + done.stderr
        assert done.returncode == 0, words
        for name in PACKAGES:
            assert (place / "packages" / name / "dist" / "out.txt").read_text() == f"{name}\n"
        cached = re.search(r"Cached:\s+(\d+) cached, (\d+) total", words)
        assert cached is not None, words
        return int(cached[1]), words

    def _write(self, place: Path, each: str) -> None:
        links = {f"node_modules/{name}": {"resolved": f"packages/{name}", "link": True} for name in PACKAGES}
        packages = {f"packages/{name}": {"version": "1.0.0"} for name in PACKAGES}
        root = {"name": "root", "workspaces": ["packages/*"]}
        files: dict[str, object] = {
            "package.json": {**root, "private": True, "packageManager": "npm@10.0.0"},
            "turbo.json": {"tasks": {"build": {"outputs": ["dist/**"]}}, "remoteCache": self.remote},
            "package-lock.json": {
                "name": "root", "lockfileVersion": 3, "requires": True, "packages": {"": root, **links, **packages},
            },
        }  # fmt: skip
        for name in PACKAGES:
            script = f"sleep 0.3; mkdir -p dist && echo {name} > dist/out.txt && echo {name} >> $BUILT"
            scripts = {"build": script + (f" && {each}" if each else "")}
            files[f"packages/{name}/package.json"] = {"name": name, "version": "1.0.0", "scripts": scripts}
        for file, content in files.items():
            path = place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path, {})


def test_a_second_checkout_builds_nothing(tmp_path: Path, repository: Repository) -> None:
    """What one stored, another finds; both sides count so, and know what it saved."""
    with vcache_serve(tmp_path / "cache") as server:
        settings = pointed("turbo", server)
        assert repository.build(settings)[0] == 0
        counted = asked(server, "turbo")
        assert (counted["miss"], counted["put"], counted["hit"]) == (2, 2, 0)
        assert repository.build(settings)[0] == 2
        counted = asked(server, "turbo")
        assert (counted["miss"], counted["put"], counted["hit"]) == (2, 2, 2)
        assert saved_s(server, "turbo") > 0.6  # each of the two sleeps for 0.3
    assert repository.built == 2


@pytest.mark.parametrize("option", ["signature", "preflight"])
def test_signed_artifacts_and_preflights_work(tmp_path: Path, option: str) -> None:
    """A tag comes back as it was; an OPTIONS lets the token through."""
    repository = Repository(tmp_path, {option: True})
    directory = tmp_path / "cache"
    token = new_token(directory, "team", "writer")["token"]
    with guarded(directory) as server:
        settings = pointed("turbo", server, token) | {"TURBO_REMOTE_CACHE_SIGNATURE_KEY": KEY}
        assert [repository.build(settings)[0] for _ in range(2)] == [0, 2]
    assert repository.built == 2


def test_a_reader_finds_and_a_stranger_builds(tmp_path: Path, repository: Repository) -> None:
    """A reader writes nothing, a wrong token finds nothing; every build succeeds."""
    directory = tmp_path / "cache"
    tokens = {role: new_token(directory, "team", role)["token"] for role in ("writer", "reader", "admin")}
    with guarded(directory) as server:

        def counted() -> dict[str, int]:
            return asked(server, "turbo", tokens["admin"])

        assert repository.build(pointed("turbo", server, tokens["reader"]))[0] == 0
        assert counted()["403"] >= 1
        assert repository.build(pointed("turbo", server, tokens["writer"]))[0] == 0
        assert repository.build(pointed("turbo", server, tokens["reader"]))[0] == 2
        assert repository.build(pointed("turbo", server, tokens["reader"]), changed="a")[0] == 1
        hits = counted()["hit"]
        assert repository.build(pointed("turbo", server, WRONG_TOKEN))[0] == 0
        assert (counted()["hit"], counted()["put"]) == (hits, 2)


def test_a_full_store_costs_hits_and_nothing_else(tmp_path: Path, repository: Repository) -> None:
    """Nothing is kept, everything is built."""
    with vcache_serve(tmp_path / "cache", env=FULL) as server:
        assert [repository.build(pointed("turbo", server))[0] for _ in range(2)] == [0, 0]
        assert asked(server, "turbo")["put"] == 0


def test_a_server_that_dies_costs_hits_and_nothing_else(tmp_path: Path, repository: Repository) -> None:
    """Killed by the first task, in the middle: all tasks succeed; and so they do with no server at all."""
    with vcache_serve(tmp_path / "cache") as server:
        settings = pointed("turbo", server)
        kill = f"(kill -9 {server.process.pid} || true)"
        assert repository.build(settings, each=kill)[0] == 0
        server.process.wait(10)
        assert repository.build(settings)[0] == 0
    assert repository.built == 4


def test_events_reach_the_server(tmp_path: Path, repository: Repository) -> None:
    """Beside artifacts turbo tells what it found, which is counted by its own word."""
    with vcache_serve(tmp_path / "cache") as server:
        for _ in range(2):
            repository.build(pointed("turbo", server))
        assert not any(status.isdigit() for status in asked(server, "turbo"))
        told = [line for line in metrics(server).splitlines() if line.startswith("vcache_server_told_total")]
    for event, count in (("HIT", 2), ("MISS", 2)):
        assert (
            f'vcache_server_told_total{{dialect="turbo",event="{event}",source="REMOTE"}} {count}.0' in told
        )


def test_a_server_that_has_the_key_keeps_only_what_is_signed(tmp_path: Path) -> None:
    """What a client without it, or with another one, made is not kept; its build succeeds."""
    key = tmp_path / "turbo.key"
    key.write_text(f"{KEY}\n")
    with vcache_serve(tmp_path / "cache", env={"VCACHE_SERVE_TURBO_KEY": str(key)}) as server:
        plain, signed = (
            Repository(tmp_path / "plain", {}),
            Repository(tmp_path / "signed", {"signature": True}),
        )
        settings = pointed("turbo", server)
        plain.build(settings)
        signed.build(settings | {"TURBO_REMOTE_CACHE_SIGNATURE_KEY": "another key of enough characters"})
        assert asked(server, "turbo")["put"] == 0
        right = settings | {"TURBO_REMOTE_CACHE_SIGNATURE_KEY": KEY}
        assert [signed.build(right)[0] for _ in range(2)] == [0, 2]
        assert asked(server, "turbo")["put"] == 2
