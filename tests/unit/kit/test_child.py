"""A captured child: order, endings, and what happens when somebody goes away."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from vcache.kit.child import merged, run_captured


class Ears:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []

    def __call__(self, stream: int, data: bytes) -> None:
        self.heard.append((stream, data))


def sh(script: str, tmp_path, **options):
    ears = Ears()
    done = run_captured(["sh", "-c", script], cwd=tmp_path, sink=ears, **options)
    return done, ears.heard


def test_both_streams_in_order(tmp_path):
    """What is written one after the other is kept in that order, each byte on its stream"""
    script = "for i in 1 2 3; do echo out$i; sleep 0.05; echo err$i >&2; sleep 0.05; done"
    done, heard = sh(script, tmp_path)
    wanted = [(1 + (n % 2), f"{'out' if n % 2 == 0 else 'err'}{n // 2 + 1}\n".encode()) for n in range(6)]
    assert list(done.chunks) == wanted == heard
    assert (done.status, done.gap) == (0, "")
    assert done.duration_ns > 0


def test_large_output_is_whole(tmp_path):
    """Megabytes on both streams come through, whatever a pipe holds"""
    script = "import sys; [(sys.stdout.write('o' * 9999), sys.stderr.write('e' * 9999)) for _ in range(300)]"
    ears = Ears()
    done = run_captured([sys.executable, "-c", script], cwd=tmp_path, sink=ears)
    for stream, letter in ((1, b"o"), (2, b"e")):
        assert b"".join(data for number, data in done.chunks if number == stream) == letter * 9999 * 300


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_status_is_a_shells(tmp_path, script, status):
    """An exit status is passed on, a signal n is 128 + n"""
    assert sh(script, tmp_path)[0].status == status


def test_standard_input_is_empty(tmp_path):
    """A program that reads gets nothing, rather than what a terminal has"""
    assert sh("wc -c", tmp_path)[0].chunks == ((1, b"0\n"),)


def test_it_runs_where_it_is_told(tmp_path):
    """The working directory is the given one"""
    assert sh("pwd -P", tmp_path)[0].chunks[0][1].strip() == os.fsencode(os.path.realpath(tmp_path))


def test_what_cannot_be_started(tmp_path):
    """A missing program is the caller's error, by its errno"""
    with pytest.raises(FileNotFoundError):
        run_captured(["/no/such/program"], cwd=tmp_path, sink=Ears())


def test_beyond_the_limit_it_is_passed_on_but_not_kept(tmp_path):
    """Memory is bounded: the sink gets everything, the rest is a gap"""
    done, heard = sh("head -c 300000 /dev/zero", tmp_path, most_bytes=100_000)
    assert sum(len(data) for _, data in heard) == 300_000
    assert sum(len(data) for _, data in done.chunks) <= 100_000
    assert "more than is kept" in done.gap


def test_a_process_left_behind_does_not_hang_us(tmp_path):
    """A daemon that keeps the streams open is waited for a moment only, and is a gap"""
    started = time.monotonic()
    done, _ = sh("echo here; sleep 30 & echo $! > pid", tmp_path)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert time.monotonic() - started < 15
    assert done.chunks == ((1, b"here\n"),)
    assert "left behind" in done.gap


def test_a_reader_that_goes_away_stops_the_writer(tmp_path):
    """When nobody wants a stream any more the child gets SIGPIPE, as it would without us"""

    def gone(stream: int, data: bytes) -> None:
        raise BrokenPipeError

    done = run_captured(["sh", "-c", "yes"], cwd=tmp_path, sink=gone)
    assert done.status == 128 + signal.SIGPIPE
    assert "not read to the end" in done.gap


def test_an_exception_ends_the_whole_group(tmp_path):
    """Whatever interrupts the call takes the child and its children with it"""

    class Interrupted(BaseException):
        pass

    def interrupt(stream: int, data: bytes) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        run_captured(["sh", "-c", "sleep 60 & echo $! > pid; echo go; wait"], cwd=tmp_path, sink=interrupt)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while _is_running(pid) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    """An orphan that nobody waits for is a zombie, which runs no more."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_signals_reach_the_group(tmp_path):
    """The id told at the start is that of a group of the child's own"""
    pids: list[int] = []

    def stop(pid: int) -> None:
        pids.append(pid)
        assert os.getpgid(pid) == pid != os.getpgid(0)
        os.killpg(pid, signal.SIGTERM)

    done, _ = sh("sleep 60 | cat", tmp_path, on_start=stop)
    assert done.status == 143
    assert len(pids) == 1


def test_neighbours_are_joined():
    """Equal output has one form, however it arrived"""
    assert merged([(1, b"a"), (1, b"b"), (2, b"c"), (1, b"d")]) == ((1, b"ab"), (2, b"c"), (1, b"d"))
    assert merged([]) == ()
