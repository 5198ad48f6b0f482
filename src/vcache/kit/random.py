"""Seeded randomness: equal for equal seeds in every process, on every machine and version of Python.

For jitter, sampling and tests; nothing secret is made of it. It must not know what is drawn.
"""

from __future__ import annotations

import os
from collections.abc import MutableSequence, Sequence
from typing import Final, TypeVar

from vcache.errors import UsageError
from vcache.kit.ids import share_of

__all__ = ["Seeded", "seed_of"]

T = TypeVar("T")

_MASK: Final = (1 << 64) - 1


def seed_of(*words: str) -> int:
    """A seed that depends on nothing but those words."""
    return int(share_of(*words) * (1 << 53))


class Seeded:
    """A stream of numbers: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014).

    The standard library's `random` costs 2 ms of imports, and what its methods draw of a seed has
    changed between versions of Python.

    Args:
        seed: any whole number; None for one of the system's.

    Threads: one stream for one thread.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int | None = None) -> None:
        self._state = (int.from_bytes(os.urandom(8), "big") if seed is None else seed) & _MASK

    def word(self) -> int:
        """64 bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
        return mixed ^ mixed >> 31

    def bits(self, count: int) -> int:
        """That many bits: what `RandomBits` asks for."""
        drawn = 0
        for _ in range((count + 63) // 64):
            drawn = drawn << 64 | self.word()
        return drawn >> (-count % 64)

    def share(self) -> float:
        """A number in [0, 1)."""
        # 53 bits: what a float holds without rounding up to 1.0.
        return (self.word() >> 11) / (1 << 53)

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self.share()

    def below(self, bound: int) -> int:
        """A whole number in [0, bound), each as likely as the other.

        Raises:
            UsageError: there is none.
        """
        if bound < 1:
            raise UsageError(f"no whole number is in [0, {bound!r}): give a bound of 1 or more")
        count = (bound - 1).bit_length()
        while (drawn := self.bits(count)) >= bound:  # at most every second one: no bias to correct
            pass
        return drawn

    def choice(self, items: Sequence[T]) -> T:
        """One of the items.

        Raises:
            UsageError: there are none.
        """
        if not items:
            raise UsageError("nothing to choose from: the sequence is empty")
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Put the items in random order, in place (Fisher and Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
