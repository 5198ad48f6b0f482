"""What the fsspec tier does with files: how they come into sight, and what their errors mean."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from vcache.entry import make_key
from vcache.errors import StoreError, StoreFull, StoreUnavailable
from vcache.hash import digest
from vcache.store.address import Options, parse_url
from vcache.store.fs import FsStore, open_url
from vcache.store.fs.address import Mount
from vcache.store.fs.files import Publishing
from vcache.store.objects import name_of
from vcache.testing.records import body_of, make_record, named

KEY, RECORD = named("key")


def opened(text: str) -> FsStore:
    url = parse_url(text)
    return open_url(url, Options(url))


def over(kind: type[object], root: object, protocol: str = "tested") -> FsStore:
    """A store over a class of file systems."""
    return FsStore(Mount(protocol, {}, str(root), f"fs+{protocol}://{root}"), kind)


def path_of(root: Path, key: bytes) -> Path:
    return root / f"{digest(key)[0]:02x}" / name_of(key)


def body_in(store: FsStore, key: bytes) -> object:
    record = store.get(key)
    assert record is not None
    return record.body


def test_a_file_is_where_the_format_says(tmp_path):
    """Below the first byte of the key's BLAKE3, under the name of the key."""
    store = opened(f"fs+file://{tmp_path}/c")
    store.put(KEY, RECORD)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [path_of(tmp_path / "c", KEY)]


@pytest.mark.parametrize("is_written", [False, True])
def test_a_put_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, is_written):
    """Neither a file that cannot be written nor one that cannot be moved."""

    class Failing(LocalFileSystem):
        is_failing = False

        def pipe_file(self, path, value, **_):
            super().pipe_file(path, value[: len(value) // 2] if self.is_failing and not is_written else value)
            if self.is_failing and not is_written:
                raise OSError(errno.EIO, "half of it")

        def mv(self, *_, **__):
            if self.is_failing:
                raise OSError(errno.EIO, "not moved")
            super().mv(*_, **__)

    store = over(Failing, tmp_path)
    store.put(KEY, RECORD)
    Failing.is_failing = True
    # A move that fails over what is there is tried without it: only where there is nothing is it an error.
    key = KEY if not is_written else make_key("new")
    with pytest.raises(StoreUnavailable):
        store.put(key, make_record(key, b"other"))
    assert body_in(store, KEY) == RECORD.body
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [path_of(tmp_path, KEY)]


def test_a_server_without_atomic_rename_is_served_all_the_same(tmp_path):
    """A rename that does not replace: the older file goes first."""

    class Old(LocalFileSystem):
        def mv(self, path1, path2, **_):
            if os.path.exists(path2):
                raise OSError(errno.EEXIST, "it is there")
            super().mv(path1, path2)

    store = over(Old, tmp_path)
    for body in (b"one", b"two"):
        store.put(KEY, make_record(KEY, body))
        assert body_in(store, KEY) == body
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_it_says_how_files_come_into_sight(tmp_path):
    """A rename, a PUT of an object store, or a copy, which is not atomic: its name says so."""

    class Copying(AbstractFileSystem):
        pass

    class Renaming(AsyncFileSystem):
        async def _mv_file(self, *_):
            pass

    assert over(LocalFileSystem, tmp_path).publishing is Publishing.RENAME
    assert over(Renaming, tmp_path).publishing is Publishing.RENAME
    assert over(MemoryFileSystem, "", "memory").publishing is Publishing.PUT
    assert over(Copying, tmp_path, "gcs").publishing is Publishing.PUT
    copying = over(Copying, tmp_path)
    assert copying.publishing is Publishing.COPY
    assert copying.info.name == "fs+tested (not atomic)"


def test_it_says_what_it_is(tmp_path):
    """Others may write to a file system; nobody else to the memory of this process."""
    info = opened(f"fs+file://{tmp_path}").info
    assert (info.name, info.is_shared, info.is_persistent) == ("fs+file", True, True)
    assert not info.keeps_time
    assert not info.is_trusted
    info = opened("fs+memory://x").info
    assert (info.name, info.is_shared, info.is_persistent) == ("fs+memory", False, False)


@pytest.mark.parametrize(
    ("failure", "kind", "retryable"),
    [
        (PermissionError(errno.EACCES, "no"), StoreError, False),
        (OSError(errno.ENOSPC, "full"), StoreFull, False),
        (OSError(errno.EDQUOT, "quota"), StoreFull, False),
        (OSError(errno.EROFS, "read-only"), StoreError, False),
        (NotImplementedError(), StoreError, False),
        (ConnectionResetError("gone"), StoreUnavailable, True),
        (TimeoutError("slow"), StoreUnavailable, True),
        (OSError("Socket is closed"), StoreUnavailable, True),
        (EOFError(), StoreUnavailable, True),
        (type("BadAuthenticationType", (Exception,), {})("no"), StoreError, False),
        (type("SSHException", (Exception,), {})("gone"), StoreUnavailable, True),
    ],
)
def test_errors_are_those_of_stores(tmp_path, failure, kind, retryable):
    """Each operation raises a StoreError that says whether trying again helps, and names the store."""

    class Failing(LocalFileSystem):
        def _fail(self, *_, **__):
            raise failure

        cat_file = pipe_file = rm_file = info = find = _fail

    store = over(Failing, tmp_path)
    for work in (
        lambda: store.get(KEY),
        lambda: store.get_many([KEY, make_key("b")]),
        lambda: store.put(KEY, RECORD),
        lambda: store.delete(KEY),
        lambda: store.missing([KEY]),
        lambda: list(store.scan()),
    ):
        with pytest.raises(kind) as caught:
            work()
        assert caught.value.retryable is retryable
        assert str(tmp_path) in str(caught.value)


def test_a_connection_that_failed_is_not_used_again(tmp_path):
    """The next operation has a new one."""
    made = []

    class Fragile(LocalFileSystem):
        def __init__(self, **options):
            super().__init__(**options)
            made.append(self)

        def cat_file(self, path, **_):
            if self is made[0]:
                raise ConnectionResetError("gone")
            return super().cat_file(path)

    store = over(Fragile, tmp_path)
    with pytest.raises(StoreUnavailable):
        store.get(KEY)
    assert store.get(KEY) is None
    assert store.get(KEY) is None
    assert len(made) == 2


def test_threads_do_not_share_a_connection(tmp_path):
    """One that serves one thread at a time is not asked by two."""
    busy: dict[int, int] = {}
    together = threading.Barrier(2, timeout=30)

    class Single(LocalFileSystem):
        def cat_file(self, path, **_):
            assert busy.setdefault(id(self), threading.get_ident()) == threading.get_ident()
            together.wait()
            del busy[id(self)]
            raise FileNotFoundError(path)

    store = over(Single, tmp_path)
    threads = [threading.Thread(target=store.get, args=(KEY,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not busy


@pytest.mark.parametrize("is_async", [False, True])
def test_a_forked_child_has_connections_of_its_own(tmp_path, is_async):
    """Neither a parent's connection nor its loop is used in the child."""

    class Counted(LocalFileSystem):
        def __init__(self, **options):
            super().__init__(**options)
            self.pid = os.getpid()

        def cat_file(self, path, **_):
            if self.pid != os.getpid():
                raise ConnectionResetError("a connection of the parent's")
            return super().cat_file(path)

    Counted.async_impl = is_async
    Counted.mirror_sync_methods = False
    store = over(Counted, tmp_path)
    store.put(KEY, RECORD)
    assert store.get(KEY) is not None
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if store.get(KEY) is not None else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.get(KEY) is not None


def test_damage_is_a_miss(tmp_path):
    """Cut, foreign, another key's: counted, and mended by the next put."""
    store = opened(f"fs+file://{tmp_path}")
    store.put(KEY, RECORD)
    store.put(*named("other"))
    path, good = path_of(tmp_path, KEY), path_of(tmp_path, KEY).read_bytes()
    wrong = [b"", b"hello", good[:99], path_of(tmp_path, named("other")[0]).read_bytes()]
    for data in wrong:
        path.write_bytes(data)
        assert store.get(KEY) is None
        assert store.get_many([KEY]) == {}
    assert store.counters().corrupt == 2 * len(wrong)
    store.put(KEY, RECORD)
    assert body_in(store, KEY) == RECORD.body


def test_a_scan_passes_over_what_is_not_its_own(tmp_path):
    """Files that lie elsewhere, are half written, or hold another key than their name says."""
    store = opened(f"fs+file://{tmp_path}")
    long_keys = [make_key("x" * 500), make_key("y" * 500)]
    store.put(KEY, RECORD)
    store.put(long_keys[0], make_record(long_keys[0]))
    store.put(long_keys[1], make_record(long_keys[1], meta={"m": "x" * 40_000}))
    content = path_of(tmp_path, KEY).read_bytes()
    for name in ("README", name_of(KEY), f"zz/{name_of(KEY)}", "00/.aside-1", f"{digest(KEY)[0]:02x}/ABC"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    foreign = "~" + "0" * 64
    (tmp_path / "00").mkdir(exist_ok=True)
    (tmp_path / "00" / foreign).write_bytes(content)
    (tmp_path / "00" / ("~" + "1" * 64)).write_bytes(b"nothing")
    assert sorted(store.scan()) == sorted([KEY, *long_keys])
    assert list(store.scan(b"\0sx")) == [long_keys[0]]


def test_many_at_once_are_fetched_by_one_call(tmp_path):
    """An asynchronous file system has them under way together."""

    class Together(MemoryFileSystem):
        async_impl = True
        mirror_sync_methods = False
        asked: list[int] = []

        def cat_ranges(self, paths, starts, ends, **options):
            self.asked.append(len(paths))
            return super().cat_ranges(paths, starts, ends, **options)

    store = over(Together, "/together", "memory")
    records = dict(named(f"k{number}") for number in range(50))
    store.put_many(records)
    found = store.get_many([*records, make_key("absent")])
    assert {key: record.body for key, record in found.items()} == {
        key: record.body for key, record in records.items()
    }
    assert Together.asked == [51]
    large = make_record(KEY, body_of(1_000_000))
    store.put(KEY, large)
    assert store.get_many([KEY])[KEY].body == large.body
