"""Output files as entries: taken in after a run, put back where a hit promises them.

Each output is an entry of its own, so that equal files of different runs are stored once and
large ones are never read into memory. It knows a small protocol of a cache, and nothing of
what produced the files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vcache.entry import Entry, Key, make_key
from vcache.errors import StoreError, UsageError
from vcache.fingerprint.outputs import restore, safe_target
from vcache.outcome import Hit
from vcache.store.base import Files, Listing, satisfies

if TYPE_CHECKING:
    from vcache.fingerprint.digests import FileDigests
    from vcache.outcome import Miss
    from vcache.store.base import Store

__all__ = ["Artifact", "can_put_back", "collect", "put_back"]

_OUTPUTS: Final = ".outputs"

Artifact = list[object]
"""[name below the root with "/", mode bits, BLAKE3 digest]: what a result remembers of a file."""


class Cabinet(Protocol):
    """What artifacts need of a cache."""

    @property
    def root(self) -> Path: ...

    @property
    def store(self) -> Store: ...

    @property
    def digests(self) -> FileDigests: ...

    def put_file_key(self, key: Key, source: Path) -> bool: ...

    def peek_key(self, key: Key) -> Hit | Miss: ...

    def files(self) -> Files | None: ...


def output_name(root: Path, path: str | os.PathLike[str]) -> str:
    """A path's name below the root.

    Raises:
        UsageError: it lies elsewhere, where a hit in another checkout could not put it.
    """
    full = os.path.abspath(os.path.join(root, path))
    name = os.path.relpath(full, root)
    if name in (".", "..") or name.startswith("../"):
        raise UsageError(f"output {os.fspath(path)!r} is outside the project root {os.fspath(root)!r}")
    return name.replace(os.sep, "/")


def _key(digest: bytes) -> Key:
    return make_key(digest, namespace=_OUTPUTS)


def collect(cabinet: Cabinet, names: Iterable[str]) -> list[Artifact] | None:
    """Keep the files a run has made; None when a store could not take one.

    Raises:
        UsageError: a promised file is missing or is no regular file.
        UnsafePath: a name that leads out of the root.
    """
    artifacts: list[Artifact] = []
    for name in names:
        path = safe_target(cabinet.root, name)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise UsageError(f"the output {name!r} was promised and not made (looked for {path})") from None
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"the output {name!r} is not a regular file: name the files in it")
        state = cabinet.digests.look(os.fspath(path))
        if state is None or not state.is_stable:
            return None  # it is still being written to: nobody knows what it will be
        if not _has(cabinet, state.digest) and not cabinet.put_file_key(_key(state.digest), path):
            return None
        artifacts.append([name, status.st_mode & _MODE_BITS, state.digest])
    return artifacts


def _has(cabinet: Cabinet, digest: bytes) -> bool:
    found = _entry(cabinet, digest)
    return found is not None and found.digest == digest


def _entry(cabinet: Cabinet, digest: bytes) -> Entry | None:
    listing = cabinet.store
    try:
        if satisfies(listing, Listing):
            return listing.entry(_key(digest))
        record = listing.get(_key(digest))
        return None if record is None else record.entry()
    except (StoreError, OSError):
        return None


def put_back(cabinet: Cabinet, artifacts: Sequence[Artifact]) -> bool:
    """Make the root hold these files; False when one of them cannot be had.

    A file that already has the content and mode is left alone, with its modification time.

    Raises:
        UnsafePath: a name that leads out of the root: such a result is not to be trusted.
        OSError: a file cannot be written.
    """
    return _are_artifacts(artifacts) and all(_put_back(cabinet, artifact) for artifact in artifacts)


def _are_artifacts(artifacts: Sequence[object]) -> bool:
    """Whether a stored list is what `collect` made: another program's result is a miss, no crash."""
    return all(
        isinstance(artifact, list) and list(map(type, artifact)) == [str, int, bytes]
        for artifact in artifacts
    )


def can_put_back(cabinet: Cabinet, artifacts: Sequence[Artifact]) -> bool:
    """Whether `put_back` would find each of these files in place or in a store.

    Raises:
        UnsafePath: a name that leads out of the root.
    """
    return _are_artifacts(artifacts) and all(_can_put_back(cabinet, artifact) for artifact in artifacts)


def _can_put_back(cabinet: Cabinet, artifact: Artifact) -> bool:
    name, mode, digest = artifact
    assert isinstance(name, str)
    assert isinstance(mode, int)
    assert isinstance(digest, bytes)
    return _is_in_place(cabinet, safe_target(cabinet.root, name), mode, digest) or _has(cabinet, digest)


def _put_back(cabinet: Cabinet, artifact: Artifact) -> bool:
    name, mode, digest = artifact
    assert isinstance(name, str)
    assert isinstance(mode, int)
    assert isinstance(digest, bytes)
    target = safe_target(cabinet.root, name)
    if _is_in_place(cabinet, target, mode, digest):
        return True
    files = cabinet.files()
    held = None if files is None else files.hold(_key(digest)) if _is_large(cabinet, digest) else None
    if held is not None:
        try:
            restore(cabinet.root, name, held.path, mode=mode, link=True)
        finally:
            held.release()
        return True
    found = cabinet.peek_key(_key(digest))
    if not isinstance(found, Hit) or found.entry.digest != digest:
        return False
    content = found.value
    assert isinstance(content, bytes)
    restore(cabinet.root, name, content, mode=mode, link=False)
    return True


_MODE_BITS: Final = 0o777  # set-uid and its kin are never given back: see `outputs.restore`
_LARGE_BYTES: Final = 256 << 10


def _is_large(cabinet: Cabinet, digest: bytes) -> bool:
    entry = _entry(cabinet, digest)
    return entry is not None and entry.size_bytes > _LARGE_BYTES and entry.digest == digest


def _is_in_place(cabinet: Cabinet, target: Path, mode: int, digest: bytes) -> bool:
    try:
        status = os.lstat(target)
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_mode & _MODE_BITS != mode & _MODE_BITS:
        return False
    state = cabinet.digests.look(os.fspath(target))
    return state is not None and state.digest == digest
