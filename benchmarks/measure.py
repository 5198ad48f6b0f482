"""Timing: sides take turns, round by round, so that the machine's moods hit all of them.

It knows nothing of what it times.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TypeVar

from benchmarks.result import Figure, Spread

__all__ = ["Scale", "take_turns", "time_alone"]

A = TypeVar("A")

_PER_US = 1e3
_PER_MS = 1e6
_SINGLE_MOST = 500


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: the real thing, or just enough to see that it runs."""

    is_smoke: bool = False
    rounds: int = 15

    def pick(self, full: int, smoke: int) -> int:
        """A number of calls, entries or bytes."""
        return smoke if self.is_smoke else full


def take_turns(
    sides: Mapping[str, Callable[[A], object]],
    arguments: Callable[[int], Sequence[A]],
    *,
    rounds: int,
    once: bool = False,
    after: Callable[[int], object] | None = None,
) -> dict[str, Figure]:
    """What a call costs on each side, in µs.

    A round's value is the mean of its calls, timed as one loop; the spread is of calls timed
    one by one. The first side of a round is another one each time.

    Args:
        sides: what is called, by name.
        arguments: what it is called with, one call each; made anew for a round, outside the clock.
        once: a call may not be repeated with the same argument (a put of a new key), so that
            the calls timed one by one are those of the mean as well.
        after: called after each round, outside the clock, such as to remove what was written.
    """
    names = list(sides)
    means: dict[str, list[float]] = {name: [] for name in names}
    singles: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):  # one round to warm up
        given = arguments(number)
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            call = sides[name]
            gc.collect()
            mean = None if once else _loop(call, given)
            total, each = _one_by_one(call, given if once else given[:_SINGLE_MOST])
            if number >= 0:
                means[name].append(total if mean is None else mean)
                singles[name].extend(each)
        if after is not None:
            after(number)
    return {name: Figure(name, tuple(means[name]), Spread.of(singles[name])) for name in names}


def _loop(call: Callable[[A], object], arguments: Sequence[A]) -> float:
    started = perf_counter_ns()
    for argument in arguments:
        call(argument)
    return (perf_counter_ns() - started) / len(arguments) / _PER_US


def _one_by_one(call: Callable[[A], object], arguments: Sequence[A]) -> tuple[float, list[float]]:
    each = []
    for argument in arguments:
        started = perf_counter_ns()
        call(argument)
        each.append((perf_counter_ns() - started) / _PER_US)
    return sum(each) / len(each), each


def time_alone(call: Callable[[], object]) -> float:
    """How long one call takes, in ms."""
    started = perf_counter_ns()
    call()
    return (perf_counter_ns() - started) / _PER_MS
