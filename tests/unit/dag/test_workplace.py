"""Directories of workers: each process has its own, and what a killed one left is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_CHILD = """
import sys
from vcache.dag.workplace import workplace
print(workplace(), flush=True)
sys.stdin.read()
"""


def child(tmp: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        (sys.executable, "-c", _CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": os.fspath(tmp)},
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    return tmp_path


def test_a_killed_workers_directory_is_removed_by_the_next(here: Path):
    """One of a living worker stays; one that ends in peace removes its own."""
    killed, left = child(here)
    alive, kept = child(here)
    (left / "tree").mkdir()
    (left / "tree" / "file").touch()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.is_dir()
    third, own = child(here)
    assert sorted(here.iterdir()) == sorted([kept, own])
    for process in (alive, third):
        process.communicate("")
    assert not list(here.iterdir())
