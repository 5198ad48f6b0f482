"""`vcache build logs-gc`: the log store of a build is put in order by a node of its graph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record

pytestmark = pytest.mark.e2e

DAY_NS = 86_400 * 10**9
VCACHEFILE = """
from vcache.dag import build, sh


@build.step(outs=["said.txt"])
def say():
    return sh("echo 'a.c:1:2: warning: old news [-Wx]' >&2; touch said.txt")


build.default(say)
build.logs_seal()
build.logs_gc(max_age="90d", keep={"gcc": "7d"})
"""


def vcache(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
    return subprocess.run(
        [sys.executable, "-m", "vcache", *words, "--dir", str(place / "cache")],
        cwd=place, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A build that ran once, and a store with a month of what gcc and make said, in one block."""
    (tmp_path / "vcachefile.py").write_text(VCACHEFILE)
    assert vcache(tmp_path, "build").returncode == 0
    now_ns = time.time_ns()
    with DiskLogs(tmp_path / "cache" / "logs" / "default") as logs:
        logs.append([
            Record(now_ns - day * DAY_NS - DAY_NS // 2, 13, source, f"{day} days ago", {"day": day})
            for day in reversed(range(30)) for source in ("gcc", "make")
        ])  # fmt: skip
    return tmp_path


def days(place: Path, source: str) -> list[int]:
    asked = vcache(place, "logs", "query", f"source = {source} and day >= 0", "--format", "json", "--utc")
    assert asked.returncode == 0, asked.stderr
    return [json.loads(line)["day"] for line in asked.stdout.splitlines()]


def test_a_build_seals_and_drops_when_it_is_asked_to(place: Path) -> None:
    """Each time; the old records of one source go, all others stay; it is in the graph and in the history."""
    sealed = vcache(place, "build", "logs-seal")
    assert sealed.returncode == 0, sealed.stdout + sealed.stderr
    segments = place / "cache" / "logs" / "default" / "segments"
    assert len(list(segments.iterdir())) == 1
    assert days(place, "gcc") == list(range(29, -1, -1))
    for gone in (23, 0):
        done = vcache(place, "build", "logs-gc")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{gone} records dropped" in done.stdout + done.stderr
        assert "built 1" in done.stdout
        assert days(place, "gcc") == list(range(6, -1, -1))
        assert days(place, "make") == list(range(29, -1, -1))
    drawn = vcache(place, "graph", "logs-gc", "--format", "json")
    assert "logs-gc" in drawn.stdout
    assert "logs-gc" in vcache(place, "history", "last").stdout
    assert "0 records dropped" in vcache(place, "logs", "show", "last", "logs-gc").stdout
    again = vcache(place, "build")
    assert "nothing to do" in again.stdout


def test_a_store_elsewhere_is_the_one_that_is_meant(place: Path) -> None:
    """The setting `logs` says where."""
    (place / "vcache.toml").write_text('logs = "here"\n')
    other = place / "here"
    with DiskLogs(other) as logs:
        logs.append([Record(time.time_ns() - 100 * DAY_NS, 9, "make", "ages ago")])
    done = vcache(place, "build", "logs-gc")
    assert done.returncode == 0, done.stdout + done.stderr
    with DiskLogs(other) as logs:
        assert "make" not in logs.stats().sources
    assert days(place, "make") == []
    with DiskLogs(place / "cache" / "logs" / "default") as logs:
        assert logs.stats().sources["make"].records == 30
