from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dag import runs as some
from tests.unit.dag.runs import APP, A, B, C, at, ended, ms, node, ran, started
from vcache.dag import history
from vcache.dag.events import Finished, Hit, Noted, Skipped, Started, UpToDate
from vcache.dag.journal import _RECORDS, Line, _encode
from vcache.errors import UsageError

IDS = ["018a-1-aa", "018a-2-bb", "018b-3-ab"]


def lines(events):
    for event in events:
        if isinstance(event, UpToDate):
            yield Line("up_to_date", event.at_ns, event.node.name, {})
            continue
        made = _RECORDS[type(event)](event)
        record = json.loads(made if isinstance(made, str) else _encode(made))
        yield Line(record.pop("event"), record.pop("at_ns"), record.pop("node", ""), record)


def described(events) -> history.Run:
    return history.described("id", lines(events))


def test_a_run_in_a_line() -> None:
    """the summary has the counts of the run's end"""
    found = history.summary("id", lines(some.a_build()))
    assert (found.n_run, found.n_hit, found.n_up_to_date, found.n_failed) == (3, 1, 1, 0)
    assert (found.status, found.took_ns, found.saved_ns) == (0, ms(801), ms(900))
    assert (found.goals, found.slots) == (("app",), 2)


def test_a_run_that_was_killed() -> None:
    """without an end the counts are of what was done, and it has no status"""
    found = described(some.a_build()[:-2])
    assert (found.summary.n_run, found.summary.n_hit, found.summary.n_up_to_date) == (2, 1, 1)
    assert found.summary.status is found.summary.took_ns is None
    assert found.nodes["app"].how == "unfinished"


def test_what_became_of_each_node() -> None:
    """each node is told with how, why, how long, and where its output is"""
    flaky = node("flaky")
    missed, begun, failed = ran(flaky, 600, 610, status=1)
    found = described(
        [
            *some.a_build()[:-1],
            *(missed, begun, failed._replace(will_retry=True)),
            Started(at(620), flaky, "again", 2),
            Finished(at(650), flaky, 3, ms(30), remark="exit status 3"),
            Skipped(at(651), node("all"), "flaky failed"),
            Noted(at(652), "the cache is slow"),
            ended(800, 1),
        ]
    )
    hows = {name: made.how for name, made in found.nodes.items()}
    assert hows == {
        "gen.h": "up_to_date", "a.o": "ran", "b.o": "ran", "c.o": "hit", "app": "ran", "flaky": "failed",
        "all": "skipped",
    }  # fmt: skip
    assert found.nodes["flaky"] == history.Made(
        "flaky", "failed", took_ns=ms(30), reason="never built", words="again", status=3, tries=2,
        remark="exit status 3",
    )  # fmt: skip
    assert found.nodes["c.o"].saved_ns == ms(900)
    assert found.nodes["a.o"].log == found.nodes["c.o"].log == some.A_LOG.hex()
    assert found.notes == ("the cache is slow",)


def test_equal_runs_do_not_differ() -> None:
    """a run compared with itself differs in nothing"""
    run = described(some.a_build())
    assert history.compared(run, run).is_empty


def test_how_two_runs_differ() -> None:
    """nodes are told by what changed for them, the largest differences of time first"""
    old_only, new_only, shared = node("old"), node("new"), node("shared")
    older = described(
        [
            started(1),
            *ran(A, 0, 1000),
            *ran(B, 0, 100),
            *ran(C, 0, 3000),
            Hit(at(1), APP, "r", ms(10), ms(1), b"\1" * 32),
            *ran(old_only, 0, 1),
            *ran(shared, 0, 10, status=1),
            ended(1),
        ]
    )
    newer = described(
        [
            started(2),
            *ran(A, 0, 2000, reason="changed file a.c"),
            Hit(at(1), B, "r", ms(100), ms(1)),
            *ran(C, 0, 500),
            *ran(APP, 1, 5, status=2, log=b"\2" * 32),
            *ran(new_only, 0, 1),
            UpToDate(at(1), node("idle")),
            *ran(shared, 0, 10),
            ended(1),
        ]
    )
    found = history.compared(older, newer)
    named = {
        name: [change.name for change in getattr(found, name)]
        for name in found.__slots__
        if name not in ("older", "newer")
    }
    assert named == {
        "ran": ["app", "new"], "spared": ["b.o", "old"], "reasons": ["a.o"],
        "broke": ["app"], "mended": ["shared"], "slower": ["a.o"], "faster": ["c.o"], "logs": ["app"],
    }  # fmt: skip
    (change,) = found.reasons
    assert change.older is not None and change.newer is not None
    assert (change.older.reason, change.newer.reason) == ("never built", "changed file a.c")


def test_noise_is_no_difference() -> None:
    """durations within a quarter, or within 50 ms, are not told"""

    def took(first_ms: float, second_ms: float) -> bool:
        return history.compared(
            described([started(), *ran(A, 0, first_ms)]), described([started(), *ran(A, 0, second_ms)])
        ).is_empty

    assert took(1000, 1240)
    assert took(1, 40)
    assert not took(1000, 1260)
    assert not took(100, 1)


@pytest.mark.parametrize(
    ("word", "run"),
    [("last", 2), ("-1", 2), ("-2", 1), ("-3", 0), ("018b", 2), ("018A-1", 0), ("bb", 1), (IDS[0], 0)],
)
def test_a_word_chooses_a_run(word, run) -> None:
    """by place from the end, by the beginning of an id, or by its end"""
    assert history.chosen(word, IDS) == IDS[run]


@pytest.mark.parametrize(
    ("word", "ids", "hint"),
    [
        ("last", [], "no run is known here"),
        ("-4", IDS, "only the last 3"),
        ("zz", IDS, "there is no run 'zz'"),
        ("", IDS, "there is no run ''"),
        ("018a", IDS, "one of 2: give more of it, or its end, such as 18a-1-aa, 18a-2-bb"),
    ],
)
def test_a_word_that_chooses_none(word, ids, hint) -> None:
    """the error says what there is"""
    with pytest.raises(UsageError, match=hint):
        history.chosen(word, ids)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("obj/a.o", ["obj/a.o"]),
        ("./obj/a.o", ["obj/a.o"]),
        ("a.o", ["obj/a.o", "lib/a.o"]),
        ("obj/a.d", ["obj/a.o"]),
        ("a", ["obj/a.o", "lib/a.o"]),
        ("obj/", ["obj/a.o", "obj/ab.o"]),
        ("zzz", []),
    ],
)
def test_a_target_is_found(target, names) -> None:
    """by name, by any output, by the end of its path, by its stem, by the beginning"""
    nodes = [
        history.Made("obj/a.o", "ran", outs=("obj/a.o", "obj/a.d")),
        history.Made("obj/ab.o", "ran"),
        history.Made("lib/a.o", "ran"),
    ]
    assert [made.name for made in history.matching(target, nodes)] == names


@given(st.lists(st.sampled_from(some.a_build()), max_size=30))
def test_any_order_of_events_is_told(events) -> None:
    """a journal that lost lines, or has them twice, is still told"""
    run = described(events)
    assert history.compared(run, run).is_empty
