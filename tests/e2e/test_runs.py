"""What people see of real builds, and what is known of them afterwards: display, reports, history, diff, log."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.e2e

NINJA = """
rule cc
  command = gcc -Wall -c $in -o $out -MMD -MF $out.d $flags
  depfile = $out.d
  deps = gcc
  description = CC $out
rule link
  command = gcc -o $out $in
rule slow
  command = echo begin; sleep 1; echo end >&2; touch $out
build obj/a.o: cc a.c
build obj/b.o: cc b.c
build app: link obj/a.o obj/b.o
build slow: slow
default app
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "build.ninja").write_text(NINJA)
    (root / "h.h").write_text("#define H 0\n")
    (root / "a.c").write_text(
        '#include "h.h"\nint b(void);\nint main(void) { int unused; return b() + H; }\n'
    )
    (root / "b.c").write_text("int b(void) { return 0; }\n")
    return root


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VCACHE_", "OTEL_"))}
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        kept.pop(name, None)
    return {**kept, "VCACHE_DIR": str(tmp_path / "cache"), "TERM": "xterm"}


@pytest.fixture
def vcache(tree: Path, environ: dict[str, str]):
    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vcache", *words],
            cwd=tree, env={**environ, **more}, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def on_terminal(tree: Path, environ: dict[str, str]):
    """Run the command with a terminal of 80 columns as its streams; what it wrote there."""

    def run(*words: str, **more: str) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        child = subprocess.Popen(
            [sys.executable, "-m", "vcache", *words],
            cwd=tree, env={**environ, **more}, stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65_536):
                written += piece
        except OSError:  # EIO: nobody holds the other end any more
            pass
        finally:
            os.close(ours)
        child.wait(60)
        return written.decode()

    return run


def test_a_build_is_known_afterwards(vcache, tree: Path) -> None:
    """history, diff and log tell of real builds what they did, and what the compiler said"""
    first = vcache("build")
    assert first.returncode == 0, first.stderr
    assert "[1/3]" in first.stdout and "\nbuilt 3 in " in first.stdout
    assert "warning: unused variable" in first.stdout
    (tree / "h.h").write_text("#define H oops\n")
    broken = vcache("build")
    assert broken.returncode == 1
    assert "FAILED obj/a.o: exit status 1" in broken.stdout
    assert "-MF obj/a.o.d" in broken.stdout

    older, newer = json.loads(vcache("history", "--json").stdout)[::-1]
    assert (older["run_count"], older["status"], newer["failed_count"], newer["status"]) == (3, 0, 1, 1)
    assert older["critical_path"][-1] == "app"
    text = vcache("diff").stdout
    assert "\nbroke (1):\n  obj/a.o  exit status 1\n" in text
    assert "\nran for another reason (1):\n  obj/a.o  " in text and "h.h" in text
    assert "error: \u2018oops\u2019 undeclared" in text

    log = vcache("log", "a.o")
    assert "error: \u2018oops\u2019 undeclared" in log.stdout
    assert log.stderr.startswith("vcache: obj/a.o: failed, status 1 in run ")
    said = json.loads(vcache("log", "obj/a.o", "--run", "-2", "--json").stdout)["diagnostics"]
    assert [(each["level"], each["file"], each["option"]) for each in said] == [
        ("warning", "a.c", "-Wunused-variable")
    ]
    assert vcache("log", "b.o").stderr.rstrip().endswith("; it wrote nothing")


def test_what_comes_from_the_cache_says_what_it_said(vcache, tree: Path) -> None:
    """a hit replays its warnings, in order and marked as such, and has their log"""
    vcache("build", "app", "slow")
    subprocess.run(["rm", "-rf", "obj", "app", "slow", ".vcache"], cwd=tree, check=True)
    again = vcache("build", "app", "slow")
    assert "obj/a.o, as it was when it was built:\na.c: In function" in again.stdout
    assert "4 from the cache in " in again.stdout
    assert " saved" in again.stdout  # the second that one of them sleeps
    assert '"hits": 4, "misses": 4,' in vcache("stats", "--json").stdout
    assert "unused variable" in vcache("log", "obj/a.o").stdout


def test_reports(vcache, tree: Path, tmp_path: Path) -> None:
    """a profile, metrics and spans of one run are whole, and agree"""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    names = {name: str(tmp_path / name) for name in ("profile", "metrics", "spans")}
    options = [word for name, path in names.items() for word in (f"--{name}", path)]
    result = vcache("build", *options, TRACEPARENT=parent)
    assert result.returncode == 0, result.stderr
    trace = json.loads(Path(names["profile"]).read_text())
    nodes = {event["name"] for event in trace["traceEvents"] if event["ph"] == "X"}
    assert nodes == {"obj/a.o", "obj/b.o", "app"}
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(Path(names["metrics"]).read_text())
        for sample in family.samples
    }
    assert samples["vcache_nodes_total", "ran"] == 3
    spans = [json.loads(line) for line in Path(names["spans"]).read_text().splitlines()]
    assert {span["attributes"].get("vcache.node") for span in spans} == {*nodes, None}
    assert {span["trace_id"] for span in spans} == {parent[3:35]}
    for name in names:
        refused = vcache("build", f"--{name}", "/nowhere/file")
        assert refused.returncode in (1, 2)
        assert "/nowhere/file: " in refused.stderr
        assert not refused.stdout, "it is refused before the build"


def test_the_display_on_a_terminal(on_terminal, tree: Path) -> None:
    """a build that takes a while is shown while it runs, and leaves its outputs and one line"""
    text = on_terminal("build", "slow", "app")
    assert "%  " in text and "/4" in text, "a bar with counts"
    assert "slow slow" in text, "what runs"
    assert "\x1b[?7l" in text and text.count("\x1b[?7l") == text.count("\x1b[?7h")
    last = text.rsplit("\x1b[J", 1)[1]
    assert last.startswith("built 4 in ")
    assert "begin\r\nend\r\n" in text, "output is whole"
    assert "\x1b[3" in text

    def again(**environ: str) -> str:
        (tree / "slow").unlink()
        text: str = on_terminal("build", "--no-cache", "slow", **environ)
        return text

    plain = again(NO_COLOR="1")
    assert "\x1b[3" not in plain and "\x1b[?7l" in plain
    assert "\x1b" not in again(TERM="dumb")
    assert "\x1b[?7l" not in again(CI="true")


def test_lines_and_quiet(vcache, tree: Path) -> None:
    """lines outside a terminal, colours where they are forced, silence where it is asked for"""
    assert vcache("build", "-q").stdout == ""
    (tree / "h.h").write_text("#define H 1\n")
    coloured = vcache("build", "-v", FORCE_COLOR="1").stdout
    assert "\x1b[2m" in coloured
    assert "changed" in coloured and "h.h" in coloured
    (tree / "h.h").write_text("#define H 2\n")
    assert "\x1b" not in vcache("build").stdout


def test_a_replay(vcache) -> None:
    """the log of a slow step comes in the time that it took"""
    import time

    assert vcache("build", "slow").returncode == 0
    begun_s = time.monotonic()
    assert vcache("log", "slow").stdout == "begin\nend\n"
    at_once_s = time.monotonic() - begun_s
    begun_s = time.monotonic()
    assert vcache("log", "slow", "--replay").stdout == "begin\nend\n"
    assert time.monotonic() - begun_s > at_once_s / 2 + 0.5
