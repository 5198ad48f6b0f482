"""Many things in groups that are dealt with at once. It must not know what they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

__all__ = ["batched", "batched_by_size"]

T = TypeVar("T")


def batched(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """Items in groups of so many, the last one of what is left: `itertools.batched` of Python 3.12.

    Args:
        items: read as far as groups are asked for.
        most: 1 or more.
    """
    rest = iter(items)
    while batch := list(islice(rest, most)):
        yield batch


def batched_by_size(
    items: Iterable[T], size_bytes: Callable[[T], int], *, most_bytes: int, most: int = sys.maxsize
) -> Iterator[list[T]]:
    """Items in groups of so many bytes together; one that is larger is alone.

    Args:
        size_bytes: of one item.
        most: how many a group may have.
    """
    batch: list[T] = []
    total_bytes = 0
    for item in items:
        own_bytes = size_bytes(item)
        if batch and (total_bytes + own_bytes > most_bytes or len(batch) >= most):
            yield batch
            batch, total_bytes = [], 0
        batch.append(item)
        total_bytes += own_bytes
    if batch:
        yield batch
