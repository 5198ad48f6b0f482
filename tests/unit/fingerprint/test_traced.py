"""Recording what code opens."""

from __future__ import annotations

import asyncio
import contextlib
import linecache
import os
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from vcache.fingerprint import traced
from vcache.fingerprint.digests import FileDigests
from vcache.fingerprint.inputs import Absent, File, Listing
from vcache.fingerprint.observe import Observer
from vcache.fingerprint.traced import Recording, current, paused, record
from vcache.hash import digest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.txt", "b.txt", "data.py"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_low(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


READERS: list[Callable[[str], object]] = [
    lambda path: Path(path).read_text(),
    lambda path: Path(path).read_bytes(),
    read_low,
    lambda path: open(os.fsencode(path), "rb").close(),
    lambda path: read_low(f".//../{Path.cwd().name}/{path}"),
]


@pytest.mark.parametrize("read", READERS)
def test_what_is_read_is_seen(here: Path, read: Callable[[str], object]) -> None:
    """By whatever way Python opens a file, its absolute path is there once."""
    with record() as seen:
        read("a.txt")
        read("a.txt")
    assert seen.deps_specs() == (File(str(here / "a.txt")),)
    assert not seen.blind
    assert not seen.unstable


def test_python_files_read_as_data_count(here: Path) -> None:
    """A linter's input is Python source; what the import system reads is code."""
    (here / "mod_traced_here.py").write_text("with open('a.txt') as file:\n    CONTENT = file.read()\n")
    sys.path.insert(0, str(here))
    try:
        with record() as seen:
            Path("data.py").read_text()
            __import__("mod_traced_here")
    finally:
        sys.path.remove(str(here))
        sys.modules.pop("mod_traced_here", None)
    assert seen.deps_specs() == (File(str(here / "a.txt")), File(str(here / "data.py")))


def test_source_lines_in_a_traceback_are_no_input(here: Path) -> None:
    """To show where something failed, Python reads the source: that is no input."""
    code = compile("1 / 0\n", str(here / "data.py"), "exec")
    linecache.clearcache()
    with record() as seen:
        try:
            exec(code)
        except ZeroDivisionError:
            assert "data.py" in traceback.format_exc()
    assert seen.deps_specs() == ()


def test_listed_directories_are_seen(here: Path) -> None:
    """All ways to list a directory are one Listing."""
    with record() as seen:
        os.listdir()
        os.listdir(here)
        list(Path().iterdir())
        with os.scandir(os.fsencode(here)):
            pass
    assert seen.deps_specs() == (Listing(str(here)),)


def test_what_was_sought_in_vain_is_absent(here: Path) -> None:
    """A file, or directory, that was not there is an input by its absence."""
    with record() as seen:
        for name in ("nope.conf", "nope/below.conf"):
            with contextlib.suppress(FileNotFoundError):
                Path(name).read_text()
        with contextlib.suppress(FileNotFoundError):
            os.listdir("nowhere")
    names = ("nope.conf", "nope/below.conf", "nowhere")
    assert seen.deps_specs() == tuple(Absent(str(here / name)) for name in names)


def test_what_the_code_wrote_is_no_input(here: Path) -> None:
    """Outputs and temporary files, also when read back, renamed or removed, do not count."""
    with record() as seen:
        Path("out.txt").write_text("x")
        Path("out.txt").read_text()
        Path("tmp").write_text("x")
        os.replace("tmp", "final")
        Path("final").read_text()
        os.mkdir("made")
        os.listdir("made")
        os.symlink("a.txt", "made/link")
        Path("log").open("a").close()
        os.unlink("log")
        Path("a.txt").read_text()
    assert seen.deps_specs() == (File(str(here / "a.txt")),)
    assert not seen.unstable
    assert {
        str(here / name) for name in ("out.txt", "tmp", "final", "made", "made/link", "log")
    } == seen.written


def test_what_a_child_made_is_no_input(here: Path) -> None:
    """A file that was absent, then made out of sight and read, is neither absent nor an input."""
    with record() as seen:
        with contextlib.suppress(FileNotFoundError):
            Path("made").read_text()
        subprocess.run(["touch", "made"], check=True)
        Path("made").read_text()
    assert seen.deps_specs() == ()
    assert seen.blind == {"subprocess: touch"}


def test_a_file_that_changes_meanwhile_is_unstable(here: Path) -> None:
    """Read and then changed, by the code itself or by another: nobody knows which content counted."""
    with record() as seen:
        Path("a.txt").read_text()
        Path("b.txt").read_text()
        Path("data.py").open("r+").close()
        subprocess.run(["sh", "-c", "echo more >> a.txt"], check=True)
        Path("b.txt").write_text("new content")
    assert seen.unstable == {str(here / name) for name in ("a.txt", "b.txt", "data.py")}


def test_a_directory_that_changes_meanwhile_is_unstable(here: Path) -> None:
    """A new name from elsewhere counts; names that the code itself made there do not."""
    with record() as seen:
        os.listdir(here)
        subprocess.run(["touch", "new"], check=True)
    assert seen.unstable == {str(here)}
    with record() as seen:
        os.listdir(here)
        Path("mine").write_text("")
    assert not seen.unstable


def test_a_change_before_hashing_is_unstable(here: Path) -> None:
    """Between the end of the code and the hashing a file may change: then its digest is not of what was read."""
    looker = Observer(here, digests=FileDigests(here, clock=lambda: time.time_ns() + 10**11))
    with record() as seen:
        Path("a.txt").read_text()
        Path("b.txt").read_text()
    (here / "a.txt").write_text("changed since")
    (here / "b.txt").unlink()
    assert not seen.unstable
    seen.deps(looker)
    assert seen.unstable == {str(here / "a.txt"), str(here / "b.txt")}


def test_recorded_inputs_become_dependencies(here: Path) -> None:
    """Under portable names, with the digest of what was read."""
    looker = Observer(here, digests=FileDigests(here))
    with record() as seen:
        Path("a.txt").read_text()
        os.listdir(".")
        with contextlib.suppress(FileNotFoundError):
            Path("nope").read_text()
    found = {(dep.kind, dep.name): dep.identity for dep in seen.deps(looker)}
    assert found.keys() == {("file", "a.txt"), ("list", "."), ("absent", "nope")}
    assert found["file", "a.txt"] == digest(b"a.txt")
    assert not seen.unstable


def test_what_cannot_be_identified_is_blind(here: Path) -> None:
    """A FIFO was read: it is named instead of failing the step."""
    os.mkfifo("pipe")
    with record() as seen:
        os.close(os.open("pipe", os.O_RDONLY | os.O_NONBLOCK))
    assert seen.deps(Observer(here, digests=FileDigests(here))) == ()
    assert any("pipe" in words and "FIFO" in words for words in seen.blind)


def test_system_and_ignored_directories_do_not_count(here: Path) -> None:
    """Neither /proc, /dev and /sys, nor what the caller calls its own, also through a link."""
    (here / "cache").mkdir()
    (here / "cache" / "x").write_text("")
    (here / "link").symlink_to("cache")
    (here / "cached").write_text("")
    with record(ignore=["link"]) as seen:
        Path("/proc/self/stat").read_text()
        Path("/dev/null").read_text()
        os.listdir("/proc")
        Path("link/x").read_text()
        Path("cache/x").read_text()
        os.listdir("cache")
        Path("cached").read_text()
    assert seen.deps_specs() == (File(str(here / "cached")),)


def test_threads_do_not_mix(here: Path) -> None:
    """Two steps that run at the same time each see their own files."""
    barrier = threading.Barrier(2)
    seen: dict[str, Recording] = {}

    def step(name: str) -> None:
        with record() as mine:
            barrier.wait()
            Path(name).read_text()
            barrier.wait()
        seen[name] = mine

    threads = [threading.Thread(target=step, args=(name,)) for name in ("a.txt", "b.txt")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: one.deps_specs() for name, one in seen.items()} == {
        name: (File(str(here / name)),) for name in ("a.txt", "b.txt")
    }


def test_tasks_do_not_mix(here: Path) -> None:
    """Nor do tasks of one loop; a worker thread of a task belongs to it."""

    async def step(name: str) -> Recording:
        with record() as mine:
            await asyncio.sleep(0)
            await asyncio.to_thread(Path(name).read_text)
        return mine

    async def both() -> list[Recording]:
        return list(await asyncio.gather(step("a.txt"), step("b.txt")))

    first, second = asyncio.run(both())
    assert first.deps_specs() == (File(str(here / "a.txt")),)
    assert second.deps_specs() == (File(str(here / "b.txt")),)


def test_an_inner_recording_counts_for_the_outer(here: Path) -> None:
    """What a nested step reads, the outer one depends on; its blind spots too."""
    with record() as outer:
        Path("a.txt").read_text()
        with record() as inner:
            Path("b.txt").read_text()
            os.system("true")
        assert current() is outer
    assert current() is None
    assert inner.deps_specs() == (File(str(here / "b.txt")),)
    assert outer.deps_specs() == (File(str(here / "a.txt")), File(str(here / "b.txt")))
    assert outer.blind == inner.blind == {"subprocess: true"}


def test_a_pause_records_nothing(here: Path) -> None:
    """The cache's own reading is no input."""
    with record() as seen, paused():
        Path("a.txt").read_text()
    assert seen.deps_specs() == ()


def test_what_goes_on_out_of_sight_is_named(here: Path) -> None:
    """Whatever announces itself and cannot be followed is listed."""
    fd = os.open(here, os.O_RDONLY)
    with record() as seen:
        subprocess.run(["true"], check=True)
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        sqlite3.connect("db").close()
        os.listdir(fd)
    os.close(fd)
    assert seen.blind == {
        "subprocess: true",
        "subprocess: /bin/true",
        "sqlite3: db",
        "directory listed through a descriptor",
    }


def test_the_code_runs_on_whatever_happens(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault while recording is noted, and the code under it does not notice."""

    def fault(seen: Recording, args: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setitem(traced._HANDLERS, "open", fault)
    with record() as seen:
        assert Path("a.txt").read_text() == "a.txt"
    assert seen.blind == {"open: RuntimeError while it was recorded"}


def test_an_error_of_the_code_passes_through(here: Path) -> None:
    """An exception ends the recording and is not touched."""

    def fails() -> None:
        with record() as one:
            seen.append(one)
            Path("a.txt").read_text()
            raise ZeroDivisionError

    seen: list[Recording] = []
    with pytest.raises(ZeroDivisionError):
        fails()
    assert current() is None
    assert seen[0].deps_specs() == (File(str(here / "a.txt")),)


def test_a_forbidden_hook_is_reported() -> None:
    """Where another audit hook refuses ours, the recording says that it saw nothing."""
    code = """
import sys
def refuse(event, args):
    if event == "sys.addaudithook":
        raise RuntimeError("no")
sys.addaudithook(refuse)
from vcache.fingerprint.traced import record
with record() as seen:
    pass
print(seen.blind)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "another audit hook forbids ours" in found.stdout
