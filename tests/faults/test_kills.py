"""kill -9 at any moment of put, get, delete, growth and collection."""

from __future__ import annotations

import os
import random
import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.faults.crew import Child, kill_at_line, kill_at_syscall
from vcache import Cache
from vcache.entry import Key, make_key
from vcache.store.disk import DiskStore
from vcache.testing.records import body_of, make_record

# Bodies inside an entry's record, in a record of their own, and in a file.
SIZES: Final = (10, 700, 4_000, 5_000, 60_000, 300_000)
WEIGHTS: Final = (8, 8, 4, 4, 2, 1)
KEYS: Final = 220
WORKERS: Final = 2
FOREVER: Final = 3600.0

# worker, key, sequence number, what: 0 begun, 1 done
_REPORT: Final = struct.Struct("<BHIB")


def value_of(name: str, seq: int) -> bytes:
    """The one value that was ever put for a key under a sequence number."""
    draw = random.Random(f"{name} {seq}")
    size = draw.choices(SIZES, WEIGHTS)[0]
    return f"{name} {seq} ".encode() + draw.randbytes(32) * (size // 32)


def is_deletion(seq: int) -> bool:
    """Some of a key's versions are its absence."""
    return seq % 7 == 0


def store_at(directory: Path) -> DiskStore:
    """A store of small segments, so that there is something to collect."""
    store = DiskStore(directory)
    store.segments._segment_bytes = 512 << 10
    return store


@dataclass
class Ledger:
    """What each key may hold: the last version known to be kept, and one that was perhaps."""

    kept: dict[str, int] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)

    def read(self, reports: bytes) -> int:
        """Take in what a killed process said; how many operations it finished."""
        done = 0
        for at in range(0, len(reports) - len(reports) % _REPORT.size, _REPORT.size):
            worker, number, seq, what = _REPORT.unpack_from(reports, at)
            name = f"{worker}/{number}"
            self.begun[name] = seq
            if what:
                self.kept[name] = seq
                done += 1
        return done

    def check(self, cache: Cache) -> None:
        """Every key holds what is known to be kept, or what was begun after it; that is then known."""
        for name, begun in self.begun.items():
            kept = self.kept.get(name, 0)
            allowed = {None if is_deletion(seq) else value_of(name, seq): seq for seq in {kept, begun}}
            value = cache.get(name)
            assert value in allowed, f"{name}: {value!r:.40} is neither version {kept} nor {begun}"
            self.kept[name] = self.begun[name] = allowed[value]


def work_until_killed(directory: Path, worker: int, seed: float, begun: dict[str, int], fd: int) -> None:
    """Put, delete, look up, grow and collect, saying before and after what is done."""
    draw = random.Random(seed)
    versions = dict(begun)
    store = store_at(directory)
    with Cache(store) as cache:
        while True:
            act = draw.random()
            number = draw.randrange(KEYS)
            name = f"{worker}/{number}"
            if act < 0.02:
                store.reclaim()
            elif act < 0.04:
                with store.lock:
                    store.rebuild(store.current())
            elif act < 0.05:
                cache.gc()
            elif act < 0.2:
                cache.get(name)
            elif act < 0.25:
                cache.put(f"fleeting {worker}/{number}", b"x" * draw.choice(SIZES), ttl=0.001)
            else:
                seq = versions[name] = versions.get(name, 0) + 1
                os.write(fd, _REPORT.pack(worker, number, seq, 0))
                if is_deletion(seq):
                    cache.delete(name)
                    is_done = name not in cache
                else:
                    is_done = cache.put(name, value_of(name, seq), ttl=FOREVER)
                if is_done:
                    os.write(fd, _REPORT.pack(worker, number, seq, 1))


def campaign(directory: Path, kills: int, seed: int) -> None:
    """Kill processes that work on one directory, and look at what they leave each time."""
    draw = random.Random(seed)
    ledger = Ledger()
    done = 0
    for round_number in range(kills // WORKERS):
        children = [
            Child(partial(work_until_killed, directory, worker, draw.random(), ledger.begun))
            for worker in range(WORKERS)
        ]
        time.sleep(draw.uniform(0.03, 0.15))
        for child in children:
            child.kill()
        for child in children:
            done += ledger.read(child.read())
        with Cache(store_at(directory)) as cache:
            ledger.check(cache)
            assert cache.stats().corrupt == 0
            if round_number % 5 == 4:
                assert cache.verify().faults == ()
                cache.gc()
                ledger.check(cache)
    assert done > kills * 5  # the processes lived long enough to matter


def test_60_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """After kill -9 at random moments every value is right, and none that was kept is lost."""
    campaign(tmp_path / "cache", kills=60, seed=1)


@pytest.mark.slow
def test_2000_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The same, two thousand times, over several directories."""
    for seed in range(20):
        campaign(tmp_path / str(seed), kills=100, seed=seed)


# -- one kill at each step -----------------------------------------------------------------


def keys_of(prefix: str, count: int) -> list[Key]:
    """Canonical keys."""
    return [make_key(f"{prefix} {number}") for number in range(count)]


EARLIER: Final = [
    (key, make_record(key, body_of(size, seed=number)))
    for number, key in enumerate(keys_of("earlier", 8))
    for size in [(40, 3_000, 9_000, 300_000)[number % 4]]
]
LATER: Final = [
    (key, make_record(key, body_of(9_000, seed=number))) for number, key in enumerate(keys_of("later", 3))
]


def prepared(directory: Path) -> Path:
    """A directory with a few entries of every kind, and dead records among them."""
    with_dead = DiskStore(directory)
    with_dead.segments._segment_bytes = 256 << 10
    for number in range(40):
        key = make_key(f"dead {number}")
        with_dead.put(key, make_record(key, body_of(20_000, seed=number)))
    for key, record in EARLIER:
        with_dead.put(key, record)
    for number in range(40):
        with_dead.delete(make_key(f"dead {number}"))
    with_dead.close()
    return directory


def put_small(store: DiskStore) -> None:
    store.put(LATER[0][0], make_record(LATER[0][0], b"small"))


def put_large(store: DiskStore) -> None:
    store.put(LATER[1][0], make_record(LATER[1][0], body_of(300_000, seed=99)))


def overwrite(store: DiskStore) -> None:
    store.put(EARLIER[1][0], EARLIER[1][1])


def grow(store: DiskStore) -> None:
    with store.lock:
        store.rebuild(store.current())


def reclaim(store: DiskStore) -> None:
    store.reclaim()


OPERATIONS: Final = [put_small, put_large, overwrite, grow, reclaim]


def assert_intact(directory: Path) -> None:
    """Every earlier entry is there, and the directory takes reads, writes and a collection."""
    store = DiskStore(directory)
    for key, record in LATER:  # first of all: a writer must be able to set right what it finds
        store.put(key, record)
    for key, record in EARLIER:
        found = store.get(key)
        assert found is not None, key
        assert bytes(found.body) == bytes(record.body)
    store.reclaim()
    for key, record in EARLIER + LATER:
        found = store.get(key)
        assert found is not None, key
        assert bytes(found.body) == bytes(record.body)
    assert [fault for _, fault in store.verify() if fault] == []
    assert store.counters().corrupt == 0
    store.close()


def at_each_step(
    tmp_path: Path,
    operate: Callable[[DiskStore], None],
    kill: Callable[[int, Callable[[], object]], bool],
    stride: int,
) -> int:
    """Kill at step 1, 1 + stride, …, each time on a fresh copy; how many kills there were."""
    template = prepared(tmp_path / "template")
    step = 1
    while True:
        directory = tmp_path / "copy"
        shutil.copytree(template, directory, copy_function=copy_sparse)

        def work(directory: Path = directory) -> None:
            store = DiskStore(directory)
            store.segments._segment_bytes = 256 << 10
            operate(store)

        was_killed = kill(step, work)
        assert_intact(directory)
        shutil.rmtree(directory)
        if not was_killed:
            return step // stride
        step += stride


def copy_sparse(source: str, target: str) -> None:
    """Copy a file without filling its holes."""
    with open(source, "rb") as reads, open(target, "wb") as writes:
        os.fchmod(writes.fileno(), os.fstat(reads.fileno()).st_mode & 0o777)
        size = os.fstat(reads.fileno()).st_size
        writes.truncate(size)
        at = 0
        while at < size:
            try:
                start = os.lseek(reads.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            at = os.lseek(reads.fileno(), start, os.SEEK_HOLE)
            while start < at:
                start += os.copy_file_range(reads.fileno(), writes.fileno(), at - start, start, start)


@pytest.mark.parametrize("operate", OPERATIONS)
def test_a_kill_at_a_system_call_leaves_earlier_entries_intact(
    tmp_path: Path, operate: Callable[[DiskStore], None]
) -> None:
    """Killed at its entry to or return from the kernel, an operation leaves all earlier entries in place."""
    assert at_each_step(tmp_path, operate, kill_at_syscall, stride=5) > 5


@pytest.mark.parametrize("operate", OPERATIONS)
def test_a_kill_at_a_line_leaves_earlier_entries_intact(
    tmp_path: Path, operate: Callable[[DiskStore], None]
) -> None:
    """Killed before a line of the engine, an operation leaves all earlier entries in place."""
    assert at_each_step(tmp_path, operate, kill_at_line, stride=41) > 5


@pytest.mark.slow
@pytest.mark.parametrize("operate", OPERATIONS)
def test_a_kill_at_every_system_call_leaves_earlier_entries_intact(
    tmp_path: Path, operate: Callable[[DiskStore], None]
) -> None:
    """The same, at each of them."""
    assert at_each_step(tmp_path, operate, kill_at_syscall, stride=1) > 20


@pytest.mark.slow
@pytest.mark.parametrize("operate", OPERATIONS)
def test_a_kill_at_every_line_leaves_earlier_entries_intact(
    tmp_path: Path, operate: Callable[[DiskStore], None]
) -> None:
    """The same, at each of them."""
    assert at_each_step(tmp_path, operate, kill_at_line, stride=1) > 100
