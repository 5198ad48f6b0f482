from __future__ import annotations

import re
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from vcache.errors import UsageError
from vcache.metrics import METRICS, Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """By name and labels, what the text says, read by Prometheus' own parser."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_names_follow_the_conventions() -> None:
    """a prefix, base units, no ending that the library adds (https://prometheus.io/docs/practices/naming)"""
    for name, described in METRICS.items():
        assert re.fullmatch(r"vcache(_[a-z]+)+", name)
        assert not re.search(r"_(total|count|sum|bucket|created|info|ms|ns|kb)$", name)
        assert described.meaning.endswith(".")
        assert bool(described.bounds) == (described.kind == "histogram")
        assert list(described.bounds) == sorted(set(described.bounds))


def test_counting() -> None:
    """counters add up by label, gauges are set, histograms take values"""
    metrics = Metrics()
    assert metrics.is_counting
    metrics.count("vcache_nodes", outcome="hit")
    metrics.count("vcache_nodes", 2, outcome="hit")
    metrics.count("vcache_nodes", outcome="ran")
    metrics.put("vcache_run_status", 1)
    metrics.observe("vcache_node_duration_seconds", 0.3, rule="cc")
    found = samples(metrics)
    assert found["vcache_nodes_total{outcome=hit}"] == 3
    assert found["vcache_nodes_total{outcome=ran}"] == 1
    assert found["vcache_run_status"] == 1
    assert found["vcache_node_duration_seconds_sum{rule=cc}"] == 0.3
    assert found["vcache_node_duration_seconds_bucket{le=0.1,rule=cc}"] == 0
    assert found["vcache_node_duration_seconds_bucket{le=0.5,rule=cc}"] == 1


def test_two_do_not_mix() -> None:
    """each has its own registry unless it is given one"""
    registry = CollectorRegistry()
    Metrics().count("vcache_notes")
    Metrics(registry).count("vcache_notes")
    assert registry.get_sample_value("vcache_notes_total") == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda metrics: metrics.count("vcache_node"),
            "no metric 'vcache_node'; did you mean 'vcache_nodes'",
        ),
        (lambda metrics: metrics.count("vcache_nodes"), "a counter with labels"),
        (lambda metrics: metrics.count("vcache_notes", rule="cc"), "with labels"),
        (lambda metrics: metrics.put("vcache_notes", 1), "set('vcache_notes', {}): it is a counter"),
        (lambda metrics: metrics.observe("vcache_run_status", 1), "it is a gauge"),
    ],
)
def test_misuse(call, words) -> None:
    """an unknown name, wrong labels or a wrong kind is an error, also where nothing is kept"""
    with pytest.raises(UsageError, match=re.escape(words)):
        call(Metrics())


def test_a_file_is_whole(tmp_path) -> None:
    """the text is written in one step, and replaces what was there"""
    metrics = Metrics()
    metrics.count("vcache_notes")
    metrics.write(tmp_path / "vcache.prom")
    metrics.count("vcache_notes")
    metrics.write(tmp_path / "vcache.prom")
    assert "\nvcache_notes_total 2.0\n" in (tmp_path / "vcache.prom").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["vcache.prom"]


def test_without_the_library_nothing_is_kept() -> None:
    """counting goes nowhere, misuse is still an error, and who needs it is told what to install"""
    code = """
import sys
sys.modules["prometheus_client"] = None
from vcache.errors import UsageError
from vcache.metrics import Metrics
metrics = Metrics()
metrics.count("vcache_nodes", outcome="hit")
assert not metrics.is_counting and metrics.text() == b""
for call in (lambda: metrics.count("x"), lambda: Metrics(is_required=True)):
    try:
        call()
    except UsageError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("there is no metric 'x'")
    assert second == "metrics need prometheus-client: python -m pip install 'vcache[metrics]'"


def test_the_library_is_not_loaded_before_it_is_used() -> None:
    """importing the room costs nothing of prometheus-client"""
    code = "import vcache.metrics, sys; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"
