"""Single flight: who leads, who waits, and how a lead ends."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from tests.faults.crew import Child, Gate
from vcache.flight import SingleFlight

KEY = b"key"


def test_one_leads_at_a_time(tmp_path: Path) -> None:
    """While one leads a key, nobody else in the process or beside it may."""
    flight, other = SingleFlight(tmp_path), SingleFlight(tmp_path)
    lead = flight.lead(KEY)
    assert lead is not None
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(flight.lead(KEY, wait=False)))
    thread.start()
    thread.join()
    assert got == [None]
    assert other.lead(KEY, wait=False) is None
    assert other.lead(b"another", wait=False) is not None
    lead.release()
    assert other.lead(KEY, wait=False) is not None


def test_who_waits_leads_after_the_release() -> None:
    """A waiting thread gets the lead when it is released, from whichever thread that happens."""
    flight = SingleFlight(None)
    lead = flight.lead(KEY)
    assert lead is not None
    got = threading.Event()

    def wait() -> None:
        with flight.lead(KEY):  # type: ignore[union-attr]
            got.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not got.is_set()
    releaser = threading.Thread(target=lead.release)
    releaser.start()
    assert got.wait(10)
    waiter.join(10)
    releaser.join(10)


def test_a_recursive_computation_does_not_wait_for_itself(tmp_path: Path) -> None:
    """A thread that leads a key leads it again; the inner release does not end the outer lead."""
    flight, other = SingleFlight(tmp_path), SingleFlight(tmp_path)
    with flight.lead(KEY):  # type: ignore[union-attr]
        with flight.lead(KEY):  # type: ignore[union-attr]
            pass
        assert other.lead(KEY, wait=False) is None


def test_a_lead_for_another_thread_is_that_threads() -> None:
    """A lead taken for a background thread is not led again by its taker, but by that thread."""
    flight = SingleFlight(None)
    lead = flight.lead(KEY, wait=False, is_recursive=False)
    assert lead is not None
    assert flight.lead(KEY, wait=False, is_recursive=False) is None
    again: list[object] = []

    def work() -> None:
        with lead:
            again.append(flight.lead(KEY))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert again[0] is not None


def test_a_dropped_lead_is_released() -> None:
    """A lead that nobody refers to any more does not keep others waiting."""
    flight = SingleFlight(None)
    lead = flight.lead(KEY)
    assert lead is not None
    del lead
    thread = threading.Thread(target=flight.lead, args=(KEY,))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_release_leaves_nothing_behind(tmp_path: Path) -> None:
    """After the release there is neither a lock file nor a descriptor nor a turn."""
    flight = SingleFlight(tmp_path / "locks")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        lead = flight.lead(f"{number}".encode())
        assert lead is not None
        lead.release()
        lead.release()
    assert os.listdir(tmp_path / "locks") == []
    assert len(os.listdir("/proc/self/fd")) == before
    assert flight._turns == {}


def test_where_no_lock_file_can_be_made_threads_still_take_turns(tmp_path: Path) -> None:
    """Without a directory for locks a lead is had at once, and still excludes the process's threads."""
    (tmp_path / "file").write_text("")
    flight = SingleFlight(tmp_path / "file" / "locks")
    with flight.lead(KEY):  # type: ignore[union-attr]
        got: list[object] = []
        thread = threading.Thread(target=lambda: got.append(flight.lead(KEY, wait=False)))
        thread.start()
        thread.join()
        assert got == [None]


def test_a_file_system_without_locks_makes_nobody_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where flock is refused for good, every caller leads at once instead of trying for ever."""

    def refuse(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        lead = SingleFlight(tmp_path).lead(KEY)
        assert lead is not None
        lead.release()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_flight_closes_no_descriptor_twice(tmp_path: Path) -> None:
    """A lead that is released after its flight was closed leaves alone what has its number since."""
    flight = SingleFlight(tmp_path)
    lead = flight.lead(KEY)
    assert lead is not None
    flight.close()
    fds = [os.open("/", os.O_RDONLY) for _ in range(4)]
    lead.release()
    for fd in fds:
        os.fstat(fd)
        os.close(fd)


def test_a_forked_child_neither_keeps_nor_ends_its_parents_lead(tmp_path: Path) -> None:
    """What a child inherits is void: it waits like anybody else, and its release changes nothing."""
    flight, other = SingleFlight(tmp_path), SingleFlight(tmp_path)
    lead = flight.lead(KEY)
    assert lead is not None
    with Gate() as gate:

        def child(fd: int) -> None:
            lead.release()
            assert flight.lead(KEY, wait=False) is None
            os.write(fd, b".")
            gate.wait()

        forked = Child(child)
        assert os.read(forked.reports, 1) == b"."
        assert other.lead(KEY, wait=False) is None  # the name is still there, and locked
        lead.release()
        again = other.lead(KEY, wait=False)  # the child lives and has nothing of it
        assert again is not None
        again.release()
    forked.finish(10)
