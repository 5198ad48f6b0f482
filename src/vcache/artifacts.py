"""Output files as entries: taken in after a run, put back where a hit promises them.

Each regular file is an entry of its own, so that equal files of different runs are stored once and
large ones are never read into memory. Links and empty directories are told by the result itself.
It knows a small protocol of a cache, and nothing of what produced the files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from vcache.entry import Entry, Key, digest_in, make_key
from vcache.errors import FingerprintError, StoreError, UnsafePath, UsageError
from vcache.fingerprint.outputs import link_at, write_at
from vcache.fingerprint.restoring import Restorer
from vcache.outcome import Hit
from vcache.pieces import LINK, MODE_BITS, Artifact, Output, Piece, branch_of, planned
from vcache.store.base import Files, Listing, satisfies
from vcache.valuables import VERBATIM

if TYPE_CHECKING:
    from vcache.fingerprint.digests import FileDigests
    from vcache.outcome import Miss
    from vcache.store.base import HeldPath, Store

__all__ = [
    "LARGE_BYTES",
    "Artifact",
    "can_put_back",
    "can_put_in_place",
    "collect",
    "output_name",
    "plan",
    "put_back",
    "put_in_place",
]

_OUTPUTS: Final = ".outputs"
_PREFIX: Final = make_key(b"", namespace=_OUTPUTS)
LARGE_BYTES: Final = 256 << 10
"""From here on a file is cloned or copied by the kernel, not read into memory."""


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


# -- taking in -------------------------------------------------------------------------------------


def collect(
    cabinet: Cabinet, names: Iterable[str], *, restorer: Restorer | None = None
) -> list[Artifact] | None:
    """Keep what a run has made: files, links, directories with all below. None when a store refused.

    Args:
        restorer: of the root, where many results are collected.

    Raises:
        UsageError: a promised output is missing, or is a FIFO, socket or device.
        UnsafePath: a name that leads out of the root.
    """
    artifacts: dict[str, Artifact] = {}
    restorer = restorer or Restorer(cabinet.root)
    for name in names:
        restorer.find(name.rstrip("/"))  # checks the way to it
        path = os.path.join(cabinet.root, name.rstrip("/"))
        for artifact in _taken(cabinet, name.rstrip("/"), path):
            if artifact is None:
                return None
            artifacts[cast("str", artifact[0])] = artifact
    return list(artifacts.values())


def _taken(cabinet: Cabinet, name: str, path: str) -> Iterator[Artifact | None]:
    """The artifacts of one path; None among them where one cannot be kept."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"the output {name!r} was promised and not made (looked for {path})") from None
    if stat.S_ISLNK(mode):
        yield [name, LINK, os.fsencode(os.readlink(path))]
    elif stat.S_ISREG(mode):
        yield _taken_file(cabinet, name, path, mode)
    elif stat.S_ISDIR(mode):
        below = sorted(os.listdir(path))
        if not below:
            yield [name, stat.S_IFDIR | mode & MODE_BITS, b""]
        for part in below:
            yield from _taken(cabinet, f"{name}/{part}", os.path.join(path, part))
    else:
        raise UsageError(f"the output {name!r} is not a file, link or directory: it has no content to keep")


def _taken_file(cabinet: Cabinet, name: str, path: str, mode: int) -> Artifact | None:
    state = cabinet.digests.look(path)
    if state is None or not state.is_stable:
        return None  # it is still being written to: nobody knows what it will be
    if not _is_near(cabinet, state.digest) and not cabinet.put_file_key(_key(state.digest), Path(path)):
        return None
    return [name, mode & MODE_BITS, state.digest]


# -- putting back ----------------------------------------------------------------------------------


def put_back(cabinet: Cabinet, artifacts: Sequence[Artifact], outs: Sequence[str] | None = None) -> bool:
    """Make the root hold these outputs; False when one of them cannot be had. See `put_in_place`.

    Args:
        outs: the names the outputs go by; None when each artifact is one.

    Raises:
        UnsafePath: a name that leads out of the root: such a result is not to be trusted.
        OSError: something cannot be written.
    """
    outputs = planned(artifacts, outs)
    return outputs is not None and put_in_place(cabinet, outputs) is not None


def can_put_back(cabinet: Cabinet, artifacts: Sequence[Artifact], outs: Sequence[str] | None = None) -> bool:
    """Whether `put_back` would find each of these outputs in place or in a store.

    Raises:
        UnsafePath: a name that leads out of the root.
    """
    outputs = planned(artifacts, outs)
    return outputs is not None and can_put_in_place(cabinet, outputs)


def plan(artifacts: object, outs: Sequence[str]) -> list[Output] | None:
    """What is to be put back, if something stored is a list of artifacts for exactly these outputs."""
    try:
        return planned(artifacts, outs) if isinstance(artifacts, list) else None
    except UnsafePath:
        return None


def put_in_place(
    cabinet: Cabinet,
    outputs: Sequence[Output],
    *,
    restorer: Restorer | None = None,
    is_small: bool = False,
) -> tuple[str, ...] | None:
    """Make the root hold these outputs; the names that were written, or None when one cannot be had.

    What already has the content and mode is left alone, with its modification time. A directory
    output holds afterwards what it held, and nothing else.

    Args:
        restorer: of the root, where many results are put back.
        is_small: all of it can be read into memory.

    Raises:
        UnsafePath: a link leads out of the root, or a directory is in a file's place.
        OSError: something cannot be written.
    """
    restorer = restorer or Restorer(cabinet.root)
    source = _whole if is_small else _source_of
    if len(outputs) == 1 and not outputs[0].is_tree:
        return _put_one(cabinet, restorer, outputs[0].pieces[0], source)
    if not can_put_in_place(cabinet, outputs, restorer=restorer):
        return None  # known before anything is written
    written: list[str] = []
    for output in outputs:
        if output.is_tree:
            one = _put_tree(cabinet, restorer, output, source)
        else:
            one = _put_one(cabinet, restorer, output.pieces[0], source)
        if one is None:
            return None
        written += one
    return tuple(written)


def can_put_in_place(
    cabinet: Cabinet, outputs: Sequence[Output], *, restorer: Restorer | None = None
) -> bool:
    """Whether `put_in_place` would find each of these outputs in place or in a store.

    Raises:
        UnsafePath: a link leads out of the root.
    """
    restorer = restorer or Restorer(cabinet.root)
    for output in outputs:
        for piece in output.pieces:
            spot = None if _is_cut_off(cabinet, output, piece) else restorer.find(piece.name)
            is_there = spot is not None and _is_in_place(cabinet, piece, spot.directory.fd, spot.last)
            if piece.is_file and not is_there and not _has(cabinet, piece.content):
                return False
    return True


# -- one output ------------------------------------------------------------------------------------


def _put_one(cabinet: Cabinet, restorer: Restorer, piece: Piece, source: _Source) -> tuple[str, ...] | None:
    spot = restorer.find(piece.name)
    if spot is not None and _is_in_place(cabinet, piece, spot.directory.fd, spot.last):
        return ()
    if piece.is_link:
        restorer.link(spot or restorer.make(piece.name), piece.content)
        return (piece.name,)
    content = source(cabinet, piece.content)
    if content is None:
        return None
    spot = spot or restorer.make(piece.name)
    if isinstance(content, bytes):
        restorer.write(spot, content, mode=piece.mode, link=False)
        return (piece.name,)
    try:
        restorer.write(spot, content.path, mode=piece.mode, link=True)
    finally:
        content.release()
    return (piece.name,)


def _put_tree(
    cabinet: Cabinet, restorer: Restorer, output: Output, source: _Source
) -> tuple[str, ...] | None:
    """Put a directory back, with all below it."""
    by_name = {piece.name: piece for piece in output.pieces}
    written: list[str] = []
    for fd, directory, leaves, is_changed in restorer.tree(output.name, branch_of(output)):
        if is_changed:
            written.append(directory)
        empty = by_name.get(directory)
        if empty is not None and stat.S_IMODE(os.fstat(fd).st_mode) & MODE_BITS != empty.mode & MODE_BITS:
            os.fchmod(fd, empty.mode & MODE_BITS)
            written += () if is_changed else (directory,)
        for leaf in leaves:
            piece = by_name[f"{directory}/{leaf}"]
            if _is_in_place(cabinet, piece, fd, leaf):
                continue
            if not _write_leaf(cabinet, piece, fd, leaf, source):
                return None
            written.append(piece.name)
    return tuple(written)


def _write_leaf(cabinet: Cabinet, piece: Piece, fd: int, leaf: str, source: _Source) -> bool:
    if piece.is_link:
        link_at(fd, leaf, piece.content)
        return True
    content = source(cabinet, piece.content)
    if content is None:
        return False
    if isinstance(content, bytes):
        write_at(fd, leaf, content, mode=piece.mode, link=False)
        return True
    try:
        write_at(fd, leaf, content.path, mode=piece.mode, link=True)
    finally:
        content.release()
    return True


def _is_cut_off(cabinet: Cabinet, output: Output, piece: Piece) -> bool:
    """Whether something else stands where a directory output had a directory: it will not stay."""
    if not output.is_tree:
        return False
    path = os.path.join(cabinet.root, output.name)
    for part in piece.name[len(output.name) + 1 :].split("/"):
        if os.path.islink(path) or not os.path.isdir(path):
            return True
        path = os.path.join(path, part)
    return False


def _is_in_place(cabinet: Cabinet, piece: Piece, dir_fd: int, last: str) -> bool:
    try:
        mode = os.stat(last, dir_fd=dir_fd, follow_symlinks=False).st_mode
        if piece.is_link:
            return stat.S_ISLNK(mode) and os.readlink(os.fsencode(last), dir_fd=dir_fd) == piece.content
        if not (stat.S_ISREG(mode) and piece.is_file and mode & MODE_BITS == piece.mode):
            return False
        state = cabinet.digests.look(os.path.join(cabinet.root, piece.name))
    except (OSError, FingerprintError):
        return False
    return state is not None and state.digest == piece.content


# -- what the cache holds --------------------------------------------------------------------------


def _key(digest: bytes) -> Key:
    return _PREFIX + digest


def _has(cabinet: Cabinet, digest: bytes) -> bool:
    found = _entry(cabinet, digest)
    return found is not None and found.digest == digest


def _is_near(cabinet: Cabinet, digest: bytes) -> bool:
    """Whether the tier of files has it: another machine is not asked whether it wants what was made here."""
    files = cabinet.files()
    if files is None or not satisfies(files, Listing):
        return _has(cabinet, digest)
    try:
        found = files.entry(_key(digest))
    except (StoreError, OSError):
        return False
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


_Source: TypeAlias = "Callable[[Cabinet, bytes], bytes | HeldPath | None]"
"""The content of a file by its digest: bytes, a file of the store that is held, or None."""


def _source_of(cabinet: Cabinet, digest: bytes) -> bytes | HeldPath | None:
    """The content of a file of whatever size."""
    entry = _entry(cabinet, digest)
    if entry is None or entry.digest != digest:
        return None
    files = cabinet.files() if entry.size_bytes > LARGE_BYTES else None
    held = None if files is None else files.hold(_key(digest))
    return _whole(cabinet, digest) if held is None else held


def _whole(cabinet: Cabinet, digest: bytes) -> bytes | None:
    """The content of a small file, or of one that no tier has as a file."""
    key = _key(digest)
    files = cabinet.files()
    if files is not None and (content := _verbatim(files, key, digest)) is not None:
        return content
    found = cabinet.peek_key(key)
    if not isinstance(found, Hit) or found.entry.digest != digest:
        return None
    return found.value if isinstance(found.value, bytes) else None


def _verbatim(files: Files, key: Key, digest: bytes) -> bytes | None:
    """What the tier of files has, as it is: not copied to the tiers above, which gain nothing by it."""
    store = cast("Store", files)
    if not store.info.is_trusted:
        return None
    try:
        record = store.get(key)
    except (StoreError, OSError):
        return None
    if record is None or record.head[1] != VERBATIM or digest_in(record.head) != digest:
        return None
    return bytes(record.body)
