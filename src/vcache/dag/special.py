"""How links and directories look as a whole, by the signatures of all that is in them.

Their content is for others to judge: here is only said whether anything can have changed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from vcache.dag.frozen import DIRECTORY
from vcache.fingerprint.digests import WINDOW_NS, signature
from vcache.hash import checksum_parts

__all__ = ["sign_of", "special_rows", "special_sign"]


def special_rows(full: str) -> list[tuple[str, bytes, os.stat_result]]:
    """Path, signature and status of a link, or of a directory and all that is below it.

    Raises:
        OSError: something cannot be looked at.
    """
    return sorted((path, signature(status), status) for path, status in _walk(full))


def _walk(full: str) -> Iterator[tuple[str, os.stat_result]]:
    rest = [full.rstrip("/") or "/"]
    while rest:
        path = rest.pop()
        status = os.lstat(path)
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            rest += [os.path.join(path, name) for name in os.listdir(path) if name != DIRECTORY]


def special_sign(full: str, began_ns: int) -> bytes:
    """What stands for all signatures together; b"" when that is not sure, or nothing is there.

    Args:
        began_ns: when the run began that knows the content. What has not changed since well before
            then is what it saw.
    """
    try:
        rows = special_rows(full)
    except OSError:
        return b""
    if any(status.st_ctime_ns >= began_ns - WINDOW_NS for _, _, status in rows):
        return b""
    return sign_of(rows)


def sign_of(rows: Iterable[tuple[str, bytes, os.stat_result]]) -> bytes:
    """What stands for these signatures together."""
    return checksum_parts(part for path, sign, _ in rows for part in (os.fsencode(path), b"\0", sign))
