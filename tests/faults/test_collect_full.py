"""A disk that is full while senders go on: streams wait, datagrams are counted, and all is well again afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.test_places import mounted
from tests.patience import until
from vcache.errors import StoreBusy
from vcache.logs.collect import Collector, Limits
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.query.syntax import Everything, Query

_LIMITS = Limits(queue_records=500, queue_bytes=1 << 18, retry_most_s=0.05, say_every_s=0.01)


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


def kept(logs: DiskLogs) -> list[Record]:
    return [row for row in logs.search(Query(Everything())).rows if isinstance(row, Record)]


def test_a_full_disk_is_waited_for(place):
    """Nothing of a stream is lost, every datagram is kept or counted, and what happened is said."""
    with (
        mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", at=place / "small") as small,
        DiskLogs(small / "logs", seals=False) as logs,
        Collector(logs, limits=_LIMITS) as collector,
        socket.socket(socket.AF_UNIX) as stream,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        collector.listen(f"unix://{place}/stream?format=lines&source=stream")
        collector.listen(f"unixgram://{place}/datagrams?format=lines&source=datagrams")
        stream.connect(f"{place}/stream")
        datagrams.connect(f"{place}/datagrams")
        stream.sendall(b"before\n")
        until(lambda: collector.counters().kept == 1)
        space = os.statvfs(small)
        (small / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize))
        stream.setblocking(False)
        sent = fill(stream)
        until(lambda: collector.counters().failing_since_ns)
        sent += fill(stream)
        for number in range(2_000):
            datagrams.send(b"datagram %d" % number)
        with pytest.raises(StoreBusy):
            submit_many(collector)
        until(lambda: collector.counters().dropped_total > 0)
        (small / "ballast").unlink()
        stream.setblocking(True)
        stream.sendall(b"after\n")
        stream.shutdown(socket.SHUT_WR)
        stream.settimeout(60)
        assert stream.recv(1) == b""
        collector.close(60)
        counters, records = collector.counters(), kept(logs)
    streamed = b"".join(record.message.encode() + b"\n" for record in records if record.source == "stream")
    assert b"".join(sorted(streamed.splitlines(keepends=True))) == b"".join(
        sorted((b"before\n" + sent + b"after\n").splitlines(keepends=True))
    )
    got = [record for record in records if record.source == "datagrams"]
    assert len(got) + counters.dropped_total == 2_000
    told = [record for record in records if record.source == "vcache"]
    assert sum(int(str(record.fields.get("dropped", 0))) for record in told) == counters.dropped_total
    assert any("takes records again" in record.message for record in told)


def submit_many(collector: Collector) -> None:
    for _ in range(1_000):
        collector.submit([Record(1, 9, "http", "x")], wait=False)


def fill(stream: socket.socket) -> bytes:
    """Lines until nobody takes more: what was sent, whole lines."""
    sent = b""
    number = 0
    while len(sent) < 1 << 20:
        line = b"line %d %s\n" % (number, b"x" * 200)
        try:
            taken = stream.send(line)
        except BlockingIOError:
            return sent
        if taken < len(line):
            stream.setblocking(True)
            stream.sendall(line[taken:])
            stream.setblocking(False)
        sent += line
        number += 1
    return sent
