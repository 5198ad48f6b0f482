"""Collection under load: the budget holds while others write, and what is in use stays."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults.crew import Child, Gate
from vcache import Cache
from vcache.entry import make_key
from vcache.store.disk import DiskStore
from vcache.store.disk.collect import _drop_orphan_rows
from vcache.store.disk.index import REF
from vcache.store.disk.segments import frame
from vcache.testing.records import body_of, make_record

BUDGET_BYTES: Final = 12 << 20
WRITERS: Final = 3
SIZES: Final = (400, 3_000, 30_000, 400_000)
WEIGHTS: Final = (30, 20, 8, 1)
HELD: Final = body_of(600_000, seed=77)


def used_bytes(directory: Path) -> int:
    """What the directory takes on the disk, as du says."""
    said = subprocess.run(["du", "-sB1", str(directory)], capture_output=True, text=True, check=False)
    return int(said.stdout.split()[0])  # du grumbles about files that vanish meanwhile


def write_for(directory: Path, worker: int, seconds: float, gate: Gate) -> None:
    """Put values of all sizes, and read some back, for a while."""
    gate.wait()
    draw = random.Random(worker)
    block = draw.randbytes(400_000)
    until = time.monotonic() + seconds
    written = 0
    with Cache(f"disk:{directory}?max={BUDGET_BYTES}") as cache:
        number = 0
        while time.monotonic() < until:
            number += 1
            size = draw.choices(SIZES, WEIGHTS)[0]
            value = f"{worker} {number} ".encode() + block[number % 1000 : size]
            assert cache.put(f"{worker} {number}", value)
            written += size
            if number % 3 == 0:
                other = draw.randrange(max(1, number - 50), number + 1)
                found = cache.get(f"{worker} {other}")
                assert found is None or found.startswith(f"{worker} {other} ".encode())  # type: ignore[attr-defined]
        assert cache.stats().corrupt == 0
    assert written > BUDGET_BYTES / WRITERS


def test_a_budget_is_kept_while_three_processes_write(tmp_path: Path) -> None:
    """Without anyone calling gc, 3 writers stay near the budget in flight and within it at rest."""
    directory = tmp_path / "cache"
    with Cache(f"disk:{directory}?max={BUDGET_BYTES}") as cache:
        cache.put("held", HELD)
        path = cache.path("held")
        with cache.open("held") as stream:
            with Gate() as gate:
                children = [
                    Child(lambda _, worker=worker: write_for(directory, worker, 4.0, gate))  # type: ignore[misc]
                    for worker in range(WRITERS)
                ]
            worst = 0
            until = time.monotonic() + 4
            while time.monotonic() < until:
                time.sleep(0.1)
                worst = max(worst, used_bytes(directory))
            for child in children:
                child.finish(60)
            assert path.read_bytes() == HELD
            assert stream.read() == HELD
        print(f"worst {worst / BUDGET_BYTES:.2f}, at rest {used_bytes(directory) / BUDGET_BYTES:.2f}")
        assert worst < BUDGET_BYTES * 1.5
        assert used_bytes(directory) < BUDGET_BYTES * 1.25
        assert cache.stats().disk_bytes < BUDGET_BYTES * 1.25
        assert cache.verify().faults == ()
        assert 0.5 < cache.stats().disk_bytes / used_bytes(directory) < 1.5


def test_what_is_held_survives_every_collection(tmp_path: Path) -> None:
    """A file that was handed out, in this process or another, stays in its place, whatever is evicted."""
    directory = tmp_path / "cache"
    with Cache(directory) as cache:
        for name in ("by path", "by stream", "elsewhere", "free"):
            cache.put(name, name.encode() + HELD)
        path, stream = cache.path("by path"), cache.open("by stream")

        with Gate() as gate:

            def hold(fd: int) -> None:
                with Cache(directory) as theirs:
                    place = theirs.path("elsewhere")
                    os.write(fd, b".")
                    gate.wait()
                    assert place.read_bytes() == b"elsewhere" + HELD

            other = Child(hold)
            assert os.read(other.reports, 1) == b"."
            cache.gc(max_bytes=0)
            cache.gc(max_entries=0)
            cache.clear()
        other.finish(20)
        assert path.read_bytes() == b"by path" + HELD
        assert stream.read() == b"by stream" + HELD
        files = [file for file in (directory / "blobs").rglob("*") if file.is_file()]
        assert len(files) == 3
        stream.close()
        del stream
    with Cache(directory) as cache:
        cache.gc(max_bytes=0)
        assert [file for file in (directory / "blobs").rglob("*") if file.is_file()] == []


def test_a_held_file_keeps_its_name_when_its_content_is_put_again(tmp_path: Path) -> None:
    """Another put of the same content does not take the name from a file that is held."""
    store = DiskStore(tmp_path / "cache")
    key = make_key("held")
    record = make_record(key, HELD)
    store.put(key, record)
    held = store.hold(key)
    assert held is not None
    digest = record.entry().digest
    staged = store.blobs.stage(HELD)  # a writer that began before it could know
    store.blobs.publish(staged, digest, 0)
    assert os.fstat(held.fd).st_ino == held.path.stat().st_ino
    survey = store.survey()
    store.evict(survey, range(len(survey.ids)))
    assert held.path.read_bytes() == HELD
    held.release()
    store.close()


@pytest.mark.parametrize("size_bytes", [500, 9_000, 400_000])
def test_a_stale_survey_evicts_nothing_that_was_used_or_changed(tmp_path: Path, size_bytes: int) -> None:
    """Rows that were read, overwritten, moved, deleted or put since the survey stay as they are."""
    store = DiskStore(tmp_path / "cache")
    store.segments._segment_bytes = 1 << 20
    keys = [make_key(f"entry {number}") for number in range(6)]
    for number, key in enumerate(keys):
        store.put(key, make_record(key, body_of(size_bytes, seed=number)))
    survey = store.survey()
    assert store.get(keys[0]) is not None
    store.put(keys[1], make_record(keys[1], body_of(size_bytes, seed=1)))
    store.put(keys[2], make_record(keys[2], b"another"))
    token = store.get(keys[3])
    assert token is not None
    assert store.is_current(keys[3], token.token)
    store.delete(keys[4])
    store.put(keys[4], make_record(keys[4], body_of(size_bytes, seed=4)))
    dropped = store.evict(survey, range(len(survey.ids)))
    assert dropped >= 1
    for number, key in enumerate(keys[:5]):
        found = store.get(key)
        assert found is not None, number
        assert bytes(found.body) == (b"another" if number == 2 else body_of(size_bytes, seed=number))
    assert store.get(keys[5]) is None
    with store.lock:
        store.rebuild(store.current())
    assert store.evict(survey, range(len(survey.ids))) == 0
    store.close()


def test_a_collection_spares_the_body_of_a_put_that_is_half_done(tmp_path: Path) -> None:
    """A shared body whose entry is about to be written is no orphan to a collector that looks just then."""
    store, collector = DiskStore(tmp_path / "cache"), DiskStore(tmp_path / "cache")
    key = make_key("shared")
    body = body_of(20_000)
    record = make_record(key, body)
    with store.lock:
        store._share_in_segment(record.entry().digest, 0, body)
        thread = threading.Thread(target=_drop_orphan_rows, args=(collector,))
        thread.start()
        time.sleep(0.2)  # for it to take its survey, if it does not wait for the lock
        store._append_entry(key, record.head, frame(record.head, len(key), b""), REF)
    thread.join(20)
    found = store.get(key)
    assert found is not None
    assert found.body == body
    store.close()
    collector.close()


def test_entries_go_with_the_bodies_they_refer_to(tmp_path: Path) -> None:
    """After a collection that dropped a shared body no entry is left that refers to it."""
    store = DiskStore(tmp_path / "cache")
    for number in range(12):
        key = make_key(f"entry {number}")
        store.put(key, make_record(key, body_of(9_000, seed=number % 4)))
    survey = store.survey()
    bodies = [row for row, is_entry in enumerate(survey.is_entry) if not is_entry]
    assert len(bodies) == 4
    assert store.evict(survey, bodies[:2]) == 2
    store.reclaim()
    assert store.counters().entries == 6
    assert [fault for _, fault in store.verify() if fault] == []
    store.close()
