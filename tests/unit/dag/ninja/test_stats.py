"""The table of `-d stats`."""

from __future__ import annotations

from vcache.dag import events
from vcache.dag.ninja.stats import Stats
from vcache.dag.node import Node


def test_counts_and_times_of_a_run():
    """A row for each kind of thing that was done, with its count, mean and sum."""
    stats, node = Stats(), Node(name="a")
    for event in (
        events.RunStarted("r", 1_000_000, "/b", (), 2),
        events.Planned(3_000_000, 4),
        events.UpToDate(4_000_000, node),
        events.Hit(5_000_000, node, "r", 9, 250_000),
        events.Hit(5_000_000, node, "r", 9, 750_000),
        events.Finished(6_000_000, node, 0, 12_500_000),
    ):
        stats.on_event(event)
    assert list(stats.lines()) == [
        "metric    \tcount \tavg (us) \ttotal (ms)",
        "plan      \t1     \t2000.0  \t2.0",
        "up to date\t1     \t0.0     \t0.0",
        "cache hit \t2     \t500.0   \t1.0",
        "command   \t1     \t12500.0 \t12.5",
    ]


def test_a_run_without_anything_has_a_table_of_its_own():
    """Nothing done is no error."""
    assert list(Stats().lines()) == ["metric\tcount \tavg (us) \ttotal (ms)"]
