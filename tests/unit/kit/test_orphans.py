"""Children end with the process that watches over them, also when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vcache.kit.orphans import OrphanGuard

PARENT = """
import os, subprocess, sys, time
from vcache.kit.orphans import OrphanGuard
guard = OrphanGuard()
pids = []
for ends, is_group in (("watched", True), ("alone", False), ("forgotten", True), ("stubborn", True)):
    trap = "trap '' TERM; " if ends == "stubborn" else ""
    child = subprocess.Popen(["sh", "-c", trap + "sleep 300 & wait"], process_group=0)
    guard.watch(child.pid, is_group=is_group)
    if ends == "forgotten":
        guard.forget(child.pid, is_group=is_group)
    pids.append(child.pid)
print(*pids, flush=True)
time.sleep(300)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(claim) -> None:
    deadline = time.monotonic() + 10
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert claim()


def test_they_end_with_us():
    """After SIGKILL what was watched ends, with its group; what was forgotten goes on"""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    watched, alone, forgotten, stubborn = map(int, parent.stdout.readline().split())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not is_running(watched) and not is_running(alone) and not is_running(stubborn))
    assert is_running(forgotten)
    os.killpg(forgotten, signal.SIGKILL)
    os.killpg(alone, signal.SIGKILL)  # its own child, which nobody asked to end


def test_who_closes_ends_nobody():
    """A guard that is closed lets all go on, and leaves no process"""
    guard = OrphanGuard()
    child = subprocess.Popen(["sleep", "300"], process_group=0)
    guard.watch(child.pid, is_group=True)
    assert guard._shell is not None
    shell = guard._shell.pid
    guard.close()
    guard.close()
    assert not is_running(shell)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
    guard.forget(child.pid, is_group=True)
    child.kill()
    child.wait()


def test_a_guard_that_was_killed():
    """Without its shell children run as they would without a guard"""
    guard = OrphanGuard()
    guard.watch(os.getpid(), is_group=False)
    assert guard._shell is not None
    guard._shell.kill()
    guard._shell.wait()
    guard.forget(os.getpid(), is_group=False)
    guard.close()


def test_nothing_is_started_for_nothing():
    """A guard that watches nobody is no process"""
    guard = OrphanGuard()
    guard.forget(1, is_group=False)
    assert guard._shell is None
    guard.close()
