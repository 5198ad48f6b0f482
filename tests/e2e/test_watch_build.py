"""`vcache build --watch`, with real edits and a real Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

FILE = """\
from vcache.dag import build, sh, File

@build.step(outs=["out"])
def make(src: File = File("in")):
    return sh('tr a-z A-Z < "$1" > out', src)
"""


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_edits_are_built_until_it_is_interrupted(tmp_path: Path):
    """Each edit leads to a build, a failure ends nothing, Ctrl-C ends it with status 130"""
    (tmp_path / "vcachefile.py").write_text(FILE)
    (tmp_path / "in").write_text("one")
    out = tmp_path / "out"

    def holds(text: str) -> bool:
        return out.exists() and out.read_text() == text

    environ = {**os.environ, "VCACHE_DIR": os.fspath(tmp_path.parent / f"{tmp_path.name}-cache")}
    said = tmp_path.parent / f"{tmp_path.name}.log"
    with (
        said.open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "vcache", "build", "--watch"],
            cwd=tmp_path, env=environ, stdout=log, stderr=subprocess.STDOUT, process_group=0,
        ) as child,
    ):  # fmt: skip
        try:
            until(lambda: holds("ONE"))
            until(lambda: "watching" in said.read_text())
            (tmp_path / "in").write_text("two")
            until(lambda: holds("TWO"))
            (tmp_path / "in").unlink()
            until(lambda: "missing" in said.read_text())
            (tmp_path / "in").write_text("three")
            until(lambda: holds("THREE"))
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
            assert child.wait(60) == 130
        finally:
            child.kill()
    assert "Traceback" not in said.read_text()
