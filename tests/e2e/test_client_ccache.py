"""The real ccache over the real server."""

from __future__ import annotations

from collections.abc import Mapping
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
from tests.servers import VcacheServer, needed, vcache_serve

pytestmark = pytest.mark.e2e

UNITS = 3
# A compilation looks for a manifest and a result, and writes both.
VALUES = 2 * UNITS


@dataclass
class Compiler:
    """ccache over sources of its own, each time at a new place for its local files."""

    root: Path
    runs: int = 0

    def __call__(self, settings: Mapping[str, str], units: int = UNITS) -> dict[str, int]:
        """Compile everything, which must succeed; what ccache counted, but for zeros."""
        program = needed("ccache", "ccache")
        self.runs += 1
        place = self.root / f"local{self.runs}"
        environ = {**clean_environ(place, "CCACHE_"), "CCACHE_DIR": str(place), **settings}
        for source in sources(self.root / "src", UNITS)[:units]:
            done = ran(
                [program, "gcc", "-O1", "-c", source.name, "-o", f"{source.stem}.o"], source.parent, environ
            )
            assert done.returncode == 0, done.stderr
        lines = ran([program, "--print-stats"], self.root, environ).stdout.splitlines()
        return {name: int(value) for name, value in map(str.split, lines) if int(value)}


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    return Compiler(tmp_path)


def remote(server: VcacheServer, layout: str = "") -> dict[str, str]:
    settings = pointed("ccache", server)
    return {name: value + (f"|layout={layout}" if layout else "") for name, value in settings.items()}


@pytest.mark.parametrize("layout", ["subdirs", "flat", "bazel"])
def test_a_second_place_compiles_nothing(tmp_path: Path, compiler: Compiler, layout: str) -> None:
    """What one run stored, another with nothing of its own finds, and both sides count so."""
    with vcache_serve(tmp_path / "cache") as server:
        cold = compiler(remote(server, layout))
        assert (cold["cache_miss"], cold["remote_storage_write"]) == (UNITS, VALUES)
        assert asked(server, "ccache") == {"miss": VALUES, "put": VALUES}
        warm = compiler(remote(server, layout))
        assert (warm["direct_cache_hit"], warm["remote_storage_read_hit"]) == (UNITS, VALUES)
        assert "cache_miss" not in warm
        assert asked(server, "ccache") == {"miss": VALUES, "put": VALUES, "hit": VALUES}


def test_all_layouts_share_what_is_stored(tmp_path: Path, compiler: Compiler) -> None:
    """A value is one, however its key is spelled. (Up to 4.12 the layout `bazel` spells another key.)"""
    with vcache_serve(tmp_path / "cache") as server:
        compiler(remote(server, "subdirs"))
        assert compiler(remote(server, "flat"))["direct_cache_hit"] == UNITS


def test_a_reader_finds_and_a_stranger_compiles(tmp_path: Path, compiler: Compiler) -> None:
    """A writer stores, a reader of its namespace finds; a wrong token, or none, costs nothing but hits."""
    directory = tmp_path / "cache"
    tokens = {role: new_token(directory, "team", role)["token"] for role in ("writer", "reader")}
    other = new_token(directory, "elsewhere", "writer")["token"]
    admin = new_token(directory, "team", "admin")["token"]
    with guarded(directory) as server:
        compiler(pointed("ccache", server, tokens["reader"]))
        assert asked(server, "ccache", admin) == {"miss": VALUES, "other": UNITS, "403": UNITS}
        compiler(pointed("ccache", server, tokens["writer"]))
        warm = compiler(pointed("ccache", server, tokens["reader"]))
        assert warm["direct_cache_hit"] == UNITS
        for token in (WRONG_TOKEN, "", other):
            lost = compiler(pointed("ccache", server, token))
            assert (lost["cache_miss"], lost.get("direct_cache_hit")) == (UNITS, None)
        assert asked(server, "ccache", admin)["401"] > 0


def test_a_full_store_costs_hits_and_nothing_else(tmp_path: Path, compiler: Compiler) -> None:
    """Nothing is kept, everything is compiled; ccache asks no more after the first refusal."""
    with vcache_serve(tmp_path / "cache", env=FULL) as server:
        assert compiler(remote(server))["cache_miss"] == UNITS
        assert compiler(remote(server))["cache_miss"] == UNITS
        counted = asked(server, "ccache")
        assert (counted["507"], counted["put"]) == (2 * UNITS, 0)


def test_a_server_that_dies_costs_hits_and_nothing_else(tmp_path: Path, compiler: Compiler) -> None:
    """Killed between two compilations: the others succeed, and what was stored is there afterwards."""
    with vcache_serve(tmp_path / "cache") as server:
        compiler(remote(server), units=1)
        killed(server)
        lost = compiler(remote(server))
        assert (lost["cache_miss"], lost["remote_storage_error"]) == (UNITS, UNITS)
    with vcache_serve(tmp_path / "cache") as server:
        again = compiler(remote(server))
        assert (again["direct_cache_hit"], again["cache_miss"]) == (1, UNITS - 1)
