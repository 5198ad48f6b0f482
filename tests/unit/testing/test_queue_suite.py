"""The suite of queues fails for those that break the contract: each law once, by its own test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from vcache.errors import SessionLost, UsageError
from vcache.jobs.base import Exchanged, Finished, Page, Queue, QueueStats, Session
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Failure, Job, Limits, Progress, Spec
from vcache.jobs.states import Event, State
from vcache.kit.ids import uuid7
from vcache.testing import FakeClock, QueueTests
from vcache.testing.queue_machine import queue_machine


class Good(MemoryQueue):
    """Keeps all laws, and has its clock at hand."""

    def __init__(self) -> None:
        self.fake = FakeClock()
        super().__init__(clock=self.fake)


class Suite(QueueTests):
    patience_s = 2.0

    def advance(self, queue: Queue, seconds: float) -> None:
        assert isinstance(queue, Good)
        queue.fake.advance(seconds)


class _Changes(Good):
    """Changes what is asked for."""

    def change(self, spec: Spec) -> Spec:
        return spec

    def submit(self, specs: Sequence[Spec]) -> Sequence[str]:
        return super().submit([self.change(spec) for spec in specs])


class LosesTags(_Changes):
    def change(self, spec: Spec) -> Spec:
        return spec._replace(tags=())


class IgnoresPriority(_Changes):
    def change(self, spec: Spec) -> Spec:
        return spec._replace(priority=2)


class IgnoresDelays(_Changes):
    def change(self, spec: Spec) -> Spec:
        return spec._replace(not_before_ns=0)


class IgnoresDeadlines(_Changes):
    def change(self, spec: Spec) -> Spec:
        return spec._replace(deadline_ns=0)


class IgnoresKeys(_Changes):
    def change(self, spec: Spec) -> Spec:
        return spec._replace(unique="")


class IgnoresWindows(_Changes):
    def change(self, spec: Spec) -> Spec:
        return spec._replace(unique_s=0.0)


class IgnoresOrder(_Changes):
    def change(self, spec: Spec) -> Spec:
        return spec._replace(after=())


class MakesAgain(_Changes):
    def change(self, spec: Spec) -> Spec:
        known = self.get([spec.id]) != [None]
        return spec._replace(id=uuid7.text()) if known else spec


class KeepsSome(Good):
    def submit(self, specs: Sequence[Spec]) -> Sequence[str]:
        return [super(KeepsSome, self).submit([spec])[0] for spec in specs]


class GivesOneById(Good):
    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        return [job for job in super().get(ids) if job is not None]


class _Exchanges(Good):
    """Changes what is exchanged."""

    def before(self, finished: Finished) -> Finished:
        return finished

    def after(self, got: Exchanged) -> Exchanged:
        return got

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        asked = [self.before(each) for each in finished]
        return self.after(super().exchange(session, asked, kinds=kinds, want=want))


class IgnoresTokens(_Exchanges):
    def before(self, finished: Finished) -> Finished:
        job = self.get([finished.claimed.spec.id])[0]
        assert job is not None
        return finished._replace(claimed=finished.claimed._replace(token=job.token))


class IgnoresSessions(_Exchanges):
    """Lets anybody end what anybody holds."""

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        rows = self._board.rows
        for each in finished:
            row = rows.get(each.claimed.spec.id)
            if row is not None and row.session and row.token == each.claimed.token:
                super().exchange(row.session, [each])
        return super().exchange(session, kinds=kinds, want=want)


class CountsReleases(_Exchanges):
    def before(self, finished: Finished) -> Finished:
        return finished._replace(event=Event.TRY_AGAIN) if finished.event is Event.RELEASE else finished


class TriesAtOnce(_Exchanges):
    def before(self, finished: Finished) -> Finished:
        return finished._replace(delay_s=0)


class LosesEvidence(_Exchanges):
    def before(self, finished: Finished) -> Finished:
        return finished._replace(failure=None)


class LosesResults(_Exchanges):
    def before(self, finished: Finished) -> Finished:
        return finished._replace(result=finished.result or None)


class HidesRevoked(_Exchanges):
    def after(self, got: Exchanged) -> Exchanged:
        return got._replace(revoked=())


class HidesRefused(_Exchanges):
    def after(self, got: Exchanged) -> Exchanged:
        return got._replace(refused=())


class ForeseesNothing(_Exchanges):
    def after(self, got: Exchanged) -> Exchanged:
        return got._replace(next_due_s=None)


class RecordsForTheLost(_Exchanges):
    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        try:
            return super().exchange(session, finished, kinds=kinds, want=want)
        except SessionLost:
            return Exchanged()


class Starves(_Exchanges):
    """The highest priority comes first, always."""

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        self._board._turn = 0
        return super().exchange(session, finished, kinds=kinds, want=min(want, 15))


class GivesAnyKind(_Exchanges):
    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        return super().exchange(session, finished, kinds=list(self._board.kinds), want=want)


class GivesAllSuspects(_Exchanges):
    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        got = super().exchange(session, finished, kinds=kinds, want=want)
        self._board.sessions[session].suspect = ""
        more = super().exchange(session, kinds=kinds, want=want - len(got.claimed))
        return got._replace(claimed=[*got.claimed, *more.claimed])


class ForgetsKills(Good):
    def end_session(self, session: str, *, beats: int | None = None) -> Sequence[str]:
        ids = super().end_session(session, beats=beats)
        for job_id in ids:
            self._board.rows[job_id].kills = min(self._board.rows[job_id].kills, 1)
        return ids


class EndsAnyway(Good):
    def end_session(self, session: str, *, beats: int | None = None) -> Sequence[str]:
        return super().end_session(session)


class BeatsByItself(Good):
    def stats(self) -> QueueStats:
        for session in self._board.sessions.values():
            session.beats += 1
        return super().stats()


class HidesHolders(Good):
    def sessions(self) -> Sequence[Session]:
        return [each._replace(n_held=0) for each in super().sessions()]


class HearsAnybody(Good):
    def report(self, session: str, job_id: str, token: int, progress: Progress) -> bool:
        row = self._board.rows.get(job_id)
        if row is not None:
            row.progress = progress
        return row is not None


class IgnoresLimits(Good):
    def limit(self, kind: str, limits: Limits) -> None:
        super().limit(kind, Limits())


class RefillsBuckets(Good):
    def limit(self, kind: str, limits: Limits) -> None:
        super().limit(kind, Limits())
        super().limit(kind, limits)


class CancelsTheFirst(Good):
    """Leaves what waits for it."""

    def cancel(self, ids: Sequence[str], *, why: str = "") -> Sequence[str]:
        for job_id in ids:
            self._board._dependents.pop(job_id, None)
        return super().cancel(ids, why=why)


class KeepsAttempts(Good):
    def requeue(self, ids: Sequence[str], *, keep_attempts: bool = False) -> Sequence[str]:
        return super().requeue(ids, keep_attempts=True)


class LeavesAGhost(Good):
    """A job that is cancelled keeps its place in the line."""

    def cancel(self, ids: Sequence[str], *, why: str = "") -> Sequence[str]:
        done = super().cancel(ids, why=why)
        for job_id in done:
            self._board.rows[job_id].ghosts = 0
        return done


class PurgesAll(Good):
    def purge(self, state: State, *, kind: str = "", before_ns: int | None = None) -> int:
        return super().purge(state, kind=kind)


class ListsOnePage(Good):
    def list(self, state: State, *, kind: str = "", cursor: str = "", limit: int = 100) -> Page:
        return super().list(state, kind=kind, cursor=cursor, limit=limit)._replace(next="")


class ListsByPosition(Good):
    """Counts how many were shown, while those before them go."""

    def list(self, state: State, *, kind: str = "", cursor: str = "", limit: int = 100) -> Page:
        all_jobs = super().list(state, kind=kind, limit=10_000).jobs
        end = int(cursor or 0) + limit
        return Page(all_jobs[end - limit : end], str(end) if end < len(all_jobs) else "")


class CountsDelayed(Good):
    def stats(self) -> QueueStats:
        stats = super().stats()
        return stats._replace(waiting={**stats.waiting, ("k", 2): stats.by_state[State.QUEUED]})


class SubmitsAnyway(Good):
    def swap(self, name: str, version: int, value: bytes | None, specs: Sequence[Spec] = ()) -> bool:
        self.submit(specs)
        return super().swap(name, version, value)


class SwapsAnyway(Good):
    def swap(self, name: str, version: int, value: bytes | None, specs: Sequence[Spec] = ()) -> bool:
        found: Mapping[str, tuple[int, bytes]] = self.cells(name)
        return super().swap(name, found[name][0] if name in found else 0, value, specs)


class CountsFromOne(Good):
    def swap(self, name: str, version: int, value: bytes | None, specs: Sequence[Spec] = ()) -> bool:
        self._last_version = version
        return super().swap(name, version, value, specs)


class NeverRings(Good):
    def _ring(self) -> None:
        """Nobody is woken."""


class WaitsInVain(Good):
    """Does not look before it waits."""

    def _soon_s(self, kinds: Sequence[str]) -> float | None:
        return None


class NeverCloses(Good):
    def close(self) -> None:
        """Goes on."""


class PretendsToBeShared(Good):
    def __init__(self) -> None:
        super().__init__()
        self._info = self._info._replace(is_shared=True)


class PretendsToBeDurable(Good):
    def __init__(self) -> None:
        super().__init__()
        self._info = self._info._replace(is_durable=True)


class KeepsAllFailures(Good):
    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        jobs = super().get(ids)
        return [
            job and job._replace(failures=[*[_OLD] * (job.attempts - len(job.failures)), *job.failures])
            for job in jobs
        ]


_OLD = Failure(0, 0, "error", "?")

CASES: list[tuple[type[Good], Callable[..., None], tuple[object, ...]]] = [
    (LosesTags, QueueTests.test_a_job_is_as_it_was_asked_for, ()),
    (IgnoresPriority, QueueTests.test_higher_priorities_come_first, ()),
    (IgnoresDelays, QueueTests.test_a_delayed_job_starts_in_its_time, ()),
    (IgnoresDelays, QueueTests.test_an_unblocked_job_still_has_its_time, ()),
    (IgnoresDeadlines, QueueTests.test_the_late_are_dead, ()),
    (IgnoresDeadlines, QueueTests.test_a_deadline_counts_for_each_attempt, (Event.LOSE,)),
    (IgnoresKeys, QueueTests.test_a_unique_job_is_made_once_until_it_ends, ()),
    (IgnoresWindows, QueueTests.test_a_key_is_taken_for_its_window, ()),
    (IgnoresOrder, QueueTests.test_a_job_waits_for_those_before_it, ()),
    (IgnoresOrder, QueueTests.test_who_comes_late_finds_what_was, ()),
    (IgnoresOrder, QueueTests.test_a_failed_attempt_unblocks_nothing, ()),
    (MakesAgain, QueueTests.test_an_id_that_is_known_is_not_made_again, ()),
    (KeepsSome, QueueTests.test_all_are_kept_or_none, ({"payload": {"x": object()}},)),
    (GivesOneById, QueueTests.test_nobody_is_none, ()),
    (IgnoresTokens, QueueTests.test_a_failed_attempt_is_tried_again, ()),
    (IgnoresSessions, QueueTests.test_nobody_ends_what_another_holds, ()),
    (CountsReleases, QueueTests.test_what_is_given_back_was_no_attempt, ()),
    (TriesAtOnce, QueueTests.test_a_failed_attempt_is_tried_again, ()),
    (LosesEvidence, QueueTests.test_a_dead_job_keeps_its_evidence, ()),
    (LosesResults, QueueTests.test_a_completion_is_recorded, (0,)),
    (HidesRevoked, QueueTests.test_a_running_job_is_cancelled_at_once, ()),
    (HidesRefused, QueueTests.test_there_is_one_completion, ()),
    (HidesRefused, QueueTests.test_one_exchange_ends_and_claims, ()),
    (ForeseesNothing, QueueTests.test_a_delayed_job_starts_in_its_time, ()),
    (ForeseesNothing, QueueTests.test_so_many_start_in_a_second, ()),
    (RecordsForTheLost, QueueTests.test_a_lost_session_is_told, ()),
    (Starves, QueueTests.test_nobody_waits_for_ever, (1,)),
    (Starves, QueueTests.test_nobody_waits_for_ever, (7,)),
    (GivesAnyKind, QueueTests.test_nobody_gets_more_than_was_asked_for, ()),
    (GivesAllSuspects, QueueTests.test_suspects_come_one_at_a_time, ()),
    (ForgetsKills, QueueTests.test_a_job_that_kills_is_quarantined, (False,)),
    (EndsAnyway, QueueTests.test_a_session_that_beats_is_not_ended, ()),
    (BeatsByItself, QueueTests.test_each_exchange_is_a_beat, ()),
    (HidesHolders, QueueTests.test_each_exchange_is_a_beat, ()),
    (HearsAnybody, QueueTests.test_progress_is_kept, ()),
    (IgnoresLimits, QueueTests.test_so_many_run_at_the_same_time, ()),
    (IgnoresLimits, QueueTests.test_a_slow_rate_starts_at_least_one, ()),
    (RefillsBuckets, QueueTests.test_so_many_start_in_a_second, ()),
    (CancelsTheFirst, QueueTests.test_what_waits_for_a_lost_one_is_cancelled, (Event.CANCEL,)),
    (KeepsAttempts, QueueTests.test_who_is_requeued_runs_from_the_start, (Event.GIVE_UP,)),
    (LeavesAGhost, QueueTests.test_coming_and_going_leaves_one_place, ()),
    (PurgesAll, QueueTests.test_purged_jobs_are_forgotten, ()),
    (ListsOnePage, QueueTests.test_lists_have_all_of_a_state, ()),
    (ListsByPosition, QueueTests.test_lists_bear_changes_meanwhile, (State.QUEUED,)),
    (CountsDelayed, QueueTests.test_a_delayed_job_starts_in_its_time, ()),
    (SubmitsAnyway, QueueTests.test_a_cell_is_changed_by_who_saw_it, ()),
    (SwapsAnyway, QueueTests.test_a_cell_is_changed_by_who_saw_it, ()),
    (CountsFromOne, QueueTests.test_a_cell_made_anew_is_another_one, ()),
    (KeepsAllFailures, QueueTests.test_the_last_failures_are_kept, ()),
    (NeverCloses, QueueTests.test_a_closed_queue_says_so, ()),
]


@pytest.mark.parametrize(("broken", "law", "arguments"), CASES)
def test_a_broken_queue_fails(
    broken: type[Good], law: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    """the law's own test fails for the queue that breaks it, and passes for the one that keeps it"""
    law(Suite(), Good(), *arguments)
    with pytest.raises((AssertionError, SessionLost, UsageError, ValueError, pytest.fail.Exception)):
        law(Suite(), broken(), *arguments)


@pytest.mark.parametrize("broken", [NeverRings, WaitsInVain])
def test_who_sleeps_on_fails(broken: type[Good]) -> None:
    """a queue that wakes nobody, or does not look before it waits, is found"""

    class Hasty(Suite):
        patience_s = 0.2

    queue = broken()
    with pytest.raises(AssertionError, match="did not return"):  # noqa: PT012
        for _ in range(20):  # who does not look may be woken in time by chance
            Hasty().test_who_waits_is_woken(queue, "submit")
    queue.close()


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (PretendsToBeShared, QueueTests.test_others_see_the_same_jobs),
        (PretendsToBeDurable, QueueTests.test_what_is_durable_is_there_again),
    ],
)
def test_who_promises_too_much_fails(broken: type[Good], law: Callable[..., None]) -> None:
    """what `info` says is tested"""
    law(Suite(), Good)
    with pytest.raises((AssertionError, ValueError)):
        law(Suite(), broken)


@pytest.mark.parametrize(
    "broken",
    [
        IgnoresOrder, IgnoresDeadlines, IgnoresKeys, GivesAllSuspects, CancelsTheFirst, EndsAnyway,
        CountsReleases, SubmitsAnyway, HidesRevoked, IgnoresDelays,
    ],
)  # fmt: skip
def test_the_machine_finds_broken_queues(broken: type[Good]) -> None:
    """a queue that does not agree with the model is caught"""

    def advance(queue: Queue, seconds: float) -> None:
        assert isinstance(queue, Good)
        queue.fake.advance(seconds)

    machine = queue_machine(lambda stack: lambda: stack.enter_context(broken()), advance)
    quick = settings(  # found is enough: shrinking would take most of the time
        max_examples=500, stateful_step_count=40, deadline=None, database=None, phases=[Phase.generate],
        derandomize=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(machine, settings=quick)


def test_who_does_not_move_the_clock_is_told() -> None:
    """a suite without `advance` says what it lacks"""
    with pytest.raises(AssertionError, match=r"advance\(queue, seconds\)"):
        QueueTests().test_the_clock_goes_on(Good())
