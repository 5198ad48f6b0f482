from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from vcache.kit.breaker import Breaker, BreakerState, Verdict, read_state
from vcache.testing import FakeClock


class Machine:
    """Breakers of one remote, as several processes have them."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.clock = FakeClock()

    def process(self) -> Breaker:
        return Breaker(self.directory, clock=self.clock)


@pytest.fixture(params=["file", "memory"])
def breaker(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Breaker, FakeClock]:
    machine = Machine(tmp_path / "remote" if request.param == "file" else None)
    return machine.process(), machine.clock


def test_some_faults_in_a_row_open_it(breaker: tuple[Breaker, FakeClock]) -> None:
    """The third one does; an answer in between starts the count anew."""
    it, _ = breaker
    assert [it.fail("a"), it.fail("b")] == [False, False]
    it.succeed()
    assert [it.fail("c"), it.fail("d"), it.verdict()] == [False, False, Verdict.GO]
    assert it.fail("e")
    assert it.verdict() is Verdict.STOP
    assert it.state.why == "e"
    assert not it.fail("f"), "what others of the same moment say changes nothing"
    assert it.state.opens == 1


def test_a_missed_deadline_opens_it_at_once(breaker: tuple[Breaker, FakeClock]) -> None:
    """Nobody else has to wait for that."""
    it, _ = breaker
    assert it.fail("slow", is_slow=True)
    assert it.verdict() is Verdict.STOP


def test_it_opens_for_longer_each_time(breaker: tuple[Breaker, FakeClock]) -> None:
    """15 s, doubled at each opening in a row up to five minutes; an answer closes it and starts anew."""
    it, clock = breaker
    it.fail("slow", is_slow=True)
    for open_s in (15, 30, 60, 120, 240, 300, 300):
        clock.advance(open_s - 0.001)
        assert it.verdict() is Verdict.STOP
        clock.advance(0.002)
        assert it.verdict() is Verdict.PROBE
        with it.probing() as is_mine:
            assert is_mine
            assert it.verdict() is Verdict.STOP
    clock.advance(301)
    with it.probing() as is_mine:
        assert is_mine
        it.succeed()
    assert it.verdict() is Verdict.GO
    assert it.state == BreakerState()
    it.fail("slow", is_slow=True)
    clock.advance(15.1)
    assert it.verdict() is Verdict.PROBE


def test_one_probes_at_a_time(breaker: tuple[Breaker, FakeClock]) -> None:
    """Who comes while another one probes, or after that, has no turn."""
    it, clock = breaker
    it.fail("slow", is_slow=True)
    clock.advance(16)
    turns = []

    def come() -> None:
        with it.probing() as is_mine:
            turns.append(is_mine)

    with it.probing() as is_mine:
        assert is_mine
        other = threading.Thread(target=come)
        other.start()
        other.join()
    come()
    assert turns == [False, False]


def test_processes_share_it(tmp_path: Path) -> None:
    """What one finds out the others know, and so does one that starts later."""
    machine = Machine(tmp_path / "remote")
    one, two = machine.process(), machine.process()
    assert one.verdict() is two.verdict() is Verdict.GO
    one.fail("a")
    two.fail("b")
    assert one.fail("c")
    assert two.verdict() is Verdict.STOP
    assert machine.process().verdict() is Verdict.STOP
    machine.clock.advance(16)
    with two.probing() as is_mine:
        assert is_mine
        with one.probing() as is_his:
            assert not is_his
        two.succeed()
    assert one.verdict() is machine.process().verdict() is Verdict.GO


def test_the_file_is_as_specified(tmp_path: Path) -> None:
    """One line of JSON with the names that other programs look for; nothing is written while all is well."""
    machine = Machine(tmp_path)
    it = machine.process()
    it.succeed()
    assert it.verdict() is Verdict.GO
    assert os.listdir(tmp_path) == []
    it.fail("no route to host", is_slow=True)
    text = (tmp_path / "breaker").read_text()
    assert text.endswith("\n")
    assert json.loads(text) == {
        "version": 1,
        "state": "open",
        "until_ns": machine.clock() + 15_000_000_000,
        "faults": 1,
        "opens": 1,
        "why": "no route to host",
    }
    it.succeed()
    assert read_state(str(tmp_path / "breaker")) == BreakerState()
    before = (tmp_path / "breaker").stat()
    it.succeed()
    machine.process().succeed()
    assert (tmp_path / "breaker").stat() == before


GARBAGE = [
    b"",
    b"\0" * 100,
    b"{",
    b"[]",
    b"null",
    b'{"version": 2, "state": "open", "until_ns": 1, "faults": 1, "opens": 1, "why": ""}',
    b'{"version": 1, "state": "ajar", "until_ns": 1, "faults": 1, "opens": 1, "why": ""}',
    b'{"version": 1, "state": "open", "until_ns": "1", "faults": 1, "opens": 1, "why": ""}',
    b'{"version": 1, "state": "open", "until_ns": -1, "faults": 1, "opens": 1, "why": ""}',
    b'{"version": 1, "state": "open"}',
    b"[" * 4000,
    b'{"version": 1' + b" " * 100_000,
    "ünïcode \udcff".encode("utf-8", "surrogateescape"),
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_the_file_is_no_harm(tmp_path: Path, text: bytes) -> None:
    """What holds goes on to hold, in memory, and the next word about it is written over."""
    machine = Machine(tmp_path)
    it, other = machine.process(), machine.process()
    (tmp_path / "breaker").write_bytes(text)
    assert it.verdict() is Verdict.GO
    it.fail("slow", is_slow=True)
    assert other.verdict() is Verdict.STOP
    (tmp_path / "breaker").write_bytes(text)
    assert it.verdict() is Verdict.STOP


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "parent"])
def test_what_is_no_file_is_no_harm(tmp_path: Path, kind: str) -> None:
    """A directory, a pipe, a link that leads nowhere, a file where a directory should be: all in memory."""
    directory = tmp_path / "remote"
    if kind == "parent":
        directory.write_bytes(b"")
    else:
        directory.mkdir()
        path = directory / "breaker"
        {"directory": path.mkdir, "pipe": lambda: os.mkfifo(path), "link": lambda: path.symlink_to("x")}[
            kind
        ]()
    machine = Machine(directory)
    it = machine.process()
    assert it.verdict() is Verdict.GO
    it.fail("slow", is_slow=True)
    assert it.verdict() is Verdict.STOP
    machine.clock.advance(16)
    assert it.verdict() is Verdict.PROBE
    with it.probing() as is_mine:
        assert is_mine
        it.succeed()
    assert it.verdict() is Verdict.GO


def test_a_clock_that_jumps_costs_five_minutes_at_most(tmp_path: Path) -> None:
    """Set back by years while it is open, it is tried again at once; set ahead, too."""
    machine = Machine(tmp_path)
    it = machine.process()
    it.fail("slow", is_slow=True)
    machine.clock.jump_to(machine.clock() - 10**18)
    assert it.verdict() is Verdict.PROBE
    with it.probing() as is_mine:
        assert is_mine
    assert it.verdict() is Verdict.STOP
    machine.clock.advance(301)
    assert it.verdict() is Verdict.PROBE
    machine.clock.jump_to(machine.clock() + 2 * 10**18)
    assert it.verdict() is Verdict.PROBE


def test_a_removed_file_is_a_closed_breaker(tmp_path: Path) -> None:
    """Who removes the state asks for a new start."""
    machine = Machine(tmp_path)
    it = machine.process()
    it.fail("slow", is_slow=True)
    (tmp_path / "breaker").unlink()
    assert it.verdict() is Verdict.GO


def test_a_probe_dies_with_its_process(tmp_path: Path) -> None:
    """A child that is killed while it probes leaves the breaker open for longer, and the lock free."""
    machine = Machine(tmp_path)
    it = machine.process()
    it.fail("slow", is_slow=True)
    machine.clock.advance(16)
    pid = os.fork()
    if pid == 0:
        with machine.process().probing():
            os._exit(9)
    os.waitpid(pid, 0)
    assert it.verdict() is Verdict.STOP
    machine.clock.advance(31)
    with it.probing() as is_mine:
        assert is_mine
