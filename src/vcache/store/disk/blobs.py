"""Blobs: large bodies as files of their own, named by their content's BLAKE3.

A blob file holds the packed body and nothing else, so that an unpacked one can be linked,
mapped or handed out by path. It is written under a temporary name and renamed; it never
changes. Who uses a file holds a shared lock on it, and whoever would remove it asks for the
exclusive one first. Normative names: docs/design/format.md.

It knows nothing of the index.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeGuard

from vcache.entry import FIXED, Encoding
from vcache.hash import checksum, file_digest

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.store.disk.segments import Raw

__all__ = ["BLOB_KEY_BYTES", "Blobs", "Held", "Seal", "Staged", "blob_key", "is_referring", "split_blob_key"]

_KEY_MARK: Final = b"\0B"  # no canonical key has a NUL first and a kind byte "B"
_CONTENT_BYTES: Final = slice(FIXED.size - 48, FIXED.size - 40)  # of a head: the content's length
_EMPTY: Final = bytes(8)
BLOB_KEY_BYTES: Final = len(_KEY_MARK) + 33
_SUFFIXES: Final = {Encoding.IDENTITY: "", Encoding.LZ4: ".lz4", Encoding.ZSTD: ".zst"}
# Smaller pieces take a fifth longer (benchmarks/results: chunks).
_CHUNK_BYTES: Final = 1 << 20
# Reading into fresh memory beats mapping below this size (benchmarks/results: disk).
_MAPPED_BYTES: Final = 1 << 20
# Up to here a body that is in memory is read by whoever must not wait: 0.2 ms.
_AT_HAND_BYTES: Final = 2 << 20
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", 0)
_FICLONE: Final = 0x40049409
# Between the making of a temporary file and its lock lie microseconds.
_ABANDONED_S: Final = 60.0


def blob_key(digest: bytes, encoding: int) -> bytes:
    """The index key of a shared body."""
    return _KEY_MARK + bytes((encoding,)) + digest


def split_blob_key(key: bytes) -> tuple[bytes, Encoding] | None:
    """The digest and encoding that `blob_key` joined; None for any other head."""
    if len(key) != BLOB_KEY_BYTES or not key.startswith(_KEY_MARK) or key[2] not in _SUFFIXES:
        return None
    return key[3:], Encoding(key[2])


def is_referring(entry: Raw) -> bool:
    """Whether an entry's body lies elsewhere, under its blob key.

    The record says it itself, by having no body for a content that is not empty: an index row,
    which could say it as well, is not checked.
    """
    return not entry.body and entry.head[_CONTENT_BYTES] != _EMPTY


class Seal:
    """What is known of a blob file: its length and the checksum of its bytes."""

    __slots__ = ("check", "size_bytes")
    _LAYOUT: Final = struct.Struct("<Q16s")
    BYTES: Final = _LAYOUT.size

    def __init__(self, size_bytes: int, check: bytes) -> None:
        self.size_bytes = size_bytes
        self.check = check

    def to_bytes(self) -> bytes:
        """The 24 bytes kept in a FILE record."""
        return self._LAYOUT.pack(self.size_bytes, self.check)

    @classmethod
    def of(cls, body: memoryview) -> Seal | None:
        """The seal that a shared record's body is, or None when it is the shared body itself.

        The record says which, as it is checked and an index row is not: bodies as short as a seal
        are never shared.
        """
        return cls(*cls._LAYOUT.unpack(body)) if len(body) == cls.BYTES else None


class Held:
    """A blob file under a shared lock: it stays where it is until released or dropped."""

    __slots__ = ("__weakref__", "_release", "fd", "path")

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._release = weakref.finalize(self, os.close, fd)

    def release(self) -> None:
        """Let go of the file. May be called again."""
        self._release()


class Staged:
    """A file without its name yet. Dropped, it leaves nothing behind."""

    __slots__ = ("__weakref__", "discard", "fd", "path", "seal")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.seal = Seal(0, b"")
        self.discard = weakref.finalize(self, _close_and_unlink, fd, path, os.getpid())


def _close_and_unlink(fd: int, path: str, pid: int) -> None:
    os.close(fd)
    if os.getpid() != pid:
        return  # a forked child: the file is its parent's
    with contextlib.suppress(OSError):
        os.unlink(path)


class Blobs:
    """The blob files of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "blobs"
        self._scratch = directory / "tmp"

    def path(self, digest: bytes, encoding: int) -> Path:
        """Where a blob lies."""
        name = digest.hex()
        return self._directory / name[:2] / (name[2:] + _SUFFIXES[Encoding(encoding)])

    def stage(self, body: Buffer) -> Staged:
        """Write a body under a temporary name, to be named when its digest is known.

        Raises:
            OSError: it could not be written whole; nothing is left then.
        """
        view = memoryview(body).cast("B")
        staged = self._temporary()
        try:
            for start in range(0, len(view), _CHUNK_BYTES):
                chunk = view[start : start + _CHUNK_BYTES]
                done = os.write(staged.fd, chunk)
                while done < len(chunk):  # a short write announces a full disk: the next one says so
                    done += os.write(staged.fd, chunk[done:])
        except BaseException:
            staged.discard()
            raise
        staged.seal = Seal(len(view), checksum(view))
        return staged

    def is_staged(self, token: object) -> TypeGuard[Staged]:
        """Whether something is a file staged here that waits for its name."""
        if not isinstance(token, Staged) or not token.discard.alive:
            return False
        return os.path.dirname(token.path) == os.fspath(self._scratch)

    def publish(self, staged: Staged, digest: bytes, encoding: int) -> Seal:
        """Give a staged file its name, unless a sound one has it: that may be held by its name."""
        path = self.path(digest, encoding)
        try:
            os.fchmod(staged.fd, 0o444)
            try:
                os.link(staged.path, path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(staged.path, path)
        except OSError:
            # The name is taken, or the file system knows no links.
            if not self.is_sound(digest, encoding, staged.seal):
                path.parent.mkdir(parents=True, exist_ok=True)
                os.rename(staged.path, path)
        finally:
            staged.discard()
        return staged.seal

    def write(self, digest: bytes, encoding: int, body: Buffer) -> Seal:
        """Keep a body as a file.

        Raises:
            OSError: it could not be written whole; nothing is visible then.
        """
        return self.publish(self.stage(body), digest, encoding)

    def adopt(self, source: Path, *, move: bool) -> tuple[bytes, Seal]:
        """Keep the content of a file: cloned where the file system can, else copied.

        The digest is that of the kept bytes, so a source that changes meanwhile does no harm.
        """
        staged = self._temporary()
        try:
            _copy(source, staged.fd)
            size_bytes = os.fstat(staged.fd).st_size
            digest = file_digest(staged.path, size_bytes=size_bytes)
            with _mapped(staged.fd, size_bytes) as content:
                staged.seal = Seal(size_bytes, checksum(content))
            seal = self.publish(staged, digest, Encoding.IDENTITY)
        finally:
            staged.discard()
        if move:
            source.unlink(missing_ok=True)
        return digest, seal

    def read(self, digest: bytes, encoding: int, seal: Seal, *, mapped: bool) -> Buffer | None:
        """A blob's verified bytes, or None when the file is gone or damaged.

        Raises:
            OSError: the file is there and cannot be opened or read.
        """
        try:
            fd = os.open(self.path(digest, encoding), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if os.fstat(fd).st_size != seal.size_bytes:
                return None
            body: Buffer
            if mapped and seal.size_bytes >= _MAPPED_BYTES:
                body = memoryview(_map(fd, seal.size_bytes))
            else:
                body = _read_whole(fd, seal.size_bytes)
        finally:
            os.close(fd)
        return body if checksum(body) == seal.check else None

    def read_at_hand(self, digest: bytes, encoding: int, seal: Seal) -> Buffer | None:
        """A blob's verified bytes if the kernel has them in memory; None wherever one would wait."""
        if not _NOWAIT or seal.size_bytes > _AT_HAND_BYTES:
            return None
        try:
            fd = os.open(self.path(digest, encoding), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if os.fstat(fd).st_size != seal.size_bytes or not _is_at_hand(fd, seal.size_bytes):
                return None
            body = _read_whole(fd, seal.size_bytes)
        except OSError:
            return None
        finally:
            os.close(fd)
        return body if checksum(body) == seal.check else None

    def is_sound(self, digest: bytes, encoding: int, seal: Seal) -> bool:
        """Whether the file is there and unharmed."""
        try:
            return self.read(digest, encoding, seal, mapped=True) is not None
        except OSError:
            return False

    def exists(self, digest: bytes, encoding: int) -> bool:
        """Whether the file is there."""
        return os.path.exists(self.path(digest, encoding))

    def hold(self, digest: bytes, encoding: int, seal: Seal) -> Held | None:
        """Open and lock a verified blob file; None when it is gone or damaged."""
        path = self.path(digest, encoding)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        held = Held(path, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            held.release()  # about to be removed
            return None
        stat = os.fstat(fd)
        # Removed between open and lock: the lock is on a file without a name.
        if stat.st_nlink == 0 or stat.st_size != seal.size_bytes:
            held.release()
            return None
        with _mapped(fd, seal.size_bytes) as content:
            is_sound = checksum(content) == seal.check
        if not is_sound:
            held.release()
            return None
        return held

    def open(self, held: Held) -> BinaryIO:
        """A stream over a held file, which stays held until the stream is closed and dropped."""
        stream = open(os.dup(held.fd), "rb")  # noqa: SIM115  # handed to the caller
        stream.seek(0)
        weakref.finalize(stream, held.release)
        return stream

    def remove(self, digest: bytes, encoding: int) -> int | None:
        """Remove a file unless somebody holds it: bytes given back, None when held."""
        path = self.path(digest, encoding)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            freed = os.fstat(fd).st_blocks * 512
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return None
        finally:
            os.close(fd)
        return freed

    def quarantine(self, digest: bytes, encoding: int, aside: Path) -> None:
        """Move a damaged file out of sight."""
        path = self.path(digest, encoding)
        with contextlib.suppress(OSError):
            aside.mkdir(exist_ok=True)
            os.replace(path, aside / f"{path.parent.name}{path.name}")
            os.utime(aside / f"{path.parent.name}{path.name}")  # evidence ages from its finding

    def walk(self) -> Iterator[tuple[bytes, Encoding, os.stat_result]]:
        """All blob files: digest, encoding, stat."""
        encodings = {suffix: encoding for encoding, suffix in _SUFFIXES.items()}
        for folder in sorted(self._directory.glob("??")):
            for file in sorted(folder.glob("*")):
                with contextlib.suppress(ValueError, KeyError, FileNotFoundError):
                    stem, dot, suffix = file.name.partition(".")
                    yield bytes.fromhex(folder.name + stem), encodings[dot + suffix], file.stat()

    def sweep_scratch(self) -> int:
        """Remove temporary files that a killed writer left long ago; bytes given back."""
        freed, before = 0, time.time() - _ABANDONED_S
        for file in self._scratch.iterdir() if self._scratch.exists() else ():
            with contextlib.suppress(OSError):
                stat = file.stat()
                if stat.st_mtime < before and not _is_in_use(file):
                    file.unlink()
                    freed += stat.st_blocks * 512
        return freed

    def _temporary(self) -> Staged:
        self._scratch.mkdir(parents=True, exist_ok=True)
        fd, name = _new_file(os.fspath(self._scratch))
        staged = Staged(name, fd)
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # says that its writer lives
        return staged


def _new_file(directory: str) -> tuple[int, str]:
    """An empty file of a name that nobody uses: `tempfile.mkstemp` without 4 ms of imports."""
    while True:
        name = f"{directory}/{os.urandom(8).hex()}"
        with contextlib.suppress(FileExistsError):
            return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), name


def _is_in_use(file: Path) -> bool:
    """Whether a temporary file's writer lives: the kernel lets go of its lock with it."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _map(fd: int, size_bytes: int) -> mmap.mmap:
    # Populated at once: one fault instead of one a page.
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    return mmap.mmap(fd, size_bytes, flags=flags, prot=mmap.PROT_READ)


@contextlib.contextmanager
def _mapped(fd: int, size_bytes: int) -> Iterator[Buffer]:
    if size_bytes == 0:
        yield b""
        return
    with _map(fd, size_bytes) as content:
        yield content


def _read_whole(fd: int, size_bytes: int) -> bytes:
    data = os.read(fd, size_bytes)
    if len(data) == size_bytes:
        return data
    pieces = [data]
    while piece := os.read(fd, size_bytes - sum(map(len, pieces))):
        pieces.append(piece)
    return b"".join(pieces)


def _is_at_hand(fd: int, size_bytes: int) -> bool:
    """Whether the kernel has the first and the last page of a file in memory, and so most likely all."""
    probe = (bytearray(1),)
    try:
        return all(os.preadv(fd, probe, place, _NOWAIT) == 1 for place in (0, size_bytes - 1))
    except OSError:  # it does not, or the file system cannot say
        return False


def _copy(source: Path, fd: int) -> None:
    with open(source, "rb", buffering=0) as file:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _FICLONE, file.fileno())
            return
        while True:
            try:
                if os.copy_file_range(file.fileno(), fd, 1 << 30) == 0:
                    return
            except OSError:
                break  # another kind of file system: by hand, from where it stopped
        while chunk := file.read(_CHUNK_BYTES):
            done = 0
            while done < len(chunk):
                done += os.write(fd, memoryview(chunk)[done:])
