"""What comes of an attempt: completed, tried again, or given up. Decides; does nothing.

It must not know how attempts are run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vcache.errors import EncodeError
from vcache.jobs.base import MOST_PAYLOAD_BYTES, Claimed, Finished
from vcache.jobs.handlers.handler import GiveUp, Handler, RetryLater
from vcache.jobs.handlers.payload import PayloadUnfit
from vcache.jobs.models import Failure
from vcache.jobs.packing import pack_result
from vcache.jobs.states import Event
from vcache.jobs.worker.run import Run, Stop

__all__ = ["Judge"]

_MOST_CHARS: Final = 1000  # of a message
_TRACE_CHARS: Final = 20_000  # of a traceback: its end tells most
_BROKEN_S: Final = 10.0  # until another attempt after a fault of the worker's own
_SMALL: Final = frozenset((type(None), bool, float))


class Judge:
    """Gives what the queue is told of attempts.

    Args:
        worker: who ran them.
        now_ns: the queue's clock.
    """

    def __init__(self, worker: str, now_ns: Callable[[], int]) -> None:
        self._worker, self._now_ns = worker, now_ns

    def returned(self, run: Run, result: object) -> Finished | None:
        """What comes of one whose handler returned."""
        if run.stop is not None:
            return self.stopped(run)
        claimed = run.claimed
        if type(result) not in _SMALL:
            try:
                pack_result(result)  # type: ignore[arg-type]  # that is the question
            except EncodeError as error:
                return self._dead(
                    claimed,
                    "invalid",
                    f"its handler returned {_shown(result)}, which is no plain value: {error}; return None, numbers, "
                    f"text, bytes, lists and dicts of at most {MOST_PAYLOAD_BYTES:,} bytes",
                )
        return Finished(claimed, Event.COMPLETE, result)  # type: ignore[arg-type]  # it is packed

    def raised(self, run: Run, error: BaseException) -> Finished | None:
        """What comes of one whose handler raised."""
        if run.stop is not None:
            return self.stopped(run)
        claimed, handler = run.claimed, run.line.handler
        if isinstance(error, PayloadUnfit):
            return self._dead(claimed, "invalid", f"its payload does not fit its handler: {error}")
        message = f"{type(error).__name__}: {_text(error)}"
        if isinstance(error, GiveUp):
            return self._dead(claimed, "error", message, traceback_of(error))
        delay_s = error.delay_s if isinstance(error, RetryLater) else None
        return self.failed(claimed, handler, "error", message, traceback_of(error), delay_s)

    def stopped(self, run: Run) -> Finished | None:
        """What comes of one that was ended; None where there is nobody to tell."""
        if run.stop is Stop.TIMEOUT:
            timeout_s = run.claimed.spec.timeout_s or run.line.handler.timeout_s
            message = f"it took more than its {timeout_s:g} s"
            return self.failed(run.claimed, run.line.handler, "timeout", message)
        if run.stop is Stop.RELEASE:
            return Finished(run.claimed, Event.RELEASE)
        return None

    def unknown(self, claimed: Claimed) -> Finished:
        """What comes of one that has no handler here."""
        return self._dead(claimed, "unknown", f"this worker has no handler for {claimed.spec.kind!r}")

    def unfit(self, claimed: Claimed, error: Exception) -> Finished:
        """What comes of one whose payload cannot be made whole."""
        return self._dead(claimed, "invalid", str(error))

    def died(self, run: Run, how: str) -> Finished | None:
        """What comes of one whose own process died."""
        if run.stop is not None:
            return self.stopped(run)
        return Finished(run.claimed, Event.LOSE, failure=self._failure(run.claimed, "killed", how))

    def failed(
        self,
        claimed: Claimed,
        handler: Handler,
        reason: str,
        message: str,
        traceback: str = "",
        delay_s: float | None = None,
    ) -> Finished:
        """What comes of a failed one: it is tried again while there are attempts left."""
        failures = claimed.attempt - claimed.kills
        retries = claimed.spec.retries if claimed.spec.retries >= 0 else handler.retries
        failure = self._failure(claimed, reason, message, traceback)
        if failures > retries:
            return Finished(claimed, Event.GIVE_UP, failure=failure)
        wait_s = handler.delay_s(failures) if delay_s is None else delay_s
        return Finished(claimed, Event.TRY_AGAIN, failure=failure, delay_s=wait_s)

    def broken(self, run: Run, error: BaseException) -> Finished | None:
        """What comes of one of which the worker itself could not say what came; asks nothing of handlers."""
        if run.stop is not None:
            return self.stopped(run)
        message = f"the worker could not see to it: {type(error).__name__}: {_text(error)}"
        return self.failed(run.claimed, run.line.handler, "error", message, traceback_of(error), _BROKEN_S)

    def unsendable(self, finished: Finished, error: Exception) -> Finished:
        """What the queue is told in place of what it could not take."""
        return self._dead(finished.claimed, "invalid", f"how it ended could not be recorded: {error!r:.500}")

    def _dead(self, claimed: Claimed, reason: str, message: str, traceback: str = "") -> Finished:
        return Finished(claimed, Event.GIVE_UP, failure=self._failure(claimed, reason, message, traceback))

    def _failure(self, claimed: Claimed, reason: str, message: str, traceback: str = "") -> Failure:
        line = " ".join(message.split("\n"))
        if len(line) > _MOST_CHARS:
            line = line[: _MOST_CHARS - 1] + "…"
        return Failure(self._now_ns(), claimed.attempt, reason, line, traceback, self._worker)


def traceback_of(error: BaseException) -> str:
    """As Python writes it, without the frames of the worker, and not longer than can be kept."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(
        "vcache.jobs.worker."
    ):
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # a handler's own exception whose text fails
        text = f"{type(error).__name__}\n"
    return text if len(text) <= _TRACE_CHARS else "…" + text[-_TRACE_CHARS:]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # as above
        return "(its text cannot be had)"


def _shown(value: object) -> str:
    """Its start; a value of a handler's own, or one that is too deep, may fail to show itself."""
    try:
        return f"{value!r:.200}"
    except Exception:
        return f"a {type(value).__name__} (its text cannot be had)"
