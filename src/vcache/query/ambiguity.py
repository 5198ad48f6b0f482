"""How much time a regular expression may take, by what it searches. Pure.

A backtracking search takes exponential time where some text is read in two ways while the expression comes back to where it was,
as in `(a+)+b`: each round doubles the ways. The expression is made an automaton of its characters (Glushkov
1961), with how often each step is there; exponential ambiguity is then a step that is there twice in a loop,
or a loop over pairs of different places (Weber and Seidl 1991, theorem 4.1). What can not be said exactly is
counted as ambiguous: references to groups, and counts of eight and more, which are taken as "any number".
"""

from __future__ import annotations

import re._constants as op  # type: ignore[import-not-found]  # what `re` itself is made of
import re._parser as tree  # type: ignore[import-not-found]
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, TypeVar

from vcache.kit.data import dataclass, field

__all__ = ["TooComplex", "repeats_at_once"]

N = TypeVar("N", bound=Hashable)

_MOST_PLACES: Final = 2_000
_MOST_STEPS: Final = 30_000
_MOST_CHECKS: Final = 300_000
_MOST_PAIRS: Final = 10_000
_MANY: Final = 8
_MOST_LOOPS: Final = 60
_ASCII: Final = 128
# One bit for each kind of character beyond ASCII.
_LETTERS, _DIGITS, _SPACES, _OTHERS = (1 << _ASCII + at for at in range(4))
_BEYOND: Final = _LETTERS | _DIGITS | _SPACES | _OTHERS
_ANY: Final = (1 << _ASCII) - 1 | _BEYOND


class TooComplex(Exception):
    """It would take too long to say."""


@dataclass(slots=True)
class _Part:
    """A part of an expression: the places where it begins and ends, each in so many ways."""

    empty: int = 1  # in how many ways it takes nothing; 2 is many
    first: Counter[int] = field(default_factory=Counter)
    last: Counter[int] = field(default_factory=Counter)
    has_loop: bool = False


def repeats_at_once(pattern: str) -> float:
    """How many repeats of a pattern may share one text out among them; infinity where that doubles with each round.

    A search of n characters takes time of the order of n to the power of one more.

    Raises:
        TooComplex: nobody knows.
    """
    automaton = _Automaton()
    automaton.part(tree.parse(pattern))
    return automaton.degree()


class _Automaton:
    def __init__(self) -> None:
        self._masks: list[int] = []
        self._steps: Counter[tuple[int, int]] = Counter()

    def part(self, items: Iterable[tuple[Any, Any]]) -> _Part:
        found = _Part()
        for item in items:
            found = self._then(found, self._item(*item))
        return found

    def _item(self, kind: Any, value: Any) -> _Part:
        if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.RANGE, op.CATEGORY):
            return self._place(_mask(kind, value))
        if kind is op.SUBPATTERN:
            return self.part(value[3])
        if kind is op.BRANCH:
            return _either([self.part(each) for each in value[1]])
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self._repeat(*value)
        if kind in (op.ATOMIC_GROUP, op.POSSESSIVE_REPEAT):
            return self._atom(value if kind is op.ATOMIC_GROUP else value[2], kind, value)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            self.part(value[1])  # it is read for itself, and takes nothing
            return _Part()
        if kind is op.GROUPREF:
            return self._loop(self._place(_ANY), least=0)
        if kind is op.GROUPREF_EXISTS:
            return _either([self.part(value[1]), self.part(value[2] or ())])
        return _Part()  # the beginning of a line, and such

    def _place(self, mask: int) -> _Part:
        if len(self._masks) >= _MOST_PLACES:
            raise TooComplex
        at = len(self._masks)
        self._masks.append(mask)
        return _Part(0, Counter((at,)), Counter((at,)))

    def _join(self, last: Counter[int], first: Counter[int]) -> None:
        if len(self._steps) + len(last) * len(first) > _MOST_STEPS:
            raise TooComplex
        for one, ways in last.items():
            for other, others in first.items():
                self._steps[one, other] += ways * others

    def _then(self, one: _Part, two: _Part) -> _Part:
        self._join(one.last, two.first)
        return _Part(
            min(2, one.empty * two.empty),
            one.first + _times(two.first, one.empty),
            two.last + _times(one.last, two.empty),
            one.has_loop or two.has_loop,
        )

    def _repeat(self, least: int, most: Any, body: Any) -> _Part:
        begin = len(self._masks)
        part = self.part(body)
        if most == op.MAXREPEAT or (most >= _MANY and (least < most or part.has_loop)):
            return self._loop(part, least=least)
        if len(self._masks) == begin:
            return part  # it takes nothing
        found = _Part()
        for at in reversed(range(min(int(most), _MANY))):
            found = self._then(part if at == 0 else self.part(body), found)
            if at >= least:
                found.empty = min(2, found.empty + 1)
        return found

    def _loop(self, part: _Part, *, least: int) -> _Part:
        self._join(part.last, part.first)
        return _Part(part.empty if least else 1, part.first, part.last, has_loop=True)

    def _atom(self, body: Any, kind: Any, value: Any) -> _Part:
        """What is not taken apart again: one place, whatever is in it."""
        begin = len(self._masks)
        inner = self._loop(self.part(body), least=0) if kind is op.POSSESSIVE_REPEAT else self.part(body)
        mask = 0
        for each in self._masks[begin:]:
            mask |= each
        found = self._place(mask or _ANY)
        is_optional = inner.empty and (kind is op.ATOMIC_GROUP or value[0] == 0)
        return _Part(int(bool(is_optional)), found.first, found.last)

    def degree(self) -> float:
        after: dict[int, set[int]] = {}
        for one, other in self._steps:
            after.setdefault(one, set()).add(other)
        of = _components(after)
        within = {one: {other for other in others if of[other] == of[one]} for one, others in after.items()}
        if self._doubles(of, within):
            return float("inf")
        loops: dict[int, list[int]] = {}
        for one, others in within.items():
            if others:
                loops.setdefault(of[one], []).append(one)
        return self._chain(list(loops.values()), after)

    def _chain(self, loops: list[list[int]], after: Mapping[int, set[int]]) -> int:
        """The most loops in a row of which each can take what stands between it and the next."""
        if len(loops) > _MOST_LOOPS:
            raise TooComplex
        takes = [self._union(loop) for loop in loops]
        following = [
            [
                other for other in range(len(loops))
                if other != one and self._leads(loops[one], loops[other], after, takes[one] & takes[other])
            ]
            for one in range(len(loops))
        ]  # fmt: skip
        longest: dict[int, int] = {}

        def of(loop: int) -> int:
            if loop not in longest:
                longest[loop] = 1 + max(map(of, following[loop]), default=0)
            return longest[loop]

        return max(map(of, range(len(loops))), default=0)

    def _union(self, places: Iterable[int]) -> int:
        mask = 0
        for place in places:
            mask |= self._masks[place]
        return mask

    def _leads(self, some: list[int], others: list[int], after: Mapping[int, set[int]], mask: int) -> bool:
        waiting, seen = list(some) if mask else [], set(some)
        while waiting:
            for each in after.get(waiting.pop(), ()):
                if each not in seen and self._masks[each] & mask:
                    if each in others:
                        return True
                    seen.add(each)
                    waiting.append(each)
        return False

    def _doubles(self, of: Mapping[int, int], within: Mapping[int, set[int]]) -> bool:
        if any(ways > 1 and of[one] == of[other] for (one, other), ways in self._steps.items()):
            return True
        pairs = self._pairs({one: others for one, others in within.items() if others})
        of_pairs = _components(pairs)
        same = {of_pairs[pair] for pair in of_pairs if pair[0] == pair[1]}
        return any(pair[0] != pair[1] and number in same for pair, number in of_pairs.items())

    def _pairs(self, within: Mapping[int, set[int]]) -> dict[tuple[int, int], set[tuple[int, int]]]:
        """Where two readings of one text are, that were at one place once."""
        found: dict[tuple[int, int], set[tuple[int, int]]] = {}
        # Of many words in a loop, the last letters all lead to the same first ones.
        sets = {one: frozenset(others) for one, others in within.items()}
        known: dict[tuple[frozenset[int], frozenset[int]], set[tuple[int, int]]] = {}
        checks = 0
        waiting = [(one, one) for one in within]
        while waiting:
            pair = waiting.pop()
            if pair in found:
                continue
            both = sets.get(pair[0], _NONE), sets.get(pair[1], _NONE)
            following = known.get(both)
            checks += len(following) if following is not None else 1 + len(both[0]) * len(both[1])
            if checks > _MOST_CHECKS or len(found) > _MOST_PAIRS:
                raise TooComplex
            if following is None:
                following = known[both] = self._overlaps(*both)
            found[pair] = following
            waiting.extend(each for each in following if each not in found)
        return found

    def _overlaps(self, some: frozenset[int], others: frozenset[int]) -> set[tuple[int, int]]:
        masks = self._masks
        return {
            (one, other) if one <= other else (other, one)
            for one in some
            for other in others
            if masks[one] & masks[other]
        }


_NONE: Final[frozenset[int]] = frozenset()


def _either(parts: list[_Part]) -> _Part:
    found = _Part(0)
    for part in parts:
        found = _Part(
            min(2, found.empty + part.empty),
            found.first + part.first,
            found.last + part.last,
            found.has_loop or part.has_loop,
        )
    return found


def _times(counts: Counter[int], ways: int) -> Counter[int]:
    return Counter({at: count * ways for at, count in counts.items()}) if ways else Counter()


def _mask(kind: Any, value: Any) -> int:
    """The characters that a place takes, in either case of letters."""
    if kind is op.ANY:
        return _ANY
    if kind is op.NOT_LITERAL:
        return _set_mask([(op.NEGATE, None), (op.LITERAL, value)])
    if kind is op.IN:
        return _set_mask(value)
    if kind is op.CATEGORY:
        return _category_mask(value)
    first, last = (value, value) if kind is op.LITERAL else value
    mask = 0
    for code in range(first, min(last, _ASCII - 1) + 1):
        mask |= 1 << code | 1 << ord(chr(code).swapcase())
    if last >= _ASCII:
        mask |= _BEYOND if first != last else _kind_mask(chr(first))
    return mask


def _set_mask(items: list[tuple[Any, Any]]) -> int:
    if items[0][0] is not op.NEGATE:
        mask = 0
        for kind, value in items:
            mask |= _mask(kind, value)
        return mask
    mask = _ANY
    for kind, value in items[1:]:
        if kind is op.CATEGORY:
            mask &= ~_category_mask(value)
        elif kind is op.LITERAL and value < _ASCII and not chr(value).isalpha():
            mask &= ~(1 << value)  # of a letter, the other case may be meant
    return mask


def _category_mask(category: Any) -> int:
    name = str(category)
    test: Callable[[str], bool]
    if "DIGIT" in name:
        test, beyond = str.isdigit, _DIGITS
    elif "SPACE" in name:
        test, beyond = str.isspace, _SPACES
    else:
        test, beyond = _is_of_word, _LETTERS | _DIGITS
    mask = sum(1 << code for code in range(_ASCII) if test(chr(code))) | beyond
    return _ANY & ~mask if "NOT" in name else mask


def _kind_mask(char: str) -> int:
    if char.isdigit():
        return _DIGITS
    return _LETTERS if char.isalnum() else _SPACES if char.isspace() else _OTHERS


def _is_of_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _components(after: Mapping[N, set[N]]) -> dict[N, int]:
    """A number for each node: that of the nodes which lead to it and to which it leads (Tarjan 1972)."""
    number: dict[N, int] = {}
    low: dict[N, int] = {}
    found: dict[N, int] = {}
    stack: list[N] = []
    for root in [*after, *(each for others in after.values() for each in others)]:
        if root in number:
            continue
        work = [(root, iter(after.get(root, ())))]
        number[root] = low[root] = len(number)
        stack.append(root)
        while work:
            node, others = work[-1]
            for each in others:
                if each not in number:
                    number[each] = low[each] = len(number)
                    stack.append(each)
                    work.append((each, iter(after.get(each, ()))))
                    break
                if each not in found:
                    low[node] = min(low[node], number[each])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    while node not in found:
                        found[stack.pop()] = number[node]
    return found
