"""The bells of kinds."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import NEVER_S, no_hang, until
from vcache.jobs.sqlite.waking import Bells


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Bells]:
    bells = Bells(str(tmp_path / "wake"), "")
    yield bells
    bells.close()


def version() -> int:
    return 0


def test_a_bell_that_was_rung_before_is_heard(tmp_path: Path, worker: Bells) -> None:
    """Who listens hears also what was rung before it waits, by another process."""
    worker.listen(["mill"])
    Bells(str(tmp_path / "wake"), "").ring(["mill"])
    with no_hang():
        worker.wait(["mill"], NEVER_S, version=version)


def test_a_bell_wakes_one_of_those_who_wait(tmp_path: Path, worker: Bells) -> None:
    """Of several who wait, one hears it; the others go on waiting."""
    other = Bells(str(tmp_path / "wake"), "")
    woken: list[Bells] = []

    def wait(bells: Bells) -> None:
        bells.wait(["mill"], NEVER_S, version=version)
        woken.append(bells)

    for each in (worker, other):
        each.listen(["mill"])
    threads = [threading.Thread(target=wait, args=(each,)) for each in (worker, other)]
    for thread in threads:
        thread.start()
    Bells(str(tmp_path / "wake"), "").ring(["mill"])
    until(lambda: woken)
    (first,) = woken
    first.ring(["mill"])
    until(lambda: len(woken) == 2)
    other.close()
    for thread in threads:
        thread.join()


def test_other_kinds_and_namespaces_wake_nobody(tmp_path: Path, worker: Bells) -> None:
    """A bell of another kind, or of another namespace's, is not heard."""
    worker.listen(["mill"])
    worker.ring(["bake"])
    elsewhere = Bells(str(tmp_path / "wake"), "other")
    elsewhere.listen(["mill"])
    elsewhere.ring(["mill"])
    worker.wait(["mill"], 0.01, version=version)
    assert os.read(elsewhere._fds["mill"], 10) == b"!"
    elsewhere.close()


def test_nobody_who_rings_waits(worker: Bells) -> None:
    """A bell that is rung very often without being heard holds nobody up, and is heard once."""
    worker.listen(["mill"])
    with no_hang():
        for _ in range(70_000):
            worker.ring(["mill"])
        worker.wait(["mill"], NEVER_S, version=version)
    with pytest.raises(BlockingIOError):
        os.read(worker._fds["mill"], 1)


def test_who_closes_wakes_its_own(worker: Bells) -> None:
    """Closing lets those return who wait."""
    worker.listen(["mill"])
    waiting = threading.Thread(target=worker.wait, args=(["mill"], NEVER_S), kwargs={"version": version})
    waiting.start()
    until(lambda: worker._end >= 0)
    with no_hang():
        worker.close()
        waiting.join()


def test_without_fifos_the_file_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system has no FIFOs, a commit of others ends the wait."""

    def refuse(path: str, mode: int) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "mkfifo", refuse)
    bells, numbers = Bells(str(tmp_path / "wake"), ""), iter([1, 1, 1, 2])
    assert not bells.listen(["mill"])
    with no_hang():
        bells.wait(["mill"], NEVER_S, version=lambda: next(numbers))
    assert next(numbers, None) is None
    bells.ring(["mill"])
    bells.close()
