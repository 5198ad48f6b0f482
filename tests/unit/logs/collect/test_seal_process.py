"""The process that seals beside a collector."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.patience import until
from vcache.logs.collect.sealing import SealProcess
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record


def test_full_tails_become_segments_while_records_come(tmp_path):
    """In another process; the store that appends goes on, and has every record."""
    with DiskLogs(tmp_path / "logs", seals=False) as logs, SealProcess(tmp_path / "logs", every_s=0.02):
        for number in range(7):
            logs.append([Record(time.time_ns(), 9, "app", f"{number} {each}") for each in range(11_000)])
        until(lambda: list((tmp_path / "logs/segments").glob("*.seg")))
        assert logs.stats().records == 77_000


_OWNER = """
import sys, threading
from vcache.logs.collect.sealing import SealProcess
print(SealProcess(sys.argv[1], every_s=60).pid, flush=True)
threading.Event().wait()
"""


def test_it_ends_with_its_owner(tmp_path):
    """Also when that was killed."""
    DiskLogs(tmp_path / "logs").close()
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(tmp_path / "logs")], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout as output:
        pid = int(output.readline())
        os.kill(pid, 0)
        owner.send_signal(signal.SIGKILL)
        owner.wait(60)
    until(lambda: is_gone(pid))


def is_gone(pid: int) -> bool:
    """Whether a process ended, though nobody may have asked how."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
