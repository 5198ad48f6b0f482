"""Whose turn it is to write."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.patience import NEVER_S, until
from vcache.errors import StoreBusy
from vcache.jobs.sqlite.turns import Turnstile


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "queue")


def test_one_at_a_time(path: str) -> None:
    """Who has the turn keeps others out until it leaves."""
    one, other = Turnstile(path), Turnstile(path)
    one.enter(0)
    with pytest.raises(StoreBusy, match="another process holds it"):
        other.enter(0)
    one.leave()
    other.enter(NEVER_S)
    other.leave()
    one.enter(NEVER_S)
    one.leave()
    one.close()
    other.close()


def test_a_turn_that_nobody_wants_any_more_is_given_back(path: str) -> None:
    """Who gave up waiting does not keep a turn that comes later."""
    one, other = Turnstile(path), Turnstile(path)
    one.enter(0)
    with pytest.raises(StoreBusy):
        other.enter(0)
    one.leave()
    one.enter(NEVER_S)
    one.leave()
    other.enter(NEVER_S)
    other.leave()
    one.close()
    other.close()


def test_who_closes_while_it_waits_gives_all_back(path: str) -> None:
    """A wait that was given up ends once the turn comes, and takes its files with it."""
    one, other, third = Turnstile(path), Turnstile(path), Turnstile(path)
    one.enter(0)
    with pytest.raises(StoreBusy):
        other.enter(0)
    other.close()
    one.leave()
    until(lambda: not [each for each in threading.enumerate() if each.name == "vcache-jobs-turn"])
    third.enter(NEVER_S)
    third.close()
    one.close()


def test_who_comes_again_stands_behind(path: str) -> None:
    """Who waits is passed by who had its turn and wants others a few times at most."""
    one, other = Turnstile(path), Turnstile(path)
    order: list[str] = []

    def wait() -> None:
        other.enter(NEVER_S)
        order.append("other")
        other.leave()

    one.enter(0)
    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: not one_could_pass(path))
    for _ in range(8):
        one.leave()
        one.enter(NEVER_S)
        order.append("one")
    one.leave()
    waiting.join()
    assert "other" in order[:8]
    one.close()
    other.close()


def one_could_pass(path: str) -> bool:
    """Whether nobody stands in the door."""
    import fcntl

    with open(path + ".door") as door:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
