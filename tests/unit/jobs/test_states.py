"""The states of a job, each pair of state and event."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from pathlib import Path

import pytest

from vcache.errors import UsageError
from vcache.jobs import states
from vcache.jobs.states import ENDED, TRANSITIONS, Event, State, after

S, E = State, Event
_EXPECTED = {
    S.BLOCKED: {E.UNBLOCK: S.QUEUED, E.EXPIRE: S.DEAD, E.CANCEL: S.CANCELLED},
    S.QUEUED: {E.CLAIM: S.RUNNING, E.EXPIRE: S.DEAD, E.CANCEL: S.CANCELLED},
    S.RUNNING: {
        E.COMPLETE: S.COMPLETED, E.FAIL: S.FAILED, E.RELEASE: S.QUEUED, E.LOSE: S.QUEUED,
        E.QUARANTINE: S.DEAD, E.CANCEL: S.CANCELLED,
    },
    S.FAILED: {E.TRY_AGAIN: S.RETRY, E.GIVE_UP: S.DEAD},
    S.RETRY: {E.DUE: S.QUEUED, E.REQUEUE: S.QUEUED, E.EXPIRE: S.DEAD, E.CANCEL: S.CANCELLED},
    S.COMPLETED: {},
    S.DEAD: {E.REQUEUE: S.QUEUED},
    S.CANCELLED: {E.REQUEUE: S.QUEUED},
}  # fmt: skip


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_leads_where_it_should(state: State, event: Event) -> None:
    """each event in each state leads to one state, or is refused with what is possible"""
    to = _EXPECTED[state].get(event)
    if to is not None:
        assert after(state, event) is to
        return
    with pytest.raises(UsageError, match=f"a job that is {state} cannot {event}: possible are") as caught:
        after(state, event)
    possible = str(caught.value).rpartition("are ")[2]
    assert possible == (", ".join(sorted(_EXPECTED[state])) or "nothing")


def test_the_table_says_no_more() -> None:
    """and it cannot be changed"""
    assert len(TRANSITIONS) == sum(map(len, _EXPECTED.values()))
    with pytest.raises(TypeError):
        TRANSITIONS[S.COMPLETED, E.CLAIM] = S.RUNNING  # type: ignore[index]


def test_a_completed_job_stays_so() -> None:
    """from every other state it can be completed yet; ended ones lead on by requeuing alone"""
    reach = {state: set(_EXPECTED[state].values()) for state in State}
    for _ in State:
        reach = {state: to.union(*(reach[each] for each in to)) for state, to in reach.items()}
    assert {state for state in State if State.COMPLETED in reach[state]} == set(State) - {State.COMPLETED}
    assert reach[State.COMPLETED] == set()
    assert {state for state in State if set(_EXPECTED[state]) <= {Event.REQUEUE}} == ENDED


def test_states_and_events_are_words() -> None:
    """they are kept and sent as such, and each has a line that says what it means"""
    assert [str(state) for state in State] == [state.name.lower() for state in State]
    assert [str(event) for event in Event] == [event.name.lower().replace("_", "-") for event in Event]
    for cls in ast.parse(inspect.getsource(states)).body:
        if isinstance(cls, ast.ClassDef):
            kinds = [type(node) for node in cls.body[1:]]
            assert kinds == [ast.Assign, ast.Expr] * (len(kinds) // 2), cls.name


def test_the_design_says_the_same() -> None:
    """docs/design/jobs.md has the states, and what leads from each"""
    text = Path(__file__).parents[3].joinpath("docs/design/jobs.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", text, re.MULTILINE))
    for state, leads in _EXPECTED.items():
        named = {str(to) for to in leads.values()}
        words = set(re.findall(r"\w+", re.sub(r"\([^)]*\)", "", rows[str(state)])))
        assert words & set(map(str, State)) == named, state
