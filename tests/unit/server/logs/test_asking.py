"""Queries from requests: bounds, steps of histograms, and who gets a turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.logs.memory import MemoryLogs
from vcache.logs.record import Record
from vcache.query.syntax import Compare, Everything, Last, Query
from vcache.server.logs.asking import Queue, answer, histogram, parsed, question_of
from vcache.server.logs.streams import Stop
from vcache.server.refused import Refusal, Refused


def filled(count: int = 100, step_ns: int = 10**9) -> MemoryLogs:
    store = MemoryLogs()
    store.append([Record(n * step_ns, 17 if n % 2 else 0, "s", f"m{n}") for n in range(count)])
    return store


def test_bounds_are_conditions() -> None:
    """Times bound what is meant; without a query all is."""
    assert parsed(" ") == Query(Everything())
    assert question_of({"from": "5"}).query.where == Compare("@time", ">=", 5)
    both = question_of({"q": "source = a and level = error", "from": "-5", "to": "9"}).query.where
    assert len(both.items) == 4  # type: ignore[union-attr]


def test_last_is_for_records() -> None:
    """A query with steps says itself how much it wants."""
    assert question_of({"last": "7"}).query.stages == (Last(7),)
    assert Last(7) not in question_of({"q": "* | count", "last": "7"}).query.stages


@pytest.mark.parametrize(
    "fields",
    [{"from": "x"}, {"to": "9" * 30}, {"last": "0"}, {"last": "1.5"}, {"format": "xml"}, {"timeout": "301"}, {"q": "("}],
    ids=str,
)  # fmt: skip
def test_what_is_no_question_is_refused(fields: Mapping[str, str]) -> None:
    """400, whatever is wrong."""
    with pytest.raises(Refused) as refused:
        question_of(fields)
    assert refused.value.kind is Refusal.MALFORMED


@given(st.integers(1, 50), st.integers(1, 10**16), st.none() | st.integers(10**13, 10**18))
def test_a_histogram_loses_no_record(count: int, gap_ns: int, step_ns: int | None) -> None:
    """Whatever the times and the step: each record is in one bucket, and there are few of those."""
    fields = {} if step_ns is None or count * gap_ns // step_ns > 10_000 else {"step": str(step_ns)}
    found = histogram(filled(count, gap_ns), fields, Stop(60))
    buckets = found["buckets"]
    assert isinstance(buckets, list)
    assert sum(sum(bucket["levels"].values()) for bucket in buckets) == count
    assert fields or len(buckets) <= 122


def test_too_many_buckets_are_refused() -> None:
    """A step that would make millions of buckets is a 400."""
    with pytest.raises(Refused, match="buckets"):
        histogram(filled(), {"step": "1"}, Stop(60))


def test_an_answer_that_is_late_says_that_it_is_cut() -> None:
    """At the deadline comes what there is, and the word that it is not all."""
    text = b"".join(answer(filled(1000), question_of({}), Stop(0)))
    assert text.count(b"\n") == 257
    assert b'"is_cut":true' in text


def test_who_finds_no_room_is_told_to_come_again() -> None:
    """So many run, so many wait; the next one is refused at once, and later has its turn."""

    async def work() -> None:
        with ThreadPoolExecutor(1) as pool:
            queue, go = Queue(pool, running=1, waiting=1), threading.Event()
            first = asyncio.create_task(queue.run(go.wait, 60))
            await asyncio.sleep(0)
            assert not queue.is_free
            second = asyncio.create_task(queue.run(int))
            await asyncio.sleep(0)
            with pytest.raises(Refused) as refused:
                await queue.run(int)
            assert refused.value.kind is Refusal.CROWDED
            go.set()
            assert await first is True
            assert await second == 0
            assert await queue.run(int) == 0

    asyncio.run(work())
