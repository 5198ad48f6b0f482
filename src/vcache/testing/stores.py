"""The conformance suite of stores: the contract of `vcache.store.base`, as tests.

A store is tested by a class that inherits `StoreTests` and, for each optional protocol it
satisfies, the tests of that power (`vcache.testing.powers`). The class provides a fixture
`store`: an empty, writable store, closed afterwards by who made it. Example:

    class TestMyStore(StoreTests, BatchesTests):
        @pytest.fixture
        def store(self, tmp_path):
            store = MyStore(tmp_path)
            yield store
            store.close()

A store may evict what does not fit; give it room for 64 MB.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from vcache.entry import Dep, Encoding, make_key
from vcache.errors import StoreClosed
from vcache.hash import digest
from vcache.store.base import (
    Batches,
    Collectable,
    Files,
    Listing,
    Presence,
    Store,
    StoreInfo,
    Verifiable,
    Watched,
)
from vcache.testing.expect import expect_entries, expect_keys, is_counted
from vcache.testing.powers import (
    BatchesTests,
    CollectableTests,
    DamageTests,
    FilesTests,
    ListingTests,
    PersistentTests,
    PresenceTests,
    VerifiableTests,
    WatchedTests,
)
from vcache.testing.records import CREATED_NS, SIZES, body_of, make_record, named

__all__ = ["StoreTests"]

_KEYS = (
    make_key(""),
    make_key(b""),
    make_key("a"),
    make_key(b"a"),
    make_key("ab"),
    make_key("a", namespace="a"),
    make_key("a", namespace="space"),
    make_key("naïve/日本語/🦜"),
    make_key("\udcff lone surrogate"),
    make_key(bytes(range(256))),
    make_key(b"\0\0\0"),
    make_key("x" * ((64 << 10) - 2)),
    make_key("x" * ((64 << 10) - 3)),
)
_POWERS = {
    Watched: WatchedTests,
    Batches: BatchesTests,
    Presence: PresenceTests,
    Listing: ListingTests,
    Files: FilesTests,
    Collectable: CollectableTests,
    Verifiable: VerifiableTests,
}


class StoreTests:
    """What every store has to do."""

    cannot: ClassVar[tuple[type, ...]] = ()
    """Protocols that the class under test satisfies, but not as the fixture builds it."""

    # -- what it is ------------------------------------------------------------------------

    def test_it_is_a_store_with_an_address(self, store: Store) -> None:
        """A store has the required operations, a name and an address, and takes writes."""
        assert isinstance(store, Store)
        assert isinstance(store.info, StoreInfo)
        assert store.info.name
        assert store.info.url
        assert not store.info.is_read_only

    def test_every_power_is_tested(self, store: Store) -> None:
        """Whatever optional protocol a store satisfies, its test class inherits the tests of."""
        for protocol, tests in _POWERS.items():
            if protocol not in self.cannot:
                assert isinstance(store, protocol) == isinstance(self, tests), f"inherit {tests.__name__}?"
        assert store.info.is_persistent == isinstance(self, PersistentTests)
        if store.info.is_persistent and store.info.is_trusted:
            assert isinstance(self, DamageTests), "what lies on a medium can be damaged there"

    # -- 1: get after put ------------------------------------------------------------------

    @pytest.mark.parametrize("size_bytes", SIZES)
    def test_a_record_comes_back_as_it_was(self, store: Store, size_bytes: int) -> None:
        """`get` after `put` gives an equal head and body, at every size."""
        key = make_key(f"of {size_bytes}")
        put = make_record(key, body_of(size_bytes))
        store.put(key, put)
        for _ in range(2):
            got = store.get(key)
            assert got is not None
            assert got.head == put.head
            assert got.body == put.body

    def test_every_part_of_a_head_comes_back(self, store: Store) -> None:
        """Tags, dependencies, meta data, flags, times and encoding belong to the record."""
        key = make_key("rich")
        put = make_record(
            key,
            b"packed" * 100,
            encoding=Encoding.ZSTD,
            tags=frozenset({"a", "b"}),
            deps=(Dep("file", "src/a.c", b"\0" * 32, b"hint", "note"),),
            meta={"k": "v"},
            cost_ns=5,
            stale_until_ns=CREATED_NS * 2,
            is_error=True,
            is_pinned=True,
        )
        store.put(key, put)
        got = store.get(key)
        assert got is not None
        assert got.entry() == put.entry()
        assert got.entry().deps[0].hint == b"hint"
        assert got.body == put.body

    def test_an_expired_record_is_still_there(self, store: Store) -> None:
        """A store does not judge expiry on `get`: the cache does, and may serve stale."""
        key = make_key("expired")
        store.put(key, make_record(key, expires_ns=1))
        assert store.get(key) is not None

    def test_keys_of_every_kind_are_distinct(self, store: Store) -> None:
        """Keys are bytes up to 64 KiB: none is taken for another, none is mangled."""
        for number, key in enumerate(_KEYS):
            store.put(key, make_record(key, b"%d" % number))
        for number, key in enumerate(_KEYS):
            record = store.get(key)
            assert record is not None
            assert record.body == b"%d" % number
        expect_keys(store, _KEYS)

    @pytest.mark.parametrize("size_bytes", [3, 5000, 300_000])
    def test_a_body_is_any_buffer_and_is_copied(self, store: Store, size_bytes: int) -> None:
        """A body may be a view of memory that changes after `put`; the record does not."""
        content = body_of(size_bytes)
        for is_view in (False, True):
            key = make_key(f"buffer {is_view}")
            memory = bytearray(content)
            record = make_record(key, content)
            record.body = memoryview(memory) if is_view else memory
            store.put(key, record)
            memory[:] = bytes(size_bytes)
            got = store.get(key)
            assert got is not None
            assert got.body == content

    @pytest.mark.parametrize("size_bytes", [3, 5000, 300_000])
    def test_a_body_handed_out_cannot_be_written(self, store: Store, size_bytes: int) -> None:
        """What `get` returns is read-only: no reader can damage what others will get."""
        key = make_key("read-only")
        store.put(key, make_record(key, body_of(size_bytes)))
        got = store.get(key)
        assert got is not None
        assert memoryview(got.body).readonly

    def test_the_latest_put_wins(self, store: Store) -> None:
        """A put takes the place of the older record, whatever the sizes of both."""
        key = make_key("again")
        for seed, size_bytes in enumerate((0, 5 << 20, 1, 300_000, 300_000, 5000, 0)):
            store.put(key, make_record(key, body_of(size_bytes, seed=seed)))
            got = store.get(key)
            assert got is not None
            assert got.body == body_of(size_bytes, seed=seed)
        expect_keys(store, [key])

    @pytest.mark.parametrize("size_bytes", [3, 5000, 300_000])
    def test_equal_contents_are_independent(self, store: Store, size_bytes: int) -> None:
        """Two keys with equal bodies may share them, but not their fate."""
        one, two, content = make_key("one"), make_key("two"), body_of(size_bytes)
        store.put(one, make_record(one, content))
        store.put(two, make_record(two, content))
        assert store.delete(one)
        got = store.get(two)
        assert got is not None
        assert got.body == content

    # -- 3: absence ------------------------------------------------------------------------

    def test_absence_is_no_error(self, store: Store) -> None:
        """An unknown key gives None and False."""
        assert store.get(make_key("nobody")) is None
        assert store.delete(make_key("nobody")) is False
        expect_keys(store, [])
        expect_entries(store, 0)

    def test_delete_forgets(self, store: Store) -> None:
        """`delete` says whether there was a record; the key can be put again."""
        key, record = named("gone")
        store.put(key, record)
        assert store.delete(key) is True
        assert store.get(key) is None
        assert store.delete(key) is False
        expect_keys(store, [])
        store.put(key, record)
        got = store.get(key)
        assert got is not None
        assert got.body == record.body

    # -- 4: scan ---------------------------------------------------------------------------

    def test_scan_gives_every_key_once(self, store: Store) -> None:
        """All keys, each once, after puts, overwrites and deletes. A store without listings says so."""
        pairs = [named(f"key {number}") for number in range(300)]
        for key, record in pairs + pairs[:100]:
            store.put(key, record)
        for key, _ in pairs[200:]:
            store.delete(key)
        expect_keys(store, (key for key, _ in pairs[:200]))

    def test_scan_takes_a_prefix(self, store: Store) -> None:
        """Only the keys that start with the prefix, which may be a whole key."""
        keys = [make_key(name, namespace=space) for space in ("a", "b") for name in ("x", "xy", "z")]
        for key in keys:
            store.put(key, make_record(key))
        for prefix in (b"", b"a\0", b"a\0sx", b"b\0sz", b"c\0", keys[0] + b"yy"):
            expect_keys(store, (key for key in keys if key.startswith(prefix)), prefix)

    def test_scan_bears_changes_meanwhile(self, store: Store) -> None:
        """Keys that were there all the time come exactly once, whatever else comes and goes."""
        stay = [named(f"stay {number}") for number in range(100)]
        go = [named(f"go {number}") for number in range(100)]
        for key, record in stay + go:
            store.put(key, record)
        if not store.info.is_listed:
            expect_keys(store, ())
            return
        seen = []
        for number, key in enumerate(store.scan()):
            seen.append(key)
            if number < 100:
                store.delete(go[number][0])
                store.put(*stay[number])
                if number % 3 == 0:  # not as many as go, or a cursor that counts would not be found out
                    store.put(*named(f"come {number}"))
        kept = {key for key, _ in stay}
        assert sorted(key for key in seen if key in kept) == sorted(kept)

    def test_counters_count(self, store: Store) -> None:
        """`entries` is the number of keys; bytes grow with what is kept. Who cannot tell says 0, always."""
        sizes = [store.counters().size_bytes]
        keys = [make_key(f"counted {number}") for number in range(3)]
        for seed, key in enumerate(keys):
            store.put(key, make_record(key, body_of(10_000, seed=seed)))
            sizes.append(store.counters().size_bytes)
        expect_entries(store, 3)
        assert sizes == (sorted(set(sizes)) if is_counted(store) else [0] * 4)
        store.put(keys[0], make_record(keys[0]))
        expect_entries(store, 3)
        store.delete(keys[0])
        expect_entries(store, 2)

    # -- 5: threads and close --------------------------------------------------------------

    @pytest.mark.parametrize("size_bytes", [100, 5000, 300_000])
    def test_no_thread_sees_half_a_record(self, store: Store, size_bytes: int) -> None:
        """While one key is overwritten by many threads, each `get` gives one of the records, whole."""
        key = make_key("contended")
        versions = [make_record(key, body_of(size_bytes, seed=seed)) for seed in range(4)]
        store.put(key, versions[0])
        done = threading.Event()

        def write(seed: int) -> None:
            for _ in range(8):
                store.put(key, versions[seed])

        def read() -> int:
            count = 0
            while not done.is_set():
                record = store.get(key)
                assert record is not None, "an overwritten key was absent for a moment"
                body = bytes(record.body)
                assert digest(body) == record.entry().digest
                count += 1
            return count

        with ThreadPoolExecutor(6) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                list(pool.map(write, range(4)))
            finally:
                done.set()
            assert all(reader.result() > 0 for reader in readers)

    def test_threads_do_not_lose_records(self, store: Store) -> None:
        """What each of many threads puts and deletes is there, and gone, for all of them."""

        def work(thread: int) -> None:
            for number in range(50):
                store.put(*named(f"{thread}/{number}"))
            for number in range(25):
                assert store.delete(named(f"{thread}/{number}")[0])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        left = {named(f"{thread}/{number}")[0] for thread in range(8) for number in range(25, 50)}
        expect_keys(store, left)
        expect_entries(store, len(left))
        assert all(store.get(key) is not None for key in left)

    def test_a_closed_store_says_so(self, store: Store) -> None:
        """After `close` every operation raises StoreClosed, but `close` itself."""
        key, record = named("k")
        store.put(key, record)
        store.close()
        store.close()
        with pytest.raises(StoreClosed):
            store.get(key)
        with pytest.raises(StoreClosed):
            store.put(key, record)
        with pytest.raises(StoreClosed):
            store.delete(key)
        with pytest.raises(StoreClosed):
            list(store.scan())
        with pytest.raises(StoreClosed):
            store.counters()
