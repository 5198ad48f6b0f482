"""What remote queues and servers send each other comes back whole; what is something else is an error, never a fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import DecodeError, UsageError
from vcache.jobs.base import Claimed, Exchanged, Finished, KindTotals, QueueStats, Session
from vcache.jobs.models import Failure, Job, Progress, Spec
from vcache.jobs.remote import wire
from vcache.jobs.states import Event, State

SPEC = Spec("id", "kind", {"x": b"\0"}, 1, 2, 3, 4, 5.0, 6, "u", 7.0, ("a",), "p", ("t",), "n", "trace")
FAILURE = Failure(1, 2, "error", "why", "Traceback", "host/1")


def sent(value: object) -> object:
    return wire.unpack(wire.pack(value))


def test_all_comes_back() -> None:
    """Jobs, claims, ends, statistics."""
    for spec in (SPEC, Spec("id", "kind", {})):
        job = Job(
            spec, State.DEAD, 1, 2, 3, 4, 5, "w", 6, Progress(1.0, 2.0, "n", 3), {"r": [1]}, (FAILURE,), "why"
        )
        assert wire.job_of(sent(wire.sent_job(job))) == job
        claimed = Claimed(spec, 1 << 60, 2, 1)
        assert wire.claimed_of(sent(wire.sent_claimed(claimed))) == claimed
        bare = Claimed(spec._replace(payload={}), 1 << 60, 2, 1)
        ended = Finished(claimed, Event.TRY_AGAIN, None, FAILURE, 1.5)
        assert wire.finished_of(sent(wire.sent_finished(ended))) == ended._replace(claimed=bare)
        exchanged = Exchanged([claimed], ["a"], ["b"], 0.5)
        assert wire.exchanged_of(sent(wire.sent_exchanged(exchanged))) == exchanged
    assert wire.job_of(sent(wire.sent_job(None))) is None
    stats = QueueStats(
        {("k", 1): 2}, 3, {State.QUEUED: 4}, {"k": KindTotals(5)}, 6, [Session("s", "w", 1, 2.0, 3, ("k",))],
        {("k", 0): 2, ("k", 2): 3},
    )  # fmt: skip
    assert wire.stats_of(sent(wire.sent_stats(stats))) == stats


_ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)
_READERS = (
    wire.spec_of, wire.claimed_of, wire.finished_of, wire.exchanged_of, wire.job_of, wire.progress_of, wire.limits_of,
    wire.info_of, wire.page_of, wire.sessions_of, wire.stats_of, wire.cells_of, wire.texts_of,
)  # fmt: skip


@pytest.mark.parametrize("read", _READERS)
@given(value=_ANY)
def test_what_is_something_else_is_an_error(read: Callable[[object], object], value: object) -> None:
    """No list, too short, of other types: one kind of error, which says so."""
    try:
        read(value)
    except DecodeError:
        pass


def test_what_no_queue_could_keep_is_not_sent() -> None:
    """It is said here, before it crosses the network."""
    with pytest.raises(UsageError, match="64 bits"):
        wire.pack([1 << 70])
