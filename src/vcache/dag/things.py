"""Every path that a tree knows, with what was there and the signature that belongs to it.

A thing's number is its place in columns of fixed width. It knows files and digests, no nodes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from vcache.dag.frozen import Left, differing
from vcache.errors import FingerprintError
from vcache.fingerprint.digests import FileDigests, FileState, is_settled, signature
from vcache.hash import DIGEST_BYTES

__all__ = ["SIGNATURE_BYTES", "Things"]

_SIGNATURE: Final = Struct("<QqqQQ")
SIGNATURE_BYTES: Final = _SIGNATURE.size
_SIGNATURE_ROW: Final = Struct(f"{SIGNATURE_BYTES}s")
_NUMBERS: Final = SIGNATURE_BYTES // 8
_CTIME: Final = 2  # the place of ctime among them
_NONE: Final = bytes(DIGEST_BYTES)
_UNSETTLED: Final = bytes(SIGNATURE_BYTES)


class Things:
    """Paths by number.

    Args:
        base: the absolute directory that what lies below it is named by.
        paths: base-relative or absolute, in the order of their numbers.
        identities: 32 bytes each: the digest of a file's content; zeros when there is none. Left out
            for all zeros.
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
        self.identities = bytearray(identities or len(self.paths) * DIGEST_BYTES)
        self.hints = bytearray(hints or len(self.paths) * SIGNATURE_BYTES)
        self._numbers: dict[bytes, int] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def short(self, path: str) -> bytes:
        """The form in which a path, relative to the base or absolute, is kept."""
        full = path if path[:1] == "/" else self._prefix + path
        if "/." in full or "//" in full or full[-1:] == "/":
            full = os.path.normpath(full)
        full = full.removeprefix(self._prefix)
        return os.fsencode(full)

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

    def suspects(self, left: Left | None = None) -> list[int]:
        """The numbers of recorded files whose signature is not the one recorded, by one stat each.

        Args:
            left: what was looked at a moment ago.
        """
        places: Sequence[int] = range(len(self.paths))
        found: list[int] = []
        if left is not None:
            found += left.differing
            places = sorted(set(places).difference(left.numbers))
        found += self._differing(places)
        return [number for number in found if self.identity(number)]

    def _differing(self, numbers: Sequence[int]) -> Iterable[int]:
        whole = len(numbers) == len(self.paths)
        paths = self.paths if whole else [self.paths[number] for number in numbers]
        # Relative paths are shorter ways for the kernel; who stands elsewhere pays a tenth more.
        if os.getcwd() != self._base:
            prefix = os.fsencode(self._prefix)
            paths = [os.path.join(prefix, path) for path in paths]
        signs = memoryview(self.hints if whole else self.hints_of(numbers)).cast("q")
        return [numbers[place] for place in differing(paths, signs, may_fork=threading.active_count() == 1)]

    def refresh(self, number: int, digests: FileDigests) -> bool:
        """Look at a file's content; whether it is what is recorded. If so, its signature is renewed."""
        state = _look(self.full(number), digests)
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
        return _look(full, digests) if is_settled(status, now_ns) else None


def _look(full: str, digests: FileDigests) -> FileState | None:
    """What a file holds; None when there is none, or nothing that can be read."""
    try:
        return digests.look(full)
    except FingerprintError:
        return None
