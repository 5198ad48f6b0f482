"""Which files a pattern matches. Knows directories and names; never opens a file.

The meaning of patterns is written at `vcache.fingerprint.inputs.Glob`.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Literal

from vcache.fingerprint.digests import cannot_read, is_settled
from vcache.kit.data import NamedTuple

__all__ = ["Directories", "escape", "has_magic", "split"]

_METADATA: Final = frozenset({".git", ".hg", ".svn", ".jj"})
_CACHE_TAG: Final = "CACHEDIR.TAG"
_MEMO_MAX: Final = 1 << 16
_MAGIC: Final = re.compile(r"[*?[]")
_ESCAPED: Final = re.compile(r"\[([*?[])\]")

Kind = Literal["file", "dir", "link", "other"]


_Way = tuple[tuple[int, int], ...]


class _Name(NamedTuple):
    name: str
    kind: Kind


class _Listed(NamedTuple):
    """One directory as it was read."""

    identity: tuple[int, int]  # device, inode
    names: tuple[_Name, ...]  # sorted

    @property
    def is_cache(self) -> bool:
        return any(entry.name == _CACHE_TAG for entry in self.names)


def has_magic(text: str) -> bool:
    """Whether a pattern holds a wildcard."""
    return _MAGIC.search(text) is not None


def escape(path: str) -> str:
    """The pattern that matches just this path."""
    return _MAGIC.sub(r"[\g<0>]", path)


def split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The leading directories without a wildcard, as a path, and the parts behind them."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.endswith("/"):
        parts.append("**")
    literal: list[str] = []
    for part in parts:
        plain = _unescaped(part)
        if plain is None:
            break
        literal.append(plain)
    start = ("/" if pattern.startswith("/") else "") + "/".join(literal)
    return start, tuple(parts[len(literal) :])


def _unescaped(part: str) -> str | None:
    """The name that a part of a pattern stands for; None if it has a wildcard."""
    if not has_magic(part):
        return part
    return None if has_magic(_ESCAPED.sub("", part)) else _ESCAPED.sub(r"\1", part)


class Directories:
    """Directory listings, remembered while the directory's stat signature stands.

    Threads: any number.
    """

    __slots__ = ("_clock", "_memo")

    def __init__(self, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._memo: dict[str, tuple[tuple[int, int, int, int], _Listed]] = {}

    def names(self, path: str) -> tuple[str, ...] | None:
        """The sorted names in one directory, or None when there is no such directory.

        Raises:
            FingerprintError: the directory cannot be read.
        """
        listed = self._list(path)
        return None if listed is None else tuple(entry.name for entry in listed.names)

    def match(self, start: str, parts: Sequence[str], *, hidden: bool) -> list[str]:
        """The sorted paths of the files that match.

        Args:
            start: an absolute path without wildcards.
            parts: the rest of the pattern; none means the file `start`, or all below the directory.
            hidden: wildcards also match names that start with a dot.

        Raises:
            FingerprintError: a directory on the way cannot be read.
        """
        if not parts:
            mode = _mode(start)
            if stat.S_ISREG(mode):
                return [start]
            parts = ("**",)
        walk = _Walk(self._list, tuple(parts), hidden)
        walk.enter(start, 0, ())
        return sorted(walk.found)

    def _list(self, path: str) -> _Listed | None:
        try:
            st = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise cannot_read(path, error) from error
        seen = (st.st_mtime_ns, st.st_ctime_ns, st.st_ino, st.st_dev)
        known = self._memo.get(path)
        if known is not None and known[0] == seen:
            return known[1]
        if not stat.S_ISDIR(st.st_mode):
            return None
        now_ns = self._clock()  # before the names are read: what comes later has a later ctime
        try:
            with os.scandir(path) as entries:
                names = tuple(sorted(_Name(entry.name, _kind(entry)) for entry in entries))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise cannot_read(path, error) from error
        listed = _Listed((st.st_dev, st.st_ino), names)
        if is_settled(st, now_ns):
            if len(self._memo) >= _MEMO_MAX:
                self._memo.clear()
            self._memo[path] = seen, listed
        return listed


class _Walk:
    """One walk of one pattern."""

    __slots__ = ("_hidden", "_list", "_parts", "_seen", "found")

    def __init__(
        self, listing: Callable[[str], _Listed | None], parts: tuple[str, ...], hidden: bool
    ) -> None:
        self._list = listing
        self._parts = parts
        self._hidden = hidden
        self._seen: set[tuple[str, int]] = set()
        self.found: set[str] = set()

    def enter(self, path: str, at: int, above: _Way) -> None:
        """Match the parts from a position on below one directory.

        Args:
            above: identities of the directories on the way here: a link that leads back to one of
                them ends the walk.
        """
        if (path, at) in self._seen:  # two `**` reach the same place in several ways
            return
        self._seen.add((path, at))
        listed = self._list(path)
        if listed is None or listed.identity in above:
            return
        if above and self._parts[at] == "**" and listed.is_cache:
            return
        self._take(path, listed, at, (*above, listed.identity))

    def _take(self, path: str, listed: _Listed, at: int, above: _Way) -> None:
        if self._parts[at] == "**":
            self._descend(path, listed, at, above)
        else:
            self._step(path, listed, at, above)

    def _descend(self, path: str, listed: _Listed, at: int, above: _Way) -> None:
        is_last = at + 1 == len(self._parts)
        if not is_last and (path, at + 1) not in self._seen:
            self._seen.add((path, at + 1))
            self._take(path, listed, at + 1, above)  # `**` stands for no directory: the next part, here
        for name, kind in listed.names:
            if name in _METADATA or (name[0] == "." and not self._hidden):
                continue
            full = _join(path, name)
            kind = _resolved(full, kind)
            if kind == "dir":
                self.enter(full, at, above)
            elif kind == "file" and is_last:
                self.found.add(full)

    def _step(self, path: str, listed: _Listed, at: int, above: _Way) -> None:
        part = self._parts[at]
        matches = _matcher(part)
        shows_hidden = self._hidden or part[0] == "."
        is_last = at + 1 == len(self._parts)
        for name, kind in listed.names:
            if not matches(name) or (name[0] == "." and not shows_hidden):
                continue
            if name in _METADATA and name != part:
                continue
            full = _join(path, name)
            kind = _resolved(full, kind)
            if kind == "file" and is_last:
                self.found.add(full)
            elif kind == "dir" and not is_last:
                self.enter(full, at + 1, above)


@lru_cache(maxsize=1024)
def _matcher(part: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(part)).match


def _join(path: str, name: str) -> str:
    return f"{path}{name}" if path.endswith("/") else f"{path}/{name}"


def _kind(entry: os.DirEntry[str]) -> Kind:
    """The type as the directory tells it, without a stat where the file system allows."""
    if entry.is_symlink():
        return "link"
    if entry.is_file(follow_symlinks=False):
        return "file"
    return "dir" if entry.is_dir(follow_symlinks=False) else "other"


def _resolved(path: str, kind: Kind) -> Kind:
    """The type behind a link. Asked anew each time: a target may change while its link does not."""
    if kind != "link":
        return kind
    mode = _mode(path)
    return "file" if stat.S_ISREG(mode) else "dir" if stat.S_ISDIR(mode) else "other"


def _mode(path: str) -> int:
    """The type bits of what a path leads to; 0 for nothing, as for a broken link or a loop of them."""
    try:
        return os.stat(path).st_mode
    except PermissionError as error:
        raise cannot_read(path, error) from error
    except OSError:
        return 0
