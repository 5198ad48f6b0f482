"""What is told beside the queue: progress, logs, spans and metrics, all in a thread of its own.

The pump hands over what ended, and no more. It must not know how jobs are run.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final

from vcache.errors import VcacheError
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vcache.jobs.base import Queue
    from vcache.jobs.models import Progress
    from vcache.jobs.worker.run import Run
    from vcache.jobs.worker.tally import Tally
    from vcache.jobs.worker.tenure import Tenure
    from vcache.logs.base import LogStore
    from vcache.metrics import Metrics
    from vcache.tracing import SpanSink

__all__ = ["Clerk"]

_TICK_S: Final = 0.2  # progress is kept five times a second
_SPANS_S: Final = 2.0  # spans go to a collector in batches, and none waits for long
_WARN_S: Final = 30.0  # between warnings of what goes on failing
_MOST: Final = 100_000  # ended attempts of which nobody has written yet; beyond them some are left out


class Clerk:
    """See the module.

    Args:
        log: a store in which each attempt's begin and end are records; None for none.
        spans: where a span of each attempt goes.
        metrics: where counts go.
        on_tick: called some times a second.
    """

    def __init__(
        self,
        queue: Queue,
        tenure: Tenure,
        *,
        tallies: Iterable[Tally],
        log: LogStore | None = None,
        spans: SpanSink | None = None,
        metrics: Metrics | None = None,
        on_tick: Callable[[], object] = lambda: None,
    ) -> None:
        self._queue, self._tenure, self._tallies = queue, tenure, tuple(tallies)
        self._log, self._spans, self._metrics = log, spans, metrics
        self._on_tick = on_tick
        self._ended: deque[Run] = deque(maxlen=_MOST)
        self._records: deque[Sequence[object]] = deque(maxlen=_MOST)
        self._said: dict[Run, None] = {}
        self._is_span_kept, self._spans_at_s = False, 0.0
        self._warn_at_s: dict[str, float] = {}
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vcache-clerk", daemon=True)
        self.takes_ended = log is not None or spans is not None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Tell what is left, and end."""
        self._is_closed.set()
        self._thread.join(timeout_s)

    def ended(self, run: Run) -> None:
        """An attempt ended."""
        self._ended.append(run)

    def report(self, run: Run, progress: Progress) -> None:
        """An attempt says how far it is."""
        run.unsent = progress
        self._said[run] = None

    def record(self, fields: Sequence[object]) -> None:
        """A child process logged something."""
        self._records.append(fields)

    def _work(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_closed.wait(_TICK_S)
            for work in (
                self._send_reports,
                self._write_records,
                self._write_ended,
                self._flush_spans,
                self._flush_metrics,
                self._on_tick,
            ):
                try:
                    work()
                except VcacheError as error:
                    self._warn(work.__name__, error)
                except Exception:
                    logger(__name__).exception("what jobs told could not be handed on")

    def _warn(self, of: str, error: VcacheError) -> None:
        """The same work fails again and again while a queue or store is away: say so now and then."""
        now_s = perf_counter()
        if now_s >= self._warn_at_s.get(of, 0.0):
            self._warn_at_s[of] = now_s + _WARN_S
            logger(__name__).warning("%s", error)

    def _send_reports(self) -> None:
        while self._said:
            run, _ = self._said.popitem()
            progress, run.unsent = run.unsent, None
            if progress is not None:
                self._queue.report(self._tenure.session, run.id, run.claimed.token, progress)

    def _flush_spans(self) -> None:
        if self._spans is not None and self._is_span_kept and perf_counter() >= self._spans_at_s:
            self._is_span_kept, self._spans_at_s = False, perf_counter() + _SPANS_S
            self._spans.flush()

    def _flush_metrics(self) -> None:
        if self._metrics is not None:
            for each in self._tallies:
                each.flush(self._metrics)

    def _write_records(self) -> None:
        if self._log is None or not self._records:
            return
        from vcache.logs.record import Record

        taken = [self._records.popleft() for _ in range(len(self._records))]
        self._log.append([Record(*fields) for fields in taken], sync=False)  # type: ignore[arg-type]  # as it was sent

    def _write_ended(self) -> None:
        runs: list[Run] = []
        while self._ended and len(runs) < 1000:
            runs.append(self._ended.popleft())
        if not runs:
            return
        # Of when it was, by the wall clock of now: clocks of attempts are monotonic.
        offset_ns = time.time_ns() - int(perf_counter() * 1e9)
        if self._log is not None:
            from vcache.jobs.worker.records import records_of

            self._log.append([each for run in runs for each in records_of(run, offset_ns)], sync=False)
        if self._spans is not None:
            from vcache.jobs.worker.records import span_of

            for run in runs:
                self._spans.add(span_of(run, offset_ns))
            self._is_span_kept = True
        if self._ended:
            self._write_ended()
