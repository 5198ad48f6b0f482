"""Where the queues of a server are: at an address that was said, or in files beside its store. Opens nothing by itself."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.server.jobs.queues import Queues

if TYPE_CHECKING:
    from vcache.jobs.base import Queue

__all__ = ["name_of", "queues_of"]

_OWN: Final = "_"  # no namespace of a token begins so


def queues_of(address: str | None, directory: Path | None) -> Queues:
    """The queues of a server.

    Args:
        address: as `open_queue` takes it; None for one beside the store.
        directory: of the store; None where it has none.
    """
    if address is not None:
        return Queues(partial(_opened, address))
    if directory is None:
        return Queues(None)
    place = directory / "jobs"
    return Queues(
        partial(_opened, str(place)),
        are_kept=lambda namespace: _file(place, namespace).exists(),
        size_bytes=lambda namespace: _size_bytes(_file(place, namespace)),
    )


def name_of(namespace: str) -> str:
    """The namespace of a queue, for that of a token: a queue takes not all that a token does."""
    if namespace.endswith("."):
        return f"{_OWN}{namespace}{_OWN}"
    return f"{_OWN}{namespace}" if namespace == "default" else namespace


def _opened(address: str, namespace: str) -> Queue:
    from vcache.jobs.opening import open_queue

    return open_queue(address, namespace=name_of(namespace))


def _file(place: Path, namespace: str) -> Path:
    return place / f"{name_of(namespace) or 'default'}.db"  # as `vcache.jobs.sqlite` has it


def _size_bytes(file: Path) -> int:
    """A queue's file and what stands beside it until it is taken in."""
    found = 0
    for path in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}.log")):
        with contextlib.suppress(OSError):
            found += path.stat().st_size
    return found
