"""What nodes wrote, kept in the cache by the digest of it (docs/design/runs.md).

It knows chunks and a cache, and nothing of nodes and runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from vcache.entry import make_key
from vcache.hash import digest
from vcache.outcome import Hit

if TYPE_CHECKING:
    from vcache.making import Keeper

__all__ = ["Chunks", "keep", "log_digest", "recall"]

Chunks: TypeAlias = tuple[tuple[int, int, bytes], ...]
"""1 for standard output or 2 for standard error, ns since the start, bytes."""

_NAMESPACE: Final = ".logs"


def log_digest(chunks: Sequence[tuple[int, int, bytes]]) -> bytes:
    """What tells one output from another: streams and bytes, not times; b"" for none."""
    if not chunks:
        return b""
    parts: list[bytes] = []
    for stream, _, data in chunks:
        parts += bytes((stream,)), len(data).to_bytes(8, "little"), data
    return digest(b"".join(parts))


def keep(keeper: Keeper, chunks: Chunks) -> bytes:
    """Keep what a node wrote, if the cache takes anything; its digest."""
    log = log_digest(chunks)
    if log and not keeper.is_disabled and not keeper.is_read_only:
        # Where no descriptors are left, what encodes it may be a module that cannot be read.
        with suppress(OSError, ImportError):
            keeper.put_key(make_key(log.hex(), namespace=_NAMESPACE), [list(chunk) for chunk in chunks])
    return log


def recall(keeper: Keeper, log: str) -> Chunks | None:
    """What a node wrote, by its digest in hex; () where that is "", and None when it is gone."""
    if not log:
        return ()
    found = keeper.peek_key(make_key(log, namespace=_NAMESPACE))
    if not isinstance(found, Hit) or not isinstance(found.value, list):
        return None
    try:
        return tuple((int(stream), int(at_ns), bytes(data)) for stream, at_ns, data in found.value)
    except (TypeError, ValueError):
        return None  # another program's
