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
from vcache.logs.retention import Rule, Rules
from vcache.query.parser import parse


def test_full_tails_become_segments_while_records_come(tmp_path):
    """In another process; the store that appends goes on, and has every record."""
    with DiskLogs(tmp_path / "logs", seals=False) as logs, SealProcess(tmp_path / "logs", every_s=0.02):
        for number in range(7):
            logs.append([Record(time.time_ns(), 9, "app", f"{number} {each}") for each in range(11_000)])
        until(lambda: list((tmp_path / "logs/segments").glob("*.seg")))
        assert logs.stats().records == 77_000


_LOGGER = """
import os, signal, sys, threading
from vcache.logs import Logger, StoreSink

class Full:
    def append(self, records, sync=True):
        threading.Event().wait()  # nothing is drained before the end

Logger("gone", sinks=[StoreSink(Full(), rings=sys.argv[1])]).info("the last words")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_programs_left_when_they_were_killed_is_kept(tmp_path):
    """While the store is open: nobody has to open it anew."""
    place = tmp_path / "logs"
    with DiskLogs(place, seals=False) as logs, SealProcess(place, every_s=0.02) as process:
        subprocess.run([sys.executable, "-c", _LOGGER, place / "rings"], check=False, timeout=60)
        until(lambda: logs.stats().records == 1)
        (record,) = logs.search(parse("", now_ns=0)).rows
        assert record[2:4] == ("gone", "the last words")
        until(lambda: not list((place / "rings").iterdir()))
        assert not is_gone(process.pid)


def test_what_rules_ask_for_is_dropped(tmp_path):
    """At once, and when other rules are said."""
    place = tmp_path / "logs"
    with DiskLogs(place, seals=False) as logs:
        now_ns = time.time_ns()
        logs.append([Record(now_ns - 9 * 10**12, 9, "old", f"{n}") for n in range(100)])
        logs.append([Record(now_ns, 9, "young", f"{n}") for n in range(100)])
    with DiskLogs(place, seals=False) as logs:
        SealProcess(place, every_s=60, rules=Rules((Rule("old", max_age_s=3600.0),))).close()
        assert set(logs.stats().sources) == {"young"}
        with SealProcess(place, every_s=60) as process:
            process.keep(Rules(max_bytes=0))
        assert logs.stats().records == 0


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
