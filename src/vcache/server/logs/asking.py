"""What is asked of logs: a query and its bounds from a request, an answer from a store. Threads, no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

from vcache.errors import QueryError, UsageError
from vcache.kit.data import NamedTuple
from vcache.logs.base import LogStore, Result
from vcache.logs.show.base import Look, Row, columns_of
from vcache.logs.show.formats import writer
from vcache.logs.show.values import iso, level_word
from vcache.query.syntax import (
    Aggregate,
    And,
    Call,
    Compare,
    Everything,
    Expression,
    Group,
    Last,
    Query,
    Value,
)
from vcache.server.logs import shown
from vcache.server.logs.bounds import held_up_by
from vcache.server.logs.streams import Stop
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.logs.record import Record

__all__ = ["FORMATS", "Question", "Queue", "Unclear", "answer", "histogram", "parsed", "question_of"]

FORMATS: Final = ("json", "text", "csv", "logfmt")
"""What an answer may be written as. `json` is one object a line; the last one has one member, `@end`."""

_USUAL_S: Final = 30.0
_MOST_S: Final = 300.0
_PIECE_BYTES: Final = 64 << 10
_ROWS: Final = 256
_INT: Final = 1 << 63
_MOST_LAST: Final = 1_000_000
_BUCKETS: Final = 120
_MOST_BUCKETS: Final = 10_000
# What people read off an axis, in seconds; below a second powers of ten.
_SMALL_NS: Final = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
_STEPS_S: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800,
)  # fmt: skip


class Unclear(Refused):
    """A query that cannot be understood.

    Attributes:
        details: what the answer says beside the words: where it is, in characters; -1 for nowhere.
    """

    def __init__(self, words: str, position: int) -> None:
        super().__init__(Refusal.MALFORMED, words)
        self.details: Mapping[str, object] = {"position": position}


class Question(NamedTuple):
    """A query, as a request has it.

    Attributes:
        query: what is asked for, its bounds included.
        format: one of `FORMATS`.
        timeout_s: how long it may take.
    """

    query: Query
    format: str
    timeout_s: float


def parsed(text: str) -> Query:
    """A query of its text; an empty one is for all.

    Raises:
        Unclear: it is none.
    """
    from vcache.query.parser import parse

    if not text.strip():
        return Query(Everything())
    try:
        query = parse(text, now_ns=time.time_ns())
    except QueryError as error:
        raise Unclear(str(error), error.position) from error
    found = held_up_by(query)
    if found is not None:
        pattern, fault = found
        raise Unclear(f"{pattern!r:.80}: {fault.reason}", max(0, text.find(pattern)))
    return query


def question_of(fields: Mapping[str, str]) -> Question:
    """What a request asks for, by its parameters: q, from, to, last, format, timeout.

    `last` is for queries of records, those without steps.

    Raises:
        Refused: one of them is none.
    """
    written = fields.get("format", "json")
    if written not in FORMATS:
        raise Refused(Refusal.MALFORMED, f"format={written!r:.40}: one of {', '.join(FORMATS)}")
    query = bounded(parsed(fields.get("q", "")), fields)
    if "last" in fields:
        last = Last(_whole("last", fields["last"], 1, _MOST_LAST))
        query = Query(query.where, query.stages or (last,))
    timeout = fields.get("timeout")
    return Question(
        query, written, _USUAL_S if timeout is None else _whole("timeout", timeout, 1, int(_MOST_S))
    )


def bounded(query: Query, fields: Mapping[str, str]) -> Query:
    """A query within the times that `from` and `to` say, in epoch nanoseconds; `to` is not included."""
    bounds: list[Expression] = []
    for name, operator in (("from", ">="), ("to", "<")):
        if name in fields:
            at_ns = _whole(name, fields[name], -_INT, _INT - 1)
            bounds.append(Compare("@time", operator, at_ns))  # type: ignore[arg-type]
    if not bounds:
        return query
    where = query.where
    items = [
        *bounds,
        *(where.items if isinstance(where, And) else () if isinstance(where, Everything) else (where,)),
    ]
    return Query(And(tuple(items)) if len(items) > 1 else items[0], query.stages)


def _whole(name: str, text: str, least: int, most: int) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19 and least <= int(text) <= most):
        raise Refused(Refusal.MALFORMED, f"{name}={text!r:.40}: a whole number from {least} to {most}")
    return int(text)


def answer(store: LogStore, question: Question, stop: Stop) -> Iterator[bytes]:
    """The answer in pieces: rows, then what was seen. Blocks."""
    result = store.search(question.query)
    pieces = _Pieces()
    look = Look(is_utc=True, shows_gaps=question.format != "json")
    written = writer(question.format, pieces, columns_of(question.query, result.columns), look=look)
    rows: Iterator[Row] = iter(result.rows)
    count, is_cut = 0, False
    while not is_cut and (some := list(islice(rows, _ROWS))):
        count += len(some)
        written.write(some)
        if pieces.size_bytes >= _PIECE_BYTES:
            yield pieces.taken()
        stop.look()
        is_cut = stop.is_late
    written.close(result.gaps)
    if question.format == "json":
        pieces.write(shown.encoded(shown.ending(result, count=count, is_cut=is_cut)) + b"\n")
    yield pieces.taken()


class _Pieces:
    """What was written and not taken yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size_bytes = 0

    def write(self, data: bytes, /) -> None:
        self._parts.append(data)
        self.size_bytes += len(data)

    def taken(self) -> bytes:
        parts, self._parts, self.size_bytes = self._parts, [], 0
        return b"".join(parts)


def histogram(store: LogStore, fields: Mapping[str, str], stop: Stop) -> dict[str, object]:
    """How many records there are over time, by level. Blocks."""
    query = bounded(parsed(fields.get("q", "")), fields)
    first, last = _span(store, query.where, fields)
    step = _step(fields, last - first)
    calls = (Call("count", "", 0.0, "count"),)
    by = (Group("@time", step, "@time"), Group("level", 0, "level"))
    result = store.search(Query(query.where, (Aggregate(calls, by),)))
    buckets: dict[int, dict[str, int]] = {}
    for at_ns, level, count in _rows(result, stop):
        assert isinstance(at_ns, int) and isinstance(count, int)
        levels = buckets.setdefault(at_ns, {})
        word = level_word(level) if isinstance(level, int) else ""
        levels[word] = levels.get(word, 0) + count
    return {
        "step_ns": step,
        "from": iso(first),
        "to": iso(last),
        "buckets": [{"at": iso(at_ns), "levels": levels} for at_ns, levels in sorted(buckets.items())],
        "gaps": shown.gaps_of(result.gaps),
    }


def _rows(result: Result, stop: Stop) -> Iterator[tuple[Value, ...]]:
    for number, row in enumerate(result.rows):
        if not number & 0xFF:
            stop.look()
            if stop.is_late:
                raise Refused(Refusal.CROWDED, f"the query took longer than {stop.seconds:g} s")
        yield row  # type: ignore[misc]  # an aggregation has rows


def _span(store: LogStore, where: Expression, fields: Mapping[str, str]) -> tuple[int, int]:
    """From when to when buckets are: what is asked for, otherwise where there are records that are meant."""
    said = [
        _whole(name, fields[name], -_INT, _INT - 1) if name in fields else None for name in ("from", "to")
    ]
    first, last = said
    if first is None or last is None:
        found = _found_span(store, where)
        first = found[0] if first is None else first
        last = found[1] if last is None else last
    return first, max(first, last)


def _found_span(store: LogStore, where: Expression) -> tuple[int, int]:
    if isinstance(where, Everything):
        stats = store.stats()
        return stats.first_ns, stats.last_ns + 1
    calls = Call("min", "@time", 0.0, "first"), Call("max", "@time", 0.0, "last")
    for first, last in store.search(Query(where, (Aggregate(calls, ()),))).rows:  # type: ignore[misc]
        if isinstance(first, int) and isinstance(last, int):
            return first, last + 1
    return 0, 1


def _step(fields: Mapping[str, str], span_ns: int) -> int:
    """The width of a bucket."""
    if "step" in fields:
        step = _whole("step", fields["step"], 1, _INT - 1)
        if span_ns // step > _MOST_BUCKETS:
            raise Refused(
                Refusal.MALFORMED, f"step={step} makes more than {_MOST_BUCKETS} buckets of {span_ns} ns"
            )
        return step
    wanted = max(1, span_ns // _BUCKETS)
    for step in (*_SMALL_NS, *(second * 10**9 for second in _STEPS_S)):
        if step >= wanted:
            return step
    return -(-wanted // (604_800 * 10**9)) * 604_800 * 10**9


class Queue:
    """Lets so many queries run at once, has some wait, and turns the rest away.

    Args:
        running, waiting: how many.
        executor: has a thread for each that runs.
    """

    def __init__(self, executor: Executor, *, running: int, waiting: int) -> None:
        self.executor = executor
        self._turns = asyncio.Semaphore(running)
        self._waiting, self._most_waiting = 0, waiting

    @property
    def is_free(self) -> bool:
        """Whether a query would run at once."""
        return not self._turns.locked()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One's turn.

        Raises:
            Refused: too many wait.
        """
        if self._waiting >= self._most_waiting:
            raise Refused(Refusal.CROWDED, "too many queries at once")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def run(self, work: Callable[..., object], *arguments: object) -> object:
        """What a function gives, on a thread, in one's turn."""
        async with self.turn():
            return await asyncio.get_running_loop().run_in_executor(self.executor, work, *arguments)


def record_or_none(store: LogStore, record_id: str) -> Record | None:
    """A record by its id. Blocks.

    Raises:
        Refused: that is no id.
    """
    try:
        return store.find(record_id)
    except UsageError as error:
        raise Refused(Refusal.MALFORMED, str(error)) from error


def record_or_refuse(store: LogStore, record_id: str) -> Record:
    """The same; raises as well where there is none."""
    found = record_or_none(store, record_id)
    if found is None:
        raise Refused(Refusal.ABSENT, f"there is no record {record_id!r:.80}")
    return found
