"""Percentiles and counts of distinct values in bounded memory, which merge in any order to the same answer.

What a sketch holds is a function of the values alone, never of the order in which they came or how they
were divided: small sets are kept as they are, larger ones as counters.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable
from typing import Final, cast

from vcache.hash import checksum
from vcache.query.order import bare, keyed, rank, text_of
from vcache.query.syntax import Value

__all__ = ["ERROR", "EXACT_UNIQUE", "EXACT_VALUES", "Percentiles", "Unique"]

EXACT_VALUES: Final = 1_000
"""Percentiles of so many values are exact."""
ERROR: Final = 0.01
"""Of more values they are off by at most this part of themselves."""
EXACT_UNIQUE: Final = 10_000
"""So many distinct values are counted exactly; of more, the count is off by 0.8 % (one standard deviation)."""

_GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_LOG_GAMMA: Final = math.log(_GAMMA)
_BITS: Final = 14
_REGISTERS: Final = 1 << _BITS


class Percentiles:
    """Numbers, of which any percentile can be had.

    From 1,001 values on it is DDSketch (Masson, Rim, Lee: VLDB 2019), without a bound on its buckets: all
    doubles fill 72,700, what is measured in practice some hundreds.
    """

    __slots__ = ("_buckets", "_count", "_values")

    def __init__(self) -> None:
        self._values: dict[int | float, int] | None = {}  # each with how often; None when in buckets
        self._buckets: dict[int, int] = {}  # 2 i for positive ones of exponent i, 2 i + 1 for negative ones
        self._count = 0

    @property
    def is_estimate(self) -> bool:
        """Whether values are known to within `ERROR` only."""
        return self._values is None

    def add(self, value: float, count: int = 1) -> None:
        """A number, so many times; what is not finite is left out."""
        if not -math.inf < value < math.inf:
            return
        self._count += count
        if self._values is None:
            self._put(value, count)
            return
        if type(value) is float and value.is_integer() and -(1 << 63) <= value < 1 << 63:
            value = int(value)  # 1 and 1.0 are one: whichever comes first
        self._values[value] = self._values.get(value, 0) + count
        if self._count > EXACT_VALUES:
            self._spill()

    def _spill(self) -> None:
        values, self._values = self._values or {}, None
        for value, count in values.items():
            self._put(value, count)

    def _put(self, value: float, count: int) -> None:
        bucket = _bucket(value)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    def merge(self, other: Percentiles) -> None:
        """The other's numbers, too."""
        if other._values is not None:
            for value, count in other._values.items():
                self.add(value, count)
            return
        if self._values is not None:
            self._spill()
        self._count += other._count
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    def at(self, percent: float) -> int | float | None:
        """The least value that so many percent are not above; None without values."""
        if not self._count:
            return None
        wanted = max(1, math.ceil(self._count * percent / 100))
        known: Iterable[tuple[int | float, int]]
        known = self._values.items() if self._values is not None else _middles(self._buckets)
        for value, count in sorted(known):
            wanted -= count
            if wanted <= 0:
                return value
        raise AssertionError("counts do not add up")

    def plain(self) -> list[object]:
        """What `of_plain` makes it of again."""
        known = self._values if self._values is not None else self._buckets
        return [int(self.is_estimate), [each for pair in known.items() for each in pair]]

    @classmethod
    def of_plain(cls, plain: object) -> Percentiles:
        """What `plain` gave."""
        is_estimate, pairs = cast("tuple[int, list[int]]", plain)
        made = cls()
        known = dict(zip(pairs[::2], pairs[1::2], strict=True))
        counts = known.values()
        if not {int}.issuperset(map(type, counts)) or min(counts, default=1) < 1:
            raise ValueError("no numbers of rows")
        kinds = {int} if is_estimate else {int, float}
        most = abs(_bucket(-sys.float_info.max)) if is_estimate else sys.float_info.max
        if not kinds.issuperset(map(type, known)) or not all(-most <= each <= most for each in known):
            raise ValueError("no numbers")
        made._count = sum(counts)
        if is_estimate:
            made._values, made._buckets = None, known
        else:
            made._values = dict(known.items())
        return made


def _bucket(value: float) -> int:
    if not value:
        return _ZERO
    exponent = math.ceil(math.log(abs(value)) / _LOG_GAMMA)
    return exponent * 2 + (value < 0)


_ZERO: Final = -(1 << 40)  # below the exponent of any double


def _middles(buckets: dict[int, int]) -> Iterable[tuple[float, int]]:
    for bucket, count in buckets.items():
        if bucket == _ZERO:
            yield 0.0, count
            continue
        exponent, is_negative = divmod(bucket, 2)
        # 2 gamma^i / (gamma + 1), written so that the largest doubles do not overflow.
        middle = math.exp(exponent * _LOG_GAMMA - math.log((_GAMMA + 1) / 2))
        yield (-middle if is_negative else middle), count


class Unique:
    """How many different values there are.

    From 10,001 on it is HyperLogLog (Flajolet and others, 2007) of 16,384 registers over 64 bits of xxh3, with
    the estimator of Ertl (arXiv:1702.01284), which needs no correction at either end.
    """

    __slots__ = ("_known", "_registers")

    def __init__(self) -> None:
        self._known: set[Hashable] | None = set()
        self._registers = bytearray()

    @property
    def is_estimate(self) -> bool:
        """Whether the count is one."""
        return self._known is None

    def add(self, value: Value) -> None:
        """A value; None is none."""
        key = keyed(value)
        if key is None:
            return
        if self._known is None:
            self._put(key)
            return
        self._known.add(key)
        if len(self._known) > EXACT_UNIQUE:
            self._spill()

    def _spill(self) -> None:
        known, self._known = self._known or (), None
        self._registers = bytearray(_REGISTERS)
        for key in known:
            self._put(key)

    def _put(self, key: Hashable) -> None:
        value = bare(key)
        name = f"{rank(value)[0]}{text_of(value)}".encode("utf-8", "surrogatepass")
        number = int.from_bytes(checksum(name)[:8], "big")
        at, rest = number >> 64 - _BITS, number & (1 << 64 - _BITS) - 1
        zeros = 64 - _BITS - rest.bit_length() + 1
        self._registers[at] = max(self._registers[at], zeros)

    def merge(self, other: Unique) -> None:
        """The other's values, too."""
        if other._known is not None:
            for key in other._known:
                self.add(bare(key))
            return
        if self._known is not None:
            self._spill()
        self._registers = bytearray(map(max, self._registers, other._registers))

    def count(self) -> int:
        """How many."""
        return len(self._known) if self._known is not None else round(_estimate(self._registers))

    def plain(self) -> list[object]:
        """What `of_plain` makes it of again."""
        if self._known is not None:
            return [0, sorted((bare(key) for key in self._known), key=rank)]
        return [1, bytes(self._registers)]

    @classmethod
    def of_plain(cls, plain: object) -> Unique:
        """What `plain` gave."""
        is_estimate, content = cast("tuple[int, bytes]", plain)
        made = cls()
        if is_estimate:
            if type(content) is not bytes or len(content) != _REGISTERS or max(content) > 65 - _BITS:
                raise ValueError("no registers")
            made._known, made._registers = None, bytearray(content)
        elif not {str, int, float, bool}.issuperset(map(type, content)):
            raise ValueError("no values")
        else:
            made._known = {keyed(cast("Value", value)) for value in content}
        return made


def _estimate(registers: bytearray) -> float:
    """Algorithm 6 of Ertl's paper."""
    most = 64 - _BITS
    counts = [0] * (most + 2)
    for register in registers:
        counts[register] += 1
    total = _REGISTERS * _tau(1 - counts[most + 1] / _REGISTERS)
    for count in reversed(counts[1 : most + 1]):
        total = 0.5 * (total + count)
    total += _REGISTERS * _sigma(counts[0] / _REGISTERS)
    return _REGISTERS * _REGISTERS / (2 * math.log(2) * total)


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    y, total = 1.0, x
    while True:
        x *= x
        before, total = total, total + x * y
        y += y
        if total == before:
            return total


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, total = 1.0, 1 - x
    while True:
        x = math.sqrt(x)
        before, y = total, y * 0.5
        total -= (1 - x) ** 2 * y
        if total == before:
            return total / 3
