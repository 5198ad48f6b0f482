"""What is counted, and how it reads in a scrape."""

from __future__ import annotations

import json
from contextlib import closing
from io import StringIO

import pytest

from vcache.entry import make_key
from vcache.metrics import exposition
from vcache.server.access import AccessLog
from vcache.server.counts import BOUNDS_S, Counts
from vcache.server.operations import Operations
from vcache.server.vault import Vault
from vcache.store.guard import GuardedStore
from vcache.store.guard.limits import Limits
from vcache.store.memory import MemoryStore
from vcache.store.tiered import TieredStore
from vcache.testing import FaultyStore, make_record


def _counted() -> Counts:
    counts = Counts()
    slot = counts.of("nx")
    slot.count("hit", in_bytes=0, out_bytes=10, saved_ns=3_000_000_000, took_ns=50_000)
    slot.count("miss", in_bytes=0, out_bytes=0, saved_ns=0, took_ns=3_000_000)
    slot.count("put", in_bytes=7, out_bytes=0, saved_ns=0, took_ns=20_000_000_000)
    slot.count("", in_bytes=0, out_bytes=1, saved_ns=9, took_ns=1_000_000)
    slot.refuse(401)
    return counts


def test_sums_are_of_all_dialects():
    counts = _counted()
    counts.of("dav").count("hit", in_bytes=0, out_bytes=0, saved_ns=1, took_ns=1)
    assert counts.sums() == (2, 1, 1, 3_000_000_001)


def test_a_scrape_says_it_all():
    with closing(MemoryStore()) as store:
        operations = Operations(_counted(), lambda: None, Vault(store), lambda: 5)
        lines = exposition(operations.families()).decode().splitlines()
    for line in (
        'vcache_server_requests_total{dialect="nx",outcome="hit"} 1.0',
        'vcache_server_requests_total{dialect="nx",outcome="other"} 1.0',
        'vcache_server_refused_total{dialect="nx",status="401"} 1.0',
        'vcache_server_received_bytes_total{dialect="nx"} 7.0',
        'vcache_server_sent_bytes_total{dialect="nx"} 11.0',
        'vcache_server_saved_seconds_total{dialect="nx"} 3.0',
        'vcache_server_duration_seconds_bucket{dialect="nx",le="0.0001"} 1.0',
        'vcache_server_duration_seconds_bucket{dialect="nx",le="0.001"} 2.0',
        'vcache_server_duration_seconds_bucket{dialect="nx",le="10.0"} 3.0',
        'vcache_server_duration_seconds_bucket{dialect="nx",le="+Inf"} 4.0',
        'vcache_server_duration_seconds_count{dialect="nx"} 4.0',
        "vcache_server_connections 5.0",
        'vcache_tier_entries{tier="memory"} 0.0',
    ):
        assert line in lines


def test_a_scrape_says_how_remotes_fare(tmp_path):
    """What a guard counts is there by the address of its remote."""
    far = FaultyStore(MemoryStore(), is_trusted=False, is_shared=True)
    guard = GuardedStore(far, Limits(is_behind=False), tmp_path)
    with closing(TieredStore([MemoryStore(), guard])) as store:
        key = make_key("a")
        store.put(key, make_record(key, b"abc"))
        store.tiers[0].delete(key)
        assert store.get(key) is not None
        assert store.get(make_key("b")) is None
        operations = Operations(Counts(), lambda: None, Vault(store), lambda: 0)
        lines = exposition(operations.families()).decode().splitlines()
    url = guard.info.url
    for name, words, value in (
        ("lookups", f'outcome="hit",remote="{url}"', 1),
        ("lookups", f'outcome="miss",remote="{url}"', 1),
        ("writes", f'outcome="sent",remote="{url}"', 1),
        ("faults", f'remote="{url}"', 0),
    ):
        assert f"vcache_remote_{name}_total{{{words}}} {value:.1f}" in lines


def test_buckets_ascend():
    assert sorted(BOUNDS_S) == list(BOUNDS_S)


def _line(log: AccessLog, status: int = 200) -> None:
    if log.wants(status):
        log.write(
            method="GET", path="/a\n\u2028b", status=status, dialect="nx", outcome="hit", token="id",
            namespace="ci", client=("127.0.0.1", 5), in_bytes=0, out_bytes=3, took_ns=5_000,
        )  # fmt: skip


@pytest.mark.parametrize(("mode", "lines"), [("off", 0), ("sampled", 12), ("all", 1010)])
def test_the_access_log_takes_all_some_or_none(mode, lines):
    stream = StringIO()
    log = AccessLog(mode, stream)
    for _ in range(1000):
        _line(log)
    for _ in range(10):
        _line(log, 500 if mode != "sampled" else 200)
    written = [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]
    assert len(written) == lines if mode != "sampled" else len(written) == 10
    if written:
        assert written[0]["path"] == "/a\n\u2028b"
        assert written[0]["took_us"] == 5


def test_what_failed_here_is_always_written_when_sampling():
    stream = StringIO()
    _line(AccessLog("sampled", stream), 500)
    assert json.loads(stream.getvalue())["status"] == 500


def test_a_log_that_nobody_reads_does_no_harm():
    stream = StringIO()
    stream.close()
    log = AccessLog("all", stream)
    _line(log)
    assert not log.wants(200)
