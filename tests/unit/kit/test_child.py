"""A captured child: order, endings, and what happens when somebody goes away."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from vcache.kit.child import Leash, merged, run_attached, run_captured


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


def test_each_chunk_has_its_time(tmp_path):
    """For every chunk it is known when it began, from the start of the child on"""
    done, _ = sh("echo a; echo b >&2; sleep 0.1; echo c", tmp_path)
    assert len(done.times_ns) == len(done.chunks)
    assert 0 < done.times_ns[0] <= done.times_ns[-1] - 90_000_000 < done.duration_ns - 90_000_000
    assert list(done.times_ns) == sorted(done.times_ns)


def test_its_environment_is_the_given_one(tmp_path):
    """Nothing of ours is added, and its PATH is what the program is found by"""
    (tmp_path / "tool").write_text("#!/bin/sh\necho $A\n")
    (tmp_path / "tool").chmod(0o755)
    env = {"PATH": str(tmp_path), "A": "1"}
    assert run_captured(["tool"], cwd="/", sink=Ears(), env=env).chunks == ((1, b"1\n"),)
    done = run_captured(["/usr/bin/env"], cwd="/", sink=Ears(), env={"B": "2"})
    assert done.chunks == ((1, b"B=2\n"),)


def test_descriptors_that_are_passed(tmp_path):
    """Only what is asked for is inherited, under the same number"""
    reads, writes = os.pipe()
    other = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(other, True)
    script = f"echo told >/proc/self/fd/{writes}; test -e /proc/self/fd/{other} || echo alone"
    done, _ = sh(script, tmp_path, pass_fds=(writes,))
    assert done.chunks == ((1, b"alone\n"),)
    assert os.read(reads, 10) == b"told\n"
    for fd in (reads, writes, other):
        os.close(fd)


@pytest.mark.parametrize("hangs", ["sleep 60", "exec >&- 2>&-; sleep 60", "exec sleep 60"])
def test_a_time_limit(tmp_path, hangs):
    """Beyond it the group is ended, also when it closed its streams"""
    done, _ = sh(f"echo a; {hangs}", tmp_path, timeout_s=0.1)
    assert (done.is_timed_out, done.is_stopped, done.status) == (True, False, 128 + signal.SIGTERM)
    assert done.chunks == ((1, b"a\n"),)
    assert done.gap == ""
    assert sh("echo a", tmp_path, timeout_s=60)[0].is_timed_out is False


def test_what_was_asked_to_end_may_clean_up(tmp_path):
    """A member of the group that outlives its leader has its two seconds"""
    script = "(trap 'sleep 0.2; echo clean; exit' TERM; echo ready; while :; do sleep 0.01; done) & wait"
    with Leash() as leash:
        done = run_captured(["sh", "-c", script], cwd=tmp_path, sink=lambda *_: leash.pull(), leash=leash)
    assert (done.is_stopped, done.status) == (True, 143)
    assert b"".join(data for stream, data in done.chunks if stream == 1) == b"ready\nclean\n"


def test_a_leash_that_nobody_holds(tmp_path):
    """Pulling after the end is of no effect; a second child needs a leash of its own"""
    with Leash() as leash:
        assert not run_captured(["true"], cwd=tmp_path, sink=Ears(), leash=leash).is_stopped
    leash.pull()
    with pytest.raises(ValueError, match="of its own"):
        run_captured(["true"], cwd=tmp_path, sink=Ears(), leash=leash)


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_on_our_own_streams(tmp_path, monkeypatch, has_pidfd):
    """An attached child is in our group, and ends like any other, with or without a pidfd"""
    if not has_pidfd:
        monkeypatch.setattr("vcache.kit.child.pidfd_of", lambda pid: -1)
    groups: list[int] = []
    done = run_attached(
        ["sh", "-c", "exit 3"], cwd=tmp_path, on_start=lambda pid: groups.append(os.getpgid(pid))
    )
    assert (done.status, done.chunks, groups) == (3, (), [os.getpgid(0)])
    assert run_attached(["sleep", "60"], cwd=tmp_path, timeout_s=0.05).is_timed_out
    assert sh("sleep 60", tmp_path, timeout_s=0.05)[0].status == 143
    assert sh("echo a; exit 2", tmp_path)[0].status == 2


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
