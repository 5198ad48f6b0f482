from __future__ import annotations

import io
import subprocess
import sys

from tests.unit.cli.screen import Screen, tell
from tests.unit.dag.runs import A, ended, node, ran, started
from vcache.cli.lines import Lines
from vcache.cli.live import Live
from vcache.cli.progress import QUIET, listener


def test_a_listener_that_fits() -> None:
    """a terminal gets the display, everything else gets lines, quiet gets no display"""
    xterm = {"TERM": "xterm"}
    assert type(listener(Screen(), environ=xterm)) is Live
    assert type(listener(Screen(), environ={**xterm, "CI": "1"})) is Lines
    assert type(listener(Screen(), environ={"TERM": "dumb"})) is Lines
    assert type(listener(io.StringIO(), environ=xterm)) is Lines
    assert type(listener(Screen(), environ=xterm, verbosity=QUIET)) is Lines


def test_the_display_costs_little_to_load() -> None:
    """neither rich nor click's testing is loaded for it"""
    code = "import vcache.cli.progress, sys; print('rich' in sys.modules, 'difflib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False False\n"


def test_a_dry_run_says_what_it_would_do() -> None:
    """lines without times, and a summary that claims nothing"""
    stream = Screen()
    shown = listener(stream, environ={"TERM": "xterm", "NO_COLOR": "1"}, is_dry_run=True)
    alone = node("menu", rule="", pool="console")
    tell(
        shown,
        [started(), *ran(A, 0, 0), *ran(alone, 0, 0)[1:2], *ran(alone, 0, 0)[2:], ended(5, n_run=2, n_hit=1)],
    )
    assert type(shown) is Lines
    assert stream.shown == ["[1/1] cc a.o", "[2/2] menu", "would build 2, 1 from the cache"]
