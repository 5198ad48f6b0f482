"""Trees that a worker carries commands out in: private copies of somebody's project, by content.

A tree belongs to one command at a time, and holds before it exactly what it was told to hold: what an
earlier command left behind is removed, what it changed is put back. It knows files and a store, and
nothing of commands, nor of how a worker gets its work.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from vcache.artifacts import put_in_place
from vcache.dag.listing import Lost, Wanted, read_listing
from vcache.dag.mounts import seen_at
from vcache.discovery import begin
from vcache.errors import StoreError, UnsafePath
from vcache.fingerprint.digests import FileDigests
from vcache.fingerprint.restoring import Restorer
from vcache.pieces import planned

if TYPE_CHECKING:
    from pathlib import Path

    from vcache.artifacts import Cabinet
    from vcache.cache import Cache
    from vcache.entry import Key
    from vcache.outcome import Hit, Miss
    from vcache.pieces import Artifact
    from vcache.store.base import Files, Store

__all__ = ["Shelf", "Tree", "Trees"]

_Signature: TypeAlias = tuple[int, int, int, int]


class Shelf:
    """A cache as `artifacts` sees it, for another root than its own.

    Digests are remembered in this process only: what a shared cache remembers by device and inode is
    true on one machine.
    """

    def __init__(self, cache: Cache, root: Path) -> None:
        self.cache, self.root = cache, root
        self.digests = FileDigests(root)

    @property
    def store(self) -> Store:
        return self.cache.store

    def put_file_key(self, key: Key, source: Path) -> bool:
        """As `Cache.put_file_key`."""
        return self.cache.put_file_key(key, source)

    def peek_key(self, key: Key) -> Hit | Miss:
        """As `Cache.peek_key`."""
        return self.cache.peek_key(key)

    def files(self) -> Files | None:
        """As `Cache.files`."""
        return self.cache.files()


class Tree:
    """One private tree. Threads: one at a time.

    Args:
        path: its absolute directory, which is made.
        cache: where content comes from.
    """

    def __init__(self, path: str, cache: Cache) -> None:
        from pathlib import Path

        self.path = path
        os.makedirs(path, exist_ok=True)
        self.shelf = Shelf(cache, Path(path))
        self._restorer = Restorer(path)
        # Files and links that were placed, and directories, as they were before the last command; None
        # for a directory that may have changed since.
        self._have: dict[str, tuple[tuple[int, bytes], _Signature]] = {}
        self._directories: dict[str, _Signature | None] = {"": None}
        self._became_ns = 0
        self._seen_at: dict[tuple[str, str], tuple[str, ...]] = {}

    def become(self, wanted: Wanted, *, reads: Iterable[str] = ()) -> None:
        """Hold exactly this.

        A directory that did not change is not read again: a file in it that an earlier command wrote
        to in place, against all it declared, is noticed only among `reads`.

        Args:
            reads: files to be looked at in any case.

        Raises:
            Lost: some content cannot be had; its name is in the message.
            OSError: something cannot be written or removed.
        """
        changed = self._changed(reads)
        self._remove_unwanted(wanted)
        self._scan(changed, wanted)
        for name in wanted.directories - self._directories.keys():
            os.makedirs(os.path.join(self.path, name), exist_ok=True)
            self._touch(name, is_directory=True)
        for name in wanted.rows.keys() - self._have.keys():
            if not stat.S_ISDIR(wanted.rows[name][0]):
                self._place(name, *wanted.rows[name])
        self._became_ns = begin(waits=False)
        for name in [name for name, known in self._directories.items() if known is None]:
            found = _signature(os.lstat(os.path.join(self.path, name)))
            # What was written in the very tick in which a command begins could be changed by it unseen.
            if found[1] < self._became_ns:
                self._directories[name] = found

    def _touch(self, name: str, *, is_directory: bool = False) -> None:
        """A directory, or the one that a name is in, has to be looked at anew, with those above."""
        above = name if is_directory else name.rpartition("/")[0]
        while above and above not in self._directories:
            self._directories[above] = None
            above = above.rpartition("/")[0]
        self._directories[above] = None

    def _changed(self, reads: Iterable[str]) -> set[str]:
        """The directories that do not look as they did, and those of files that do not."""
        found = {
            name for name, known in self._directories.items() if known is None or self._now(name) != known
        }
        for name in reads:
            known = self._have.get(name)
            if known is not None and self._now(name) != known[1]:
                found.add(name.rpartition("/")[0])
        return found

    def _now(self, name: str) -> _Signature | None:
        try:
            return _signature(os.lstat(os.path.join(self.path, name)))
        except OSError:
            return None

    def _remove_unwanted(self, wanted: Wanted) -> None:
        """Remove what was known and is not wanted, or not as it was."""
        for name in sorted(self._directories.keys() - wanted.directories - {""}):
            _remove(os.path.join(self.path, name))
            del self._directories[name]
            self._directories[
                name.rpartition("/")[0] if name.rpartition("/")[0] in self._directories else ""
            ] = None
        for name in [name for name, (row, _) in self._have.items() if wanted.rows.get(name) != row]:
            _remove(os.path.join(self.path, name))
            del self._have[name]
            above = name.rpartition("/")[0]
            if above in self._directories:
                self._directories[above] = None

    def _scan(self, changed: set[str], wanted: Wanted) -> None:
        """Remove what commands left in these directories, and forget what is not as it was."""
        trail, scanned, seen = list(changed), set[str](), set[str]()
        while trail:
            directory = trail.pop()
            scanned.add(directory)
            self._directories.pop(directory, None)
            if directory and directory not in wanted.directories:
                continue
            try:
                with os.scandir(os.path.join(self.path, directory)) as found:
                    entries = list(found)
            except (FileNotFoundError, NotADirectoryError):
                continue
            self._directories[directory] = None
            for entry in entries:
                name = f"{directory}/{entry.name}" if directory else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if name not in wanted.directories:
                        _remove(entry.path)
                    elif name not in self._directories and name not in scanned:
                        trail.append(name)
                elif self._is_as_placed(name, entry):
                    seen.add(name)
                else:
                    os.unlink(entry.path)
        for name in [name for name in self._have if name not in seen and name.rpartition("/")[0] in scanned]:
            del self._have[name]

    def _is_as_placed(self, name: str, entry: os.DirEntry[str]) -> bool:
        known = self._have.get(name)
        return (
            known is not None
            and known[1][1] < self._became_ns
            and known[1] == _signature(entry.stat(follow_symlinks=False))
        )

    def seen_at(self, root: str, cwd: str) -> tuple[str, ...]:
        """What starts a command that sees this tree at another path; nothing where that cannot be."""
        known = self._seen_at.get((root, cwd))
        if known is None:
            known = self._seen_at[root, cwd] = seen_at(self.path, root, cwd) or ()
        return known

    def _place(self, name: str, mode: int, content: bytes) -> None:
        full = os.path.join(self.path, name)
        artifact: Artifact = [name, mode, content]
        try:
            outputs = planned([artifact], None)
            written = None if outputs is None else put_in_place(self.shelf, outputs, restorer=self._restorer)
        except (UnsafePath, StoreError) as error:
            raise Lost(f"{name} ({error})") from error
        if written is None:
            raise Lost(name)
        if stat.S_IFMT(mode) in (0, stat.S_IFREG):
            # The store is shared, perhaps with a machine that is less careful.
            state = self.shelf.digests.look(full)
            if state is None or state.digest != content:
                raise Lost(f"{name} (its content is not what its name says)")
        self._have[name] = (mode, content), _signature(os.lstat(full))
        self._touch(name)

    def remove(self) -> None:
        """Remove it from the disk."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(f"{self.path}.room", ignore_errors=True)


def _remove(path: str) -> None:
    """Remove whatever is at a path, if anything."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (IsADirectoryError, PermissionError):  # the latter on macOS
        shutil.rmtree(path)


def _signature(st: os.stat_result) -> _Signature:
    return st.st_mtime_ns, st.st_ctime_ns, st.st_size, st.st_ino


class Trees:
    """The trees of one worker process: as many of a project as commands of it run at once.

    Args:
        find_place: gives the directory that they are made in, once one is needed.

    Threads: any number.
    """

    def __init__(self, find_place: Callable[[], str]) -> None:
        self._find_place = find_place
        self._place = ""
        self._lock = threading.Lock()  # guards the free ones and the count
        self._free: dict[str, list[Tree]] = {}
        self._count = 0
        self._layers: dict[tuple[bytes, ...], Wanted] = {}

    def take(self, project: str, cache: Cache) -> Tree:
        """A tree for one command, the one that was used last if there is one."""
        with self._lock:
            free = self._free.setdefault(project, [])
            while free:
                tree = free.pop()
                if tree.shelf.cache is cache:
                    return tree
                tree.remove()  # of a cache that was opened before
            self._place = self._place or self._find_place()
            self._count += 1
            count = self._count
        return Tree(os.path.join(self._place, f"{os.getpid()}-{count}"), cache)

    def give_back(self, project: str, tree: Tree) -> None:
        """It may be used again."""
        with self._lock:
            self._free.setdefault(project, []).append(tree)

    def layered(self, cabinet: Cabinet, listings: Sequence[bytes]) -> Wanted:
        """What listings say together, the later ones in place of the earlier.

        Raises:
            Lost: one of them cannot be had.
        """
        key = tuple(listings)
        known = self._layers.get(key)
        if known is None:
            known = Wanted({}, frozenset())
            if len(key) > 1:
                known = self.layered(cabinet, key[:-1])
            rows = read_listing(cabinet, key[-1]) if key else {}
            known = Wanted.of(known.but(rows).rows)
            with self._lock:
                if len(self._layers) >= _LAYERS_MOST:
                    self._layers.clear()
                self._layers[key] = known
        return known


_LAYERS_MOST: Final = 8
