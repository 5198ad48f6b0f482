"""A collector that is killed with SIGKILL under load: what it acknowledged is in the store, once and in order."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.patience import until
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.query.syntax import Everything, Query

_COLLECTOR = """
import sys, threading
from vcache.logs.collect import Collector
from vcache.logs.disk import DiskLogs

with DiskLogs(sys.argv[1]) as store, Collector(store) as collector:
    collector.listen(f"unix://{sys.argv[2]}?acks=1&format=lines&source=kill")
    collector.listen(f"unix://{sys.argv[2]}.plain?format=lines&source=receipt")
    print("ready", flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


class Client:
    """Sends numbered lines until the other side is gone, and knows how many are acknowledged."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.acked, self.sent = name, 0, 0
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(str(path))
        self._threads = [threading.Thread(target=work) for work in (self._send, self._listen)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
        self._sock.close()

    def _send(self) -> None:
        try:
            while True:
                lines = [b"%s %d\n" % (self.name.encode(), self.sent + number) for number in range(50)]
                self.sent += 50
                self._sock.sendall(b"".join(lines))
        except OSError:
            pass

    def _listen(self) -> None:
        rest = b""
        try:
            while data := self._sock.recv(4096):
                *words, rest = (rest + data).split(b"\n")
                self.acked = int(words[-1]) if words else self.acked
        except OSError:
            pass


def kept(directory: Path) -> dict[str, list[int]]:
    """The numbers of each client's lines, in the order of the store."""
    found: dict[str, list[int]] = defaultdict(list)
    with DiskLogs(directory) as logs:
        result = logs.search(Query(Everything()))
        for record in result.rows:
            assert isinstance(record, Record)
            if record.source == "kill":
                name, _, number = record.message.partition(" ")
                found[name].append(int(number))
        assert not result.gaps
    return found


def rounds(place: Path, count: int, lines: int) -> None:
    acked: dict[str, tuple[int, int]] = {}
    for number in range(count):
        process = subprocess.Popen(
            [sys.executable, "-c", _COLLECTOR, str(place / "logs"), str(place / "sock")],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        with process.stdout as output:
            assert output.readline() == b"ready\n"
            clients = [Client(f"r{number}c{each}", place / "sock") for each in range(3)]
            target = lines * (number + 1)
            until(lambda target=target, clients=clients: sum(client.acked for client in clients) > target)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
            process.wait(60)
        for client in clients:
            client.join()
            acked[client.name] = client.acked, client.sent
        found = kept(place / "logs")
        for name, (most_acked, sent) in acked.items():
            numbers = found[name]
            assert numbers == list(range(len(numbers))), (
                f"{name}: lines are lost, twice there or out of order"
            )
            assert most_acked <= len(numbers) <= sent, (
                f"{name}: {most_acked} acknowledged, {len(numbers)} kept"
            )


def test_what_was_acknowledged_survives_a_kill(place):
    """Three clients at full speed; also what was kept in the rounds before stays."""
    rounds(place, 3, 3_000)


@pytest.mark.slow
def test_what_was_acknowledged_survives_many_kills(place):
    """… at later and later moments, while segments are sealed."""
    rounds(place, 10, 5_000)


def test_a_receipt_survives_a_kill(place):
    """Who ended its stream and saw ours end may forget what it sent, whatever happens to us a moment later."""
    process = subprocess.Popen(
        [sys.executable, "-c", _COLLECTOR, str(place / "logs"), str(place / "sock")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as output, socket.socket(socket.AF_UNIX) as sock:
        assert output.readline() == b"ready\n"
        sock.connect(f"{place}/sock.plain")
        sock.settimeout(60)
        sock.sendall(b"".join(b"line %d\n" % number for number in range(10_000)))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
        process.kill()
        process.wait(60)
    with DiskLogs(place / "logs") as logs:
        rows = [row.message for row in logs.search(Query(Everything())).rows if isinstance(row, Record)]
    assert sorted(rows) == sorted(f"line {number}" for number in range(10_000))
