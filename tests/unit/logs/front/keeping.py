"""Stores and sinks that keep what they are told."""

from __future__ import annotations

from collections.abc import Sequence

from vcache.errors import StoreFull
from vcache.logs.record import Record

__all__ = ["Kept", "Store"]


class Store:
    """What of a log store a ring is drained into."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.syncs = 0
        self.is_full = False

    def append(self, records: Sequence[Record], *, sync: bool = True) -> object:
        if self.is_full:
            raise StoreFull("no space left")
        self.records.extend(records)
        self.syncs += sync
        return None

    @property
    def messages(self) -> list[str]:
        return [each.message for each in self.records]


class Kept:
    """A sink."""

    def __init__(self, *, level: int = 0, folds: bool = False) -> None:
        self.level, self.folds = level, folds
        self.records: list[Record] = []
        self.is_closed = False

    def write(self, record: Record) -> None:
        self.records.append(record)

    def close(self) -> None:
        self.is_closed = True

    @property
    def messages(self) -> list[str]:
        return [each.message for each in self.records]
