"""The ring of the loggers under kill -9, forks, threads and stores that fail."""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.patience import until
from tests.unit.logs.front.keeping import Store
from vcache.logs import Logger, Record, StoreSink
from vcache.logs.disk import DiskLogs
from vcache.logs.front.drain import Abandoned, drain_abandoned
from vcache.query.parser import parse

THREADS: Final = 3

_PROGRAM: Final = """
import json, mmap, os, sys, threading
from vcache.logs import Logger, StoreSink

rings, reports, lines, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

class Lines:
    # A line is a batch. One that a kill cut (a write stops between two pages) was not acknowledged.
    def __init__(self):
        self.fd = os.open(lines, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def append(self, records, *, sync=True):
        said = [[each.level, each.source, each.message, dict(each.fields), each.repeats] for each in records]
        os.write(self.fd, (json.dumps(said) + "\\n").encode())

with open(reports, "r+b") as file:
    counts = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
logger = Logger("child", sinks=[StoreSink(Lines(), rings=rings, ring_bytes=1 << 16)], run="r1")

def work(number):
    said = number
    while True:
        logger.warning(f"message {number} {counts[number]}", count=counts[number], filler="x" * (said % 300))
        counts[number] += 1
        said = said * 1103515245 + 12345 & 0x7fffffff

for number in range(1, threads):
    threading.Thread(target=work, args=(number,), daemon=True).start()
work(0)
"""


def kill_a_program(directory: Path, draw: random.Random) -> tuple[list[int], list[Record]]:
    """How many calls of each thread returned, and every record that is there afterwards."""
    reports, lines, rings = directory / "reports", directory / "lines", directory / "rings"
    reports.write_bytes(bytes(4096))
    lines.write_bytes(b"")
    with open(reports, "r+b") as file:
        counts = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
    child = subprocess.Popen([sys.executable, "-c", _PROGRAM, rings, reports, lines, str(THREADS)])
    try:
        until(lambda: all(counts[:THREADS]) or child.poll() is not None)
        at = counts[0] + draw.randrange(3000)
        until(lambda: counts[0] >= at or child.poll() is not None)
    finally:
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    found = [
        Record(0, level, source, message, fields, 0, repeats)
        for line in lines.read_text().splitlines(keepends=True)
        if line.endswith("\n")
        for level, source, message, fields, repeats in json.loads(line)
    ]
    store = Store()
    abandoned = drain_abandoned(rings, partial(keep, store))
    assert (abandoned.rings, abandoned.unreadable) == (1, ())
    assert list(rings.iterdir()) == []
    return list(counts[:THREADS]), [*found, *store.records]


def check(returned: Sequence[int], records: Sequence[Record]) -> None:
    """Nothing is lost, nothing is wrong, and nothing is there that nobody said."""
    said: Counter[tuple[int, int]] = Counter()
    for each in records:
        assert (each.level, each.source, each.fields["run"]) == (13, "child", "r1")
        word, thread, number = each.message.split()
        assert word == "message" and int(number) == each.fields["count"]
        assert set(str(each.fields["filler"])) <= {"x"}
        said[int(thread), int(number)] += each.repeats
    for who, count in enumerate(returned):
        assert all((who, place) in said for place in range(count)), f"lost of thread {who}"
    assert all(place <= returned[who] for who, place in said)
    # What was handed on and not yet released is said again: one batch at most.
    assert max(said.values()) <= 2


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_no_call_that_returned_is_lost(tmp_path, kills):
    """After kill -9 at any moment every record whose call returned is drained by who comes next, none is wrong."""
    draw = random.Random(kills)
    for number in range(kills):
        directory = tmp_path / str(number)
        directory.mkdir()
        check(*kill_a_program(directory, draw))


def test_a_living_program_is_let_alone(tmp_path):
    """The ring of a process that lives is drained by nobody else, and one in use by itself neither."""
    sink = StoreSink(store := Store(), rings=tmp_path)
    logger = Logger("x", sinks=[sink])
    logger.info("m")
    assert drain_abandoned(tmp_path, lambda *_: pytest.fail("it lives")) == Abandoned()
    sink.close()
    assert store.messages == ["m"]
    assert list(tmp_path.iterdir()) == []


def test_two_that_drain(tmp_path):
    """A ring is drained by one of several that open the store at the same time."""
    leave_ring(tmp_path, 500)
    stores = [Store() for _ in range(4)]
    threads = [
        threading.Thread(target=drain_abandoned, args=(tmp_path, partial(keep, store))) for store in stores
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(len(each.records) for each in stores) == [0, 0, 0, 500]


def leave_ring(directory: Path, count: int, *, ring_bytes: int = 1 << 17) -> Path:
    """A ring as a process leaves it that is killed before it drained anything."""
    child = os.fork()
    if child == 0:
        try:
            sink = StoreSink(Store(), rings=directory, ring_bytes=ring_bytes)
            sink._drain._append = hang
            logger = Logger("left", sinks=[sink])
            for number in range(count):
                logger.info("message", number=number)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (path,) = directory.glob("*.ring")
    return path


def keep(store: Store, records: Sequence[Record], is_sync: bool) -> None:
    store.append(records, sync=is_sync)


def hang(records: Sequence[Record], is_sync: bool) -> None:
    threading.Event().wait()


def test_a_store_that_fails_keeps_the_ring(tmp_path):
    """What could not be appended is there for the next one that tries."""
    path = leave_ring(tmp_path, 10)

    def refuse(records: Sequence[Record], is_sync: bool) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        drain_abandoned(tmp_path, refuse)
    assert path.exists()
    store = Store()
    assert drain_abandoned(tmp_path, partial(keep, store)).records == 10


def test_flipped_bytes_of_a_file(tmp_path):
    """Whatever byte of a ring is flipped: each record that is answered was said, in order; the rest is said to lack."""
    path = leave_ring(tmp_path, 30, ring_bytes=4096)
    whole = path.read_bytes()
    draw = random.Random(0)
    for place in [*range(96), *draw.sample(range(4096, len(whole)), 200)]:
        data = bytearray(whole)
        data[place] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        store = Store()
        abandoned = drain_abandoned(tmp_path, partial(keep, store))
        if abandoned.unreadable:
            assert place < 64 and not store.records
            continue
        ours = [each for each in store.records if each.source == "left"]
        assert {each.message for each in ours} == {"message"}
        assert (numbers := [int(each.fields["number"] or 0) for each in ours]) == sorted(numbers)
        assert len(ours) >= 29
        assert all("cannot be read" in each.message or "dropped" in each.message
                   for each in store.records if each.source != "left")  # fmt: skip


def test_files_that_are_no_rings(tmp_path):
    """They are said and left; what a kill left of the making of one is removed when it is old."""
    (tmp_path / "1-a.ring").write_bytes(b"no ring")
    (tmp_path / "2-b.ring").write_bytes(b"")
    (tmp_path / "3-c.new").write_bytes(b"")
    (tmp_path / "4-d.new").write_bytes(b"")
    os.utime(tmp_path / "3-c.new", (1, 1))
    found = drain_abandoned(tmp_path, lambda *_: pytest.fail("nothing is there"))
    assert found == Abandoned(0, 0, (str(tmp_path / "1-a.ring"), str(tmp_path / "2-b.ring")))
    assert sorted(os.listdir(tmp_path)) == ["1-a.ring", "2-b.ring", "4-d.new"]
    assert drain_abandoned(tmp_path / "absent", lambda *_: None) == Abandoned()


def test_a_fork_has_its_own_ring(tmp_path):
    """Parent and child say what they say once each, and neither waits for the other's locks."""
    store = Store()
    sink = StoreSink(store, rings=tmp_path)
    logger = Logger("x", sinks=[sink])
    busy = threading.Event()
    threads = [threading.Thread(target=say_until, args=(logger, busy)) for _ in range(3)]
    for each in threads:
        each.start()
    children = []
    for number in range(5):
        child = os.fork()
        if child == 0:
            try:
                logger.warning("child", number=number)
                sink._drain._append = hang
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    busy.set()
    for each in threads:
        each.join()
    logger.info("parent")
    sink.close()
    assert "child" not in store.messages and store.messages[-1] == "parent"
    left = Store()
    assert len(list(tmp_path.iterdir())) <= 5
    assert drain_abandoned(tmp_path, partial(keep, left)).rings <= 5
    assert all(each.message == "child" for each in left.records)


def test_a_fork_that_says_nothing(tmp_path):
    """It makes no ring and no thread, and lets the parent's go."""
    sink = StoreSink(store := Store(), rings=tmp_path)
    logger = Logger("x", sinks=[sink])
    logger.info("before")
    before = os.listdir(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            sink.flush()
            sink.close()
            assert threading.active_count() == 1 and os.listdir(tmp_path) == before
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    logger.info("after")
    sink.close()
    assert store.messages == ["before", "after"]


def say_until(logger: Logger, over: threading.Event) -> None:
    while not over.is_set():
        logger.info("busy")
        time.sleep(0)


def test_eight_threads(tmp_path):
    """What eight threads say is there once each, and each thread's in its order, through many laps of the ring."""
    store = Store()
    sink = StoreSink(store, rings=tmp_path, ring_bytes=1 << 15, keep_from="info", patience_s=60)
    logger = Logger("x", sinks=[sink])

    def work(thread: int) -> None:
        for number in range(2000):
            logger.info("m", thread=thread, number=number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    sink.close()
    assert len(store.records) == 16_000
    for thread in range(8):
        numbers = [each.fields["number"] for each in store.records if each.fields["thread"] == thread]
        assert numbers == list(range(2000))


def test_a_full_ring_drops_and_says_so(tmp_path):
    """Below `keep_from` what finds no room is dropped, counted, and said in a record; above it waits its patience."""
    store = Store()
    sink = StoreSink(store, rings=tmp_path, ring_bytes=4096, patience_s=60)
    gate = threading.Event()
    append = sink._drain._append

    def slow(records: Sequence[Record], is_sync: bool) -> None:
        gate.wait()
        append(records, is_sync)

    sink._drain._append = slow
    logger = Logger("x", sinks=[sink])
    for number in range(1000):
        logger.info("m", n=number)
    assert sink.ring.dropped > 0
    waiting = threading.Thread(target=logger.warning, args=("important",))
    waiting.start()
    gate.set()
    waiting.join()
    sink.close()
    ours = [each for each in store.records if each.source == "x"]
    lost = [each for each in store.records if each.source == "vcache.logs"]
    assert sum(int(each.fields["dropped"] or 0) for each in lost) + len(ours) == 1001
    assert ours[-1].message == "important"


def test_a_store_that_fails_stops_nobody(tmp_path, capsys):
    """When the store refuses and the ring is full, calls return; the rest stays in the file and is found later."""
    store = Store()
    store.is_full = True
    sink = StoreSink(store, rings=tmp_path, ring_bytes=4096, patience_s=60)
    logger = Logger("x", sinks=[sink])
    logger.error("first")
    until(lambda: sink.failures)
    for number in range(200):
        logger.error("m", n=number)
    sink.close()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "no space left" in said[0] and str(tmp_path) in said[1]
    later = Store()
    assert drain_abandoned(tmp_path, partial(keep, later)).rings == 1
    assert later.messages[0] == "first"
    dropped = sum(int(each.fields.get("dropped") or 0) for each in later.records)
    assert dropped and dropped + sum(each.source == "x" for each in later.records) == 201


def test_a_store_that_comes_back(tmp_path):
    """What was refused is appended when the store takes records again, in order."""
    store = Store()
    store.is_full = True
    sink = StoreSink(store, rings=tmp_path)
    logger = Logger("x", sinks=[sink])
    logger.error("a")
    until(lambda: sink.failures)
    store.is_full = False
    logger.error("b")
    until(lambda: len(store.records) == 2)
    assert store.messages == ["a", "b"] and sink.failures == ""
    sink.close()


def test_a_record_longer_than_the_ring(tmp_path):
    """It is handed on past the ring, behind what was said before, and whole."""
    store = Store()
    sink = StoreSink(store, rings=tmp_path, ring_bytes=4096)
    logger = Logger("x", sinks=[sink])
    logger.info("before")
    logger.info("long " * 100_000, n=1)
    logger.info("after")
    sink.close()
    assert [len(each) for each in store.messages] == [6, 500_000, 5]


def test_a_signal_handler_may_log(tmp_path):
    """In the middle of whatever the program does, its own logging too."""
    store = Store()
    sink = StoreSink(store, rings=tmp_path)
    logger = Logger("x", sinks=[sink])
    heard = 0

    def hear(number: int, frame: object) -> None:
        nonlocal heard
        heard += 1
        logger.info("signal", n=heard)

    before = signal.signal(signal.SIGALRM, hear)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    said = 0
    try:
        while heard < 50:
            logger.info("m", n=said)
            said += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    sink.close()
    numbers = [each.fields["n"] for each in store.records if each.message == "m"]
    assert numbers == list(range(said))
    assert sorted(int(each.fields["n"] or 0) for each in store.records if each.message == "signal") == list(
        range(1, heard + 1)
    )


_INTO_A_STORE: Final = """
import mmap, sys
from vcache.logs import Logger, StoreSink
from vcache.logs.disk import DiskLogs

with open(sys.argv[2], "r+b") as file:
    counts = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
logger = Logger("child", sinks=[StoreSink(DiskLogs(sys.argv[1]))])
while True:
    logger.warning("message", count=counts[0])
    counts[0] += 1
"""


def is_at_least(counts: memoryview, least: int) -> bool:
    return counts[0] >= least


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_the_store_of_a_directory(tmp_path, kills):
    """Who opens a log store next finds every record whose call had returned when its program was killed."""
    draw = random.Random(kills)
    for number in range(kills):
        reports, logs = tmp_path / f"{number}.reports", tmp_path / str(number)
        reports.write_bytes(bytes(4096))
        with open(reports, "r+b") as file:
            counts = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
        child = subprocess.Popen([sys.executable, "-c", _INTO_A_STORE, logs, reports])
        try:
            until(partial(is_at_least, counts, draw.randrange(1, 30_000)))
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        store = DiskLogs(logs)
        assert os.listdir(logs / "rings") == []
        query = parse('source = "child"', now_ns=time.time_ns())
        found = {each.fields["count"] for each in store.search(query).rows if isinstance(each, Record)}
        store.close()
        assert found >= set(range(counts[0])) and len(found) <= counts[0] + 1
