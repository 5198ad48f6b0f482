"""Names of contents in ByteStream: `[{instance}/]blobs/[{function}/]{hash}/{size}` and the like. No I/O.

An instance may have any segments but keywords, so that the keyword tells where it ends.
"""

from __future__ import annotations

import re
from typing import Final

from vcache.kit.data import NamedTuple
from vcache.server.refused import Refusal, Refused
from vcache.server.results import HASH

__all__ = ["Resource", "parse"]

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_BLOBS: Final = "blobs"
_PACKED: Final = "compressed-blobs"
_UPLOADS: Final = "uploads"
_FUNCTIONS: Final = frozenset({"sha256", "blake3"})
_MOST_CHARACTERS: Final = 1024


class Resource(NamedTuple):
    """What a name stands for.

    Attributes:
        size_bytes: of the content, unpacked.
        is_packed: it is sent as Zstandard.
        is_blake3: the hash is a BLAKE3, which a name has to say; else SHA-256.
        upload: the rest of the name of an upload; empty of a download.
    """

    hash: str
    size_bytes: int
    is_packed: bool
    upload: str
    is_blake3: bool = False


def parse(name: str, *, is_upload: bool) -> Resource:
    """The parts of a name.

    Raises:
        Refused: it is none, or of a function or packing that is not spoken here.
    """
    if len(name) > _MOST_CHARACTERS:
        raise Refused(Refusal.MALFORMED, f"a resource name of {len(name)} characters")
    parts = name.split("/")
    upload = ""
    if is_upload:
        start = _index(parts, (_UPLOADS,))
        if start < 0 or len(parts) < start + 2:
            raise _wrong(name)
        upload, parts = parts[start + 1], parts[start + 2 :]
    start = _index(parts, (_BLOBS, _PACKED))
    if start < 0 or (is_upload and start) or _UPLOADS in parts[:start]:
        raise _wrong(name)
    is_packed = parts[start] == _PACKED
    rest = parts[start + 1 :]
    if is_packed:
        if not rest or rest[0] != "zstd":
            raise Refused(Refusal.MALFORMED, f"{name!r:.200}: contents are packed as zstd only")
        del rest[0]
    is_blake3 = rest[:1] == ["blake3"]
    if rest and not HASH.fullmatch(rest[0]):
        if rest[0] not in _FUNCTIONS:
            raise Refused(Refusal.MALFORMED, f"{name!r:.200}: contents are named by SHA-256 or BLAKE3")
        del rest[0]
    if len(rest) < 2 or not HASH.fullmatch(rest[0]) or not _SIZE.fullmatch(rest[1]):
        raise _wrong(name)
    # What follows is the client's own note.
    return Resource(rest[0], int(rest[1]), is_packed, upload, is_blake3)


def _index(parts: list[str], words: tuple[str, ...]) -> int:
    return next((at for at, part in enumerate(parts) if part in words), -1)


def _wrong(name: str) -> Refused:
    return Refused(Refusal.MALFORMED, f"{name!r:.200} is no resource name of a content")
