from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pathlib
import uuid
from collections import OrderedDict
from decimal import Decimal
from typing import NamedTuple

import pytest

from vcache.serialize import is_immutable


@dataclasses.dataclass(frozen=True)
class Ice:
    a: object


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    a: object


@dataclasses.dataclass
class Water:
    a: int


class Melted(Ice):
    """Inherits being frozen, and is not."""

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


class Pair(NamedTuple):
    a: object


class Colour(enum.Enum):
    RED = 1


class Text(str):  # noqa: SLOT000  # attributes are the point
    """May have attributes."""


def deep(depth: int) -> object:
    value: object = ({},)
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize(
    "value",
    [
        None, True, 1, 1.5, 1j, "x", b"x", range(3), Decimal(1), uuid.UUID(int=1), pathlib.Path("a"), Colour.RED,
        dt.datetime(2024, 1, 1), dt.date(2024, 1, 1), dt.time(1), dt.timedelta(1), dt.UTC,
        (), (1, "a"), ((1,), frozenset([2, (3,)])), frozenset(), Ice(1), Ice((Ice("x"),)), Slots((1,)), Pair(Pair(1)),
        (Decimal(1), Colour.RED), tuple(range(4096)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_immutable(value):
    """Values that nobody can change may be shared."""
    assert is_immutable(value)


def attributed() -> Ice:
    value = Ice(1)
    vars(value)["cache"] = []
    return value


@pytest.mark.parametrize(
    "value",
    [
        [], {}, set(), bytearray(), ([],), (1, (2, [])), Ice([]), Slots({}), Pair([]), Water(1), Melted(1), attributed(),
        OrderedDict(), Text("x"), object(), ValueError("x"), memoryview(b"x"), int, deep(3), deep(50), tuple(range(5000)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_not_immutable(value):
    """Values that can be changed, unknown ones, and those too large to ask, may not."""
    assert not is_immutable(value)
