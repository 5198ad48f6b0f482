"""How files look now: each looked at once in a run, until it is made anew.

It knows paths and digests, and nothing of nodes.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from vcache.discovery import spec_of
from vcache.entry import Dep
from vcache.errors import FingerprintError
from vcache.fingerprint.digests import FileState, cannot_read
from vcache.fingerprint.inputs import Dir, Listing
from vcache.hash import digest
from vcache.portable import PLACE, place_dep, portable_name

if TYPE_CHECKING:
    from pathlib import Path

    from vcache.fingerprint.digests import FileDigests
    from vcache.fingerprint.observe import Observer

__all__ = ["Files"]

_LINK: Final = b"link\0"
_DIRECTORY: Final = b"dir\0"


class Files:
    """What one run sees of a tree.

    Args:
        base: the directory that paths of the graph are relative to.
        root: the top of the project, that names in keys are relative to.

    Threads: any number.
    """

    def __init__(self, observer: Observer, digests: FileDigests, *, base: str, root: Path) -> None:
        self._observer = observer
        self._digests = digests
        self._base = os.path.join(base, "")
        # The names of what lies below the root begin behind it.
        self._root = os.path.join(os.fspath(root), "")
        # Files by path; what else an input may be, or is not; and what was discovered but files.
        self._files: dict[str, Dep] = {}
        self._others: dict[str, Dep | None] = {}
        self._looks: dict[tuple[str, str], tuple[Dep, ...] | None] = {}
        self._names: dict[str, str] = {}
        self._below: str | None = None
        self.seen: dict[str, FileState] = {}
        # When what was seen had first been seen so.
        self._seen_ns: dict[str, int] = {}

    def full(self, path: str) -> str:
        """The absolute form of a graph's path."""
        joined = path if path[:1] == "/" else self._base + path
        return os.path.normpath(joined) if "/../" in joined or "/./" in joined else joined

    def name(self, path: str) -> str:
        """The portable name of a graph's path."""
        known = self._names.get(path)
        if known is None:
            full = os.path.normpath(self.full(path))
            known = self._names[path] = portable_name(full, self._root[:-1] or "/")
        return known

    def path(self, name: str) -> str | None:
        """The graph's path of what lies below the base, by its portable name; None for anything else."""
        if self._below is None:
            base = self.name("")
            self._below = "" if base in ("", ".") else f"{base}/"
        return name[len(self._below) :] if name.startswith(self._below) and name[:1] != "/" else None

    def is_below_root(self, path: str) -> bool:
        """Whether a path lies in the project."""
        return self.name(path)[:1] != "/"

    def input(self, path: str) -> Dep | None:
        """What a declared input holds; None when it is not there.

        A file counts by content, a directory by the names in it, and with a "/" at its end by all
        that is below it.
        """
        known = self._files.get(path)
        if known is not None:
            return known
        if path in self._others:
            return self._others[path]
        dep = self._input(path)
        if dep is not None and dep.kind == "file":
            self._files[path] = dep
        else:
            self._others[path] = dep
        return dep

    def _input(self, path: str) -> Dep | None:
        full = self.full(path)
        if path[-1:] == "/":
            return self._tree(path, full)
        try:
            state = self._digests.look(full)
        except FingerprintError:
            if not os.path.isdir(full):
                raise
            (names,) = self._observer.observe(Listing(full))
            return Dep("list", self.name(path), names.identity, note=names.note)
        if state is None:
            return None
        self._note(full, state)
        return Dep("file", self.name(path), state.digest, state.hint)

    def _tree(self, path: str, full: str) -> Dep | None:
        if not os.path.isdir(full):
            return None
        parts = [
            part
            for dep in self._observer.observe(Dir(full))
            for part in (os.fsencode(dep.name), dep.identity)
        ]
        return Dep(
            "dir", self.name(path), digest(b"".join(len(part).to_bytes(4, "little") + part for part in parts))
        )

    def look(self, kind: str, name: str) -> tuple[Dep, ...] | None:
        """How a discovered input looks, by its portable name; None when it cannot be seen again."""
        if kind == "file":
            dep = self.input(name if name[:1] == "/" else self._root + name)
            return None if dep is None or dep.kind != "file" else (dep,)
        try:
            return self._looks[kind, name]
        except KeyError:
            found = self._looks[kind, name] = self._look(kind, name)
            return found

    def _look(self, kind: str, name: str) -> tuple[Dep, ...] | None:
        if (kind, name) == PLACE:
            return (place_dep(self._root[:-1] or "/"),)
        from pathlib import Path

        spec = spec_of(kind, name, Path(self._root))
        if spec is None:
            return None
        try:
            return self._observer.observe(spec)
        except FingerprintError:
            return None

    def made(self, paths: Iterable[str]) -> None:
        """Forget how paths looked: somebody made them anew. Names in directories are forgotten, too."""
        for path in paths:
            full = self.full(path)
            self._files.pop(path, None)
            self._files.pop(full, None)
            self.seen.pop(full, None)
        # New ones, since other threads may be looking things up in these.
        self._others, self._looks = {}, {}

    def restored(self, path: str, content: bytes) -> None:
        """Take a path as a file of this digest, which was just written there."""
        # Without a signature: it is too young to be known again by one.
        self._note(self.full(path), FileState(content, b""))

    def _note(self, full: str, state: FileState) -> None:
        before = self.seen.get(full)
        if before is None or before.digest != state.digest:
            self._seen_ns[full] = time.time_ns()
        self.seen[full] = state

    def is_same_since(self, path: str, *, began_ns: int, started_ns: int) -> bool:
        """Whether a file holds what it held when something began to run.

        Args:
            began_ns: by the clock of files. What is older has not changed.
            started_ns: by the fine clock. What was seen before that is known by its content.
        """
        full = self.full(path)
        try:
            # Whatever changes content changes ctime as well; an mtime may be set to anything.
            if os.stat(full).st_ctime_ns < began_ns:
                return True
            before = self.seen.get(full)
            if before is None or self._seen_ns[full] >= started_ns:
                return False
            state = self._digests.look(full)
        except (OSError, FingerprintError):
            return False
        return state is not None and state.digest == before.digest

    def pretend(self, path: str, content: bytes) -> None:
        """In a dry run: take a path as if it held content of this digest."""
        dep = Dep("file", self.name(path), content)
        self._files[path] = self._files[self.full(path)] = dep

    def is_there(self, path: str) -> bool:
        """Whether there is anything at an output's path."""
        return os.path.lexists(self.full(path).rstrip("/"))

    def out(self, path: str) -> bytes:
        """A digest of what is at an output's path, also of a link itself; b"" when there is nothing.

        Raises:
            FingerprintError: something that has no content, such as a FIFO, or cannot be read.
        """
        full = self.full(path)
        return self._out(full.rstrip("/"))

    def _out(self, full: str) -> bytes:
        try:
            status = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:  # such as a loop of links, or a name that is too long
            raise cannot_read(full, error) from None
        if stat.S_ISLNK(status.st_mode):
            return digest(_LINK + os.fsencode(os.readlink(full)))
        if stat.S_ISDIR(status.st_mode):
            parts = [_DIRECTORY]
            for name in sorted(_names(full)):
                raw = os.fsencode(name)
                parts += (
                    len(raw).to_bytes(4, "little"),
                    raw,
                    self._out(os.path.join(full, name)).ljust(32, b"\0"),
                )
            return digest(b"".join(parts))
        state = self._digests.look(full)
        if state is None:
            return b""
        self._note(full, state)
        return state.digest


def _names(directory: str) -> list[str]:
    """The names in a directory.

    Raises:
        FingerprintError: it cannot be read.
    """
    try:
        return os.listdir(directory)
    except OSError as error:
        raise cannot_read(directory, error) from None
