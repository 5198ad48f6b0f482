"""Schedules as they are kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import DecodeError, FormatError, StoreBusy, UsageError
from vcache.jobs import MemoryQueue
from vcache.jobs.schedules import Schedule, Schedules, make_schedule, next_tick, schedule_facts
from vcache.jobs.schedules.models import Misfire, Overlap, pack_schedule, unpack_schedule
from vcache.jobs.states import State
from vcache.serialize.plain import pack_plain, unpack_plain

NS = 1_000_000_000
HOUR = 3600 * NS


class Desk:
    def __init__(self) -> None:
        self.now_ns = 1000 * HOUR
        self.queue = MemoryQueue()
        self.book = Schedules(self.queue, clock=lambda: self.now_ns)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_it_is_kept_as_it_was_made(desk: Desk) -> None:
    """What is put is what is got, with when it was made"""
    made = make_schedule(
        "a.b-c_1", "work", {"x": [1, None]}, when=" daily 02:00 ", zone="Europe/Berlin", priority="low", misfire="all",
        overlap="allow", spread="1m", timeout=5, retries=0, tags=["t"],
    )  # fmt: skip
    assert made == Schedule(
        "a.b-c_1", "work", "daily 02:00", {"x": [1, None]}, "Europe/Berlin", 3, Misfire.ALL, Overlap.ALLOW, 60.0, 5.0,
        0, ("t",),
    )  # fmt: skip
    kept = desk.book.put(made)
    assert kept == made._replace(created_ns=desk.now_ns, done_ns=desk.now_ns)
    assert desk.book.list() == [kept] == [desk.book.get("a.b-c_1")]
    assert desk.book.get("a.b") is None


def test_what_was_done_outlives_a_new_definition(desk: Desk) -> None:
    """With the same times no tick is lost or repeated; others count from then on; an equal one writes nothing"""
    made = make_schedule("s", "work", when="every 1h")
    first = desk.book.put(made)
    desk.now_ns += HOUR // 2
    assert desk.book.put(made) == first
    assert desk.queue.cells("schedule/")["schedule/s"].version == 1
    assert desk.book.put(made._replace(kind="other")) == first._replace(kind="other")
    changed = desk.book.put(made._replace(when="every 2h"))
    assert (changed.done_ns, changed.created_ns) == (desk.now_ns, first.created_ns)


def test_pausing_and_resuming(desk: Desk) -> None:
    """A paused one has no next tick, and what passed meanwhile is not made up for"""
    desk.book.put(make_schedule("s", "work", when="every 1h"))
    assert next_tick(desk.book.pause("s")) is None
    desk.now_ns += 10 * HOUR + 1
    assert next_tick(desk.book.resume("s")) == 1011 * HOUR
    again = desk.book.resume("s")
    desk.now_ns += HOUR
    assert desk.book.resume("s") == again


def test_running_by_hand(desk: Desk) -> None:
    """Its job is submitted at once, also while it is paused, and its ticks come as before"""
    desk.book.put(make_schedule("s", "work", {"n": 1}, when="every 1h"))
    desk.book.pause("s")
    job_id = desk.book.run_now("s")
    (job,) = desk.queue.get([job_id])
    assert job is not None
    assert (job.kind, job.state, job.spec.parent) == ("work", State.QUEUED, "schedule/s")
    kept = desk.book.get("s")
    assert kept is not None
    assert (kept.last_job, kept.n_fired, kept.done_ns) == (job_id, 1, 1000 * HOUR)


def test_what_is_not_there_is_said(desk: Desk) -> None:
    """With the nearest name; to remove it is no error"""
    desk.book.put(make_schedule("nightly", "work", when="@daily"))
    for change in (desk.book.pause, desk.book.resume, desk.book.run_now):
        with pytest.raises(UsageError, match="no schedule 'nihgtly'; did you mean 'nightly'"):
            change("nihgtly")
    assert desk.book.remove("nightly")
    assert not desk.book.remove("nightly")


def test_changes_of_others_at_the_same_time_are_not_undone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who loses looks again; who always loses says so in the end"""
    desk.book.put(make_schedule("s", "work", when="@daily"))
    real, other = desk.queue.swap, [True]

    def swap(name: str, version: int, value: bytes | None, specs: object = ()) -> bool:
        if other:
            other.clear()
            desk.book.run_now("s")
        return real(name, version, value, specs)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.queue, "swap", swap)
    paused = desk.book.pause("s")
    assert (paused.is_paused, paused.n_fired) == (True, 1)
    monkeypatch.setattr(desk.queue, "swap", lambda *_args: False)
    for change in (desk.book.resume, desk.book.remove):
        with pytest.raises(StoreBusy, match="changed by others all the time"):
            change("s")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "a b"}, "no name of a schedule: 'a b'"),
        ({"name": ""}, "no name of a schedule"),
        ({"kind": ""}, "schedule 's': kind=''"),
        ({"when": "dayly 02:00"}, "did you mean 'daily'"),
        ({"zone": "Berlin"}, "did you mean 'Europe/Berlin'"),
        ({"priority": "hihg"}, "schedule 's': job 'work': unknown priority 'hihg'; did you mean 'high'"),
        ({"misfire": "twice"}, "schedule 's': misfire 'twice'"),
        ({"overlap": "alow"}, "overlap 'alow'; did you mean 'allow'"),
        ({"spread": "-1s"}, "schedule 's': not a duration: '-1s'"),
        ({"retries": -2}, "schedule 's': job 'work': retries=-2"),
        ({"payload": {"x": {1}}}, "schedule 's': job 'work': its payload"),
        ({"misfire": "all"}, 'which overlap "skip" forbids: give overlap "allow", or misfire "once"'),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], complaint: str) -> None:
    """With the value, its place, and what would make sense"""
    words: dict[str, object] = {"name": "s", "kind": "work", "when": "@daily"} | changes
    with pytest.raises(UsageError) as caught:
        make_schedule(**words)  # type: ignore[arg-type]
    assert complaint in str(caught.value)


def test_facts_are_json() -> None:
    """In words that people know"""
    facts = json.loads(json.dumps(schedule_facts(make_schedule("s", "work", {"x": 1}, when="every 1h"))))
    assert facts["next_ns"] == HOUR
    assert (facts["priority"], facts["misfire"], facts["overlap"], facts["payload"]) == (
        "medium",
        "once",
        "skip",
        {"x": 1},
    )
    assert "others" not in facts


def test_the_packed_form_is_a_map_of_what_differs() -> None:
    """As docs/design/jobs.md has it"""
    made = make_schedule("s", "work", when="@daily", misfire="skip", tags=["t"])
    packed = {"format": 1, "kind": "work", "when": "@daily", "misfire": "skip", "tags": ["t"]}
    assert unpack_plain(pack_schedule(made)) == packed


@given(
    st.builds(
        Schedule,
        name=st.just("s"), kind=st.text(min_size=1), when=st.text(), payload=st.dictionaries(st.text(), st.integers(0, 9)),
        zone=st.text(), priority=st.integers(0, 3), misfire=st.sampled_from(Misfire), overlap=st.sampled_from(Overlap),
        spread_s=st.floats(0, 1e9), timeout_s=st.floats(0, 1e9), retries=st.integers(-1, 99),
        tags=st.lists(st.text()).map(tuple), is_paused=st.booleans(), done_ns=st.integers(0, 2**62), last_job=st.text(),
        n_fired=st.integers(0, 2**62), others=st.just({}) | st.just({"newer": [1, {"a": None}]}),
    )
)  # fmt: skip
def test_packing_keeps_everything(schedule: Schedule) -> None:
    """Also what a newer version says beside"""
    assert unpack_schedule("s", pack_schedule(schedule)) == schedule


@pytest.mark.parametrize(
    ("kept", "error", "complaint"),
    [
        (
            {"format": 2, "kind": "k", "when": "@daily"},
            FormatError,
            "is of format 2, this version reads 1: update vcache",
        ),
        ({"kind": "k", "when": "@daily"}, DecodeError, "what is kept of it is damaged"),
        ([1], DecodeError, "damaged"),
        ({"format": 1, "when": "@daily"}, DecodeError, "its kind is damaged"),
        ({"format": 1, "kind": 5, "when": "@daily", "tags": "t"}, DecodeError, "its kind, tags is damaged"),
        ({"format": 1, "kind": "k", "when": "@daily", "misfire": "never"}, UsageError, "misfire 'never'"),
    ],
)
def test_what_is_kept_otherwise_is_refused(kept: object, error: type[Exception], complaint: str) -> None:
    """A newer format asks for a newer version, anything else is damage"""
    with pytest.raises(error, match=complaint):
        unpack_schedule("s", pack_plain(kept))
