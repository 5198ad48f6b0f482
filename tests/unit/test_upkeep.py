"""Counts, budgets and examinations, over stores that are told what to say."""

from __future__ import annotations

import os
import time

import pytest

from vcache import Cache
from vcache.entry import make_key
from vcache.errors import UsageError
from vcache.janitor import Janitor
from vcache.policy import Limits
from vcache.store.base import Budgeted, Collectable, Ledger, Verifiable
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.store.tiered import TieredStore
from vcache.testing import FaultyStore, make_record
from vcache.upkeep import Counts, Upkeep, first


@pytest.fixture
def disk(tmp_path):
    store = DiskStore(tmp_path / "c")
    yield store
    store.close()


def test_the_first_tier_that_can_is_found(disk: DiskStore) -> None:
    """A power is looked for in the tiers, from the nearest on."""
    memory = MemoryStore()
    tiers = TieredStore([memory, disk])
    protocol: type[object]
    for protocol in (Budgeted, Collectable, Ledger, Verifiable):
        assert first(tiers, protocol) is disk
        assert first(disk, protocol) is disk
        assert first(memory, protocol) is None


def test_counts_are_shared_in_batches(disk):
    """Counts reach the directory with `flush`, every thousand puts, and only what is new each time."""
    counts = Counts()
    upkeep = Upkeep(disk, counts)
    counts.hits = 5
    assert disk.totals()[0] == 0
    upkeep.flush()
    upkeep.flush()
    assert disk.totals()[0] == 5
    counts.hits = 7
    for _ in range(999):
        upkeep.after_put()
    assert disk.totals()[0] == 5
    upkeep.after_put()
    assert disk.totals()[0] == 7
    assert upkeep.stats().hits == 7
    other = Upkeep(disk, Counts())
    assert other.stats().hits == 7


def test_counts_may_start_anew(disk):
    """After `zero` nothing is counted, and counting goes on."""
    counts = Counts()
    upkeep = Upkeep(disk, counts)
    counts.misses = 3
    upkeep.zero()
    assert upkeep.stats().misses == 0
    counts.misses += 1
    assert upkeep.stats().misses == 1


def test_a_fork_counts_nothing_twice(tmp_path):
    """What the parent had counted and not yet written, the child does not write as well."""
    with Cache(tmp_path / "c") as cache:
        cache.put("k", [1])
        for _ in range(7):
            cache.get("k")
        if (pid := os.fork()) == 0:
            cache.get("k")
            cache.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert (cache.stats().hits, cache.stats().puts) == (8, 1)


def test_memory_counts_for_itself():
    """Without a ledger the counts are this process's."""
    counts = Counts()
    upkeep = Upkeep(MemoryStore(), counts)
    counts.hits = 2
    assert upkeep.stats().hits == 2
    assert upkeep.stats().disk_bytes == 0
    assert upkeep.limits() == Limits()
    assert upkeep.verify(repair=False, progress=None)
    with pytest.raises(UsageError, match="disk tier"):
        upkeep.gc(None, dry_run=False, progress=None)
    upkeep.reclaim()
    upkeep.close()


def test_tiers_of_one_kind_are_told_apart(tmp_path):
    """Two disk tiers are two rows of the statistics."""
    with Cache(f"disk:{tmp_path / 'a'}", f"disk:{tmp_path / 'b'}") as cache:
        cache.put("k", 1)
        tiers = cache.stats().tiers
        assert len(tiers) == 2
        assert all(counters.entries == 1 for counters in tiers.values())


def test_a_limit_of_entries_is_kept_in_the_background(tmp_path):
    """Limits of entries are kept in the background, and at the latest when the cache is closed."""
    where = f"disk:{tmp_path / 'c'}?max_entries=10"
    with Cache(where) as cache:
        for n in range(200):
            cache.put(str(n), n)
        deadline = time.monotonic() + 10
        while len(cache) > 100 and time.monotonic() < deadline:
            time.sleep(0.005)
    with Cache(where) as cache:
        assert 0 < len(cache) <= 10


def test_pins_beyond_the_budget_cost_each_put_nothing(tmp_path, monkeypatch):
    """Where nothing can be dropped, a collection is not tried again at every put."""
    collections = []
    real = Janitor.run_once

    def spy(janitor):
        collections.append(1)
        return real(janitor)

    monkeypatch.setattr(Janitor, "run_once", spy)
    with Cache(f"disk:{tmp_path / 'c'}?max=1MB") as cache:
        for n in range(5):
            cache.put(str(n), os.urandom(400_000), pin=True)
        collections.clear()
        for n in range(200):
            cache.put("k", n, pin=True)
        assert len(collections) < 10
        assert all(cache.get(str(n)) for n in range(5))


def test_a_read_only_tier_is_left_alone(tmp_path):
    """Over its budget or not, what may not be written is not collected."""
    with Cache(f"disk:{tmp_path / 'c'}") as cache:
        cache.put_many({str(n): n for n in range(20)})
    with Cache("mem:1MB", f"disk:{tmp_path / 'c'}?max_entries=5&read_only=1") as cache:
        assert not cache.put("k", 1)
        assert cache.get("3") == 3
        assert cache.stats().hits >= 1
    with Cache(f"disk:{tmp_path / 'c'}") as cache:
        assert len(cache) == 20


def test_an_examination_says_how_far_it_is(tmp_path):
    """Progress is told every 64 records, with what there is in all."""
    with Cache(f"disk:{tmp_path / 'c'}") as cache:
        cache.put_many({str(n): n for n in range(200)})
        seen: list[tuple[str, int, int]] = []
        report = cache.verify(progress=lambda *step: seen.append(step))
        assert report.examined == 200
        assert seen == [("verify", n, 200) for n in (64, 128, 192)]


def far_tier() -> FaultyStore:
    return FaultyStore(MemoryStore(), name="remote", is_trusted=False, is_shared=True, is_persistent=True)


def test_what_far_tiers_gave_is_counted_for_all_processes(disk):
    """Records and bytes that came over a network add up in the directory."""
    far = far_tier()
    for name in ("a", "b"):
        far.inner.put(make_key(name), make_record(make_key(name), b"12345"))
    tiers = TieredStore([disk, far])
    upkeep = Upkeep(tiers, Counts())
    tiers.get(make_key("a"))
    tiers.get_many([make_key("a"), make_key("b"), make_key("c")])
    found = upkeep.stats()
    assert (found.fetched, found.fetched_bytes) == (2, 10)
    other = Upkeep(disk, Counts()).stats()
    assert (other.fetched, other.fetched_bytes) == (2, 10)
    upkeep.zero()
    assert upkeep.stats().fetched == 0


def test_a_process_that_only_reads_from_afar_keeps_the_budget(tmp_path):
    """What it fetched is kept near, and is not more than may be kept when it ends."""
    far = far_tier()
    keys = [make_key(str(number)) for number in range(40)]
    for number, key in enumerate(keys):
        far.inner.put(key, make_record(key, bytes([number]) * 100_000))
    disk = DiskStore(tmp_path / "near", max_bytes=1_000_000)
    with Cache(disk, far) as cache:
        assert len(cache.get_many(str(number) for number in range(40))) == 40
    reopened = DiskStore(tmp_path / "near")
    assert reopened.disk_bytes() <= 1_100_000
    reopened.close()


def test_clearing_a_namespace_leaves_others_what_they_need(tmp_path):
    """Names are forgotten everywhere; files and notes, which other machines' results refer to, only here."""
    far = far_tier()
    note = make_key(b"x", namespace=".outputs")
    with Cache(DiskStore(tmp_path / "near"), far) as cache:
        cache.put("name", 1)
        cache.put_key(note, b"file")
        assert cache.clear() == 1
        assert list(cache.store.scan()) == []
        assert list(far.inner.scan()) == [note]
