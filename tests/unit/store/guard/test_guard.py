"""What a guard makes of a remote that fails, hangs and lies."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.patience import NEVER_S, no_hang, until
from tests.unit.store.guard.remote import Remote, guard_of
from vcache.entry import Entry, Key, Record, make_key
from vcache.errors import (
    DecodeError,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from vcache.hash import digest
from vcache.kit.deadlines import left_s
from vcache.store.checking import Damaged
from vcache.store.disk import DiskStore
from vcache.store.guard import GuardedStore, remotes, report_lines
from vcache.store.memory import MemoryStore
from vcache.testing import FakeClock, make_record
from vcache.testing.records import named

KEY, RECORD = named("k")
DOWN = StoreUnavailable("connection refused")


@pytest.fixture
def remote() -> Remote:
    return Remote()


def body_of_get(store: object, key: Key = KEY) -> bytes | None:
    record = store.get(key)  # type: ignore[attr-defined]
    return None if record is None else bytes(record.body)


# -- what it says it is --------------------------------------------------------------------------


def test_it_verifies_and_is_not_trusted(remote: Remote, tmp_path: Path) -> None:
    """Its info is the inner store's, but that it verifies, keeps time, and vouches for nobody."""
    with guard_of(remote, tmp_path) as store:
        assert store.info == remote.info._replace(is_trusted=False, is_verified=True, keeps_time=True)


def test_nothing_is_asked_nor_written_before_it_is_used(remote: Remote, tmp_path: Path) -> None:
    """Opening and closing touches neither the remote nor the disk, and starts no thread."""
    threads = threading.active_count()
    with guard_of(remote, tmp_path):
        assert threading.active_count() == threads
    assert not remote.calls
    assert os.listdir(tmp_path) == []


# -- reading ---------------------------------------------------------------------------------------


def test_a_fault_is_a_miss(remote: Remote, tmp_path: Path) -> None:
    """Whatever a remote raises: absent, counted, and told once."""
    MemoryStore.put(remote, KEY, RECORD)
    errors = (
        DOWN,
        StoreError("403 forbidden"),
        ConnectionResetError("reset"),
        RuntimeError("a bug"),
        OSError(),
    )
    for number, error in enumerate(errors):
        with guard_of(remote, tmp_path / str(number), retries=0) as store:
            remote.error = error
            assert store.get(KEY) is None
            assert dict(store.get_many([KEY])) == {}
            assert store.missing([KEY]) == {KEY}
            assert store.counters().faults == 3
            assert store.telemetry().misses == 2


def test_a_fault_is_told_once(remote: Remote, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for thousands of faults, with the address and the reason."""
    remote.error = DOWN
    with guard_of(remote, tmp_path) as store, caplog.at_level(logging.WARNING, "vcache"):
        for number in range(50):
            store.get(make_key(str(number)))
            store.put(*named(str(number)))
    assert [record.getMessage() for record in caplog.records] == [
        "far://host/base does not serve as it should, work goes on without it: connection refused"
    ]


def test_what_may_succeed_is_tried_again(remote: Remote, tmp_path: Path) -> None:
    """Within the deadline, as often as `retries`; what is found then is found."""
    MemoryStore.put(remote, KEY, RECORD)
    with guard_of(remote, tmp_path, deadline_s=5.0) as store:
        remote.error, remote.times = DOWN, 2
        assert body_of_get(store) == RECORD.body
        assert remote.calls["get"] == 3
        assert store.counters().faults == 0


def test_what_will_not_succeed_is_not_tried_again(remote: Remote, tmp_path: Path) -> None:
    """A refusal is an answer."""
    with guard_of(remote, tmp_path, deadline_s=5.0) as store:
        remote.error = StoreError("401 unauthorised")
        assert store.get(KEY) is None
        assert remote.calls["get"] == 1


def test_faults_in_a_row_stop_the_asking(remote: Remote, tmp_path: Path) -> None:
    """After three tries that failed nobody asks, until the time is over."""
    clock = FakeClock()
    MemoryStore.put(remote, KEY, RECORD)
    with guard_of(remote, tmp_path, clock) as store:
        remote.error = DOWN
        for _ in range(100):
            assert store.get(KEY) is None
        assert remote.calls["get"] == 3
        assert store.trouble() == "connection refused"
        assert store.telemetry().opens == 1
        assert store.telemetry().unasked == 99
        remote.heal()
        assert store.get(KEY) is None
        clock.advance(15.1)
        until(lambda: store.get(KEY) is not None)
        assert store.trouble() is None


def test_a_probe_that_hangs_is_followed_by_another(remote: Remote, tmp_path: Path) -> None:
    """When its deadline is over and the next one's time has come."""
    clock = FakeClock()
    with guard_of(remote, tmp_path, clock) as store:
        remote.hang()
        assert store.get(KEY) is None
        for open_s in (15.1, 30.1):
            clock.advance(open_s)
            before = remote.calls["get"]
            until(partial(is_probed, store, remote, before))


def test_a_probe_is_on_nobodys_time(remote: Remote, tmp_path: Path) -> None:
    """While one operation finds out whether a hanging remote is back, everybody goes on, and nobody else asks."""
    clock = FakeClock()
    with guard_of(remote, tmp_path, clock, deadline_s=NEVER_S, retries=0) as store:
        remote.error = DOWN
        for _ in range(3):
            assert store.get(KEY) is None
        remote.heal()
        remote.hang()
        with no_hang():
            for open_s in (15.1, 30.1):
                clock.advance(open_s)
                for _ in range(50):
                    assert store.get(KEY) is None
                until(lambda: remote.calls["get"] == 4)


def test_closing_does_not_wait_for_a_probe(remote: Remote, tmp_path: Path) -> None:
    """But for a moment, in which a remote that is back has answered."""
    clock = FakeClock()
    with guard_of(remote, tmp_path, clock, deadline_s=NEVER_S, retries=0) as store:
        for _ in range(3):
            remote.error = DOWN
            store.get(KEY)
        remote.heal()
        remote.hang()
        clock.advance(16)
        assert store.get(KEY) is None
        until(lambda: remote.calls["get"] == 4)
        with no_hang():
            store.close()


def is_probed(store: GuardedStore, remote: Remote, before: int) -> bool:
    """Whether somebody has asked, where those who look up come again and again."""
    store.get(make_key("again"))
    return remote.calls["get"] == before + 1


def test_a_record_that_a_remote_cannot_bear_is_given_up(tmp_path: Path) -> None:
    """A put that fails each time, while all else is answered, holds up neither reads nor other puts for ever."""
    clock = FakeClock()
    bad = named("bad")[0]

    class Frail(Remote):
        def put(self, key: Key, record: Record) -> None:
            if key == bad:
                self.calls["bad"] += 1
                raise StoreUnavailable("500")
            super().put(key, record)

        def put_many(self, records: dict[Key, Record]) -> None:  # type: ignore[override]
            if bad in records:
                raise StoreUnavailable("500")
            super().put_many(records)

    frail = Frail()
    MemoryStore.put(frail, KEY, RECORD)
    with guard_of(frail, tmp_path, clock, retries=0, deadline_s=5.0) as store:
        store.put(*named("bad"))
        for number in range(5):
            store.put(*named(str(number)))

        def is_over() -> bool:
            clock.advance(20)
            assert store.get(KEY) is None or body_of_get(store) in (None, RECORD.body)
            return not os.listdir(tmp_path / "remote" / "spool")

        until(is_over, 30)
        assert store.telemetry().dropped == 1
        assert {key for _, key in frail.order} == {named(str(number))[0] for number in range(5)}
        assert remotes(tmp_path)[0].refusals[-1].key == bad


def look_up(store: GuardedStore, worker: int, count: int) -> None:
    for number in range(count):
        assert store.get(make_key(f"{worker}/{number}")) is None


@pytest.mark.parametrize("keeps_time", [True, False])
def test_a_remote_that_hangs_costs_one_deadline(tmp_path: Path, keeps_time: bool) -> None:
    """Of a thousand look-ups one after the other, or by eight threads, no thread's second one is asked."""
    for workers in (1, 8):
        remote = Remote(keeps_time=keeps_time)
        remote.hang()
        with guard_of(remote, tmp_path / str(workers)) as store:
            threads = [
                threading.Thread(target=look_up, args=(store, worker, 1000 // workers))
                for worker in range(workers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert 1 <= sum(remote.calls.values()) <= workers


def test_who_comes_later_waits_for_the_first_ones_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no answer comes: what is left of it, and a tenth at least."""
    passed_s = 0.0
    monkeypatch.setattr(
        "vcache.store.guard.calls.time",
        SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s, sleep=time.sleep),
    )
    given_s: list[float] = []

    class Telling(Remote):
        def get(self, key: Key) -> Record | None:
            given_s.append(left_s(60 * NEVER_S))
            return super().get(key)

    remote = Telling()
    remote.hang()
    with guard_of(remote, tmp_path, deadline_s=10 * NEVER_S) as store:
        threads = []
        for number in range(4):
            passed_s = 4 * NEVER_S * number
            threads.append(threading.Thread(target=store.get, args=(make_key(f"{number}"),)))
            threads[-1].start()
            until(lambda: len(given_s) == len(threads))
        remote.heal()
        for thread in threads:
            thread.join()
    # To a tenth of the step: what real time passed meanwhile is far less.
    assert given_s == pytest.approx([10 * NEVER_S, 6 * NEVER_S, 2 * NEVER_S, NEVER_S], abs=0.4 * NEVER_S)


def test_threads_that_hang_are_bounded(tmp_path: Path) -> None:
    """When all are lost, an operation fails at once; when they come back, they serve."""
    remote = Remote(keeps_time=False)
    MemoryStore.put(remote, KEY, RECORD)
    clock = FakeClock()
    before = threading.active_count()
    with guard_of(remote, tmp_path, clock, deadline_s=0.02, concurrency=1, retries=0) as store:
        remote.hang()
        for _ in range(8):
            assert store.get(KEY) is None
            clock.advance(301)
        assert threading.active_count() <= before + 4
        remote.heal()

        def is_back() -> bool:
            clock.advance(301)
            return store.get(KEY) is not None

        until(is_back)


def test_a_late_answer_is_thrown_away(tmp_path: Path) -> None:
    """What a hung operation finds in the end is not taken for another one's answer."""
    remote = Remote(keeps_time=False)
    clock = FakeClock()
    for name in "abc":
        MemoryStore.put(remote, *named(name))
    with guard_of(remote, tmp_path, clock, deadline_s=0.05) as store:
        remote.hang()
        assert store.get(named("a")[0]) is None
        remote.heal()
        clock.advance(16)
        until(lambda: store.get(named("b")[0]) is not None)
        for name in "cba":
            assert body_of_get(store, named(name)[0]) == named(name)[1].body


def test_a_second_question_is_asked_when_the_first_takes_long(tmp_path: Path) -> None:
    """With `hedge`, whichever answers first counts."""
    remote = Remote()
    MemoryStore.put(remote, KEY, RECORD)
    first = threading.Event()
    plain_get = remote.get

    def get(key: Key) -> Record | None:
        if remote.calls["get"] == 0:
            remote.calls["get"] += 1
            first.wait(NEVER_S)
            return None
        return plain_get(key)

    with guard_of(remote, tmp_path, deadline_s=NEVER_S, hedge_s=0.02) as store:
        store.inner = _Patched(remote, get)  # type: ignore[assignment]
        with no_hang():
            assert body_of_get(store) == RECORD.body
        first.set()


class _Patched:
    def __init__(self, inner: Remote, get: object) -> None:
        self._inner = inner
        self.get = get

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_absence_is_remembered(remote: Remote, tmp_path: Path) -> None:
    """A key that was not there is not asked for again, by any operation, until it is put."""
    with guard_of(remote, tmp_path) as store:
        assert store.get(KEY) is None
        assert store.get(KEY) is None
        assert dict(store.get_many([KEY])) == {}
        assert store.missing([KEY]) == {KEY}
        assert sum(remote.calls.values()) == 1
        other, third = make_key("other"), make_key("third")
        assert dict(store.get_many([other])) == {}
        assert store.missing([third]) == {third}
        assert store.get(other) is store.get(third) is None
        assert sum(remote.calls.values()) == 3
        store.put(KEY, RECORD)
        assert body_of_get(store) == RECORD.body


def test_absence_is_not_remembered_for_ever(tmp_path: Path) -> None:
    """After `negative` it is asked for again; with 0 at once."""
    for negative_s in (0.02, 0.0):
        remote = Remote()
        with guard_of(remote, tmp_path / str(negative_s), negative_s=negative_s) as store:
            key, record = named(f"late {negative_s}")
            assert store.get(key) is None
            MemoryStore.put(remote, key, record)
            until(partial(store.get, key))


def test_a_batch_costs_one_operation(remote: Remote, tmp_path: Path) -> None:
    """However many keys; what waits to be sent is not asked for."""
    pairs = [named(str(number)) for number in range(900)]
    for key, record in pairs[:300]:
        MemoryStore.put(remote, key, record)
    with guard_of(remote, tmp_path) as store:
        assert set(store.get_many([key for key, _ in pairs])) == {key for key, _ in pairs[:300]}
        assert remote.calls == {"get_many": 1}
        assert store.missing([key for key, _ in pairs[:300]]) == set()
        assert remote.calls == {"get_many": 1, "missing": 1}
        assert store.telemetry().hits == 300
        assert store.telemetry().misses == 600


# -- lies ------------------------------------------------------------------------------------------


def lies(key: Key) -> list[Record]:
    body = b"content of " + key
    good = make_record(key, body)
    return [
        Record(good.head, body[:-1] + b"X"),
        Record(good.head, body + b"more"),
        make_record(make_key("another"), body),
        Record(b"no head", body),
        Record(Entry(key, digest(b"x"), len(body)).encode(), body),
    ]


@pytest.mark.parametrize("which", range(5))
def test_a_lie_is_a_miss(remote: Remote, tmp_path: Path, which: int) -> None:
    """Wrong bytes, another key's record, no head: never given out, counted as corrupt, alone and in a batch."""
    MemoryStore.put(remote, KEY, RECORD)
    MemoryStore.put(remote, *named("good"))
    remote.tamper = lambda key, record: lies(key)[which] if key == KEY else record
    with guard_of(remote, tmp_path) as store:
        assert store.get(KEY) is None
        assert set(store.get_many([KEY, named("good")[0]])) == {named("good")[0]}
        assert store.counters().corrupt == 2
        assert store.counters().faults == 0
        assert store.trouble() is None


def test_an_answer_that_cannot_be_read_is_a_miss(remote: Remote, tmp_path: Path) -> None:
    """As a store says when what came is no object."""
    remote.error, remote.times = DecodeError("an object begins with b'<htm'"), 1
    with guard_of(remote, tmp_path) as store:
        assert store.get(KEY) is None
        assert (store.counters().corrupt, store.counters().faults, remote.calls["get"]) == (1, 0, 1)


def test_a_liar_is_not_asked_any_more(remote: Remote, tmp_path: Path) -> None:
    """The fifth damaged record in a row is one too many; a sound one starts the count anew."""
    remote.tamper = lambda key, record: Record(record.head, b"wrong bytes of " + key)
    for number in range(20):
        MemoryStore.put(remote, *named(str(number)))
    with guard_of(remote, tmp_path) as store:
        assert [store.get(named(str(number))[0]) for number in range(2)] == [None] * 2
        remote.tamper, tamper = None, remote.tamper
        assert store.get(named("2")[0]) is not None
        remote.tamper = tamper
        for number in range(3, 20):
            assert store.get(named(str(number))[0]) is None
        assert store.counters().corrupt == 7
        assert store.trouble() == "damaged records, one after the other"


def test_a_record_above_the_limit_is_a_miss(remote: Remote, tmp_path: Path) -> None:
    """And none is sent: the older one is absent from then on."""
    large = make_record(KEY, bytes(5000))
    MemoryStore.put(remote, KEY, large)
    with guard_of(remote, tmp_path, limit_bytes=4000, flush_s=5.0) as store:
        assert store.get(KEY) is None
        MemoryStore.put(remote, KEY, RECORD)
        store.put(KEY, large)
        assert store.get(KEY) is None
        assert store.telemetry().dropped == 1
        assert not remote.order


# -- writing ---------------------------------------------------------------------------------------


def test_puts_do_not_wait(remote: Remote, tmp_path: Path) -> None:
    """A remote that hangs holds up no put; what waits is found without it."""
    remote.hang()
    with guard_of(remote, tmp_path, deadline_s=NEVER_S) as store, no_hang():
        for number in range(50):
            store.put(*named(str(number)))
        assert body_of_get(store, named("7")[0]) == named("7")[1].body
        assert set(store.get_many([named("8")[0]])) == {named("8")[0]}
        assert store.missing([named("9")[0]]) == set()


def test_what_waits_is_deleted_without_the_remote(remote: Remote, tmp_path: Path) -> None:
    """It is absent from then on, whatever the remote does."""
    remote.hang()
    with guard_of(remote, tmp_path) as store:
        store.put(*named("7"))
        store.delete(named("7")[0])
        assert store.get(named("7")[0]) is None


def test_what_is_put_arrives_in_order(remote: Remote, tmp_path: Path) -> None:
    """Of each key the last: batched, and nothing older after something newer."""
    with guard_of(remote, tmp_path, flush_s=5.0) as store:
        remote.hang()
        for number in range(30):
            store.put(KEY, make_record(KEY, b"%d" % number))
            store.put(*named(str(number)))
        remote.heal()
        until(lambda: store.telemetry().sent >= 31)
        got = MemoryStore.get(remote, KEY)
        assert got is not None
        assert got.body == b"29"
        assert {key for _, key in remote.order} == {KEY} | {named(str(number))[0] for number in range(30)}
        assert remote.calls["put"] + remote.calls["put_many"] < 10
        until(lambda: not os.listdir(tmp_path / "remote" / "spool"))


def test_closing_waits_for_the_spool(remote: Remote, tmp_path: Path) -> None:
    """As long as `flush` allows; then nothing is left."""
    with guard_of(remote, tmp_path, flush_s=10.0) as store:
        for number in range(200):
            store.put(*named(str(number)))
        store.close()
        assert len(set(MemoryStore.scan(_reopened(remote)))) == 200


def _reopened(remote: Remote) -> Remote:
    """What a remote keeps is still there when a client has closed."""
    again = Remote()
    for operation, key in remote.order:
        if operation == "put":
            MemoryStore.put(again, key, make_record(key))
    return again


def test_what_remains_is_sent_by_the_next(tmp_path: Path) -> None:
    """A build whose remote was down leaves its puts to the one after it, which need not put anything."""
    down = Remote()
    down.error = DOWN
    with guard_of(down, tmp_path) as store:
        for number in range(10):
            store.put(*named(str(number)))
        until(lambda: store.trouble() is not None)  # else it might be healed amid a try
    (tmp_path / "remote" / "breaker").unlink(missing_ok=True)
    up = Remote()
    with guard_of(up, tmp_path) as store:
        assert store.get(make_key("something else")) is None
        until(lambda: len(up.order) == 10)
        until(lambda: not os.listdir(tmp_path / "remote" / "spool"))


def test_a_moment_is_enough_for_a_remote_that_is_back(tmp_path: Path) -> None:
    """A process that asks once and ends finds out that it answers again, and sends what waits."""
    clock = FakeClock()
    down = Remote()
    down.error = DOWN
    with guard_of(down, tmp_path, clock) as store:
        store.put(KEY, RECORD)
        for number in range(3):
            store.get(make_key(str(number)))
    until(lambda: all(thread.name != "vcache-sender" for thread in threading.enumerate()))
    clock.advance(16)
    up = Remote()
    up.round_trip_s = 0.05
    with guard_of(up, tmp_path, clock, flush_s=NEVER_S) as store:
        assert store.get(make_key("something else")) is None
        with no_hang():
            store.close()
    assert up.order == [("put", KEY)]
    assert not os.listdir(tmp_path / "remote" / "spool")


def test_closing_does_not_wait_for_what_is_not_asked(remote: Remote, tmp_path: Path) -> None:
    """With an open breaker nothing can be sent: closing is immediate."""
    remote.error = DOWN
    with guard_of(remote, tmp_path, flush_s=NEVER_S) as store:
        assert store.get(KEY) is None
        store.put(KEY, RECORD)
        with no_hang():
            store.close()
    assert len(os.listdir(tmp_path / "remote" / "spool")) == 1


@pytest.mark.parametrize(
    "error", [StoreError("413 too large"), StoreFull("507 no room"), StoreReadOnly("403")]
)
def test_what_is_refused_for_good_is_dropped(remote: Remote, tmp_path: Path, error: Exception) -> None:
    """Counted, reported, not sent again; it is no fault, and the others of its batch arrive."""
    bad = named("bad")[0]

    class Picky(Remote):
        def put(self, key: Key, record: Record) -> None:
            if key == bad:
                self.calls["refused"] += 1
                raise error
            super().put(key, record)

        def put_many(self, records: dict[Key, Record]) -> None:  # type: ignore[override]
            if bad in records:
                raise error
            super().put_many(records)

    picky = Picky()
    picky.hang()
    with guard_of(picky, tmp_path, deadline_s=5.0) as store:
        for name in ("1", "bad", "2"):
            store.put(*named(name))
        picky.heal()
        until(lambda: store.telemetry().dropped == 1 and store.telemetry().sent == 2)
        assert {key for _, key in picky.order} == {named("1")[0], named("2")[0]}
        assert picky.calls["refused"] == 1
        assert store.counters().faults == 0
        assert store.get(bad) is None
        (found,) = remotes(tmp_path)
        assert found.waiting == 0
        assert found.refusals[-1].why == str(error)
        assert found.refusals[-1].key == bad


def test_a_full_spool_drops(remote: Remote, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Counted and told once; the older record of the key is not served in its place."""
    MemoryStore.put(remote, KEY, make_record(KEY, b"older"))
    with guard_of(remote, tmp_path, spool_bytes=2 * 4096) as store:
        remote.hang()
        for number in range(10):
            store.put(*named(str(number)))
        store.put(KEY, RECORD)
        assert store.telemetry().dropped == 9
        remote.heal()
        assert store.get(KEY) is None
        assert len([line for line in caplog.messages if "was not sent" in line]) == 1


def test_a_full_disk_drops(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A spool that cannot be written costs the record, and nothing else."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vcache.store.guard.spool.write_atomic", full)
    with guard_of(remote, tmp_path) as store:
        for number in range(5):
            store.put(*named(str(number)))
        assert store.telemetry().dropped == 5
        assert store.get(named("1")[0]) is None
    assert any("No space left" in line for line in caplog.messages)


def test_a_delete_is_done_or_remembered(remote: Remote, tmp_path: Path) -> None:
    """Where the remote does not serve, the key is absent here, and deleted there as soon as can be."""
    clock = FakeClock()
    MemoryStore.put(remote, KEY, RECORD)
    with guard_of(remote, tmp_path, clock, retries=0) as store:
        assert store.delete(KEY)
        assert not store.delete(KEY)
        assert remote.order == [("delete", KEY)] * 2
        MemoryStore.put(remote, KEY, RECORD)
        remote.error = DOWN
        assert not store.delete(KEY)
        assert store.get(KEY) is None
        assert store.missing([KEY]) == {KEY}
        remote.heal()
        until(lambda: MemoryStore.get(remote, KEY) is None)


def test_a_delete_comes_after_the_puts_that_wait(remote: Remote, tmp_path: Path) -> None:
    """Also those of other processes: what was deleted does not come back."""
    with guard_of(Remote(), tmp_path) as other, guard_of(remote, tmp_path, deadline_s=2.0) as store:
        other.inner.hang()  # type: ignore[attr-defined]
        other.put(KEY, RECORD)
        until(lambda: other.inner.calls["put"])  # type: ignore[attr-defined]
        store.delete(KEY)
        assert len(os.listdir(tmp_path / "remote" / "spool")) == 2


def test_write_through_says_what_happened(remote: Remote, tmp_path: Path) -> None:
    """A put that the remote does not take raises, at once where it is not asked."""
    with guard_of(remote, tmp_path, is_behind=False, retries=0) as store:
        store.put(KEY, RECORD)
        assert remote.order == [("put", KEY)]
        assert store.telemetry().sent == 1
        remote.error = StoreFull("507")
        with pytest.raises(StoreFull):
            store.put(KEY, RECORD)
        assert store.trouble() is None
        remote.error = DOWN
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                store.put(KEY, RECORD)
        assert remote.calls["put"] == 5
        with pytest.raises(StoreUnavailable):
            store.delete(KEY)
    assert not (tmp_path / "remote" / "spool").exists()


def test_a_read_only_guard_sends_nothing(remote: Remote, tmp_path: Path) -> None:
    """It says that it takes nothing, and leaves what waits to others."""
    with guard_of(remote, tmp_path) as store:
        remote.error = DOWN
        store.put(KEY, RECORD)
        until(lambda: remote.calls["put"])
    remote = Remote()
    with guard_of(remote, tmp_path, is_read_only=True) as store:
        assert store.info.is_read_only
        for write in (lambda: store.put(KEY, RECORD), lambda: store.delete(KEY), lambda: store.put_many({})):
            with pytest.raises(StoreReadOnly):
                write()
        assert store.get(KEY) is None
    assert not remote.order
    assert len(os.listdir(tmp_path / "remote" / "spool")) == 1


# -- limits ----------------------------------------------------------------------------------------


def test_so_many_operations_at_once(tmp_path: Path) -> None:
    """No more than `concurrency` are under way at any moment."""
    running, most, lock = 0, 0, threading.Lock()
    all_three = threading.Barrier(3)

    class Counting(Remote):
        def get(self, key: Key) -> Record | None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            all_three.wait(NEVER_S)
            with lock:
                running -= 1
            return None

    with guard_of(Counting(), tmp_path, concurrency=3, deadline_s=NEVER_S) as store:
        threads = [threading.Thread(target=store.get, args=(make_key(str(n)),)) for n in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 3


def test_bandwidth_is_kept(remote: Remote, tmp_path: Path) -> None:
    """What was read beyond it is paid for by misses, not by waiting longer than a deadline."""
    MemoryStore.put(remote, KEY, make_record(KEY, bytes(100_000)))
    with guard_of(remote, tmp_path, bandwidth_bytes=10_000, deadline_s=0.5) as store:
        assert store.get(KEY) is not None
        assert store.get(KEY) is None
        assert store.telemetry().unasked == 1
        assert store.counters().faults == 0


# -- the rest --------------------------------------------------------------------------------------


def test_what_is_not_trusted_is_reported(tmp_path: Path) -> None:
    """A store that refuses records by a policy says so when it is asked: counted, with the reason."""

    class Sealed(Remote):
        def take_refusals(self) -> list[tuple[Key, str]]:
            return [(KEY, "unsigned")]

    with guard_of(Sealed(), tmp_path) as store:
        assert store.get(KEY) is None
        assert store.telemetry().refused == 1
        assert store.counters().corrupt == 0
        assert list(report_lines(tmp_path))[-1] == "  a record that is not trusted: unsigned"


def test_damage_that_the_store_finds_itself_counts(remote: Remote, tmp_path: Path) -> None:
    """Its caller sees a miss only, so the guard looks at its count."""

    class Damaging(Remote):
        def __init__(self) -> None:
            super().__init__()
            self.damaged = Damaged()
            self.damaged.add()  # before: nobody's fault here

        def get(self, key: Key) -> Record | None:
            self.damaged.add()
            return super().get(key)

    with guard_of(Damaging(), tmp_path) as store:
        for number in range(20):
            assert store.get(make_key(str(number))) is None
        assert store.counters().corrupt == 5
        assert store.trouble() is not None


def test_a_walk_that_fails_says_so(remote: Remote, tmp_path: Path) -> None:
    """`scan` of a remote that is down raises, for half a walk is no walk."""
    with guard_of(remote, tmp_path) as store:
        remote.error = DOWN
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                list(store.scan())


def test_a_child_goes_on(tmp_path: Path) -> None:
    """After a fork, both can put and get, while the parent's threads were at work."""
    with guard_of(DiskStore(tmp_path / "far"), tmp_path, deadline_s=5.0, flush_s=10.0) as store:
        for number in range(20):
            store.put(*named(str(number)))
        pid = os.fork()
        if pid == 0:
            try:
                store.put(*named("child"))
                is_good = body_of_get(store, named("child")[0]) == named("child")[1].body
                store.get(make_key("absent"))
                store.close()
                os._exit(0 if is_good else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        store.put(*named("parent"))
        store.close()
    far = DiskStore(tmp_path / "far")
    assert len(list(far.scan())) == 22
    far.close()


def test_it_can_be_seen_from_outside(remote: Remote, tmp_path: Path) -> None:
    """What waits, what was refused, and why a remote is not asked, for `vcache doctor`."""
    with guard_of(remote, tmp_path) as store:
        remote.error = DOWN
        store.get(KEY)
        store.put(KEY, RECORD)
        (found,) = remotes(tmp_path)
        assert (found.address, found.waiting, found.breaker.is_open) == ("far://host/base", 1, True)
        assert found.waiting_bytes > 100
        lines = list(report_lines(tmp_path))
        assert lines[0].startswith("far://host/base: not asked for now (connection refused); 1 waiting")
        assert lines[1] == "  a fault: connection refused"


def test_nothing_is_known_of_no_remote(tmp_path: Path) -> None:
    """A directory that is not there, or holds strangers, is no error."""
    assert remotes(tmp_path / "missing") == ()
    (tmp_path / "file").write_text("")
    assert remotes(tmp_path) == ()


def test_a_closed_guard_says_so(remote: Remote, tmp_path: Path) -> None:
    """All operations, also those that would have been answered from memory."""
    with guard_of(remote, tmp_path) as store:
        assert store.get(KEY) is None
        store.close()
        for call in (
            lambda: store.get(KEY),
            lambda: store.get_many([KEY]),
            lambda: store.missing([KEY]),
            lambda: store.put(KEY, RECORD),
            lambda: store.delete(KEY),
            store.counters,
        ):
            with pytest.raises(StoreClosed):
                call()
