"""The pump: one thread that exchanges with the queue what ended for what is to be run.

It never waits while there is something to acknowledge, and claims no more than can start at once. It must
not know how attempts are run.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from vcache.errors import SessionLost, StoreError
from vcache.jobs.base import MOST_CLAIMED, Claimed, Exchanged, Finished
from vcache.jobs.states import Event
from vcache.jobs.worker.run import Run, Stop
from vcache.kit.logs import logger
from vcache.kit.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vcache.jobs.base import Queue
    from vcache.jobs.handlers.current import Desk
    from vcache.jobs.worker.judge import Judge
    from vcache.jobs.worker.run import Executor, Line
    from vcache.jobs.worker.tenure import Tenure
    from vcache.jobs.worker.tray import Tray
    from vcache.jobs.worker.waiter import Waiter

__all__ = ["Pump"]

_GLANCE_S: Final = 0.05  # between looks for who ran out of time
_MERCY_S: Final = 5.0  # for a cancelled attempt to end, before it is given up
_LOOK_UP_S: Final = 2.0  # the same for one that can only look whether it is cancelled
_AGAIN: Final = Backoff(times=1 << 30, base_s=0.05, most_s=2.0)
_MISSES: Final = Backoff(times=1 << 30, base_s=0.001, most_s=0.1, jitter=0.5)
# Where one job has just come another one comes soon: to ask again is faster than to be told.
_BUSY_S: Final = 0.003
_POLL_S: Final = 0.0003
_NEVER: Final = float("inf")
_TRIES: Final = 3  # to learn what is held, of who has nothing more to tell


class Pump:
    """See the module.

    Args:
        slots: how many attempts may run at the same time.
        on_end: told of each attempt that ended; None for nobody.
        most_jobs: how many it takes before it asks to be replaced; 0 for any number.
    """

    def __init__(
        self,
        queue: Queue,
        tenure: Tenure,
        tray: Tray,
        judge: Judge,
        desk: Desk,
        waiter: Waiter,
        *,
        lines: Mapping[str, Line],
        kinds: Sequence[str],
        slots: int,
        on_end: Callable[[Run], object] | None = None,
        most_jobs: int = 0,
    ) -> None:
        self._queue, self._tenure, self._tray, self._judge = queue, tenure, tray, judge
        self._desk, self._waiter, self._lines = desk, waiter, lines
        self._kinds, self._slots, self._on_end, self._most_jobs = kinds, slots, on_end, most_jobs
        self.running: set[Run] = set()  # not by token: a queue may give one to all that it hands out at once
        self._pending: list[Finished] = []
        self._next_due_s: float | None = None
        self._glance_at_s = self._poll_until_s = 0.0
        self._misses = 0
        self._is_unsure = False  # what the session holds
        self._lost: str | None = None  # the session that is gone
        self.n_started = 0
        self.is_draining = self.is_to_be_replaced = False
        self.give_up_at_s = _NEVER  # when what still runs is given back
        self._end_at_s = _NEVER

    # -- what others say, from any thread or signal handler

    def drain(self, grace_s: float) -> None:
        """Claim nothing more, and give back what still runs after that time."""
        self.is_draining = True
        self.give_up_at_s = min(self.give_up_at_s, perf_counter() + grace_s)
        self._end_at_s = min(self._end_at_s, perf_counter() + grace_s + _MERCY_S)
        self._tray.ring()

    def doubt(self) -> None:
        """What the session holds has changed, and only another thread was told: the queue is to be asked.

        Ids would not do: a job that was cancelled may have come back meanwhile, under another token.
        """
        self._is_unsure = True
        self._tray.ring()

    def lost(self, session: str) -> None:
        """A session is gone."""
        self._lost = session
        self._tray.ring()

    # -- the loop

    def run(self) -> None:
        """Until it is drained."""
        is_hungry = False
        while True:
            self._sweep()
            if perf_counter() >= self._glance_at_s:
                self._glance()
            free = 0 if self.is_draining else self._free()
            has_news = bool(self._pending) or self._is_unsure
            if self.is_draining and not self.running and (not has_news or self._is_hopeless()):
                return
            if has_news or (free and not is_hungry) or self._tenure.is_beat_due():
                is_asked = not self._is_unsure
                got = self._exchange(free)
                is_hungry = bool(is_asked and got is not None and free and len(got) < min(free, MOST_CLAIMED))
                if got:
                    self._launch(got)
                    self._misses = 0
                    self._poll_until_s = perf_counter() + _BUSY_S
                elif is_hungry:
                    self._misses += 1
                continue
            is_hungry = self._wait(free) and is_hungry

    def _is_hopeless(self) -> bool:
        """Whether what ended cannot be told to the queue in time: others will run it again."""
        if not self._pending:
            # Nothing of ours is lost: what else the queue counts as held comes back by its lease.
            return self._tenure.n_failures >= _TRIES
        if not self._tenure.n_failures or perf_counter() < self._end_at_s:
            return False
        logger(__name__).error(
            "the queue does not answer: %d ended attempts are not recorded, and will run again",
            len(self._pending),
        )
        return True

    def _free(self) -> int:
        free = self._slots - len(self.running)
        if self._most_jobs:
            free = min(free, self._most_jobs - self.n_started)
            if self.n_started >= self._most_jobs:
                self.is_draining = self.is_to_be_replaced = True
        return max(0, free)

    def _wait(self, free: int) -> bool:
        """Until there is something to do; whether no news came of what the queue has."""
        now_s = perf_counter()
        if free and now_s < self._poll_until_s:
            self._tray.wait(_POLL_S)
            return False
        wait_s = self._tenure.beat_in_s()
        if self.running:
            wait_s = min(wait_s, max(0.0, self._glance_at_s - now_s))
        pause_s = 0.0
        if free:
            if self._next_due_s is not None:
                wait_s = min(wait_s, max(0.0, self._next_due_s - now_s))
            # Who is told again and again of what it cannot get (limits, faster workers) asks less often.
            pause_s = (_MISSES.wait_s(self._misses - 1) or 0.0) if self._misses > 1 else 0.0
            if not pause_s:
                self._waiter.ask()
        if wait_s > 0:
            self._tray.wait(min(wait_s, pause_s) if pause_s else wait_s)
        if pause_s and not self._tray.ended:
            self._waiter.ask()
            self._misses = 1 if self._misses > 12 else self._misses
        return not (self._waiter.takes_news() or self._is_due())

    def _is_due(self) -> bool:
        if self._next_due_s is None or perf_counter() < self._next_due_s:
            return False
        self._next_due_s = None
        return True

    # -- what ended

    def _sweep(self) -> None:
        if self._lost == self._tenure.session:
            self._drop_all()
        ended, running, pending, on_end = self._tray.ended, self.running, self._pending, self._on_end
        for _ in range(len(ended)):
            run = ended.popleft()
            if run not in running:
                continue  # it was given up before
            running.remove(run)
            finished = run.finished
            if finished is not None:
                pending.append(finished)
            run.line.tally.ended(finished, run.ended_s - run.started_s)
            if run.unsent is not None or on_end is not None:
                self._bid_farewell(run)

    def _bid_farewell(self, run: Run) -> None:
        progress, run.unsent = run.unsent, None
        if progress is not None and run.finished is not None:
            try:
                self._queue.report(self._tenure.session, run.id, run.claimed.token, progress)
            except (StoreError, SessionLost):
                pass  # it has ended: how far it was is of little use
        if self._on_end is not None:
            self._on_end(run)

    # -- what begins

    def _launch(self, got: Sequence[Claimed]) -> None:
        if any([claimed.spec.after for claimed in got]):  # noqa: C419 - a list is quicker, and mostly short
            got = self._with_results(got)
        queue_ns, now_s = self._tenure.now_ns(), perf_counter()
        lines, running, desk = self._lines, self.running, self._desk
        batches: dict[Executor, list[Run]] = {}
        for claimed in got:
            spec = claimed.spec
            line = lines.get(spec.kind)
            if line is None:
                self._pending.append(self._judge.unknown(claimed))
                continue
            timeout_s = spec.timeout_s or line.handler.timeout_s
            run = Run(claimed, desk, line, now_s + timeout_s if timeout_s else _NEVER)
            running.add(run)
            if claimed.attempt == 1:
                line.tally.waited((queue_ns - max(spec.created_ns, spec.not_before_ns)) / 1e9)
            batch = batches.get(line.executor)
            if batch is None:
                batches[line.executor] = [run]
            else:
                batch.append(run)
        self.n_started += len(got)
        for executor, runs in batches.items():
            executor.start(runs)

    def _with_results(self, got: Sequence[Claimed]) -> Sequence[Claimed]:
        """Those that can start, with the results that their payloads refer to."""
        from vcache.jobs.references import resolved  # few jobs come after others

        try:
            specs = resolved([claimed.spec for claimed in got], self._queue)
        except StoreError:
            # Another time, or another worker: they go back, uncounted.
            self._pending += [Finished(claimed, Event.RELEASE) for claimed in got]
            return ()
        ready = []
        for claimed, spec in zip(got, specs, strict=True):
            if isinstance(spec, Exception):
                self._pending.append(self._judge.unfit(claimed, spec))
            else:
                ready.append(claimed if spec is claimed.spec else claimed._replace(spec=spec))
        return ready

    # -- with the queue

    def _exchange(self, want: int) -> Sequence[Claimed] | None:
        """What is to be run now; None where nothing is known."""
        pending, tenure = self._pending, self._tenure
        try:
            if self._is_unsure:
                return self._resumed()
            found = self._queue.exchange(
                tenure.session, pending, kinds=self._kinds, want=min(want, MOST_CLAIMED)
            )
        except SessionLost:
            self._drop_all()
            return None
        except StoreError as error:
            self._is_unsure = True
            tenure.failed(error)
            self._tray.wait(_AGAIN.wait_s(min(tenure.n_failures, 20)) or 0.0)
            return None
        except Exception as error:
            if not pending:
                raise
            self._isolate(error)
            return None
        tenure.beat()
        if pending:
            self._pending = []
        self._heed(found)
        return found.claimed

    def _heed(self, found: Exchanged) -> None:
        if found.refused:
            logger(__name__).warning(
                "what %d attempts came to is refused, since others have their jobs: %s",
                len(found.refused), ", ".join(found.refused[:5]),
            )  # fmt: skip
        if found.revoked:
            revoked = set(found.revoked)
            self._revoke([run for run in self.running if run.id in revoked])
        self._next_due_s = None if found.next_due_s is None else perf_counter() + found.next_due_s

    def _resumed(self) -> Sequence[Claimed]:
        """After a fault nobody knows what came through: the queue says what it counts as ours."""
        self._is_unsure = False  # before it is asked: another thread may have further doubts meanwhile
        held = {_name(each): each for each in self._queue.held(self._tenure.session)}
        self._revoke([run for run in self.running if _name(run.claimed) not in held])
        self._pending = [each for each in self._pending if _name(each.claimed) in held]
        known = {_name(each.claimed) for each in self._pending} | {_name(run.claimed) for run in self.running}
        return [each for name, each in held.items() if name not in known]

    def _isolate(self, error: Exception) -> None:
        """One of those that ended is such that the queue cannot take it: find it, and tell the rest."""
        logger(__name__).error("ended attempts cannot be recorded together: %r", error)
        pending, self._pending = self._pending, []
        while pending:
            each = pending.pop()
            try:
                its_own = self._refusal(each)
                if its_own is None or self._refusal(self._judge.unsendable(each, its_own)) is None:
                    continue
            except (StoreError, SessionLost):
                self._pending += [*pending, each]  # another time
                return
            said = "job %s (%s) cannot be recorded at all (%r): it counts as running until this worker ends"
            logger(__name__).error(said, each.claimed.spec.id, each.claimed.spec.kind, its_own)
            self._tray.bell.wait(_AGAIN.wait_s(1) or 0.0)

    def _refusal(self, finished: Finished) -> Exception | None:
        """Why the queue cannot take it by itself; None where it has."""
        try:
            self._heed(self._queue.exchange(self._tenure.session, [finished]))
        except (StoreError, SessionLost):
            raise
        except Exception as error:
            return error
        return None

    def _drop_all(self) -> None:
        """The session is gone: what it held is others', and we begin anew."""
        n_running, n_pending = len(self.running), len(self._pending)
        if n_running or n_pending:
            logger(__name__).warning(
                "this worker's lease ran out: %d attempts go on in vain, and what %d came to is dropped",
                n_running, n_pending,
            )  # fmt: skip
        for run in list(self.running):
            self._stop(run, Stop.LOST)
        self.running.clear()
        self._pending, self._is_unsure = [], False
        try:
            self._tenure.renew()
        except StoreError as error:
            self._lost = self._tenure.session
            self._tenure.failed(error)
            self._tray.bell.wait(_AGAIN.wait_s(min(self._tenure.n_failures, 20)) or 0.0)

    # -- what is ended before it ends

    def _glance(self) -> None:
        now_s = perf_counter()
        self._glance_at_s = now_s + _GLANCE_S
        for run in list(self.running):
            if run.deadline_s <= now_s:
                if run.stop is None:
                    run.deadline_s = now_s + _MERCY_S
                    self._stop(run, Stop.TIMEOUT)
                else:
                    self._abandon(run)
        if now_s >= self.give_up_at_s:
            self.give_up_at_s = _NEVER
            for run in list(self.running):
                run.deadline_s = now_s + _MERCY_S / 5
                self._stop(run, Stop.RELEASE)

    def _revoke(self, runs: Sequence[Run]) -> None:
        """Their jobs are not this worker's any more."""
        for run in runs:
            if run.stop is None:
                mercy_s = _MERCY_S if self._is_stopped(run, Stop.REVOKED) else _LOOK_UP_S
                run.deadline_s = perf_counter() + mercy_s

    def _stop(self, run: Run, why: Stop) -> None:
        if not self._is_stopped(run, why):
            self._abandon(run)

    def _is_stopped(self, run: Run, why: Stop) -> bool:
        if run.stop is None:
            run.stop = why
        run.is_cancelled = True
        return run.line.executor.stop(run)

    def _abandon(self, run: Run) -> None:
        """It does not end: the queue is told without it."""
        if run not in self.running:
            return
        self.running.remove(run)
        run.line.executor.write_off(run)
        if (finished := self._judge.stopped(run)) is not None:
            self._pending.append(finished)
        run.line.tally.ended(finished, perf_counter() - run.started_s if run.started_s else 0.0)
        logger(__name__).warning(
            "job %s (%s) does not end on being told so (%s): what it returns will be dropped",
            run.id, run.kind, run.stop.value if run.stop else "",
        )  # fmt: skip


def _name(claimed: Claimed) -> tuple[str, int]:
    return claimed.spec.id, claimed.token
