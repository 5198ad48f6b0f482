"""`vcache logs` as people use it: pipes, real compilers, other processes, terminals, signals."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until

pytestmark = [pytest.mark.e2e]

Started = Callable[[subprocess.Popen[bytes]], subprocess.Popen[bytes]]
SOURCE = "int f(void) { int unused; return 1; }\nint g(int x) { if (x = 3) return 1; return 0; }\n"
MAKEFILE = "all: a.o b.o\n%.o: %.c\n\tgcc -Wall -Wextra -c $< -o $@\n"


@dataclass
class Desk:
    """A directory with something to build, and a store of logs."""

    root: Path
    store: Path

    @property
    def environ(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("VCACHE_", "MAKE")) and name not in ("PAGER", "LESS", "NO_COLOR", "FORCE_COLOR")
        }  # fmt: skip
        return {**kept, "VCACHE_LOGS": os.fspath(self.store), "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}

    def start(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(
            [sys.executable, "-m", "vcache", "logs", *words], cwd=self.root, env=self.environ, **given
        )

    def run(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        process = self.start(*words, stdin=subprocess.PIPE)
        out, err = process.communicate(given, timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def shell(self, script: str) -> subprocess.CompletedProcess[bytes]:
        """A script of bash, with `vcache` in it."""
        head = f'vcache() {{ "{sys.executable}" -m vcache "$@"; }}\nset -o pipefail\n'
        return subprocess.run(
            ["bash", "-c", head + script], cwd=self.root, env=self.environ, capture_output=True, timeout=120,
            check=False,
        )  # fmt: skip

    def rows(self, *words: str) -> list[dict[str, Any]]:
        done = self.run("query", "--json", *words)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    root = tmp_path / "src"
    root.mkdir()
    (root / "a.c").write_text(SOURCE)
    (root / "b.c").write_text("int h(void) { return 2; }\n")
    (root / "Makefile").write_text(MAKEFILE)
    return Desk(root, tmp_path / "logs")


@pytest.fixture
def started() -> Iterator[Started]:
    processes: list[subprocess.Popen[bytes]] = []

    def remember(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        processes.append(process)
        return process

    yield remember
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_a_build_is_piped_in(desk):
    """make 2>&1 | vcache logs ingest: gcc's warnings are found by their level"""
    done = desk.shell("make 2>&1 | vcache logs ingest --source make --tee")
    assert done.returncode == 0, done.stderr
    assert b"gcc -Wall" in done.stdout
    assert b"records kept in" in done.stderr
    found = desk.rows("level >= warning")
    assert found
    assert all(row["source"] == "make" for row in found)
    text = " ".join(str(row["message"]) for row in found)
    assert "unused variable" in text
    assert "suggest parentheses" in text


def test_a_command_is_run(desk):
    """Its streams are told apart and passed on, its exit code is the command's"""
    script = 'echo out; echo "x.c:1:2: error: bad" >&2; exit 7'
    done = desk.run("ingest", "--source", "step", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert b"x.c:1:2: error: bad\n" in done.stderr
    rows = desk.rows("source = step")
    assert sorted((row["stream"], row["message"]) for row in rows) == [
        ("stderr", "x.c:1:2: error: bad"), ("stdout", "out"),
    ]  # fmt: skip
    assert desk.run("ingest", "-q", "--no-tee", "--", "sh", "-c", "echo x; kill -9 $$").returncode == 137
    assert desk.run("ingest", "--", "no-such-program").returncode == 1


def test_hostile_bytes_are_kept(desk):
    """What is no UTF-8, a NUL and a line of 10 MB are stored as they came, and found"""
    done = desk.run(
        "ingest", "--source", "raw", given=b"bad \xff\x00 byte\n" + b"x" * 10_000_000 + b"\nlast\n"
    )
    assert done.returncode == 0, done.stderr
    rows = desk.rows("source = raw")
    assert [len(str(row["message"])) for row in rows] == [11, 10_000_000, 4]
    assert "bytes" in rows[0]["@marks"]
    assert "long" in rows[1]["@marks"]
    text = desk.run("query", "--limit", "1").stdout.decode()
    assert "bad \\xff␀ byte" in text


def test_tail_sees_what_others_append(desk, started):
    """tail -f shows the last lines, then what another process ingests; Ctrl-C is exit code 130"""
    desk.run("ingest", "--source", "s", given=b"zero\none\n")
    tail = started(desk.start("tail", "-f", "-n", "1", "--json", "source = s"))
    lines: list[dict[str, Any]] = []

    def read() -> dict[str, Any]:
        lines.append(json.loads(tail.stdout.readline()))
        return lines[-1]

    assert read()["message"] == "one"
    desk.run("ingest", "--source", "other", given=b"not meant\n")
    desk.run("ingest", "--source", "s", given=b"two\nthree\n")
    assert [read()["message"], read()["message"]] == ["two", "three"]
    tail.send_signal(signal.SIGINT)
    assert tail.wait(60) == 130
    assert tail.stderr.read() == b""


def test_a_reader_that_goes_is_no_error(desk):
    """`| head -1` ends a query and a tail -f without a word, though nothing more comes"""
    desk.run("ingest", given=b"".join(b"line %d\n" % number for number in range(20_000)))
    for words in ("query", "tail -f -n 5000"):
        done = desk.shell(f"vcache logs {words} | head -1; echo ${{PIPESTATUS[0]}}")
        assert done.stdout.splitlines()[-1] == b"141", done.stderr
        assert done.stderr == b""


def test_an_interrupted_pipe_keeps_what_came(desk, started):
    """Ctrl-C: what was read is kept, the exit code is 130"""
    ingest = started(desk.start("ingest", "--source", "p", stdin=subprocess.PIPE))
    ingest.stdin.write(b"first\nsecond")
    ingest.stdin.flush()
    until(lambda: desk.rows("source = p"))
    ingest.send_signal(signal.SIGINT)
    ingest.stdin.close()
    assert ingest.wait(60) == 130
    assert [row["message"] for row in desk.rows("source = p")] == ["first", "second"]


def _on_terminal(desk: Desk, *words: str, environ: dict[str, str]) -> bytes:
    """What a terminal gets."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "vcache", "logs", *words], cwd=desk.root, stdin=theirs, stdout=theirs,
        stderr=theirs, env={**desk.environ, "TERM": "xterm", **environ}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # EIO: all ends of the other side are closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown


def test_a_terminal_gets_colours_through_a_pager(desk, tmp_path):
    """Text on a terminal goes through $VCACHE_PAGER, coloured; NO_COLOR and --no-pager are heeded"""
    desk.run("ingest", given=b"a.c:1:1: warning: odd\n")
    pager = f"{sys.executable} -c \"import sys; sys.stdout.write('PAGED ' + sys.stdin.read())\""
    shown = _on_terminal(desk, "query", environ={"VCACHE_PAGER": pager})
    assert b"PAGED " in shown
    assert b"\x1b[33mwarning" in shown
    shown = _on_terminal(desk, "query", "--no-pager", environ={"VCACHE_PAGER": pager, "NO_COLOR": "1"})
    assert b"PAGED" not in shown
    assert b"\x1b" not in shown
    # Quitting is no error, and a pager that is not there is done without.
    assert _on_terminal(desk, "query", environ={"VCACHE_PAGER": "true"}) == b""
    assert b"odd" in _on_terminal(desk, "query", environ={"VCACHE_PAGER": "no-such-pager"})
    assert b"odd" in _on_terminal(desk, "query", environ={"PAGER": "less"})


def test_parquet_is_nothing_for_a_terminal(desk):
    """A usage error instead of a ruined screen"""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "vcache", "logs", "query", "-F", "parquet"], env=desk.environ, stdout=theirs,
        stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert b"nothing for a terminal" in done.stderr


def test_what_comes_in_at_a_socket_is_collected(desk, tmp_path, started):
    """collect keeps what a unix socket brings, until SIGTERM; its counts are told"""
    path = tmp_path / "in.sock"
    collect = started(desk.start("collect", "--listen", f"unix://{path}?source=app", "--json"))
    until(path.exists)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(os.fspath(path))
        client.sendall(b"one\ntwo\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""  # kept
    collect.send_signal(signal.SIGTERM)
    out, err = collect.communicate(timeout=60)
    assert collect.returncode == 0, err
    assert json.loads(out)["kept"] == 2
    assert [row["message"] for row in desk.rows("source = app")] == ["one", "two"]


def test_a_file_is_followed(desk, started):
    """--follow goes on with what is added to a file, also when the file is begun anew"""
    log = desk.root / "app.log"
    log.write_text("one\n")
    ingest = started(desk.start("ingest", "--follow", "app.log"))
    until(lambda: len(desk.rows("source = app.log")) == 1)
    with log.open("a") as file:
        file.write("two\n")
    until(lambda: len(desk.rows("source = app.log")) == 2)
    log.write_text("3\n")
    until(lambda: len(desk.rows("source = app.log")) == 3)
    ingest.send_signal(signal.SIGINT)
    assert ingest.wait(60) == 130


def test_two_builds_are_compared(desk):
    """The diff of two real builds names the new warning, and --fail-on fails the script"""
    build = "make -B 2>&1 | vcache logs ingest -q --source make --field run=%s"
    assert desk.shell(build % "one").returncode == 0
    (desk.root / "b.c").write_text("int h(int n) { char c[2]; return sizeof c; }\n")
    assert desk.shell(build % "two").returncode == 0
    done = desk.run("diff", "-2", "last", "--level", "warning", "--fail-on", "warning")
    assert done.returncode == 1
    text = done.stdout.decode()
    assert text.startswith("new (1)\n  + warning  make: b.c:1:11: warning: unused parameter")
    assert "gone" not in text
    assert desk.run("diff", "two", "two", "--fail-on", "warning").returncode == 0
