"""File digests: right always, read only when needed."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vcache.errors import FingerprintError, StoreUnavailable
from vcache.fingerprint import digests
from vcache.fingerprint.digests import WINDOW_NS, FileDigests, FileState, is_settled, signature
from vcache.hash import digest


def later() -> int:
    """A clock by which every file of a test is old."""
    return time.time_ns() + 10 * WINDOW_NS


def look(files: FileDigests, path: Path) -> FileState:
    state = files.look(str(path))
    assert state is not None
    return state


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all files that were read."""
    seen: list[int] = []
    real = digests._hash

    def counted(fd: int, size_bytes: int) -> bytes:
        seen.append(size_bytes)
        return real(fd, size_bytes)

    monkeypatch.setattr(digests, "_hash", counted)
    return seen


class Memory:
    """A backing in a dict."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.items.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.items[key] = value


class Broken:
    """A backing that is down."""

    def get(self, key: bytes) -> bytes | None:
        raise StoreUnavailable("down")

    def put(self, key: bytes, value: bytes) -> None:
        raise StoreUnavailable("down")


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) - 1, 1 << 20, (8 << 20) + 17])
def test_the_digest_is_that_of_the_content(tmp_path: Path, size: int) -> None:
    """Every way of reading gives the digest of the bytes."""
    content = (os.urandom(1024) * (size // 1024 + 1))[:size]
    (tmp_path / "f").write_bytes(content)
    assert look(FileDigests(tmp_path), tmp_path / "f").digest == digest(content)


def test_a_relative_path_starts_at_the_root(tmp_path: Path) -> None:
    """The current directory does not matter here."""
    (tmp_path / "f").write_bytes(b"x")
    state = FileDigests(tmp_path).look("f")
    assert state is not None
    assert state.digest == digest(b"x")


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[int]) -> None:
    """While the stat signature stands, nothing is read again."""
    (tmp_path / "f").write_bytes(b"x")
    files = FileDigests(tmp_path, clock=later)
    first = look(files, tmp_path / "f")
    assert look(files, tmp_path / "f") is first
    assert first.hint == signature((tmp_path / "f").stat())
    assert reads == [1]
    files.forget()
    assert look(files, tmp_path / "f") == first
    assert reads == [1, 1]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A new content gives a new digest, also when its time is set back."""
    file = tmp_path / "f"
    file.write_bytes(b"one")
    files = FileDigests(tmp_path, clock=later)
    old = file.stat()
    look(files, file)
    file.write_bytes(b"three")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert look(files, file).digest == digest(b"three")
    (tmp_path / "new").write_bytes(b"seven")
    (tmp_path / "new").replace(file)
    assert look(files, file).digest == digest(b"seven")


def test_a_racy_file_is_read_each_time(tmp_path: Path, reads: list[int]) -> None:
    """A file as young as the clock's resolution may change without showing: it is not trusted."""
    (tmp_path / "f").write_bytes(b"x")
    files = FileDigests(tmp_path, clock=time.time_ns)
    assert look(files, tmp_path / "f").hint == b""
    assert look(files, tmp_path / "f").is_stable
    assert reads == [1, 1]


@pytest.mark.parametrize(
    ("ctime_age", "mtime_age", "settled"),
    [(3, 3, True), (1, 3, False), (3, 1, False), (-100, 3, False), (3, -100, True), (3, -1, False)],
)
def test_settled_means_older_than_the_window(
    tmp_path: Path, ctime_age: int, mtime_age: int, settled: bool
) -> None:
    """Ages in seconds: young ones and a ctime of the future are racy, an mtime set far ahead is not."""
    now = 1_700_000_000_000_000_000
    real = tmp_path.stat()
    fields = list(real)
    extra = {"st_mtime_ns": now - mtime_age * 10**9, "st_ctime_ns": now - ctime_age * 10**9}
    assert is_settled(os.stat_result(fields, extra), now) is settled


def test_a_change_while_reading_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One change during a read leads to another read, whose content counts."""
    file = tmp_path / "f"
    file.write_bytes(b"1")
    real, todo = digests._hash, [b"22"]

    def disturbed(fd: int, size_bytes: int) -> bytes:
        found = real(fd, size_bytes)
        if todo:
            file.write_bytes(todo.pop())
        return found

    monkeypatch.setattr(digests, "_hash", disturbed)
    state = look(FileDigests(tmp_path, clock=later), file)
    assert state == FileState(digest(b"22"), signature(file.stat()))


def test_a_file_that_never_rests_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three attempts the state says that it is not to be trusted."""
    file = tmp_path / "f"
    file.write_bytes(b"1")
    real, attempts = digests._hash, []

    def disturbed(fd: int, size_bytes: int) -> bytes:
        attempts.append(size_bytes)
        found = real(fd, size_bytes)
        with file.open("ab") as more:
            more.write(b"1")
        return found

    monkeypatch.setattr(digests, "_hash", disturbed)
    files = FileDigests(tmp_path, clock=later)
    state = look(files, file)
    assert (state.is_stable, state.hint, len(attempts)) == (False, b"", 3)
    look(files, file)
    assert len(attempts) == 6


def test_growing_and_shrinking_content_is_read_to_its_end(tmp_path: Path) -> None:
    """A size that is wrong by the time of reading costs nothing but time."""
    file = tmp_path / "f"
    file.write_bytes(b"x" * 5000)
    for claimed in (0, 10, 9000, 2 << 20):
        fd = os.open(file, os.O_RDONLY)
        try:
            assert digests._hash(fd, claimed) == digest(b"x" * 5000)
        finally:
            os.close(fd)


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    """Absence is no error: nor is a file in the place of a directory, nor a broken link."""
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "broken").symlink_to("nowhere")
    files = FileDigests(tmp_path)
    assert files.look(str(tmp_path / "nope")) is None
    assert files.look(str(tmp_path / "f" / "below")) is None
    assert files.look(str(tmp_path / "broken")) is None


def test_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    """A link follows its target's content, and a new target."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"bb")
    link = tmp_path / "link"
    link.symlink_to("a")
    files = FileDigests(tmp_path, clock=later)
    assert look(files, link).digest == digest(b"a")
    (tmp_path / "a").write_bytes(b"new")
    assert look(files, link).digest == digest(b"new")
    link.unlink()
    link.symlink_to("b")
    assert look(files, link).digest == digest(b"bb")


def make_socket(path: Path) -> None:
    # Bound by a short name: a socket's path may have no more than 108 bytes.
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "FIFO"),
        (make_socket, "socket"),
        (Path.mkdir, r"directory: use Dir\("),
        (lambda path: path.symlink_to("/dev/null"), "character device"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
    ],
)
def test_what_is_no_file_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    """A FIFO is never opened (it would hang); each refusal names the path."""
    make(tmp_path / "odd")
    with pytest.raises(FingerprintError, match=f"odd.*{words}"):
        FileDigests(tmp_path).look(str(tmp_path / "odd"))


def test_a_file_that_becomes_a_fifo_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the stat and the open anything may happen: the open does not block."""
    path = tmp_path / "f"
    path.write_bytes(b"x")
    old = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda _: old)
    with pytest.raises(FingerprintError, match="FIFO"):
        FileDigests(tmp_path).look(str(path))


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission denied is an error with the path and the remedy. (Root is denied nothing: simulated.)"""
    (tmp_path / "f").write_bytes(b"x")

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(FingerprintError, match=r"f': Permission denied: make it readable"):
        FileDigests(tmp_path).look(str(tmp_path / "f"))


def test_a_backing_spares_other_processes_the_read(tmp_path: Path, reads: list[int]) -> None:
    """What one process read, the next knows, also under a new name; a changed file is read."""
    file = tmp_path / "f"
    file.write_bytes(b"x")
    backing = Memory()
    first = look(FileDigests(tmp_path, backing=backing, clock=later), file)
    assert look(FileDigests(tmp_path, backing=backing, clock=later), file) == first
    assert reads == [1]
    file.write_bytes(b"xx")
    assert look(FileDigests(tmp_path, backing=backing, clock=later), file).digest == digest(b"xx")
    assert reads == [1, 2]


def test_a_backing_is_never_told_of_a_racy_file(tmp_path: Path) -> None:
    """Only what can be trusted is shared."""
    (tmp_path / "f").write_bytes(b"x")
    backing = Memory()
    look(FileDigests(tmp_path, backing=backing, clock=time.time_ns), tmp_path / "f")
    assert backing.items == {}


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 72, b"\0" * 200])
def test_a_backing_that_lies_is_not_believed(tmp_path: Path, damage: bytes) -> None:
    """An answer of the wrong form is no answer."""
    (tmp_path / "f").write_bytes(b"x")
    backing = Memory()
    look(FileDigests(tmp_path, backing=backing, clock=later), tmp_path / "f")
    backing.items = dict.fromkeys(backing.items, damage)
    assert look(FileDigests(tmp_path, backing=backing, clock=later), tmp_path / "f").digest == digest(b"x")


def test_a_backing_that_is_down_costs_only_time(tmp_path: Path) -> None:
    """A fault of a cache slows a build and fails none."""
    (tmp_path / "f").write_bytes(b"x")
    assert look(FileDigests(tmp_path, backing=Broken(), clock=later), tmp_path / "f").digest == digest(b"x")


def test_threads_agree(tmp_path: Path) -> None:
    """Eight threads over the same files all see the right digests."""
    for name in range(20):
        (tmp_path / str(name)).write_bytes(b"x" * name)
    files = FileDigests(tmp_path, clock=later)
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            wrong.extend(
                name for name in range(20) if look(files, tmp_path / str(name)).digest != digest(b"x" * name)
            )

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
