"""Counts, and the sweeping of records."""

from __future__ import annotations

import os

import pytest

from vcache.cc import records
from vcache.cc.records import Counts, sweep

DAY_NS = 86_400_000_000_000


def test_counts_are_added_up(tmp_path):
    """Events are counted, hits of both kinds together, and reasons are listed by their number."""
    counts = Counts(f"{tmp_path}/cc")
    for event in ("hit", "hit", "full", "miss", "raw it links", "raw it links", "raw modules", "unkept x"):
        counts.add(event)
    shown = [" ".join(line.split()) for line in counts.report().splitlines()]
    assert {"hits 3 (75.0%)", "by their records 2", "misses 1", "run as they are 3"} <= set(shown)
    assert shown.index("it links 2") < shown.index("modules 1")


def test_folding_keeps_the_sums(tmp_path, monkeypatch):
    """A long file of lines becomes sums, again and again, and loses nothing."""
    monkeypatch.setattr(records, "_FOLDED_BYTES", 20)
    counts = Counts(f"{tmp_path}/cc")
    for _ in range(50):
        counts.add("hit")
        counts.add("raw it links")
    assert counts.totals() == {"hit": 50, "raw it links": 50}
    counts.reset()
    assert not counts.totals()


def test_without_a_directory_nothing_is_counted():
    """Where there is no place for counts, nothing happens."""
    Counts("").add("hit")
    Counts("/proc/self/nowhere").add("hit")
    assert not Counts("/proc/self/nowhere").totals()


def test_the_oldest_records_go(tmp_path):
    """Beyond the budget those go that were unused for longest; what else lies there stays."""
    (tmp_path / "ab").mkdir()
    (tmp_path / "counts").touch()
    for age, name in enumerate(("new", "old", "oldest")):
        (tmp_path / "ab" / name).write_bytes(bytes(100))
        os.utime(tmp_path / "ab" / name, ns=(0, (10 - age) * DAY_NS))
    assert sweep(os.fspath(tmp_path), budget_bytes=300, now_ns=10 * DAY_NS) == 0
    assert sweep(os.fspath(tmp_path), budget_bytes=250, now_ns=10 * DAY_NS) == 100
    assert sorted(os.listdir(tmp_path / "ab")) == ["new", "old"]
    assert (tmp_path / "counts").exists()


@pytest.mark.parametrize(("age_s", "is_left"), [(60, True), (7200, False)])
def test_what_crashed_writers_left_goes(tmp_path, age_s, is_left):
    """An unfinished file goes after an hour, not while its writer may be at it."""
    (tmp_path / "ab").mkdir()
    path = tmp_path / "ab/x.1.vcc"
    path.touch()
    sweep(os.fspath(tmp_path), budget_bytes=100, now_ns=path.stat().st_mtime_ns + age_s * 1_000_000_000)
    assert path.exists() == is_left
