"""syslog at 100,000 lines/s: what was accepted is stored, what was dropped is counted.

A generator in a process of its own sends at that rate for 60 s, over UDP and then over TCP; a collector with a
store on disk takes it, whose tails a process beside it seals. Afterwards every line is accounted for: stored, or counted as dropped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.measure import Scale
from benchmarks.result import Compare, Figure, Row
from vcache.logs.collect import Collector
from vcache.logs.collect.sealing import SealProcess
from vcache.logs.disk import DiskLogs

TITLE = "syslog"
_RATE: Final = 100_000
_TICK_LINES: Final = 500  # 5 ms of it

# Sends with sendmmsg, as a relay would: one call for each line would be a measure of Python's sockets.
_GENERATOR: Final = r"""
import ctypes, socket, sys, time
kind, port, rate, count, tick = sys.argv[1], *map(int, sys.argv[2:])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
sock.connect(("127.0.0.1", port))
line = (b"<%d>1 2026-11-21T10:%02d:%02d.%06dZ build%d gcc %d - - src/module%d.c:%d:5: warning: unused "
        b"variable 'tmp%d' in the function that was looked at, -Wunused-variable %07d")
lines = [line % (8 + i % 8, i % 60, i * 7 % 60, i * 997 % 10**6, i % 16, 1000 + i % 50, i % 300, i % 900, i % 40, i)
         for i in range(20_000)]
if kind == "tcp":
    ticks = [b"".join([b"%d %s" % (len(each), each) for each in lines[at : at + tick]]) for at in range(0, len(lines), tick)]
    send = sock.sendall
else:
    libc = ctypes.CDLL(None)
    keep, ticks = [], []
    for at in range(0, len(lines), tick):
        bodies = [ctypes.create_string_buffer(each, len(each)) for each in lines[at : at + tick]]
        vectors = (ctypes.c_uint64 * (2 * tick))(*[n for b in bodies for n in (ctypes.addressof(b), len(b))])
        base = ctypes.addressof(vectors)
        headers = (ctypes.c_uint64 * (8 * tick))(*[n for i in range(tick) for n in (0, 0, base + 16 * i, 1, 0, 0, 0, 0)])
        keep.append((bodies, vectors)); ticks.append(headers)
    def send(headers):
        done = 0
        while done < tick:
            sent = libc.sendmmsg(sock.fileno(), ctypes.byref(headers, 64 * done), tick - done, 0)
            assert sent > 0
            done += sent
print("ready", flush=True)
start = time.perf_counter()
for number in range(count // tick):
    send(ticks[number % len(ticks)])
    ahead = (number + 1) * tick / rate - (time.perf_counter() - start)
    if ahead > 0:
        time.sleep(ahead)
print(time.perf_counter() - start, flush=True)
if kind == "tcp":
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)
"""


def run(scale: Scale, directory: Path) -> list[Row]:
    """Both transports. A line that is neither stored nor counted as dropped ends the benchmark."""
    seconds = scale.pick(60, 1)
    rows: list[Row] = []
    for kind in ("udp", "tcp"):
        count = seconds * _RATE // (20 if scale.is_smoke else 1)
        stored, dropped, took_s, peaks = _campaign(kind, count, directory / kind)
        if stored + dropped != count:
            raise AssertionError(
                f"{kind}: of {count} lines {stored} are stored and {dropped} counted as dropped"
            )
        what = f"syslog over {kind} for {seconds} s"
        rows += [
            Row(
                f"{what}, lines sent",
                Compare.MORE,
                "1/s",
                _one(count / took_s),
                _one(_RATE, "the target"),
                0.99,
            ),
            Row(f"{what}, lines stored", Compare.MORE, "lines", _one(stored), _one(count, "sent"), 0.99),
            *(
                Row(f"{what}, peak memory of the {who}", Compare.ALONE, "MB", _one(peak_mb), bound=100.0)
                for who, peak_mb in peaks.items()
            ),
        ]
    return rows


def _one(value: float, name: str = "vcache") -> Figure:
    return Figure(name, (value,))


def _campaign(kind: str, count: int, directory: Path) -> tuple[int, int, float, dict[str, float]]:
    """Lines stored, as the store counts them, lines counted as dropped, how long they were sent, peaks in MB."""
    with DiskLogs(directory, seals=False) as store, SealProcess(directory) as sealing:
        with Collector(store) as collector:
            port = collector.listen(f"syslog+{kind}://127.0.0.1:0").port
            took_s = _generate(kind, port, count)
            collector.close(60)
        peaks = {"collector": _peak_mb(os.getpid()), "sealing process": _peak_mb(sealing.pid)}
        sealing.close()
        stored = sum(held.records for source, held in store.stats().sources.items() if source != "vcache")
        return stored, collector.counters().dropped_total, took_s, peaks


def _generate(kind: str, port: int, count: int) -> float:
    command = [sys.executable, "-c", _GENERATOR, kind, str(port), str(_RATE), str(count), str(_TICK_LINES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as generator:
        assert generator.stdout is not None
        assert generator.stdout.readline() == b"ready\n"
        took_s = float(generator.stdout.readline())
        assert generator.wait(600) == 0
    return took_s


def _peak_mb(pid: int) -> float:
    """The most that was resident of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000
