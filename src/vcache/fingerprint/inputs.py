"""What a result may depend on, as the user says it: files, patterns, variables, tools, values.

A spec is a plain frozen value. It looks at nothing: `Observer` does that, and gives `Dep`s.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePath
from typing import Literal, TypeAlias

from vcache.errors import FingerprintError
from vcache.kit.data import dataclass

__all__ = ["Absent", "Dir", "Env", "File", "Glob", "Listing", "Ref", "Spec", "Tool", "Value", "together"]


@dataclass(frozen=True, slots=True)
class File(os.PathLike[str]):
    """A file, by what it holds. It can be given wherever a path can.

    A relative path means what `open` would make of it: it starts at the current directory.
    A link counts as the file it leads to.

    Args:
        path: the file; kept as it was given.
        by: "content", or "mtime" for its size and modification time only: never read,
            and therefore different in every checkout.

    Raises:
        FingerprintError: the path is empty, holds a NUL, or `by` is another word.
    """

    path: str
    by: Literal["content", "mtime"]

    def __init__(self, path: str | os.PathLike[str], by: Literal["content", "mtime"] = "content") -> None:
        if by not in ("content", "mtime"):
            raise FingerprintError(f"File({path!r}, by={by!r}): by is 'content' or 'mtime'")
        object.__setattr__(self, "path", _path(path, "File"))
        object.__setattr__(self, "by", by)

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The last part of the path: "a.tar.gz" of "src/a.tar.gz"."""
        return PurePath(self.path).name

    @property
    def stem(self) -> str:
        """The name without its last suffix: "a.tar" of "src/a.tar.gz"."""
        return PurePath(self.path).stem

    @property
    def suffix(self) -> str:
        """The last suffix with its dot: ".gz" of "src/a.tar.gz"; empty when there is none."""
        return PurePath(self.path).suffix

    def read_text(self, encoding: str = "utf-8") -> str:
        """The content as text."""
        with open(self.path, encoding=encoding) as file:
            return file.read()

    def read_bytes(self) -> bytes:
        """The content."""
        with open(self.path, "rb") as file:
            return file.read()


@dataclass(frozen=True, slots=True)
class Glob:
    """The files that match a pattern: which ones there are, and what each holds.

    `*`, `?` and `[a-z]` match within one name; `**` any number of directories. A pattern that
    names a directory, or ends with `/` or `**`, takes all files below. Directories themselves
    never match. Links to directories are followed, but not back into a directory on the way.

    As in a shell, a wildcard passes over names that start with a dot unless the pattern's part
    does too, or `hidden` is true. No wildcard enters `.git`, `.hg`, `.svn` or `.jj`, and `**`
    enters no directory that a CACHEDIR.TAG marks as a cache (https://bford.info/cachedir/).

    Raises:
        FingerprintError: the pattern is empty, holds a NUL, or has `..` behind a wildcard.
    """

    pattern: str
    hidden: bool

    def __init__(self, pattern: str | os.PathLike[str], *, hidden: bool = False) -> None:
        text = _path(pattern, "Glob")
        parts = text.split("/")
        magic = next((i for i, part in enumerate(parts) if _has_magic(part)), len(parts))
        if ".." in parts[magic:]:
            raise FingerprintError(f"Glob({text!r}): '..' behind a wildcard: write the directory out")
        object.__setattr__(self, "pattern", text)
        object.__setattr__(self, "hidden", hidden)


@dataclass(frozen=True, slots=True)
class Dir(os.PathLike[str]):
    """A directory that must exist: all files below it, hidden ones too.

    Passed over below it: `.git`, `.hg`, `.svn`, `.jj`, and directories that a CACHEDIR.TAG marks
    as a cache. Empty directories do not count, as in git.
    """

    path: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", _path(path, "Dir"))

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Listing:
    """The names in one directory, hidden ones too; not what is in them. What `os.listdir` gives."""

    path: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", _path(path, "Listing"))


@dataclass(frozen=True, slots=True)
class Env:
    """An environment variable. Unset and empty are two things. Its value is never stored.

    Raises:
        FingerprintError: the name is empty, or holds `=` or a NUL.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or "=" in self.name or "\0" in self.name:
            raise FingerprintError(f"Env({self.name!r}): not the name of an environment variable")


@dataclass(frozen=True, slots=True)
class Tool:
    """The executable that would run: found through PATH and links, by the digest of the real file.

    A name with a `/` is a path and is not searched. A driver's helpers (the `cc1` behind `gcc`) and
    a script's libraries are not part of it: declare them beside it.

    Raises:
        FingerprintError: the name is empty or holds a NUL.
    """

    name: str

    def __init__(self, name: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "name", _path(name, "Tool"))


@dataclass(frozen=True, slots=True)
class Value:
    """A value under a name, by its type and content: a version, an option, a table.

    Raises:
        FingerprintError: the name is empty.
    """

    name: str
    value: object

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise FingerprintError(f"Value({self.name!r}, …): give the value a name, for people to read")


@dataclass(frozen=True, slots=True)
class Ref:
    """Another entry of the same cache, by the digest of its content."""

    key: str | bytes

    def __post_init__(self) -> None:
        if not isinstance(self.key, str | bytes):
            raise FingerprintError(f"Ref({self.key!r:.80}): a key is str or bytes")


@dataclass(frozen=True, slots=True)
class Absent:
    """Whether a path is missing: creating it, or removing it again, is a change."""

    path: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", _path(path, "Absent"))


Spec: TypeAlias = File | Glob | Dir | Listing | Env | Tool | Value | Ref | Absent
"""Anything an `Observer` can look at."""


def together(
    specs: Iterable[Spec | str | os.PathLike[str]] | Spec | str | os.PathLike[str],
) -> tuple[Spec | str | os.PathLike[str], ...]:
    """Specs as a tuple, also where somebody gives one alone: a path is no series of letters."""
    if isinstance(specs, str | os.PathLike) or not isinstance(specs, Iterable):
        return (specs,)
    return tuple(specs)


def _has_magic(part: str) -> bool:
    return "*" in part or "?" in part or "[" in part


def _path(path: str | os.PathLike[str], what: str) -> str:
    """A path as str, or an error that shows it."""
    try:
        text = os.fspath(path)
    except TypeError:
        raise FingerprintError(f"{what}({path!r:.80}): a path is str or PathLike") from None
    if not isinstance(text, str):
        raise FingerprintError(f"{what}({text!r:.80}): a path of bytes; use os.fsdecode")
    if not text or "\0" in text:
        raise FingerprintError(f"{what}({text!r:.80}): a path is not empty and holds no NUL")
    return text
