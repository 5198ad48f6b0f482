"""The queue and the thread that commits: what is acknowledged, held back, dropped and said."""

from __future__ import annotations

import threading

import pytest

from tests.patience import NEVER_S, no_hang, until
from tests.unit.logs.collect.listed import ListedLogs, said
from vcache.errors import EncodeError, StoreBusy, StoreClosed, StoreError, StoreFull, UsageError
from vcache.logs.collect import Collector, Limits, Ticket

FAST = Limits(retry_most_s=0.01, say_every_s=0.001)


def test_what_was_waited_for_is_kept():
    """When `submit` returned, the store has the records."""
    store = ListedLogs()
    with Collector(store) as collector:
        ticket = collector.submit(said("a", "b"))
        assert store.messages == ["a", "b"]
        assert ticket.is_done and ticket.count == 2


def test_appends_are_grouped_while_one_is_under_way():
    """All that came during an append is one append afterwards, in the order in which it came."""
    store = ListedLogs()
    store.gate.clear()
    with Collector(store) as collector:
        tickets = [collector.submit(said("first"), wait=False)]
        until(lambda: store.tries == 1)
        tickets += [collector.submit(said(f"{number}"), wait=False) for number in range(100)]
        assert not any(ticket.is_done for ticket in tickets)
        store.gate.set()
        for ticket in tickets:
            ticket.wait(NEVER_S)
        assert [len(append) for append in store.appends] == [1, 100]
        assert store.messages[1:] == [str(number) for number in range(100)]
        assert collector.counters().kept == 101


def test_a_full_queue_turns_away_who_does_not_wait():
    """Without `wait` there is an error that says to come again; nothing of it is kept."""
    store = ListedLogs()
    store.gate.clear()
    with Collector(store, limits=Limits(queue_records=10)) as collector:
        collector.submit(said("held"), wait=False)
        collector.submit(said(*"123456789"), wait=False)
        with pytest.raises(StoreBusy) as caught:
            collector.submit(said("too much"), wait=False)
        assert caught.value.retryable
        store.gate.set()
    assert "too much" not in store.messages and len(store.messages) == 10


def test_a_full_queue_holds_up_who_waits():
    """With `wait` it goes on when there is room."""
    store = ListedLogs()
    store.gate.clear()
    with Collector(store, limits=Limits(queue_records=1)) as collector:
        collector.submit(said("held"), wait=False)
        thread = threading.Thread(target=collector.submit, args=(said("waits"),))
        thread.start()
        assert collector.queue.waiting[0] == 1
        store.gate.set()
        with no_hang():
            thread.join(NEVER_S)
        assert store.messages == ["held", "waits"]


def test_more_than_the_queue_holds_is_kept_alone():
    """One that is larger than the bound is taken when nothing else is there."""
    store = ListedLogs()
    with Collector(store, limits=Limits(queue_records=5, batch_records=3)) as collector:
        collector.submit(said(*"abcdefgh"))
        assert len(store.appends) == 1 and len(store.messages) == 8


def test_a_store_that_fails_is_tried_until_it_takes_them():
    """Nothing is let go of while a disk is full, and that it was so is among the records afterwards."""
    failures = [StoreFull("no space left")] * 5

    def fail(_: object) -> None:
        if failures:
            raise failures.pop()

    store = ListedLogs(fail)
    with Collector(store, limits=FAST) as collector:
        collector.submit(said("a"), timeout_s=NEVER_S)
        assert store.messages == ["a"]
    assert any("takes records again" in record.message for record in store.records)


def test_a_store_that_fails_is_seen_in_the_counters():
    """Since when it fails, and how much waits."""
    is_full = threading.Event()
    is_full.set()

    def fail(_: object) -> None:
        if is_full.is_set():
            raise StoreFull("no space left")

    with Collector(ListedLogs(fail), limits=FAST) as collector:
        ticket = collector.submit(said("a"), wait=False)
        until(lambda: collector.counters().failing_since_ns)
        assert collector.counters().waiting == 1
        is_full.clear()
        ticket.wait(NEVER_S)
        until(lambda: not collector.counters().failing_since_ns)


def test_the_end_gives_up_at_its_deadline_and_says_so():
    """What a failing store has not taken by then is counted as dropped, and its ticket has the error."""

    def fail(_: object) -> None:
        raise StoreFull("no space left")

    collector = Collector(ListedLogs(fail), limits=FAST)
    tickets = [collector.submit(said("a"), wait=False, origin="here") for _ in range(3)]
    with no_hang():
        collector.close(0.05)
    for ticket in tickets:
        with pytest.raises(StoreError, match="no space left"):
            ticket.wait(0)
    assert collector.counters().dropped == {("here", "the collector ended"): 3}
    with pytest.raises(StoreClosed):
        collector.submit(said("b"))


def test_a_record_that_no_store_can_hold_keeps_no_other_out():
    """It alone is dropped, and counted."""

    def refuse(records: object) -> None:
        if any(record.message == "bad" for record in records):  # type: ignore[attr-defined]
            raise EncodeError("no msgpack")

    store = ListedLogs(refuse)
    with Collector(store) as collector:
        collector.submit(said("a", "b", "bad", "c"))
        assert store.messages == ["a", "b", "c"]
        counters = collector.counters()
        assert counters.kept == 3 and counters.dropped_total == 1


def test_what_was_dropped_is_said_among_the_records():
    """A record of the source vcache has how many, of what, and why."""
    store = ListedLogs()
    with Collector(store) as collector:
        collector.counts.drop("syslog+udp:514", "the queue was full", 3)
        collector.counts.drop("syslog+udp:514", "the queue was full", 4)
    (record,) = store.records
    assert record.source == "vcache"
    assert record.fields == {"dropped": 7, "origin": "syslog+udp:514", "reason": "the queue was full"}


def test_who_hands_in_is_called_when_it_is_kept():
    """`on_done` gets the ticket; one that fails harms nobody."""
    store = ListedLogs()
    called: list[Ticket] = []

    def failing(_: Ticket) -> None:
        raise ValueError("the loop is closed")

    with Collector(store) as collector:
        collector.submit(said("a"), on_done=failing)
        collector.submit(said("b"), on_done=called.append)
    assert [ticket.count for ticket in called] == [1] and store.messages == ["a", "b"]


def test_names_of_many_peers_do_not_fill_the_memory():
    """Beyond a thousand of them they count together."""
    with Collector(ListedLogs()) as collector:
        for number in range(3_000):
            collector.counts.drop(f"peer {number}", "why not")
        dropped = collector.counters().dropped
        assert len(dropped) <= 1_001 and sum(dropped.values()) == 3_000


@pytest.mark.parametrize("setting", [{"queue_records": 0}, {"connections": -1}, {"rate_per_s": -1.0}])
def test_limits_that_make_no_sense_are_refused(setting):
    """With the name and the value."""
    with pytest.raises(UsageError, match=next(iter(setting))):
        Limits(**setting)
