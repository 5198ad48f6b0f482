"""The memory store: budgets, order, pins, expiry, forks. The contract is tested by the suite."""

from __future__ import annotations

import os
import threading

import pytest

from vcache.entry import Record, make_key
from vcache.errors import UsageError
from vcache.store.memory import RECORD_BYTES, MemoryStore
from vcache.testing import FakeClock, make_record

NS = 1_000_000_000


def keys(store: MemoryStore) -> list[object]:
    return [entry.name for entry in store.entries()]


def put(store: MemoryStore, name: str, size_bytes: int = 10, **fields: object) -> None:
    key = make_key(name)
    store.put(key, make_record(key, bytes(size_bytes), **fields))  # type: ignore[arg-type]


def test_the_same_record_object_is_handed_out() -> None:
    """What a caller memoized on a record is there for the next one."""
    store, key = MemoryStore(), make_key("k")
    record = make_record(key)
    record.memo = (1, "decoded")
    store.put(key, record)
    assert store.get(key) is record


def test_a_view_is_copied_with_its_token_and_memo() -> None:
    """A body that is not bytes becomes bytes; token and memo stay."""
    store, key = MemoryStore(), make_key("k")
    record = Record(make_record(key).head, memoryview(b"content"), token="mark")
    record.memo = (1, "decoded")
    store.put(key, record)
    kept = store.get(key)
    assert kept is not None
    assert type(kept.body) is bytes
    assert (kept.body, kept.token, kept.memo) == (b"content", "mark", (1, "decoded"))


def test_the_least_recently_used_goes_first() -> None:
    """A read makes a record young, also for eviction."""
    store = MemoryStore(max_entries=3)
    for name in "abc":
        put(store, name)
    store.get(make_key("a"))
    put(store, "d")
    assert keys(store) == ["c", "a", "d"]
    assert store.counters().evicted == 1


def test_listing_an_entry_is_no_use() -> None:
    """`entry` and `entries` leave the order alone."""
    store = MemoryStore(max_entries=2)
    put(store, "a")
    put(store, "b")
    assert store.entry(make_key("a")) is not None
    list(store.entries())
    put(store, "c")
    assert keys(store) == ["b", "c"]


def test_bytes_are_counted_with_their_overhead() -> None:
    """Key, head, body and a fixed overhead count, and are given back by delete and overwrite."""
    store, key = MemoryStore(), make_key("k")
    record = make_record(key, bytes(1000))
    store.put(key, record)
    assert store.counters().size_bytes == RECORD_BYTES + len(key) + len(record.head) + 1000
    store.put(key, make_record(key, b""))
    assert store.counters().size_bytes == RECORD_BYTES + len(key) + len(record.head)
    store.delete(key)
    assert store.counters().size_bytes == 0


def test_the_budget_is_never_passed() -> None:
    """After every put the store holds no more than its bytes."""
    store = MemoryStore(100_000)
    for number in range(200):
        put(store, str(number), number * 100)
        assert store.counters().size_bytes <= 100_000
    assert keys(store)[-1] == "199"


def test_a_record_too_large_is_not_kept_and_ends_the_older() -> None:
    """Above a quarter of the budget nothing is kept: the key is absent, the others stay."""
    store = MemoryStore(100_000)
    put(store, "other")
    put(store, "k")
    put(store, "k", 25_000)
    assert keys(store) == ["other"]
    assert store.counters().evicted == 0


def test_pinned_records_stay() -> None:
    """Pins are passed over while they take no more than half of the room."""
    store = MemoryStore(max_entries=4)
    put(store, "pin", is_pinned=True)
    put(store, "pin too", is_pinned=True)
    for name in "abcdef":
        put(store, name)
    assert set(keys(store)) == {"pin", "pin too", "e", "f"}


@pytest.mark.parametrize("store", [MemoryStore(max_entries=4), MemoryStore(4 * (RECORD_BYTES + 1200))])
def test_pins_beyond_half_of_the_room_are_records_like_others(store: MemoryStore) -> None:
    """A store full of pins still takes what is put, and gives up its least recently used pins."""
    for number in range(6):
        put(store, f"pin {number}", 1000, is_pinned=True)
    put(store, "new", 1000)
    assert keys(store)[-1] == "new"
    assert "pin 0" not in keys(store)


def test_expired_records_go_before_the_least_recently_used() -> None:
    """When room is needed, what nobody may be served any more goes first."""
    clock = FakeClock()
    store = MemoryStore(max_entries=3, clock=clock)
    now_ns = clock()
    put(store, "old")
    put(store, "short", expires_ns=now_ns + NS)
    put(store, "stale", expires_ns=now_ns + NS, stale_until_ns=now_ns + 100 * NS)
    clock.advance(2)
    put(store, "new")
    assert keys(store) == ["old", "stale", "new"]


def test_expired_records_are_looked_for_once_a_second() -> None:
    """A sweep reads every head, so that the next one waits; meanwhile the order decides."""
    clock = FakeClock()
    store = MemoryStore(max_entries=2, clock=clock)
    put(store, "a", expires_ns=clock() + NS)
    put(store, "b")
    clock.advance(1)
    put(store, "c")
    assert keys(store) == ["b", "c"]
    put(store, "d", expires_ns=clock())
    assert keys(store) == ["c", "d"]
    put(store, "e")
    assert keys(store) == ["d", "e"]
    clock.advance(1)
    put(store, "f")
    assert keys(store) == ["e", "f"]


@pytest.mark.parametrize(
    ("store", "url"),
    [
        (MemoryStore(), "mem:64MiB"),
        (MemoryStore(1 << 30), "mem:1GiB"),
        (MemoryStore(5000, max_entries=7), "mem:5000?max_entries=7"),
    ],
)
def test_it_says_its_address(store: MemoryStore, url: str) -> None:
    """The address opens an equal store."""
    assert store.info.url == url


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_bytes": -1}, {"max_entries": 0}])
def test_a_store_that_keeps_nothing_is_refused(limits: dict[str, int]) -> None:
    """The message names the limit and its value."""
    ((name, value),) = limits.items()
    with pytest.raises(UsageError, match=f"{name}={value}"):
        MemoryStore(**limits)  # type: ignore[arg-type] # mypy thinks of `clock`


def test_a_forked_child_has_the_records() -> None:
    """The child reads what the parent put; what it puts itself the parent does not see."""
    store = MemoryStore()
    put(store, "before")
    child = os.fork()
    if child == 0:
        put(store, "after")
        os._exit(0 if keys(store) == ["before", "after"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert keys(store) == ["before"]


def test_a_fork_while_a_thread_puts_does_not_hang_the_child() -> None:
    """A lock that another thread held at the fork is replaced in the child, the accounts set right."""
    store = MemoryStore()
    put(store, "k")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            store._size_bytes += 1_000_000  # as if in the middle of a put
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        put(store, "k2")
        os._exit(0 if store.counters().size_bytes < 10_000 else 1)
    done.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_readers_bear_evictions() -> None:
    """Reads without a lock go on while other threads evict under them."""
    store = MemoryStore(max_entries=5)
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                for number in range(20):
                    store.get(make_key(str(number)))
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(3000):
        put(store, str(turn % 20))
    done.set()
    for reader in readers:
        reader.join(10)
    assert failures == []
    assert store.counters().entries == 5
