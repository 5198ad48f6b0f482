"""The core by canonical key: judging, counting, keeping, and what a fault does."""

from __future__ import annotations

import threading

import pytest

from vcache import Cache, Hit, Miss, Reason, Ref
from vcache.entry import Entry, Record, make_key
from vcache.errors import StoreBusy, StoreClosed, StoreFull
from vcache.store.memory import MemoryStore
from vcache.testing import FakeClock, FaultyStore
from vcache.valuables import ABSENT, Conditions

KEY = make_key("k")


@pytest.fixture
def store():
    return FaultyStore(MemoryStore())


@pytest.fixture
def cache(store, tmp_path):
    with Cache(store, clock=FakeClock(), root=tmp_path) as cache:
        yield cache


def test_peeking_is_not_counted_and_looking_is(cache):
    """`peek_key` leaves the counts, `lookup_key` and `get_key` move them by one."""
    cache.put_key(KEY, [1])
    assert cache.peek_key(KEY) and not cache.peek_key(make_key("absent"))
    assert (cache.stats().hits, cache.stats().misses) == (0, 0)
    cache.lookup_key(KEY)
    cache.get_key(KEY)
    cache.lookup_key(make_key("absent"))
    assert (cache.stats().hits, cache.stats().misses) == (2, 1)
    cache.count(cache.peek_key(KEY))
    assert cache.stats().hits == 3


def test_the_caches_own_notes_are_nobodys_puts(cache):
    """What goes to a namespace with a dot is not counted."""
    cache.put_key(make_key("x", namespace=".seen"), 1)
    assert cache.stats().puts == 0
    cache.put_key(KEY, 1)
    assert cache.stats().puts == 1


def test_a_near_value_costs_no_look_at_the_disk(tmp_path):
    """Only what memory holds decoded, and no clock nor dependency can have ended, is near."""
    with Cache(tmp_path / "c") as cache:
        cache.put("k", 1)
        cache.put("t", 1, ttl=10)
        assert cache.get_near(KEY) is ABSENT
        for name in "kt":
            assert cache.get(name) == 1
            assert cache.get(name) == 1
        assert cache.get_near(KEY) == 1
        assert cache.get_near(make_key("t")) is ABSENT
        with Cache(tmp_path / "c") as other:
            other.put("k", 2)
        assert cache.get_near(KEY) is ABSENT
        cache.get("k")
        assert cache.get_near(KEY) == 2


def test_a_record_that_cannot_be_read_is_corrupt_and_stays(cache, store):
    """A head or body of nonsense is a miss with its reason, counted each time; the next put heals it."""
    head = Entry(KEY, bytes(32), 3, codec="nosuch", tags=frozenset("t")).encode()
    for wrong in (Record(head, b"abc"), Record(head[:-1], b"abc"), Record(b"", b""), Record(b"\1", b"x")):
        store.inner.put(KEY, wrong) if len(wrong.head) > 50 else store.inner._records.__setitem__(KEY, wrong)
        before = cache.stats().corrupt
        assert cache.get_key(KEY, "default") == "default"
        found = cache.lookup_key(KEY)
        assert isinstance(found, Miss) and found.reason is Reason.CORRUPT
        assert cache.get_many(["k"]) == {}
        assert cache.stats().corrupt == before + 3
        store.inner._records.pop(KEY)
    cache.put("k", 1)
    assert cache.get("k") == 1


def test_a_fault_is_said_once(cache, store, caplog):
    """However often a store fails, the log says so once and the counts each time."""
    store.fail("get", OSError("broken pipe"))
    for _ in range(5):
        cache.get("k")
    assert caplog.text.count("broken pipe") == 1
    assert cache.stats().faults == 5


def test_use_after_close_is_no_fault(cache, store):
    """A closed store is the caller's mistake: it is raised, not counted."""
    store.fail("get", StoreClosed("closed"))
    with pytest.raises(StoreClosed):
        cache.get("k")
    assert cache.stats().faults == 0


def test_a_refused_put_forgets_the_older_value_if_that_helps(cache, store):
    """Full: the older value goes. Busy: waiting once more would not help, and the value stays."""
    cache.put("k", "old")
    store.fail("put", StoreBusy("later"))
    assert not cache.put("k", "new")
    assert store.calls["delete"] == 0
    store.fail("put", StoreFull("full"))
    assert not cache.put_keys({KEY: "new"}, Conditions())
    store.heal()
    assert cache.get("k") is None


def test_remembered_exceptions_are_raised_by_who_gives_values(cache):
    """`get_key` and `get_many` raise them; `lookup` hands them out."""
    cache.put_key(KEY, KeyError("x"), Conditions(codec="error", is_error=True))
    for ask in (lambda: cache.get_key(KEY), lambda: cache.get_many(["k"])):
        with pytest.raises(KeyError, match="x"):
            ask()
    found = cache.lookup_key(KEY)
    assert isinstance(found, Hit) and isinstance(found.value, KeyError)
    assert cache.stats().hits == 3


def test_entries_are_listed_below_a_prefix(tmp_path):
    """Whatever the store can do: with a listing of its own or without."""
    for store in (MemoryStore(), FaultyStore(MemoryStore())):
        with Cache(store) as cache:
            cache.put_many({"a:1": 1, "a:2": 2, "b": 3})
            assert {entry.name for entry in cache.entries_under(cache.key("a:"))} == {"a:1", "a:2"}


def test_a_file_reaches_every_tier(tmp_path):
    """`put_file` keeps a copy in the second disk tier as `put` does."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 500_000)
    with Cache("mem:10MB", f"disk:{tmp_path / 'near'}", f"disk:{tmp_path / 'far'}") as cache:
        cache.put("k", b"older")
        assert cache.get("k") == b"older"
        assert cache.put_file("k", source)
        assert cache.get("k") == source.read_bytes()
    with Cache(f"disk:{tmp_path / 'far'}") as far:
        assert far.get("k") == source.read_bytes()


def test_references_are_judged_by_each_thread_for_itself(tmp_path):
    """Many threads that follow one chain of references get its answer."""
    with Cache(tmp_path / "c") as cache:
        cache.put("a", 0)
        for n in range(5):
            cache.put(f"b{n}", n, deps=[Ref("a" if n == 0 else f"b{n - 1}")])
        wrong: list[int] = []

        def ask():
            wrong.extend(n for _ in range(50) for n in range(5) if cache.get(f"b{n}") != n)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
