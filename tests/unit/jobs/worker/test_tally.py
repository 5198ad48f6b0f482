"""Counts of a kind go to a registry in bulk, as if each had been observed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vcache.jobs.worker.tally import Tally
from vcache.metrics import Metrics

_NAME = "vcache_job_wait_seconds"


@given(st.lists(st.lists(st.floats(0, 2000), max_size=5), max_size=4))
def test_what_is_merged_is_what_would_have_been_observed(parts):
    """Also over several flushes, and on the bounds of buckets."""
    tally, merged, plain = Tally("k"), Metrics(), Metrics()
    for part in parts:
        for value in [*part, *([0.001, 900.0] if part else [])]:
            tally.waited(value)
            plain.observe(_NAME, value, kind="k")
        tally.flush(merged)

    def lines(metrics: Metrics) -> list[str]:
        return [
            line for line in metrics.text().decode().splitlines()
            if line.startswith((_NAME + "_bucket", _NAME + "_count"))
        ]  # fmt: skip

    assert lines(merged) == lines(plain)
