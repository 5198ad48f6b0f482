"""Places where a store cannot work as it would: full, read-only, foreign, damaged, without descriptors."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.crew import Child, in_threads
from vcache import Cache
from vcache.entry import make_key
from vcache.errors import FormatError, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from vcache.store.disk import DiskStore
from vcache.store.disk.index import Word
from vcache.testing.records import body_of, make_record

KEY: Final = make_key("kept")
BODY: Final = body_of(700)
RECORD: Final = make_record(KEY, BODY)
SIZES: Final = (700, 9_000, 300_000)


def filled(directory: Path, count: int = 30) -> dict[bytes, bytes]:
    """A closed store with entries of every kind, and what it holds."""
    bodies = {make_key(f"entry {number}"): body_of(SIZES[number % 3], seed=number) for number in range(count)}
    store = DiskStore(directory)
    for key, body in bodies.items():
        store.put(key, make_record(key, body))
    store.close()
    return bodies


def assert_holds(store: DiskStore, bodies: dict[bytes, bytes]) -> None:
    for key, body in bodies.items():
        found = store.get(key)
        assert found is not None, key
        assert bytes(found.body) == body


@contextlib.contextmanager
def mounted(*args: str, at: Path) -> Iterator[Path]:
    """A mount that ends with the context."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", *args, str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


# -- a full disk -----------------------------------------------------------------------------


def fill_up(store: DiskStore, size_bytes: int) -> dict[bytes, bytes]:
    """Put until the disk is full; what was acknowledged."""
    kept: dict[bytes, bytes] = {}
    for number in range(5000):
        key = make_key(f"{size_bytes} {number}")
        body = body_of(size_bytes, seed=number)
        try:
            store.put(key, make_record(key, body))
        except StoreFull:
            return kept
        kept[key] = body
    raise AssertionError("the disk does not fill up")


@pytest.mark.parametrize("size_bytes", [700, 9_000, 300_000])
def test_a_full_disk_is_an_error_that_loses_nothing(tmp_path: Path, size_bytes: int) -> None:
    """On a full disk a put raises StoreFull, all that was kept stays, and a collection makes room again."""
    with mounted("-t", "tmpfs", "-o", "size=3m", "tmpfs", at=tmp_path / "small") as small:
        store = DiskStore(small / "cache")
        kept = fill_up(store, size_bytes)
        assert_holds(store, kept)
        for key in list(kept)[: len(kept) // 2]:  # overwriting fails and leaves the older one
            with contextlib.suppress(StoreFull):
                store.put(key, make_record(key, body_of(290_000, seed=9)))
                kept[key] = body_of(290_000, seed=9)
        assert_holds(store, kept)
        again = DiskStore(small / "cache")
        assert_holds(again, kept)
        again.close()
        for key in list(kept)[::2]:
            assert store.delete(key)
            del kept[key]
        freed = store.reclaim()  # without room to move anything it may free nothing, and loses nothing
        assert_holds(store, kept)
        freed += store.reclaim(target_bytes=1 << 20)  # a budget is kept all the same
        assert freed > 200_000
        for key in list(kept):
            if store.get(key) is None:
                del kept[key]
        assert_holds(store, kept)
        store.put(KEY, RECORD)
        assert store.get(KEY) is not None
        assert [fault for _, fault in store.verify() if fault] == []
        assert store.counters().corrupt == 0
        store.close()


def test_a_full_disk_leaves_the_cache_working_as_a_miss(tmp_path: Path) -> None:
    """Through the cache a full disk means False from put, a fault counted, and values computed anew."""
    with mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", at=tmp_path / "small") as small:
        with Cache(small / "cache") as cache:
            assert cache.put("first", BODY)
            (small / "rest").write_bytes(bytes(1500 << 10))
            took = [cache.put(f"large {number}", body_of(400_000, seed=number)) for number in range(4)]
            assert not all(took)
            assert cache.get("first") == BODY
            assert cache.get_or_compute("computed", lambda: body_of(500_000)) == body_of(500_000)
            assert cache.stats().faults > 0
        with Cache(small / "cache") as cache:
            assert cache.get("first") == BODY
            assert cache.verify().faults == ()


def test_a_full_disk_does_not_hinder_the_first_opening(tmp_path: Path) -> None:
    """Where not even an empty store fits, opening says that the disk is full; with room it opens."""
    with mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", at=tmp_path / "tiny") as tiny:
        (tiny / "rest").write_bytes(bytes(48 << 10))
        with pytest.raises(StoreFull):
            DiskStore(tiny / "cache")
        (tiny / "rest").unlink()
        store = DiskStore(tiny / "cache")
        store.put(KEY, RECORD)
        assert_holds(store, {KEY: BODY})
        store.close()


# -- descriptors -----------------------------------------------------------------------------


def test_without_descriptors_a_store_fails_clearly_and_recovers(tmp_path: Path) -> None:
    """EMFILE is StoreFull or a hit, never a lost entry; with descriptors all is there."""
    bodies = filled(tmp_path / "cache")

    def work(_: int) -> None:
        store = DiskStore(tmp_path / "cache")
        other = DiskStore(tmp_path / "cache")
        lowest = os.open("/", os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        failures = 0
        for key, body in bodies.items():
            try:
                found = other.get(key)
                assert found is not None
                assert bytes(found.body) == body
            except StoreFull:
                failures += 1
            try:
                store.put(key, make_record(key, body))
            except StoreFull:
                failures += 1
        assert failures > 10
        with pytest.raises(StoreError):
            DiskStore(tmp_path / "cache")
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        assert_holds(store, bodies)
        assert_holds(other, bodies)
        assert store.counters().corrupt == other.counters().corrupt == 0
        store.put(KEY, RECORD)

    Child(work).finish(30)
    store = DiskStore(tmp_path / "cache")
    assert_holds(store, bodies | {KEY: BODY})
    store.close()


def test_stores_that_are_opened_and_dropped_leave_no_descriptors(tmp_path: Path) -> None:
    """Neither closing nor merely dropping a store or a cache leaves descriptors open."""
    filled(tmp_path / "cache", count=6)

    def use(*, closes: bool) -> None:
        store = DiskStore(tmp_path / "cache")
        store.put(KEY, RECORD)
        store.get(KEY)
        store.rebuild(store.current())
        held = store.hold(make_key("entry 2"))
        assert held is not None
        opened = store.open(make_key("entry 5"))
        assert opened is not None
        opened[1].read(10)
        opened[1].close()
        if closes:
            store.close()

    use(closes=True)
    before = len(os.listdir("/proc/self/fd"))
    for closes in (True, False) * 5:
        use(closes=closes)
    assert len(os.listdir("/proc/self/fd")) <= before


# -- read-only, foreign, newer ---------------------------------------------------------------


def test_a_read_only_mount_serves_and_refuses_to_store(tmp_path: Path) -> None:
    """From a directory on a read-only mount entries are read; puts and deletes raise StoreReadOnly."""
    bodies = filled(tmp_path / "cache")
    with mounted("--bind", str(tmp_path), at=tmp_path / "mount") as mount:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(mount)], check=True)
        store = DiskStore(mount / "cache")
        assert store.info.is_read_only
        assert_holds(store, bodies)
        assert sorted(store.scan()) == sorted(bodies)
        for refused in (
            lambda: store.put(KEY, RECORD),
            lambda: store.delete(next(iter(bodies))),
            lambda: store.put_file(RECORD.entry(), mount / "cache" / "format"),
            store.reclaim,
        ):
            with pytest.raises(StoreReadOnly):
                refused()
        assert [fault for _, fault in store.verify(repair=True) if fault] == []
        store.close()
        with Cache(mount / "cache") as cache:
            assert cache.get("entry 0") == bodies[make_key("entry 0")]
            assert not cache.put("new", b"value")
            assert cache.get_or_compute("computed", lambda: "value") == "value"
        with pytest.raises(StoreError):
            DiskStore(mount / "another")
    store = DiskStore(tmp_path / "cache")
    assert_holds(store, bodies)
    store.close()


def test_reading_only_changes_nothing_on_the_disk(tmp_path: Path) -> None:
    """A store that was opened to read only writes not even a time of use."""
    bodies = filled(tmp_path / "cache")
    index = (tmp_path / "cache" / "index").read_bytes()
    store = DiskStore(tmp_path / "cache", read_only=True)
    assert_holds(store, bodies)
    store.close()
    assert (tmp_path / "cache" / "index").read_bytes() == index


def test_a_file_in_place_of_the_directory_is_said(tmp_path: Path) -> None:
    """A file where the directory should be, or above it, is an error that names it, and stays."""
    (tmp_path / "file").write_text("precious")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreUnavailable, match="file"):
            DiskStore(place)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    """A directory that holds something else is refused and not touched."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    with pytest.raises(FormatError, match=r"thesis\.tex"):
        DiskStore(tmp_path / "home")
    assert os.listdir(tmp_path / "home") == ["thesis.tex"]
    (tmp_path / "home" / "thesis.tex").rename(tmp_path / "home" / "format")
    with pytest.raises(FormatError, match="precious"):
        DiskStore(tmp_path / "home")
    assert os.listdir(tmp_path / "home") == ["format"]


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A directory of a later version is an error with both versions in it, and is not written to."""
    filled(tmp_path / "cache")
    (tmp_path / "cache" / "format").write_text("vcache-disk 2\n")
    before = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    with pytest.raises(FormatError, match=r"version 2.*1"):
        DiskStore(tmp_path / "cache")
    assert {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()} == before


# -- damage ----------------------------------------------------------------------------------


def cut(index: Path) -> None:
    os.truncate(index, 5000)


def empty(index: Path) -> None:
    os.truncate(index, 0)


def zero(index: Path) -> None:
    index.write_bytes(bytes(index.stat().st_size))


def lengthen(index: Path) -> None:
    os.truncate(index, index.stat().st_size + 4096)


def remove(index: Path) -> None:
    index.unlink()


DAMAGES: Final = [cut, empty, zero, lengthen, remove]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_opens_as_an_empty_store(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """An index that is none costs the entries, never the cache: it opens, takes puts, and its space is free."""
    bodies = filled(tmp_path / "cache")
    damage(tmp_path / "cache" / "index")
    store = DiskStore(tmp_path / "cache")
    for key in bodies:
        assert store.get(key) is None
    store.put(KEY, RECORD)
    assert_holds(store, {KEY: BODY})
    assert list(store.scan()) == [KEY]
    assert [file for file in (tmp_path / "cache" / "blobs").rglob("*") if file.is_file()] == []
    store.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_index_damaged_under_a_running_process_kills_nobody(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """A process that has an index open when it is cut, emptied or replaced goes on, and so does a new one."""
    filled(tmp_path / "cache")

    def work(_: int) -> None:
        store = DiskStore(tmp_path / "cache")
        store.get(make_key("entry 0"))
        damage(tmp_path / "cache" / "index")
        time.sleep(0.05)  # longer than a reader goes without looking at its files
        other = DiskStore(tmp_path / "cache")
        for number in range(20):
            key = make_key(f"new {number}")
            store.put(key, make_record(key, body_of(900, seed=number)))
            other.put(key + b"o", make_record(key + b"o", body_of(900, seed=number)))
        for number in range(20):
            key = make_key(f"new {number}")
            assert_holds(other, {key + b"o": body_of(900, seed=number)})
            assert_holds(store, {key: body_of(900, seed=number)})
        store.close()
        other.close()

    Child(work).finish(20)


@pytest.mark.parametrize("keeps_bytes", [0, 100, 4096, 20_000])
def test_a_segment_cut_under_a_running_process_kills_nobody(tmp_path: Path, keeps_bytes: int) -> None:
    """What a cut segment lost is a miss in a process that has it mapped, not a signal; puts go on."""
    bodies = {make_key(f"entry {number}"): body_of(2000, seed=number) for number in range(30)}

    def work(_: int) -> None:
        store = DiskStore(tmp_path / "cache")
        for key, body in bodies.items():
            store.put(key, make_record(key, body))
        assert_holds(store, bodies)
        (segment,) = (tmp_path / "cache" / "segments").iterdir()
        os.truncate(segment, keeps_bytes)
        time.sleep(0.05)  # longer than a reader goes without looking at its files
        hits = 0
        for key, body in bodies.items():
            found = store.get(key)
            assert found is None or bytes(found.body) == body
            hits += found is not None
        assert hits == sum(2100 * number + 2200 < keeps_bytes for number in range(30)) or 0 < hits < 30
        for key, body in bodies.items():
            store.put(key, make_record(key, body))
        assert_holds(store, bodies)
        store.reclaim()
        assert_holds(store, bodies)
        store.close()

    Child(work).finish(20)
    store = DiskStore(tmp_path / "cache")
    assert_holds(store, bodies)
    store.close()


def test_files_deleted_under_a_running_process_are_misses_that_heal(tmp_path: Path) -> None:
    """Without its segments, its blobs, all its folders, a running store misses and takes puts again."""
    bodies = filled(tmp_path / "cache")
    store = DiskStore(tmp_path / "cache")
    late = DiskStore(tmp_path / "cache")
    assert_holds(store, bodies)
    for folder in ("segments", "blobs", "tmp"):
        shutil.rmtree(tmp_path / "cache" / folder)
        for key, body in bodies.items():
            for side in (late, store):
                found = side.get(key)
                assert found is None or bytes(found.body) == body
        for _ in range(2):  # once more for what `store` had mapped and `late` could not see
            for key, body in bodies.items():
                store.put(key, make_record(key, body))
                late.get(key)
        assert_holds(late, bodies)
        assert_holds(store, bodies)
    assert [fault for _, fault in store.verify() if fault] == []
    store.close()
    late.close()


def test_a_directory_that_is_gone_is_no_crash(tmp_path: Path) -> None:
    """When the whole directory is removed under a running cache, work goes on without it."""
    with Cache(tmp_path / "cache") as cache:
        cache.put("before", BODY)
        shutil.rmtree(tmp_path / "cache")
        for number in range(50):
            cache.get_or_compute(f"after {number}", lambda: body_of(300_000))
            cache.put(f"small {number}", BODY)
        assert cache.get("before") in (BODY, None)
        cache.gc()
    with Cache(tmp_path / "cache") as cache:
        assert cache.get("before") is None
        assert cache.put("anew", BODY)
        assert cache.get("anew") == BODY


def test_a_clock_that_jumps_backwards_loses_nothing(tmp_path: Path) -> None:
    """After the clock jumps back by years, entries are read, written and collected as before."""
    now = [2_000_000_000_000_000_000]
    store = DiskStore(tmp_path / "cache", clock=lambda: now[0])
    bodies = {}
    for jump in (0, -(10**18), 5, 10**18, -(10**15)):
        now[0] += jump
        key = make_key(f"at {now[0]}")
        store.put(key, make_record(key, BODY))
        bodies[key] = BODY
        survey = store.survey()
        now[0] -= 1
        assert_holds(store, bodies)
        assert store.evict(survey, range(len(survey.ids))) == 0  # all were used since
        store.reclaim()
        assert_holds(store, bodies)
    store.close()


def test_the_first_openings_of_many_processes_agree(tmp_path: Path) -> None:
    """Processes and threads that open a new directory at one moment all get the same store."""
    for attempt in range(6):
        directory = tmp_path / str(attempt)

        def work(_: int, directory: Path = directory) -> None:
            def one(number: int) -> None:
                store = DiskStore(directory)
                key = make_key(f"{os.getpid()} {number}")
                store.put(key, make_record(key, BODY))
                assert_holds(store, {key: BODY})
                store.close()

            in_threads(3, one)

        for child in [Child(work) for _ in range(5)]:
            child.finish(20)
        store = DiskStore(directory)
        assert sum(1 for _ in store.scan()) == 15
        assert store.counters().entries == 15
        assert store.current().words[Word.STATE] == 0
        store.close()
