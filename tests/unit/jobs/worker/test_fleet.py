"""Who watches over workers: lean, and quick to have the jobs of a dead one given to others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import until
from vcache.errors import UsageError
from vcache.jobs.models import Spec
from vcache.jobs.opening import open_queue
from vcache.jobs.worker import run_fleet, worker_name
from vcache.jobs.worker.fleet import MISUSE
from vcache.kit.ids import uuid7

_LOOK = """
import sys
import vcache.cli.jobs.worker, vcache.jobs.worker.fleet
print([each for each in sys.modules if each.startswith(("vcache.jobs.", "apsw", "redis", "asyncio", "vcache.serialize"))])
"""
# A worker that takes a job and dies; the one after it ends.
_DIES = """
import os, sys
from vcache.jobs.opening import open_queue
from vcache.jobs.worker import worker_name
if os.path.exists(sys.argv[2]):
    sys.exit(0)
open(sys.argv[2], "w").close()
queue = open_queue(sys.argv[1])
session = queue.open_session(worker_name(name="shop"), kinds=["k"], lease_s=3600)
assert queue.exchange(session, kinds=["k"], want=1).claimed
os._exit(int(sys.argv[3]))
"""


def test_the_supervisor_loads_no_queue_and_no_handlers():
    """Its process lives as long as its workers."""
    done = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True)
    # The first by options that can be completed.
    loaded = ["states", "worker", "worker.names", "worker.fleet"]
    assert done.stdout.strip() == str([f"vcache.jobs.{each}" for each in loaded])


@pytest.mark.parametrize("status", [1, 9])
def test_the_session_of_who_died_is_ended(tmp_path: Path, status: int):
    """Whatever it exited with; that of another with the same name is not."""
    address = f"sqlite:{tmp_path / 'queue'}"
    with open_queue(address) as queue:  # type: ignore[attr-defined]
        job_id = uuid7.text()
        queue.submit([Spec(job_id, "k")])
        other = queue.open_session(worker_name(1, "shop"), kinds=["k"], lease_s=3600)
        argv = (sys.executable, "-c", _DIES, address, os.fspath(tmp_path / "died"), str(status))
        assert run_fleet(argv, 1, queue=lambda: open_queue(address), name="shop") == 0
        until(lambda: [each.id for each in queue.sessions()] == [other])
        (job,) = queue.get([job_id])
    assert (job.state, job.kills) == ("queued", 1)


def test_a_queue_that_cannot_be_asked_holds_nobody_up(tmp_path: Path):
    """The next worker is started all the same."""
    blocked = tmp_path / "file"
    blocked.touch()
    script = f"echo >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -ge 2 ] || kill -9 $$"
    assert run_fleet(("/bin/sh", "-c", script), 1, queue=lambda: open_queue(f"sqlite:{blocked}/queue")) == 0
    assert (tmp_path / "runs").read_text() == "\n\n"


def test_who_was_told_nonsense_is_not_started_again(tmp_path: Path):
    """Its status is the supervisor's."""
    argv = ("/bin/sh", "-c", f"echo >> {tmp_path}/runs; exit {MISUSE}")
    assert run_fleet(argv, 1, queue=lambda: open_queue("mem:")) == MISUSE
    assert (tmp_path / "runs").read_text() == "\n"
    with pytest.raises(UsageError, match="0 worker processes"):
        run_fleet(argv, 0, queue=lambda: open_queue("mem:"))
