"""Processes are started, started again, given up, and ended together."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.patience import NEVER_S, until
from vcache.kit.retry import Backoff
from vcache.kit.supervisor import Program, Supervisor

_AT_ONCE = Backoff(times=99, base_s=0)


def _shell(text: str, stdin: bytes = b"") -> Any:
    return lambda place: Program(("/bin/sh", "-c", text, "sh", str(place)), stdin)


@contextmanager
def _running(program: Any, size: int = 1, **options: Any) -> Iterator[tuple[Supervisor, list[int]]]:
    """A supervisor in a thread, and what its `run` returned."""
    made, statuses = Supervisor(program, size, backoff=_AT_ONCE, **options), list[int]()
    thread = threading.Thread(target=lambda: statuses.append(made.run()))
    thread.start()
    try:
        yield made, statuses
    finally:
        if thread.is_alive():
            made.stop()
        thread.join(30)
        assert not thread.is_alive()


def test_who_is_done_is_not_started_again(tmp_path):
    """Status 0 is the end; each reads its standard input, and knows its place."""
    supervisor = Supervisor(_shell(f"cat > {tmp_path}/$1", b"hello"), 3)
    assert supervisor.run() == 0
    assert [(tmp_path / str(place)).read_text() for place in range(3)] == ["hello"] * 3


def test_who_crashes_is_started_again(tmp_path):
    """And whoever wants to know is told of each."""
    ended: list[tuple[int, int]] = []
    script = f"echo >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -ge 4 ] || kill -9 $$"
    supervisor = Supervisor(_shell(script), 1, backoff=_AT_ONCE, on_exit=lambda *each: ended.append(each))
    assert supervisor.run() == 0
    assert [status for _, status in ended] == [137, 137, 137, 0]
    assert len({pid for pid, _ in ended}) == 4


def test_who_crashes_again_and_again_is_given_up_and_all_end(caplog):
    """With clear words, and its status."""
    supervisor = Supervisor(
        _shell(f"[ $1 = 0 ] || exec sleep {NEVER_S}; exit 7"), 2, backoff=_AT_ONCE, most_crashes=3
    )
    assert supervisor.run() == 7
    assert "ended with status 7, as 3 before it in its place within a minute: given up" in supervisor.failure
    assert not supervisor.pids


def test_some_statuses_are_hopeless_and_some_ask_for_another(tmp_path):
    """The first ends all; the second counts as no crash."""
    hopeless = Supervisor(_shell("exit 2"), 2, hopeless=frozenset((2,)))
    assert hopeless.run() == 2
    assert "no further try can change" in hopeless.failure
    script = f"echo >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -ge 9 ] || exit 75"
    assert Supervisor(_shell(script), 1, replaced=frozenset((75,)), most_crashes=0).run() == 0


def test_asked_to_stop_it_asks_all_and_kills_who_does_not(tmp_path):
    """SIGTERM first, each time it is asked; SIGKILL after the grace period."""
    script = f"trap 'echo >> {tmp_path}/asked' TERM; echo > {tmp_path}/up; while :; do sleep 0.01; done"
    with _running(_shell(script), grace_s=0.3) as (supervisor, statuses):
        until((tmp_path / "up").exists)
        supervisor.stop()
        until(lambda: statuses)
    assert (tmp_path / "asked").exists()
    assert statuses == [0]


def test_a_signal_reaches_all(tmp_path):
    """In the main thread SIGTERM is handed on, and handlers are restored."""
    before = signal.getsignal(signal.SIGTERM)
    program = _shell(
        f"trap 'echo >> {tmp_path}/$1; exit 0' TERM; touch {tmp_path}/up$1; while :; do sleep 0.01; done"
    )

    def send() -> None:
        until(lambda: all((tmp_path / f"up{place}").exists() for place in range(2)))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    assert Supervisor(program, 2).run() == 0
    thread.join()
    assert all((tmp_path / str(place)).exists() for place in range(2))
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_watches_survives_who_is_told():
    """A fault of `on_exit` ends nothing."""

    def on_exit(pid: int, status: int) -> None:
        raise RuntimeError("no")

    assert Supervisor(_shell("exit 0"), 1, on_exit=on_exit).run() == 0


def test_a_program_that_is_not_there_is_an_error():
    """It is no crash to be tried again."""
    with pytest.raises(FileNotFoundError):
        Supervisor(lambda place: Program((str(Path(sys.prefix) / "no-such-program"),)), 1).run()


def test_it_works_where_no_descriptor_tells_of_an_end(tmp_path, monkeypatch):
    """As on systems without pidfds: it looks now and then."""
    monkeypatch.setattr("vcache.kit.supervisor.pidfd_of", lambda pid: -1)
    monkeypatch.setattr("vcache.kit.supervisor._POLL_S", 0.01)
    assert Supervisor(_shell("exit 0"), 2).run() == 0
