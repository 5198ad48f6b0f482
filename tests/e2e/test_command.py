"""The real command around a real compiler, each run in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e]

COMPILE = ("gcc", "-Wall", "-Iinc", "-MMD", "-MF", "a.d", "-c", "src/a.c", "-o", "a.o")
CACHED = ("run", "--depfile", "a.d", "--out", "a.o", "--env", "CPATH", "--", *COMPILE)
SOURCE = '#include "a.h"\nint f(void) { int unused; return ANSWER; }\n'
# Longer than a tick of the clock that stamps files: what is younger may have changed meanwhile.
SETTLED_S = 0.05


@dataclass
class Shop:
    """A checkout, and a way to run the command in it."""

    root: Path
    cache: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def full_environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VCACHE_")}
        return {**kept, "VCACHE_DIR": os.fspath(self.cache), "LC_ALL": "C", **self.environ}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "vcache", *arguments],
            cwd=self.root, env=self.full_environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def stats(self) -> dict[str, float]:
        return json.loads(self.run("stats", "--json").stdout)  # type: ignore[no-any-return]

    def wait_for(self, name: str) -> None:
        """Until a file is there that a running command makes."""
        deadline = time.monotonic() + 30
        while not (self.root / name).exists():
            assert time.monotonic() < deadline, f"{name} never came"
            time.sleep(0.01)


def checkout(root: Path) -> Path:
    for name, text in {"src/a.c": SOURCE, "inc/a.h": "#define ANSWER 42\n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    found = Shop(checkout(tmp_path / "one"), tmp_path / "cache")
    time.sleep(SETTLED_S)
    return found


def test_a_compile_is_replayed(shop):
    """A hit gives the warnings, the object bit for bit, its mode, the depfile; no compiler runs"""
    first = shop.run(*CACHED)
    assert first.returncode == 0
    assert b"unused variable" in first.stderr
    made = {name: (shop.root / name).read_bytes() for name in ("a.o", "a.d")}
    mode = (shop.root / "a.o").stat().st_mode
    for name in made:
        (shop.root / name).unlink()
    second = shop.run(*CACHED)
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, first.stderr)
    assert {name: (shop.root / name).read_bytes() for name in made} == made
    assert (shop.root / "a.o").stat().st_mode == mode
    counted = shop.stats()
    assert (counted["hits"], counted["misses"]) == (1, 1)
    assert counted["saved_s"] > 0


def test_an_edited_header_is_a_miss_and_named(shop):
    """A header that only the depfile names is heeded; --explain and why both name it"""
    shop.run(*CACHED)
    (shop.root / "inc" / "a.h").write_text("#define ANSWER 43\n")
    time.sleep(SETTLED_S)
    again = shop.run("run", "--explain", *CACHED[1:])
    assert b"vcache: changed file inc/a.h: " in again.stderr
    assert shop.stats()["misses"] == 2
    assert b"changed file inc/a.h" in shop.run("why", "run:gcc:a.o").stdout
    (shop.root / "inc" / "a.h").write_text("#define ANSWER 42\n")
    back = shop.run("run", "--explain", *CACHED[1:])
    assert b"vcache: hit: run:gcc:a.o:" in back.stderr


def test_a_changed_flag_and_variable_are_named(shop):
    """--explain tells which argument and which variable changed; a variable's value is not shown"""
    shop.run(*CACHED)
    flag = shop.run("run", "--explain", *CACHED[1:-2], "-O1", *CACHED[-2:])
    assert b"vcache: added argument: -O1\n" in flag.stderr
    shop.environ["CPATH"] = "secret"
    variable = shop.run("run", "--explain", *CACHED[1:])
    assert b"vcache: changed environment variable CPATH" in variable.stderr
    assert b"secret" not in variable.stderr
    held = b"".join(path.read_bytes() for path in shop.cache.rglob("*") if path.is_file())
    assert b"secret" not in held


def test_a_second_checkout_hits(shop, tmp_path):
    """The same sources elsewhere find what the first checkout made"""
    shop.run(*CACHED)
    other = Shop(checkout(tmp_path / "two"), shop.cache)
    assert other.run(*CACHED).returncode == 0
    assert (other.root / "a.o").read_bytes() == (shop.root / "a.o").read_bytes()
    assert shop.stats()["hits"] == 1


def test_a_failing_compile_is_passed_on(shop):
    """The compiler's own status and words come through, each time anew"""
    (shop.root / "src" / "a.c").write_text("int f(void) { return; \n")
    for _ in range(2):
        done = shop.run(*CACHED)
        assert done.returncode == 1
        assert b"error:" in done.stderr
    assert not json.loads(shop.run("ls", "--json").stdout)


def test_the_same_at_once_runs_once(shop):
    """Of several processes that want the same compile, one starts the compiler"""
    script = "echo x >> ../runs; sleep 0.3; echo made > out; echo done"
    processes = [shop.start("run", "--out", "out", "--", "sh", "-c", script) for _ in range(4)]
    outcomes = [process.communicate(timeout=60)[0] for process in processes]
    assert outcomes == [b"done\n"] * 4
    assert (shop.root.parent / "runs").read_text() == "x\n"


def test_killed_and_run_again(shop):
    """kill -9 in the middle leaves nothing behind that a later run would use or wait for"""
    script = "echo x >> ../runs; echo half > out; touch ../begun; sleep 0.5; echo whole > out"
    arguments = ("run", "--out", "out", "--", "sh", "-c", script)
    process = shop.start(*arguments)
    shop.wait_for("../begun")
    process.kill()
    process.communicate(timeout=60)
    again = shop.run(*arguments)
    assert again.returncode == 0
    assert (shop.root / "out").read_text() == "whole\n"
    (shop.root / "out").unlink()
    assert shop.run(*arguments).returncode == 0
    assert (shop.root / "out").read_text() == "whole\n"
    assert (shop.root.parent / "runs").read_text() == "x\nx\n"
    assert shop.run("verify").returncode == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_go_to_the_command(shop, number, status):
    """A signal ends the command and its children, its status is passed on, nothing is published"""
    process = shop.start(
        "run", "--out", "out", "--", "sh", "-c", "echo half > out; echo $$ > pid; sleep 60; :"
    )
    shop.wait_for("pid")
    time.sleep(0.05)  # its content follows its name
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert not _running_in_group(int((shop.root / "pid").read_text()))
    assert not json.loads(shop.run("ls", "--json").stdout)


def _running_in_group(group: int) -> list[str]:
    """The processes of a group, but for the dead that init has yet to bury; given a moment to die."""
    deadline = time.monotonic() + 5
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
                if int(of_group) == group and state != "Z":
                    found.append(path.parent.name)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


def test_a_command_that_survives_a_signal_is_not_kept(shop):
    """Who was interfered with may have done half of its work, whatever it says"""
    script = "trap 'exit 0' TERM; touch ready; sleep 60 & wait"
    process = shop.start("run", "--", "sh", "-c", script)
    shop.wait_for("ready")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"not kept: it was sent a signal" in err
    assert not json.loads(shop.run("ls", "--json").stdout)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--", "no-such-program"), 127, b"no-such-program: there is no such program in PATH"),
        (("--", "./src/a.c"), 126, b"./src/a.c: is not an executable file"),
        (("--out", "../x", "--", "touch", "ran"), 2, b"outside the project root"),
        (("--out", "/etc/x", "--", "touch", "ran"), 2, b"outside the project root"),
        (("--out", "link/x", "--", "touch", "ran"), 2, b"passes through a link"),
        (("--in", "no.c", "--", "touch", "ran"), 2, b"--in no.c: there is no such file or directory"),
        (("--in", "no/", "--", "touch", "ran"), 2, b"--in no/: there is no such file or directory"),
        (("--tool", "nosuch", "--", "touch", "ran"), 2, b"--tool nosuch: there is no such program in PATH"),
        (("--depfile", "a.d", "--", "true"), 1, b"-MMD -MF a.d"),
        (
            ("--depfile", "a.d", "--out", "x", "--", "touch", "a.d"),
            1,
            b"not made: x; the result is not kept\n",
        ),
        (("--ttl", "soon", "--", "touch", "ran"), 2, b"'soon'"),
        (("--out", "x", "--out", "y", "--", "true"), 1, b"promised and not made: x, y"),
        (("--", "sh", "-c", "exit 9"), 9, b""),
        ((), 2, b"COMMAND"),
    ],
)
def test_exit_codes(shop, arguments, status, words, tmp_path):
    """What cannot be run, or must not, is told by number and in one line, before anything runs"""
    (shop.root / "link").symlink_to(tmp_path)
    done = shop.run("run", *arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"path=" not in done.stderr  # as Python shows a spec
    assert not (shop.root / "ran").exists()


@pytest.mark.parametrize("way", ["disabled", "no-cache", "broken", "foreign"])
def test_without_a_cache_the_command_just_runs(shop, way, tmp_path):
    """Switched off or broken, caching stands in nobody's way"""
    options: tuple[str, ...] = ()
    if way == "disabled":
        shop.environ["VCACHE_DISABLE"] = "1"
    elif way == "no-cache":
        options = ("--no-cache",)
    elif way == "broken":
        options = ("--dir", "/proc/no/such/place")
    else:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "letter").touch()
        options = ("--dir", os.fspath(tmp_path / "mine"))
    arguments = ("run", *options, "--", "sh", "-c", "echo ran; echo x >> ../runs; exit 3")
    for done in (shop.run(*arguments), shop.run(*arguments)):
        assert (done.returncode, done.stdout) == (3, b"ran\n")
        assert (b"running without a cache" in done.stderr) == (way in ("broken", "foreign"))
    assert (shop.root.parent / "runs").read_text() == "x\nx\n"
    assert shop.run("run", *options, "--out", "../x", "--", "touch", "ran").returncode == 2
    assert not (shop.root / "ran").exists()


def test_output_comes_while_it_runs(shop):
    """What a command says is seen at once, not at its end"""
    process = shop.start("run", "--", "sh", "-c", "echo early; while [ ! -e go ]; do sleep 0.01; done")
    assert process.stdout is not None
    assert process.stdout.readline() == b"early\n"
    (shop.root / "go").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_closed_pipe_is_quiet(shop):
    """`vcache … | head` ends without a word; a command under it gets SIGPIPE as ever"""
    with subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -m vcache run -- yes | head -n 1"],
        cwd=shop.root, env=shop.full_environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        out, err = process.communicate(timeout=30)
    assert (out, err) == (b"y\n", b"")
    assert not json.loads(shop.run("ls", "run:", "--json").stdout)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    with contextlib.suppress(OSError):
        os.close(theirs)


def test_tables_are_drawn_on_a_terminal_only(shop, terminal):
    """On a terminal rich draws a table; NO_COLOR takes the colours away"""
    shop.run("put", "k", os.devnull)
    ours, theirs = terminal
    for environ, is_drawn in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        subprocess.run(
            [sys.executable, "-m", "vcache", "ls", "-l"],
            cwd=shop.root, env={**shop.full_environ, "NO_COLOR": "", **environ}, stdout=theirs, check=True,
        )  # fmt: skip
        text = os.read(ours, 65536)
        assert ("─".encode() in text) == is_drawn
        assert (b"\x1b[" in text) == is_drawn


def test_the_object_links_and_runs(shop):
    """What a hit restores is what the linker wants"""
    (shop.root / "main.c").write_text("int f(void); int main(void) { return f() != 42; }\n")
    shop.run(*CACHED)
    (shop.root / "a.o").unlink()
    shop.run(*CACHED)
    link = ("run", "--in", "*.o", "--in", "main.c", "--out", "app", "--", "gcc", "main.c", "a.o", "-o", "app")
    for _ in range(2):
        (shop.root / "app").unlink(missing_ok=True)
        assert shop.run(*link).returncode == 0
        assert os.access(shop.root / "app", os.X_OK)
        subprocess.run([shop.root / "app"], check=True)
    assert shop.stats()["hits"] == 2
