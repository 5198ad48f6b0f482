"""The conformance suite of log stores: the contract of `vcache.logs.base`, as tests.

A log store is tested by a class that inherits `LogStoreTests` and provides a fixture `logs`: an empty
store, closed afterwards by who made it. Example:

    class TestMyLogs(LogStoreTests):
        @pytest.fixture
        def logs(self, tmp_path):
            with MyLogs(tmp_path) as logs:
                yield logs
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Final, cast

import pytest

from vcache.errors import StoreClosed, UsageError
from vcache.logs.base import Follower, LogStore
from vcache.logs.ids import parse_id
from vcache.logs.record import Mark, Record
from vcache.query.levels import ERROR, INFO, WARNING
from vcache.query.syntax import And, Compare, Contains, Everything, Last, Limit, Not, Query

__all__ = ["LogStoreTests", "heard", "searched"]

_T0_NS: Final = 1_700_000_000_000_000_000
_PATIENCE_S: Final = 60.0
_ODD: Final = (
    Record(0),
    Record(-1, message="before the epoch"),
    Record(-(1 << 63), message="the first moment there is"),
    Record((1 << 63) - 1, message="the last moment there is"),
    Record(
        _T0_NS,
        24,
        "naïve/日本語",
        "🦜 \0 \x1b[31mred\x1b[0m \r\n\ttail",
        {"日本語": "🦜", "": "an empty name"},
    ),
    Record(_T0_NS, message="no UTF-8: \udcff\udc80", fields={"raw": "\udcfe"}),
    Record(
        _T0_NS, fields={"true": True, "false": False, "zero": 0, "least": -(1 << 63), "most": (1 << 63) - 1}
    ),
    Record(_T0_NS, fields={"half": 0.5, "endless": math.inf, "tiny": 5e-324, "empty": ""}),
    Record(_T0_NS, message="folded", marks=int(Mark.REPLAYED | Mark.CUT), repeats=1_000_000),
    Record(_T0_NS, message="long " * 400_000),
    Record(_T0_NS, fields={f"field{number}": number for number in range(256)}),
)


def searched(logs: LogStore, query: Query | None = None) -> list[Record]:
    """The records that a query answers, or all."""
    result = logs.search(query or Query(Everything()))
    assert result.columns is None
    found = cast("list[Record]", list(result.rows))
    assert result.gaps == []
    return found


def heard(follower: Follower, count: int) -> list[Record]:
    """What a follower hears, once it is so much."""
    found: list[Record] = []
    while len(found) < count:
        came = follower.wait(_PATIENCE_S)
        assert came, f"heard of {len(found)} records of {count} only"
        found += came
    return found


def numbered(count: int, *, first: int = 0, source: str = "make") -> list[Record]:
    """Records that tell each other apart."""
    levels = (INFO, INFO, INFO, WARNING, ERROR)
    return [
        Record(_T0_NS + number, levels[number % 5], source, f"line {number}", {"line": number})
        for number in range(first, first + count)
    ]


def _said(records: Sequence[Record]) -> list[tuple[object, ...]]:
    """What was said, without what the store knows."""
    return [(*record[:4], dict(record.fields), record.repeats) for record in records]


class LogStoreTests:
    """The laws of `vcache.logs.base.LogStore`."""

    def test_it_is_a_log_store(self, logs: LogStore) -> None:
        """It satisfies the protocol."""
        assert isinstance(logs, LogStore)

    def test_an_empty_store_answers_nothing(self, logs: LogStore) -> None:
        """Nothing was said."""
        assert searched(logs) == []
        stats = logs.stats()
        assert (stats.records, stats.first_ns, stats.last_ns, stats.sources, stats.gaps) == (0, 0, 0, {}, [])

    @pytest.mark.parametrize("sync", [True, False])
    def test_what_is_appended_is_found(self, logs: LogStore, sync: bool) -> None:
        """Search sees every record whose append returned, as it was said."""
        records = numbered(7)
        appended = logs.append(records, sync=sync)
        assert appended.count == 7
        assert _said(searched(logs)) == _said(records)
        more = numbered(2, first=7)
        logs.append(more, sync=sync)
        assert _said(searched(logs)) == _said(records + more)

    def test_nothing_appended_is_nothing(self, logs: LogStore) -> None:
        """An append of no records keeps none."""
        assert logs.append([]).count == 0
        assert searched(logs) == []

    def test_odd_records_come_back_as_they_were_said(self, logs: LogStore) -> None:
        """Any time, any text, any fields: kept as they came."""
        appended = logs.append(_ODD)
        first, seq = parse_id(appended.first_id)
        assert seq == 0
        found = {record.id: record for record in searched(logs)}
        for number, record in enumerate(_ODD):
            (kept,) = [each for id_, each in found.items() if parse_id(id_) == (first, number)]
            assert _said([kept]) == _said([record])
            assert kept.marks & record.marks == record.marks

    def test_marks_are_earned(self, logs: LogStore) -> None:
        """Records of the future, of bytes that are no text, and long ones are marked."""
        logs.append(_ODD)
        marks = {record.message[:20]: Mark(record.marks) for record in searched(logs)}
        assert marks["the last moment ther"] == Mark.FUTURE
        assert marks["no UTF-8: \udcff\udc80"] == Mark.BYTES
        assert marks["long " * 4] == Mark.LONG
        assert marks["folded"] == Mark.REPLAYED | Mark.CUT
        assert marks["before the epoch"] == 0

    def test_ids_rise_by_one_and_lead_back(self, logs: LogStore) -> None:
        """A record is found by the id that its append was given, and by the ids that follow it."""
        records = numbered(5)
        logs.append(records[:1])
        stream, seq = parse_id(logs.append(records[1:]).first_id)
        for number, record in enumerate(searched(logs, Query(Compare("line", ">", 0)))):
            assert parse_id(record.id) == (stream, seq + number)
            assert logs.find(record.id) == record
            assert logs.find(record.id.upper()) == record

    def test_an_unknown_id_is_nothing(self, logs: LogStore) -> None:
        """An id that nobody was given finds nothing; what is no id is refused."""
        logs.append(numbered(3))
        assert logs.find("01890a5d-ac96-774b-bcce-b302099a8057") is None
        for text in ("", "x", "01890a5d-ac96-474b-bcce-b302099a8057", "01890a5dac96774bbcceb302099a8057 "):
            with pytest.raises(UsageError, match="not the id of a record"):
                logs.find(text)

    def test_records_are_in_the_order_of_time(self, logs: LogStore) -> None:
        """Of their own time, equal ones in the order of arrival."""
        times = (5, 3, 9, 3, 1)
        logs.append([Record(_T0_NS + at, message=str(number)) for number, at in enumerate(times)])
        assert [record.message for record in searched(logs)] == ["4", "1", "3", "0", "2"]

    def test_conditions_choose(self, logs: LogStore) -> None:
        """A query answers those that it means."""
        logs.append(numbered(20))
        logs.append(numbered(20, source="gcc"))
        where = And(
            (Compare("source", "=", "gcc"), Compare("level", ">=", WARNING), Not(Contains("message", "9")))
        )
        assert [record.message for record in searched(logs, Query(where))] == [
            f"line {number}" for number in (3, 4, 8, 13, 14, 18)
        ]

    def test_the_first_and_the_last(self, logs: LogStore) -> None:
        """`limit` and `last` keep the order."""
        logs.append(numbered(20))
        first = searched(logs, Query(Everything(), (Limit(3),)))
        last = searched(logs, Query(Everything(), (Last(3),)))
        assert [record.fields["line"] for record in first] == [0, 1, 2]
        assert [record.fields["line"] for record in last] == [17, 18, 19]

    def test_stats_count_by_source_and_level(self, logs: LogStore) -> None:
        """All records, those of each source, and their times."""
        logs.append(numbered(10))
        logs.append(numbered(5, source="gcc"))
        stats = logs.stats()
        assert (stats.records, stats.first_ns, stats.last_ns) == (15, _T0_NS, _T0_NS + 9)
        assert {name: of.records for name, of in stats.sources.items()} == {"gcc": 5, "make": 10}
        assert dict(stats.sources["make"].by_level) == {INFO: 6, WARNING: 2, ERROR: 2}
        assert (stats.sources["gcc"].first_ns, stats.sources["gcc"].last_ns) == (_T0_NS, _T0_NS + 4)

    def test_threads_append_together(self, logs: LogStore) -> None:
        """Each append is kept whole and in its order, whoever else appends."""
        failed: list[BaseException] = []

        def work(worker: int) -> None:
            try:
                for number in range(25):
                    logs.append(numbered(4, first=4 * number, source=f"worker {worker}"))
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for worker in range(4):
            found = searched(logs, Query(Compare("source", "=", f"worker {worker}")))
            assert _said(found) == _said(numbered(100, source=f"worker {worker}"))
        ids = [record.id for record in searched(logs)]
        assert len(set(ids)) == 400

    def test_followers_hear_what_comes(self, logs: LogStore) -> None:
        """All that is appended from there on, in order, once, with id and time; nothing of before."""
        logs.append(numbered(5))
        one, two = logs.follow(), logs.follow()
        records = numbered(30, first=5)
        for record in records:
            logs.append([record], sync=False)
        for follower in (one, two):
            found = heard(follower, 30)
            assert _said(found) == _said(records)
            assert [logs.find(record.id) for record in found[:2]] == found[:2]
            assert follower.dropped == 0
            assert list(follower.wait(0)) == []
        one.close()
        two.close()

    def test_a_closed_follower_hears_nothing(self, logs: LogStore) -> None:
        """Closing one leaves the others; closing again is nothing."""
        one, two = logs.follow(), logs.follow()
        one.close()
        one.close()
        logs.append(numbered(1))
        assert len(heard(two, 1)) == 1
        with pytest.raises(StoreClosed):
            one.wait(0)
        two.close()

    def test_a_slow_follower_is_told_what_it_missed(self, logs: LogStore) -> None:
        """Who does not ask in time misses the oldest, and is told how many."""
        follower = logs.follow()
        for number in range(7):
            logs.append(numbered(10_000, first=10_000 * number), sync=False)
        numbers: list[object] = []
        while not numbers or numbers[-1] != 69_999:
            numbers += [record.fields["line"] for record in follower.wait(_PATIENCE_S)]
        assert numbers == sorted(numbers, key=lambda number: cast("int", number))
        assert len(numbers) + follower.dropped == 70_000
        follower.close()

    def test_a_closed_store_says_so(self, logs: LogStore) -> None:
        """After `close` nothing is taken or answered; followers hear what came before."""
        follower = logs.follow()
        logs.append(numbered(1))
        logs.close()
        logs.close()
        for use in (lambda: logs.append(numbered(1)), lambda: searched(logs), logs.follow, logs.stats):
            with pytest.raises(StoreClosed):
                use()
        assert len(heard(follower, 1)) == 1
        with pytest.raises(StoreClosed):
            follower.wait(_PATIENCE_S)
