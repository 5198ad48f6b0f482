"""Every path that a tree knows, with what was there and the signature that belongs to it.

A thing's number is its place in columns of fixed width. It knows files and digests, no nodes.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from struct import Struct
from typing import Final

from vcache.errors import FingerprintError
from vcache.fingerprint.digests import FileDigests, FileState, is_settled, signature
from vcache.hash import DIGEST_BYTES

__all__ = ["SIGNATURE_BYTES", "Things"]

_SIGNATURE: Final = Struct("<QqqQQ")
SIGNATURE_BYTES: Final = _SIGNATURE.size
_signed = attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev")
_SIGNATURE_ROW: Final = Struct(f"{SIGNATURE_BYTES}s")
_NUMBERS: Final = SIGNATURE_BYTES // 8
_CTIME: Final = 2  # the place of ctime among them
_NONE: Final = bytes(DIGEST_BYTES)
_UNSETTLED: Final = bytes(SIGNATURE_BYTES)
_CHUNK: Final = 512
# As in `frozen`: below this a fork costs more than it saves.
_SHARE_LEAST: Final = 3000
_SHARES_MOST: Final = 4


class Things:
    """Paths by number.

    Args:
        base: the absolute directory that what lies below it is named by.
        paths: base-relative or absolute, in the order of their numbers.
        identities: 32 bytes each: the digest of a file's content; zeros when there is none.
        hints: 40 bytes each: the signature of a file with that content; zeros for not known.
    """

    __slots__ = ("_base", "_numbers", "_prefix", "hints", "identities", "paths")

    def __init__(
        self,
        base: str,
        paths: Iterable[bytes] = (),
        identities: bytes | memoryview = b"",
        hints: bytes | memoryview = b"",
    ) -> None:
        self._base = base
        self._prefix = os.path.join(base, "")
        self.paths = list(paths)
        self.identities = bytearray(identities)
        self.hints = bytearray(hints)
        self._numbers: dict[bytes, int] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def short(self, path: str) -> bytes:
        """The form in which a path, relative to the base or absolute, is kept."""
        full = path if path[:1] == "/" else self._prefix + path
        if "/." in full or "//" in full or full[-1:] == "/":
            full = os.path.normpath(full)
        full = full.removeprefix(self._prefix)
        return os.fsencode(full) or b"."

    def full(self, number: int) -> str:
        """A path in its absolute form."""
        return os.path.join(self._base, os.fsdecode(self.paths[number]))

    def find(self, path: str) -> int | None:
        """The number of a path, if it is known."""
        return self._index().get(self.short(path))

    def number(self, path: str) -> int:
        """The number of a path, a new one if need be."""
        short = self.short(path)
        numbers = self._index()
        known = numbers.get(short)
        if known is None:
            known = numbers[short] = len(self.paths)
            self.paths.append(short)
            self.identities += _NONE
            self.hints += _UNSETTLED
        return known

    def _index(self) -> dict[bytes, int]:
        if self._numbers is None:
            self._numbers = dict(zip(self.paths, range(len(self.paths)), strict=True))
        return self._numbers

    def identity(self, number: int) -> bytes:
        """The digest of what is recorded; b"" for nothing."""
        at = number * DIGEST_BYTES
        found = bytes(self.identities[at : at + DIGEST_BYTES])
        return b"" if found == _NONE else found

    def hint(self, number: int) -> bytes:
        """The signature that belongs to the identity; b"" when it is not known."""
        found = self.hint_at(number)
        return b"" if found == _UNSETTLED else found

    def unsettled(self) -> set[int]:
        """The numbers of all without a signature."""
        changed = memoryview(self.hints).cast("q")[_CTIME::_NUMBERS].tolist()
        return {number for number, ctime_ns in enumerate(changed) if not ctime_ns}

    def hints_of(self, numbers: Sequence[int]) -> bytes:
        """The signatures of some numbers, one behind the other."""
        if len(numbers) == len(self.paths):
            return bytes(self.hints)
        rows = list(_SIGNATURE_ROW.iter_unpack(self.hints))
        return b"".join([rows[number][0] for number in numbers])

    def hint_at(self, number: int) -> bytes:
        """The same as it is stored: zeros when it is not known."""
        return bytes(self.hints[number * SIGNATURE_BYTES : (number + 1) * SIGNATURE_BYTES])

    def set(self, number: int, identity: bytes, hint: bytes) -> None:
        """Record what is there."""
        self.identities[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES] = identity or _NONE
        self.hints[number * SIGNATURE_BYTES : (number + 1) * SIGNATURE_BYTES] = hint or _UNSETTLED

    def adopt(self, other: Things) -> None:
        """Take over what another one knows of the paths in this one."""
        for number, short in enumerate(self.paths):
            theirs = other._index().get(short)
            if theirs is not None:
                self.set(number, other.identity(theirs), other.hint(theirs))

    def suspects(self) -> list[int]:
        """The numbers of recorded files whose signature is not the one recorded, by one stat each."""
        # Relative paths are shorter ways for the kernel; who stands elsewhere pays a tenth more.
        prefix = b"" if os.getcwd() == self._base else os.fsencode(self._prefix)
        count = len(self.paths)
        shares = min(count // _SHARE_LEAST, _SHARES_MOST, len(os.sched_getaffinity(0)))
        if shares < 2 or threading.active_count() > 1:
            return list(self._suspects(0, count, prefix))
        size = -(-count // shares)
        children = [self._send_suspects(at, at + size, prefix) for at in range(size, count, size)]
        found = list(self._suspects(0, size, prefix))
        for child, descriptor, at in children:
            theirs = _received(child, descriptor)
            # Without an answer, such as when it was killed, its share is looked at here.
            found += self._suspects(at, at + size, prefix) if theirs is None else theirs
        return found

    def _send_suspects(self, at: int, end: int, prefix: bytes) -> tuple[int, int, int]:
        """Let a child look at a share: its number, where its answer is read, and where the share begins."""
        reads, writes = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child:
            os.close(writes)
            return child, reads, at
        status = 1
        try:
            os.close(reads)
            answer = memoryview(array("I", self._suspects(at, end, prefix)).tobytes())
            while answer:
                answer = answer[os.write(writes, answer) :]
            status = 0
        finally:
            os._exit(status)

    def _suspects(self, begin: int, end: int, prefix: bytes) -> Iterator[int]:
        for at in range(begin, min(end, len(self.paths)), _CHUNK):
            yield from self._suspects_of(at, min(at + _CHUNK, end), prefix)

    def _suspects_of(self, at: int, end: int, prefix: bytes) -> Iterator[int]:
        paths = self.paths[at:end]
        if prefix:
            paths = [os.path.join(prefix, path) for path in paths]
        expected = list(
            _SIGNATURE.iter_unpack(memoryview(self.hints)[at * SIGNATURE_BYTES : end * SIGNATURE_BYTES])
        )
        try:
            if list(map(_signed, map(os.stat, paths))) == expected:
                return
        except OSError:
            pass
        for number, (path, known) in enumerate(zip(paths, expected, strict=True), at):
            if not any(known) and not self.identity(number):
                continue
            try:
                if _signed(os.stat(path)) == known:
                    continue
            except OSError:
                pass
            yield number

    def refresh(self, number: int, digests: FileDigests) -> bool:
        """Look at a file's content; whether it is what is recorded. If so, its signature is renewed."""
        state = look(self.full(number), digests)
        if state is None or state.digest != self.identity(number) or not state.is_stable:
            return False
        self.set(number, state.digest, state.hint)
        return True

    def settle(self, number: int, identity: bytes, hint: bytes, *, digests: FileDigests, now_ns: int) -> None:
        """Record that a file held this when it was read or made.

        Without a signature that belongs to it, one is looked for. What changed since is not what was
        seen: it gets none, and the next run looks.
        """
        if not hint:
            state = self._settled(number, identity, digests, now_ns)
            if state is not None and state.digest == identity and state.is_stable:
                hint = state.hint
        self.set(number, identity, hint)

    def _settled(self, number: int, identity: bytes, digests: FileDigests, now_ns: int) -> FileState | None:
        full = self.full(number)
        try:
            status = os.stat(full)
        except OSError:
            return None
        if self.identity(number) == identity and self.hint(number) == signature(status):
            return FileState(identity, signature(status))
        # Read again only when that can help: a file of this moment has no sure signature yet.
        return look(full, digests) if is_settled(status, now_ns) else None


def _received(child: int, descriptor: int) -> list[int] | None:
    """What a child wrote; None if it did not end well."""
    with os.fdopen(descriptor, "rb") as file:
        answer = file.read()
    return None if os.waitpid(child, 0)[1] else memoryview(answer).cast("I").tolist()


def look(full: str, digests: FileDigests) -> FileState | None:
    """What a file holds; None when there is none, or nothing that can be read."""
    try:
        return digests.look(full)
    except FingerprintError:
        return None
