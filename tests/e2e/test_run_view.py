"""What a run says: of what was up to date, what had been said when it was made; beside what was told while it ran."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vcache.logs.disk import DiskLogs

pytestmark = pytest.mark.e2e

NINJA = """
rule say
  command = cat $in >&2; touch $out
build a.o: say a.c
build b.o: say b.c
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two runs: of the second one, one of two nodes was up to date."""
    (tmp_path / "build.ninja").write_text(NINJA)
    (tmp_path / "a.c").write_text("a.c:1:1: warning: old\n")
    (tmp_path / "b.c").write_text("b.c:1:1: warning: first\nb.c:2:1: warning: too\n")
    vcache(tmp_path, "build")
    (tmp_path / "b.c").write_text("b.c:1:1: warning: second\n")
    vcache(tmp_path, "build")
    return tmp_path


def vcache(place: Path, *words: str, **more: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
    return subprocess.run(
        [sys.executable, "-m", "vcache", *words],
        cwd=place, env={**env, "VCACHE_DIR": str(place / "cache"), **more}, stdout=subprocess.PIPE,
        text=True, timeout=60, check=True,
    ).stdout  # fmt: skip


def warnings(place: Path, *words: str, **more: str) -> dict[str, int]:
    """How many warnings there are, by node."""
    asked = vcache(place, "logs", "query", *words, "-F", "csv", **more)
    return {row["node"]: int(row["count"]) for row in csv.DictReader(asked.splitlines())}


def test_what_was_up_to_date_counts_too(place: Path) -> None:
    """`--run` is about all that a run says, `run = …` about what was told just then."""
    counted = "level = warning | count by node"
    assert warnings(place, "--run", "last", counted) == {"a.o": 1, "b.o": 1}
    assert warnings(place, "--run", "-2", counted) == {"a.o": 1, "b.o": 2}
    last = vcache(place, "logs", "query", "--run", "last", "event = run_ended | limit 1", "--json")
    run = last.partition('"run":"')[2].partition('"')[0]
    assert warnings(place, f"run = {run} and {counted}") == {"b.o": 1}


def test_a_run_is_shown_as_it_is_asked_about(place: Path) -> None:
    """`show RUN` has the same records, those of another run marked."""
    shown = vcache(place, "logs", "show", "last", "--utc").splitlines()
    queried = vcache(place, "logs", "query", "--run", "last", "--utc", "--fields", "node").splitlines()
    assert len(shown) == len(queried)
    assert [line for line in shown if "old" in line and "[replayed]" in line]
    assert [line for line in shown if "second" in line and "[replayed]" not in line]
    assert not [line for line in shown if "first" in line]


def test_what_is_up_to_date_is_not_gone(place: Path) -> None:
    """Runs are compared by all that they say."""
    found = csv.DictReader(
        vcache(place, "logs", "diff", "-2", "last", "--level", "warning", "-F", "csv").splitlines()
    )
    assert {(row["change"], row["node"]) for row in found} == {("new", "b.o"), ("gone", "b.o")}


def test_it_is_the_same_when_the_store_has_lost_it(place: Path) -> None:
    """What retention took, and what was never kept, is found with the results in the cache."""
    counted = "level = warning | count by node"
    with DiskLogs(place / "cache" / "logs" / "default") as logs:
        assert logs.purge(source="*").records > 0
    assert warnings(place, "--run", "last", counted) == {"a.o": 1, "b.o": 1}
    empty = str(place / "empty")
    assert warnings(place, "--run", "last", counted, VCACHE_LOGS=empty) == {"a.o": 1, "b.o": 1}
