"""What travels from a receiver to the store: lines or records of one peer, and the word that they are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from vcache.errors import StoreUnavailable
from vcache.logs.record import Record
from vcache.query.syntax import Value

__all__ = ["Decode", "Parcel", "Ticket", "size_of"]

Decode = Callable[[Sequence[bytes], int, Mapping[str, Value]], list[Record]]
"""Lines, the time at which they are read, and fields that all of them get: records. It never fails for what
a line says."""

_RECORD_BYTES: Final = 256  # what a record takes beside its message, by and large


class Ticket:
    """The word about what was handed in: whether it is kept.

    Attributes:
        count: records.
        error: why they are not kept; None as long as nothing is known, and when they are.
    """

    __slots__ = ("_has_ended", "_on_done", "count", "error")

    def __init__(self, on_done: Callable[[Ticket], object] | None = None) -> None:
        self._on_done = on_done
        self._has_ended = threading.Event()
        self.count = 0
        self.error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether something is known. Kept then, if there is no `error`."""
        return self._has_ended.is_set()

    def wait(self, timeout_s: float | None = None) -> None:
        """Until they are kept.

        Raises:
            StoreError: they are not, or nothing is known in time (then they may come to be kept yet).
        """
        if not self._has_ended.wait(timeout_s):
            raise StoreUnavailable(f"records were not kept within {timeout_s} s: the store does not answer")
        if self.error is not None:
            raise self.error

    def end(self, count: int, error: Exception | None = None) -> None:
        """Say what became of them. Never raises: it is called by who serves all others as well."""
        self.count, self.error = count, error
        self._has_ended.set()
        if self._on_done is not None:
            try:
                self._on_done(self)
            except Exception:  # a receiver that went away must not hold up the others
                from vcache.kit.logs import logger

                logger(__name__).exception("what a receiver does when its records are kept failed")


class Parcel:
    """Records, or lines that become records when it is their turn.

    Attributes:
        origin: which listener it came from, as counts have it.
        items: records when `decode` is None, else lines.
        count: of the items, or about how many records they are.
        size_bytes: by which it takes room.
        fields: what the peer is, for every record.
    """

    __slots__ = ("count", "decode", "fields", "items", "origin", "size_bytes", "ticket")

    def __init__(
        self,
        origin: str,
        items: Sequence[Record] | Sequence[bytes],
        *,
        size_bytes: int,
        count: int | None = None,
        decode: Decode | None = None,
        fields: Mapping[str, Value] | None = None,
        ticket: Ticket | None = None,
    ) -> None:
        self.origin, self.items = origin, items
        self.count = len(items) if count is None else count
        self.size_bytes, self.decode, self.ticket = size_bytes, decode, ticket
        self.fields: Mapping[str, Value] = fields or {}


def size_of(records: Sequence[Record]) -> int:
    """By how much records take room, by and large."""
    return _RECORD_BYTES * len(records) + sum([len(record.message) for record in records])
