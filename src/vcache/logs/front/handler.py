"""A handler of the standard library's `logging`: programs that use that need no change.

It must not know where records go: it says them as a logger does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.logs.front.context import CURRENT, otel_fields
from vcache.logs.front.given import given
from vcache.logs.front.lanes import Lane, Sink
from vcache.logs.front.process import PROCESS
from vcache.logs.front.raised import error_fields, raised_by
from vcache.logs.front.setup import lanes_of, process_lanes
from vcache.logs.record import Mark, Record
from vcache.query.levels import CRITICAL, DEBUG, ERROR, INFO, NOTE, TRACE, WARNING

if TYPE_CHECKING:
    from vcache.query.syntax import Value

__all__ = ["Handler", "level_of_stdlib"]

# What `logging` puts into each record itself; all else was given as `extra`.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BOUNDS: Final = (
    (logging.CRITICAL, CRITICAL), (logging.ERROR, ERROR), (logging.WARNING, WARNING), (25, NOTE),
    (logging.INFO, INFO), (logging.DEBUG, DEBUG), (1, TRACE),
)  # fmt: skip


class Handler(logging.Handler):
    """Hands on what `logging` handles: `logging.getLogger().addHandler(vcache.logs.Handler())`.

    Fields: `logger` (its name), `code.file`, `code.line`, `code.function`, what `extra` gives, and of an
    exception `error.type`, `error.message`, `error.stack`. Which levels, loggers and `logging.Filter`s say.

    Args:
        source: who says it; the first part of the logger's name, when left out.
        sinks: where it goes; where `configure` says, when left out.
        context: fields of all that it hands on.
    """

    def __init__(
        self, source: str | None = None, *, sinks: Sequence[Sink] | None = None, **context: object
    ) -> None:
        super().__init__()
        self._source = source
        self._lanes = None if sinks is None else lanes_of(sinks)
        self._bound: Mapping[str, Value] = PROCESS.redactor.fields(given(context)[0])

    def createLock(self) -> None:  # noqa: N802 - as logging has it
        """None: sinks have their own, and a signal handler may log."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on. It never raises."""
        try:
            made = PROCESS.redactor.record(self._record(record))
            for each in self._where():
                if made.level >= each.sink.level:
                    each.write(made)
        except Exception:  # as every handler does: logging says it once on stderr
            self.handleError(record)

    def flush(self) -> None:
        """Hand on what sinks hold back."""
        for each in self._where():
            each.flush()

    def _where(self) -> tuple[Lane, ...]:
        return process_lanes() if self._lanes is None else self._lanes

    def _record(self, said: logging.LogRecord) -> Record:
        message, wrong = _message(said)
        around = CURRENT.get()
        fields: dict[str, Value] = {
            **self._bound,
            **(around.fields if around is not None else {}),
            **otel_fields(),
            "logger": str(said.name or ""),
            "code.file": said.pathname,
            "code.line": said.lineno,
            "code.function": said.funcName,
        }
        is_cut, known = False, vars(said)
        if not known.keys() <= _OWN:
            own, is_cut = given({name: value for name, value in known.items() if name not in _OWN})
            fields |= own
        if wrong:
            fields["vcache.odd"] = wrong
        error = raised_by(said.exc_info)
        if error is not None:
            fields |= error_fields(error, said.exc_info[2] if isinstance(said.exc_info, tuple) else None)
        elif said.exc_text:
            fields["error.stack"] = said.exc_text
        if said.stack_info:
            fields["code.stack"] = said.stack_info
        source = self._source or str(said.name or "").partition(".")[0]
        marks = int(Mark.CUT) if is_cut else 0
        return Record(int(said.created * 1e9), level_of_stdlib(said.levelno), source, message, fields, marks)


def level_of_stdlib(number: int) -> int:
    """The level for a number of `logging`: 10 is debug, 20 info, 25 note, 30 warning, 40 error, 50 critical."""
    return next((level for least, level in _BOUNDS if number >= least), 0)


def _message(said: logging.LogRecord) -> tuple[str, str]:
    """What is said, and what is wrong with it: a message and arguments that do not go together."""
    try:
        return said.getMessage(), ""
    except Exception as error:  # the record is worth more than its arguments
        return f"{said.msg} {said.args!r}" if said.args else str(said.msg), repr(error)
