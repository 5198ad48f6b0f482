"""Several processes and threads on one directory: nobody sees what is not so, at any moment."""

from __future__ import annotations

import mmap
import os
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.faults.crew import Child, Gate, in_threads
from vcache import Cache
from vcache.entry import make_key
from vcache.store.disk import DiskStore
from vcache.testing.records import body_of, make_record

KEYS: Final = 24
SIZES: Final = (30, 2_000, 6_000, 300_000)


class Versions:
    """Shared by forked processes: of each key the last version begun and the last one done."""

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, 16 * KEYS)).cast("Q")

    def begin(self, key: int) -> int:
        self._words[2 * key] += 1
        return self._words[2 * key]

    def end(self, key: int, version: int) -> None:
        self._words[2 * key + 1] = version

    def done(self, key: int) -> int:
        return self._words[2 * key + 1]

    def begun(self, key: int) -> int:
        return self._words[2 * key]


def value_of(key: int, version: int) -> bytes | None:
    """What a version is: a value, or the key's absence. Version 0 is before the first put."""
    if version % 6 == 0:
        return None
    size = SIZES[(key + version) % len(SIZES)]
    return f"{key} {version} ".encode() + bytes(size)


def version_of(key: int, value: object, low: int, high: int) -> int:
    """Which version in a range a value is."""
    if value is None:
        absences = [version for version in range(low, high + 1) if version % 6 == 0]
        assert absences, f"key {key} was absent while it had versions {low} to {high}"
        return absences[0]
    assert isinstance(value, bytes)
    number, version, _ = value.split(b" ", 2)
    assert int(number) == key
    assert value == value_of(key, int(version))
    assert low <= int(version) <= high, f"key {key} was at version {version!r} between {low} and {high}"
    return int(version)


def write_one(cache: Cache, versions: Versions, key: int) -> None:
    version = versions.begin(key)
    value = value_of(key, version)
    if value is None:
        cache.delete(str(key))
    else:
        assert cache.put(str(key), value)
    versions.end(key, version)


def read_one(cache: Cache, versions: Versions, key: int) -> None:
    low = versions.done(key)
    value = cache.get(str(key))
    version_of(key, value, low, versions.begun(key))


def work(directory: Path, versions: Versions, worker: int, workers: int, gate: Gate, seconds: float) -> None:
    """Write one's own keys, read everybody's; one of the workers collects meanwhile."""
    gate.wait()
    draw = random.Random(worker)
    store = DiskStore(directory)
    store.segments._segment_bytes = 256 << 10
    with Cache("mem:4MB", store) as cache:
        until = time.monotonic() + seconds
        acts = 0
        while time.monotonic() < until:
            acts += 1
            act = draw.random()
            if act < 0.25:
                write_one(cache, versions, draw.randrange(KEYS // workers) * workers + worker)
            elif act < 0.28:
                with store.lock:
                    store.rebuild(store.current())
            elif act < 0.4 and worker == 0:
                store.reclaim()
            else:
                read_one(cache, versions, draw.randrange(KEYS))
        assert acts > 50
        assert cache.stats().corrupt == 0
        assert cache.stats().faults == 0


@pytest.mark.parametrize("workers", [2, 4])
def test_processes_that_share_a_directory_agree(tmp_path: Path, workers: int) -> None:
    """Each read gives the version that was there at some moment of it, memory tier and growth and
    collection notwithstanding; a key is never absent for a moment, and never an older version.
    """
    versions = Versions()
    with Gate() as gate:
        children = [
            Child(lambda _, worker=worker: work(tmp_path / "cache", versions, worker, workers, gate, 2.5))  # type: ignore[misc]
            for worker in range(workers)
        ]
    for child in children:
        child.finish(40)
    with Cache(tmp_path / "cache") as cache:
        for key in range(KEYS):
            read_one(cache, versions, key)
        assert cache.verify().faults == ()


def test_threads_that_share_a_cache_agree(tmp_path: Path) -> None:
    """The same among the threads of one process, while one of them collects."""
    versions = Versions()
    store = DiskStore(tmp_path / "cache")
    store.segments._segment_bytes = 256 << 10
    with Cache("mem:4MB", store) as cache:
        until = time.monotonic() + 2

        def act(worker: int) -> None:
            draw = random.Random(worker)
            while time.monotonic() < until:
                if worker == 0:
                    store.reclaim()
                    time.sleep(0.01)
                elif draw.random() < 0.3:
                    write_one(cache, versions, draw.randrange(KEYS // 4) * 4 + worker - 1)
                else:
                    read_one(cache, versions, draw.randrange(KEYS))

        in_threads(5, act)
        assert cache.stats().corrupt == 0
        assert cache.verify().faults == ()


def test_what_another_process_does_is_seen_at_once(tmp_path: Path) -> None:
    """A value in this process's memory tier is gone the moment another overwrites or deletes it."""
    with Cache(tmp_path / "cache") as cache:
        for number in range(30):
            cache.put("shared", number)
            assert cache.get("shared") == cache.get("shared") == number

            def other(_: int, number: int = number) -> None:
                with Cache(tmp_path / "cache") as theirs:
                    if number % 3 == 0:
                        theirs.delete("shared")
                    elif number % 3 == 1:
                        theirs.put("shared", -number)
                    else:
                        theirs.invalidate(tags={"none"})
                        theirs.clear()

            Child(other).finish(20)
            assert cache.get("shared", "gone") == (-number if number % 3 == 1 else "gone")


# -- fork ------------------------------------------------------------------------------------


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[Cache, list[bool]]]:
    """A cache whose threads write and read all the while."""
    running = [True]
    cache = Cache(tmp_path / "cache")

    def churn(number: int) -> None:
        count = 0
        while running[0]:
            count += 1
            cache.put(f"churn {number} {count % 50}", body_of(SIZES[count % 4] // 8, seed=count))
            cache.get(f"churn {number} {(count * 7) % 50}")

    threads = [threading.Thread(target=churn, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    yield cache, running
    running[0] = False
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    cache.close()


def test_both_sides_of_a_fork_go_on_with_one_cache(busy: tuple[Cache, list[bool]]) -> None:
    """Forked out of the middle of other threads' writes, parent and children use the same cache object."""
    cache, running = busy

    def child(number: int) -> None:
        running[0] = False
        for count in range(25):
            assert cache.put(f"child {number} {count}", body_of(SIZES[count % 4], seed=count))
            assert cache.get(f"child {number} {count}") == body_of(SIZES[count % 4], seed=count)
            made = f"by {count % 5}"
            assert cache.get_or_compute(f"computed {count % 5}", partial(str, made)) == made
        cache.gc()

    children = [Child(lambda _, number=number: child(number)) for number in range(8)]  # type: ignore[misc]
    for count in range(25):
        assert cache.put(f"parent {count}", body_of(SIZES[count % 4], seed=count))
    for one in children:
        one.finish(40)
    for count in range(25):
        assert cache.get(f"parent {count}") == body_of(SIZES[count % 4], seed=count)
        for number in range(8):
            assert cache.get(f"child {number} {count}") == body_of(SIZES[count % 4], seed=count)
    running[0] = False
    assert cache.verify().faults == ()
    assert cache.stats().faults == 0


def test_a_forked_child_is_kept_out_by_its_parents_lock(tmp_path: Path) -> None:
    """The writer lock excludes a child that was forked while it was held, and the other way round."""
    store = DiskStore(tmp_path / "cache")
    key = make_key("contended")
    store.put(key, make_record(key, b"first"))
    record = make_record(key, b"the child's")

    def write(fd: int) -> None:
        store.put(key, record)
        os.write(fd, b"done")

    with store.lock:
        child = Child(write)
        time.sleep(0.3)
        found = store.get(key)
        assert found is not None
        assert found.body == b"first"
    assert child.finish(20) == b"done"
    found = store.get(key)
    assert found is not None
    assert found.body == b"the child's"
    store.close()


def test_a_child_that_ends_leaves_what_its_parent_is_writing(tmp_path: Path) -> None:
    """A child that was forked while a large body was staged, and ends in order, removes nothing."""
    store = DiskStore(tmp_path / "cache")
    key = make_key("large")
    body = body_of(400_000)
    staged = store.stage(body)
    assert staged is not None

    def end(_: int) -> None:
        nonlocal staged
        del staged  # what the interpreter does at its end

    Child(end).finish(20)
    record = make_record(key, body)
    record.token = staged
    store.put(key, record)
    found = store.get(key)
    assert found is not None
    assert found.body == body
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    store.close()


def test_a_body_staged_for_one_store_is_kept_by_others_too(tmp_path: Path) -> None:
    """Two disk tiers both keep a large value, though only one of them staged it."""
    value = body_of(3 << 20)
    tiers = [f"disk:{tmp_path / 'near'}", f"disk:{tmp_path / 'far'}"]
    with Cache(*tiers) as cache:
        assert cache.put("large", value)
        assert cache.stats().faults == 0
    for tier in tiers:
        with Cache(tier) as cache:
            assert cache.get("large") == value
