from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.errors import StoreBusy, UsageError
from vcache.kit.fs_atomic import (
    TEMP_PREFIX,
    LockFile,
    atomic_file,
    replace_file,
    sweep_temporaries,
    sync_dir,
    write_atomic,
)
from vcache.testing.clock import FakeClock


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of what is synced, in order; the sync itself is left out."""
    order: list[str] = []
    real_replace = os.replace

    def fsync(descriptor: int) -> None:
        order.append("dir" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    def replace(source: Path, target: Path) -> None:
        order.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return order


# --- write_atomic, atomic_file, replace_file -------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"abc", bytearray(b"abc"), memoryview(b"abcdef")[::2], [b"a", b"bc"], iter([b"x"])]
)
def test_a_written_file_holds_what_was_given(tmp_path: Path, data: object) -> None:
    """any buffer, or any iterable of buffers, becomes the content of the file"""
    expected = {"bytearray": b"abc", "memoryview": b"ace", "list": b"abc", "bytes": data}.get(
        type(data).__name__, b"x"
    )
    write_atomic(tmp_path / "f", data)  # type: ignore[arg-type]
    assert (tmp_path / "f").read_bytes() == expected
    assert names(tmp_path) == ["f"]


def test_a_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    """who has the old file open goes on reading the old content"""
    path = tmp_path / "f"
    write_atomic(path, b"old")
    with path.open("rb") as reader:
        write_atomic(path, b"new content")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new content"


def test_the_mode_is_as_given_less_the_umask(tmp_path: Path) -> None:
    """a new file gets the mode that any new file would get"""
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "f", b"", mode=0o666)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """writing over a link leaves what it points to alone"""
    (tmp_path / "target").write_bytes(b"keep")
    (tmp_path / "link").symlink_to("target")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"keep"
    assert not (tmp_path / "link").is_symlink()


def test_a_relative_name_is_written_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """a bare file name is written in the working directory, also durably"""
    monkeypatch.chdir(tmp_path)
    write_atomic("f", b"x", durable=True)
    assert names(tmp_path) == ["f"]


def failing_pieces() -> Iterator[bytes]:
    yield b"part"
    raise RuntimeError("source broke")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """when the source of the data fails, the old content stays and nothing is left behind"""
    write_atomic(tmp_path / "f", b"old")
    with pytest.raises(RuntimeError, match="source broke"):
        write_atomic(tmp_path / "f", failing_pieces())
    with pytest.raises(RuntimeError, match="source broke"), atomic_file(tmp_path / "f") as stream:
        stream.writelines(failing_pieces())
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """when the disk fills up in the middle, the old content stays and nothing is left behind"""
    write_atomic(tmp_path / "f", b"old")
    real_write, calls = os.write, []

    def full(descriptor: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data[:2])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "f", b"12345")
    assert calls == [5, 3]
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """a kernel that takes three bytes at a time still gets all of them"""
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real_write(descriptor, data[:3]))
    write_atomic(tmp_path / "f", bytes(range(100)))
    monkeypatch.undo()
    assert (tmp_path / "f").read_bytes() == bytes(range(100))


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    """a file in no directory raises what the system says"""
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "none" / "f", b"")


def test_durable_writes_sync_content_name_and_in_that_order(tmp_path: Path, synced: list[str]) -> None:
    """content is synced before it gets the name, the directory after"""
    write_atomic(tmp_path / "f", b"x", durable=True)
    with atomic_file(tmp_path / "g", durable=True) as stream:
        stream.write(b"x")
    assert synced == ["file", "rename", "dir"] * 2


def test_other_writes_sync_nothing(tmp_path: Path, synced: list[str]) -> None:
    """without durable no write waits for the disk"""
    write_atomic(tmp_path / "f", b"x")
    replace_file(tmp_path / "f", tmp_path / "g")
    assert synced == ["rename", "rename"]


def test_replace_file_syncs_both_directories(tmp_path: Path, synced: list[str]) -> None:
    """a durable move syncs content first, then the directories that lost and got the name"""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"1")
    (tmp_path / "g").write_bytes(b"2")
    replace_file(tmp_path / "a" / "f", tmp_path / "g", durable=True)
    assert synced == ["file", "rename", "dir", "dir"]
    assert (tmp_path / "g").read_bytes() == b"1"
    assert names(tmp_path / "a") == []


def test_a_failed_sync_is_never_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """when the content cannot be synced, the write raises and the old file stays"""
    write_atomic(tmp_path / "f", b"old")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_atomic(tmp_path / "f", b"new", durable=True)
    assert (tmp_path / "f").read_bytes() == b"old"
    with pytest.raises(OSError, match="Input/output"):
        sync_dir(tmp_path)


def test_a_killed_writer_leaves_a_temporary_that_is_swept(tmp_path: Path) -> None:
    """what a kill -9 leaves behind goes once it is old, and other files stay"""
    code = """
import os, signal, sys
from vcache.kit.fs_atomic import write_atomic
def pieces():
    yield b"part"
    os.kill(os.getpid(), signal.SIGKILL)
write_atomic(sys.argv[1], pieces())
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "f"], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.startswith(TEMP_PREFIX)
    (tmp_path / "other").write_bytes(b"")
    made_ns = (tmp_path / left).stat().st_mtime_ns
    assert sweep_temporaries(tmp_path, older_than_s=60, now_ns=made_ns + 59 * 10**9) == 0
    assert sweep_temporaries(tmp_path, older_than_s=60, now_ns=made_ns + 61 * 10**9) == 1
    assert names(tmp_path) == ["other"]


# --- LockFile --------------------------------------------------------------------------------


def test_two_objects_exclude_each_other(tmp_path: Path) -> None:
    """two locks on one path are never held at once, also in one process"""
    first, second = LockFile(tmp_path / "l"), LockFile(tmp_path / "l")
    with first:
        assert first.is_held
        assert not second.try_acquire()
    assert second.try_acquire()
    assert not first.try_acquire()
    second.close()
    assert first.try_acquire()
    first.close()


def test_waiting_ends_at_the_deadline(tmp_path: Path) -> None:
    """who waits longer than the timeout gets StoreBusy, which says a retry helps"""
    clock = FakeClock()
    waiting = LockFile(tmp_path / "l", monotonic=clock.monotonic, sleep=clock.sleep)
    with LockFile(tmp_path / "l"), pytest.raises(StoreBusy, match="within 5 s") as caught:
        waiting.acquire(5)
    assert caught.value.retryable
    assert clock.monotonic() == pytest.approx(5, abs=0.001)
    waiting.acquire(5)
    waiting.close()


def test_a_lock_that_becomes_free_is_had_before_the_deadline(tmp_path: Path) -> None:
    """who waits gets the lock when it becomes free"""
    clock = FakeClock()
    holder = LockFile(tmp_path / "l")

    def sleep(for_s: float) -> None:
        clock.sleep(for_s)
        if clock.monotonic() > 1 and holder.is_held:
            holder.release()

    holder.acquire()
    waiting = LockFile(tmp_path / "l", monotonic=clock.monotonic, sleep=sleep)
    waiting.acquire(5)
    assert waiting.is_held
    assert clock.monotonic() < 2
    waiting.close()
    holder.close()


def test_a_thread_cannot_hold_it_twice_nor_release_another_s(tmp_path: Path) -> None:
    """taking a lock twice, or giving back what is not held, raises with the path"""
    lock = LockFile(tmp_path / "lock")
    with pytest.raises(UsageError, match="lock is not held"):
        lock.release()
    with lock:
        with pytest.raises(UsageError, match="lock is already held"):
            lock.acquire()
        caught: list[BaseException] = []

        def other() -> None:
            try:
                lock.release()
            except UsageError as error:
                caught.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert len(caught) == 1
        assert lock.is_held
    lock.close()


def test_threads_share_one_object(tmp_path: Path) -> None:
    """of 8 threads with one lock object, one is inside at a time, and all get their turns"""
    lock = LockFile(tmp_path / "l")
    inside: list[int] = []
    seen: list[int] = []

    def work() -> None:
        for _ in range(50):
            with lock.held(30):
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 400
    lock.close()


def test_another_process_is_excluded_until_it_is_killed(tmp_path: Path) -> None:
    """a lock held by a process is free the moment the process is killed"""
    code = """
import sys, signal
from vcache.kit.fs_atomic import LockFile
lock = LockFile(sys.argv[1])
lock.acquire()
print("held", flush=True)
signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "l"], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lock = LockFile(tmp_path / "l")
        assert not lock.try_acquire()
        holder.kill()
        holder.wait()
        lock.acquire(10)
        lock.close()


def test_a_forked_child_does_not_hold_it(tmp_path: Path) -> None:
    """after a fork the parent still holds the lock, the child does not, and may take it later"""
    code = """
import os, sys
from vcache.kit.fs_atomic import LockFile
lock = LockFile(sys.argv[1])
go, went = os.pipe()
tried, tell = os.pipe()
with lock:
    pid = os.fork()
    if pid == 0:
        assert not lock.is_held
        assert not lock.try_acquire(), "both hold it"
        os.write(tell, b"x")
        os.read(go, 1)
        lock.acquire(30)
        lock.release()
        os._exit(0)
    os.close(tell)
    os.read(tried, 1)
assert lock.try_acquire()
lock.release()
os.write(went, b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "l"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_leaving_the_block_in_a_child_releases_nothing(tmp_path: Path) -> None:
    """a child that leaves the parent's with-block does not give the parent's lock away"""
    code = """
import os, sys
from vcache.kit.fs_atomic import LockFile
lock, other = LockFile(sys.argv[1]), LockFile(sys.argv[1])
done, tell = os.pipe()
with lock:
    pid = os.fork()
    if pid:
        os.read(done, 1)
        assert not other.try_acquire(), "the child gave it away"
        os.waitpid(pid, 0)
        assert not other.try_acquire()
if pid == 0:
    os.write(tell, b"x")
    os._exit(0)
assert other.try_acquire()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "l"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    """when a holder is killed, its children's copies of the descriptor do not keep the lock"""
    code = """
import os, signal, sys, time
from vcache.kit.fs_atomic import LockFile
lock = LockFile(sys.argv[1])
lock.acquire()
if os.fork() == 0:
    print(os.getpid(), flush=True)
    signal.pause()
signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "l"], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            parent.kill()
            parent.wait()
            lock = LockFile(tmp_path / "l")
            lock.acquire(10)
            lock.close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_an_unlinked_lock_file_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    """who got the lock on a file that lost its name starts anew on the file that has it"""
    path = tmp_path / "l"
    lock = LockFile(path)
    lock.acquire()
    lock.release()  # the descriptor stays open, on the file that is removed here
    other = LockFile(path)
    other.acquire()
    other.release_and_unlink()
    lock.acquire(5)
    assert path.exists()
    rival = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(rival, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(rival)
    lock.release_and_unlink()
    assert not path.exists()
    lock.close()
    other.close()


def test_a_link_in_place_of_the_lock_file_is_refused(tmp_path: Path) -> None:
    """a lock file that is a link raises: it could make us create a file elsewhere"""
    (tmp_path / "l").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LockFile(tmp_path / "l").acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    """closed and forgotten locks leave no descriptor open"""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        lock = LockFile(tmp_path / "l")
        lock.acquire()
        lock.release()
        del lock
    closed = LockFile(tmp_path / "l")
    closed.acquire()
    closed.close()
    closed.close()
    assert len(os.listdir("/proc/self/fd")) == before
