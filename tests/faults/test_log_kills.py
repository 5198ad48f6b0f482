"""kill -9 of who appends and who seals: nothing acknowledged is lost, nothing wrong is shown."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.faults.crew import Child, kill_at_syscall
from tests.faults.log_yard import everything, make_records
from vcache.errors import StoreBusy
from vcache.logs.disk import DiskLogs
from vcache.logs.ids import parse_id
from vcache.logs.record import Record

WORKERS: Final = 3
_REPORT: Final = struct.Struct("<16sII")  # stream, first sequence, how many: appended


def small(directory: Path) -> DiskLogs:
    """A store whose tails are soon full."""
    logs = DiskLogs(directory)
    logs._writer._file_records = 60
    return logs


def append_until_killed(directory: Path, worker: int, begin: int, seed: float, fd: int) -> None:
    """Append at random and report each append once it is acknowledged."""
    draw = random.Random(seed)
    logs, number = small(directory), begin
    while True:
        count = draw.choice((1, 1, 2, 7, 30))
        appended = logs.append(make_records(f"worker {worker}", number, count), sync=draw.random() < 0.5)
        stream, seq = parse_id(appended.first_id)
        os.write(fd, _REPORT.pack(stream.to_bytes(16, "big"), seq, count))
        number += count


def seal_until_killed(directory: Path, _fd: int) -> None:
    """Seal and merge again and again."""
    logs = DiskLogs(directory, seals=False)
    while True:
        try:
            logs.seal(timeout_s=0.01)
        except StoreBusy:
            continue


def reports(said: bytes) -> Iterator[tuple[int, int, int]]:
    """What a worker was told of its appends."""
    for stream, seq, count in _REPORT.iter_unpack(said[: len(said) // _REPORT.size * _REPORT.size]):
        yield int.from_bytes(stream, "big"), seq, count


def campaign(directory: Path, rounds: int, seed: int) -> None:
    """Kill processes that work on one directory, and look at what they leave each time."""
    draw = random.Random(seed)
    owed: dict[tuple[int, int], str] = {}
    begins = [0] * WORKERS
    DiskLogs(directory).close()
    for _ in range(rounds):
        workers = [
            Child(partial(append_until_killed, directory, worker, begins[worker], draw.random()))
            for worker in range(WORKERS)
        ]
        sealer = Child(partial(seal_until_killed, directory))
        time.sleep(draw.uniform(0.05, 0.2))
        for child in (*workers, sealer):
            child.kill()
        sealer.read()
        for worker, child in enumerate(workers):
            for stream, first_seq, count in reports(child.read()):
                for number in range(count):
                    owed[stream, first_seq + number] = f"worker {worker}"
            begins[worker] += 100_000
        with DiskLogs(directory, seals=False) as logs:
            found = {parse_id(id_): record for id_, record in everything(logs).items()}
            assert logs.gaps() == []
            for place, source in owed.items():
                assert place in found, f"record {place} of {source} is lost"
                assert found[place].source == source
    assert len(owed) > 40 * rounds  # they lived long enough to matter
    assert len(list((directory / "segments").iterdir())) > 1


def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """After kill -9 of three who append and one who seals, every acknowledged record is there, once."""
    campaign(tmp_path / "logs", rounds=6, seed=1)


@pytest.mark.slow
def test_many_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The same, many times, over several directories."""
    for seed in range(2, 10):
        campaign(tmp_path / str(seed), rounds=30, seed=seed)


def watch(directory: Path, looks: int) -> None:
    """Query while two append and one seals: whoever asks sees all that was acknowledged before, once."""
    DiskLogs(directory).close()
    workers = [Child(partial(append_until_killed, directory, worker, 0, worker)) for worker in range(2)]
    sealer = Child(partial(seal_until_killed, directory))
    owed: set[tuple[int, int]] = set()
    said = dict.fromkeys(workers, b"")
    for child in workers:
        fcntl.fcntl(child.reports, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with DiskLogs(directory, seals=False) as logs:
            for _ in range(looks):
                for child in workers:
                    # As many as are read are appended: the pipe is short, and who reports waits for it.
                    said[child] += os.read(child.reports, 20 * _REPORT.size)
                    whole = len(said[child]) // _REPORT.size * _REPORT.size
                    for stream, first_seq, count in reports(said[child][:whole]):
                        owed |= {(stream, first_seq + number) for number in range(count)}
                    said[child] = said[child][whole:]
                found = {parse_id(id_) for id_ in everything(logs)}
                assert owed <= found, f"{len(owed - found)} of {len(owed)} records are not seen"
                assert logs.gaps() == []
    finally:
        for child in (*workers, sealer):
            child.kill()
            child.read()
    assert len(list((directory / "segments").iterdir())) > 0
    assert len(owed) > looks


def test_who_asks_meanwhile_sees_all(tmp_path: Path) -> None:
    """Two append, several seal and merge, one asks: each answer has every acknowledged record, once."""
    watch(tmp_path / "logs", looks=25)


@pytest.mark.slow
def test_who_asks_for_long_sees_all(tmp_path: Path) -> None:
    """The same, for longer."""
    for round_number in range(10):
        watch(tmp_path / str(round_number), looks=150)


# -- one kill at each step -----------------------------------------------------------------


def prepared(directory: Path) -> tuple[Path, dict[str, Record]]:
    """A store with tails that nobody holds, and so many small segments that some are merged; and its records."""
    for number in range(9):
        with DiskLogs(directory, seals=False) as logs:
            logs.append(make_records(f"source {number}", 0, 5))
            if number < 7:
                logs.seal()
    with DiskLogs(directory, seals=False) as logs:
        return directory, everything(logs)


def seal(directory: Path) -> None:
    with DiskLogs(directory, seals=False) as logs:
        logs.seal()


def append_and_seal(directory: Path) -> None:
    with DiskLogs(directory, seals=False) as logs:
        logs.append(make_records("later", 0, 3))
        logs.seal()


def append_in_bulk(directory: Path) -> None:
    with DiskLogs(directory, seals=False) as logs:
        logs.append_bulk(make_records("later", 0, 20_000))


OPERATIONS: Final = [seal, append_and_seal, append_in_bulk]


def at_each_step(tmp_path: Path, operate: Callable[[Path], None], stride: int) -> int:
    """Kill at step 1, 1 + stride, …, each time on a fresh copy; how many kills there were."""
    template, before = prepared(tmp_path / "template")
    step = 1
    while True:
        directory = tmp_path / "copy"
        shutil.copytree(template, directory)
        was_killed = kill_at_syscall(step, partial(operate, directory))
        assert_same(directory, before, was_killed=was_killed)
        shutil.rmtree(directory)
        if not was_killed:
            return step // stride
        step += stride


def assert_same(directory: Path, before: dict[str, Record], *, was_killed: bool) -> None:
    """Every earlier record is there, whoever looks first; a later append is there whole or not at all."""
    for _ in range(2):
        with DiskLogs(directory, seals=False) as logs:
            found = everything(logs)
            assert {id_: found.get(id_) for id_ in before} == before
            later = [record for id_, record in found.items() if id_ not in before]
            assert len(later) in ((0, 3, 20_000) if was_killed else (3, 20_000, 0))
            assert logs.gaps() == []
            logs.seal()
            assert everything(logs) == found


@pytest.mark.parametrize(("operate", "stride"), [(seal, 61), (append_and_seal, 61), (append_in_bulk, 31)])
def test_a_kill_at_a_system_call_changes_no_answer(
    tmp_path: Path, operate: Callable[[Path], None], stride: int
) -> None:
    """Killed at its entry to or return from the kernel, whoever seals leaves every record in place, once."""
    assert at_each_step(tmp_path, operate, stride) > 1


@pytest.mark.slow
@pytest.mark.parametrize("operate", OPERATIONS)
def test_a_kill_at_every_system_call_changes_no_answer(
    tmp_path: Path, operate: Callable[[Path], None]
) -> None:
    """The same, at each of them."""
    assert at_each_step(tmp_path, operate, stride=1) > 50
