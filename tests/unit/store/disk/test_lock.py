"""The writer lock of a directory."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.faults.crew import Child, Gate
from vcache.errors import StoreBusy
from vcache.store.disk.lock import WriterLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_it_excludes_other_objects_threads_and_processes(path: Path) -> None:
    """While it is held, every other holder of the same path is refused at its deadline."""
    lock = WriterLock(path, deadline_s=5)
    hasty = WriterLock(path, deadline_s=0.02)

    def refused(_: int = 0) -> None:
        with pytest.raises(StoreBusy, match=r"another process") as caught, hasty:
            pass
        assert caught.value.retryable

    with lock:
        refused()
        Child(refused).finish(10)
    with hasty:
        pass
    lock.close()
    hasty.close()


def test_threads_wait_for_each_other(path: Path) -> None:
    """A thread waits for another of the same object, and is refused at the deadline."""
    lock = WriterLock(path, deadline_s=0.05)
    errors: list[Exception] = []

    def take() -> None:
        try:
            with lock:
                pass
        except StoreBusy as error:
            errors.append(error)

    with lock:
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(10)
    assert [str(error).count("another thread") for error in errors] == [1]
    lock.close()


def test_it_is_not_taken_twice_by_one_thread(path: Path) -> None:
    """Taking it within itself is refused at once, without waiting; `joined` takes part in it."""
    lock = WriterLock(path, deadline_s=30)
    started = time.monotonic()
    with lock:
        with pytest.raises(StoreBusy, match="this very thread"), lock:
            pass
        with lock.joined(), lock.joined():
            pass
        with pytest.raises(StoreBusy), lock:  # still held
            pass
    assert time.monotonic() - started < 5
    with lock.joined(), pytest.raises(StoreBusy), lock:
        pass
    lock.close()


def test_the_kernel_releases_it_with_its_holder(path: Path) -> None:
    """After SIGKILL of its holder it can be taken."""
    lock = WriterLock(path, deadline_s=5)
    with Gate() as gate:

        def hold(fd: int) -> None:
            with WriterLock(path, deadline_s=5):
                os.write(fd, b".")
                gate.wait()

        child = Child(hold)
        assert os.read(child.reports, 1) == b"."
        child.kill()
        with lock:
            pass
    os.close(child.reports)
    lock.close()


def test_a_child_shares_nothing_with_its_parents_lock(path: Path) -> None:
    """Forked while it is held, by this or another thread, a child waits like a stranger."""
    lock = WriterLock(path, deadline_s=0.02)

    def try_it(_: int) -> None:
        lock.after_fork()
        with pytest.raises(StoreBusy, match="another process"), lock:
            pass

    with lock:
        Child(try_it).finish(10)
        Child(try_it).finish(10)
    lock.close()


def test_it_closes_while_nobody_writes(path: Path) -> None:
    """Closing waits for the thread that holds it; within it, it closes nothing. It can be taken again."""
    lock = WriterLock(path, deadline_s=10)
    order: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def write() -> None:
        with lock:
            entered.set()
            leave.wait(10)
            order.append("written")

    writer = threading.Thread(target=write)
    writer.start()
    entered.wait(10)
    closer = threading.Thread(target=lock.close, args=(lambda: order.append("closed"),))
    closer.start()
    leave.set()
    writer.join(10)
    closer.join(10)
    assert order == ["written", "closed"]
    with lock:
        lock.close(lambda: order.append("never"))
    assert order == ["written", "closed"]
    lock.close()
    assert str(path) not in [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
