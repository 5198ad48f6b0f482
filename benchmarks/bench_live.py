"""Live tails: written → shown, 50 clients at 10,000 records/s.

The real server takes JSON lines over HTTP from a process that stamps them, keeps them durably, and shows them
to clients of server-sent events in another process, on the same machine and its clock. Of each piece that a
client receives the first record counts: the one that waited longest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.measure import Scale
from benchmarks.result import Compare, Figure, Row, Spread

TITLE = "live tails of logs"
_CLIENTS: Final = 50
_RATE: Final = 10_000
_TICK: Final = 100  # records of a request: a hundred requests a second

_WRITER: Final = r"""
import http.client, sys, time
host, port, rate, count, tick = sys.argv[1], *map(int, sys.argv[2:])
line = ('{"level":"info","source":"cc","message":"[%d/900] Building C object lib/CMakeFiles/zstd.dir/%d.c.o",'
        '"node":"lib/%d.o","run":"r1","n":%d,"sent":%d}\n')
connection = http.client.HTTPConnection(host, port)
start = time.perf_counter()
for number in range(count // tick):
    ahead = number * tick / rate - (time.perf_counter() - start)
    if ahead > 0:
        time.sleep(ahead)
    now = time.time_ns()
    body = "".join([line % (n % 900, n, n % 300, n, now) for n in range(number * tick, (number + 1) * tick)])
    connection.request("POST", "/api/v1/logs", body.encode())
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    reply.read()
print(time.perf_counter() - start)
"""

_READERS: Final = r"""
import json, re, selectors, socket, sys, time
host, port, clients, count = sys.argv[1], *map(int, sys.argv[2:])
stamp = re.compile(rb'"sent":(\d+)')
selector = selectors.DefaultSelector()
for _ in range(clients):
    connection = socket.create_connection((host, port))
    connection.sendall(b"GET /api/v1/logs/tail HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"retry" in connection.recv(4096)
    selector.register(connection, selectors.EVENT_READ, [b""])
print("ready", flush=True)
late, seen, dropped, quiet = [], 0, 0, time.monotonic()
while seen + dropped < clients * count and time.monotonic() - quiet < 10:
    for key, _ in selector.select(1):
        data = key.fileobj.recv(1 << 20)
        found = stamp.search(data)
        if found:
            late.append((time.time_ns() - int(found[1])) / 1e6)
        data = key.data[0] + data  # a name may be cut in two
        key.data[0] = data[-6:]
        seen += data.count(b'"sent":')
        dropped += sum(int(n) for n in re.findall(rb'"dropped": (\d+)', data)) if b"event: dropped" in data else 0
        quiet = time.monotonic()
print(json.dumps({"late": late, "seen": seen, "dropped": dropped}))
"""


def run(scale: Scale, directory: Path) -> list[Row]:
    """The time from a stamp to each client, what was dropped, and the server's memory."""
    seconds, clients, rate = scale.pick(20, 1), scale.pick(_CLIENTS, 2), scale.pick(_RATE, 1000)
    count = seconds * rate // _TICK * _TICK
    command = [
        sys.executable,
        "-m",
        "vcache",
        "serve",
        "--json",
        "--dir",
        str(directory),
        "--listen",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["http"].rpartition(":")[2]
        try:
            readers = _child(_READERS, port, clients, count)
            assert readers.stdout is not None
            assert readers.stdout.readline() == b"ready\n"
            before_mb = _peak_mb(server.pid)
            writer = _child(_WRITER, port, rate, count, _TICK)
            took_s = float(_output(writer))
            found = json.loads(_output(readers))
            peak_mb = _peak_mb(server.pid)
        finally:
            server.terminate()
    late = Spread.of(found["late"])
    what = f"{clients} clients at {rate:,} records/s for {seconds} s"
    return [
        Row(f"{what}, written to shown, p99", Compare.ALONE, "ms",
            Figure("vcache", (late.p99,), late), bound=50.0, note="of the first record of each piece"),
        Row(f"{what}, written", Compare.MORE, "1/s", Figure("vcache", (count / took_s,)),
            Figure("the target", (float(rate),)), 0.95),
        Row(f"{what}, shown", Compare.MORE, "records", Figure("vcache", (float(found["seen"]),)),
            Figure("written, for each client", (float(clients * count),)), 0.99),
        Row(f"{what}, the server's memory grew by", Compare.PLUS, "MB", Figure("at the end", (peak_mb,)),
            Figure("at the start", (before_mb,)), 100.0),
    ]  # fmt: skip


def _child(text: str, port: str, *arguments: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", text, "127.0.0.1", port, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})


def _output(child: subprocess.Popen[bytes]) -> bytes:
    said, _ = child.communicate(timeout=600)
    if child.returncode:
        raise AssertionError(f"a part of the benchmark ended with status {child.returncode}")
    return said


def _peak_mb(pid: int) -> float:
    """The most that was resident of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000
