"""The structured logger. What it says is a message and fields; where that goes is the sinks' business.

A method is compiled on its first call, to what holds at that time: the level, the sinks, the bound fields.
When one of these changes, all loggers forget. It must not know how a sink works.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from vcache.errors import UsageError
from vcache.logs.front.context import CURRENT, otel_fields
from vcache.logs.front.fast import ring_call
from vcache.logs.front.given import given, text_of
from vcache.logs.front.lanes import Lane, Sink
from vcache.logs.front.leveling import number_of
from vcache.logs.front.limits import Limits
from vcache.logs.front.process import PROCESS
from vcache.logs.front.raised import error_fields, raised_by
from vcache.logs.front.ring import IS_LOCKED
from vcache.logs.front.setup import lanes_of, process_lanes
from vcache.logs.front.storing import StoreSink
from vcache.logs.record import Mark, Record
from vcache.query.levels import CRITICAL, DEBUG, ERROR, INFO, NOTE, WARNING

if TYPE_CHECKING:
    from types import FrameType

    from vcache.query.syntax import Value

__all__ = ["Logger", "Say"]

_METHODS: Final = {
    "debug": DEBUG, "info": INFO, "note": NOTE, "warning": WARNING, "error": ERROR, "critical": CRITICAL,
}  # fmt: skip
_HERE: Final = os.path.dirname(__file__)


class Say(Protocol):
    """A method of a logger that says something at one level."""

    def __call__(self, message: str, /, **fields: object) -> None: ...


class Logger:
    """Says what happens: a message, which is kept as it is, and fields beside it.

    A field `exc_info` (True, or an exception) becomes `error.type`, `error.message` and `error.stack`.

    Args:
        source: who says it, such as "gcc": rotation, retention and quotas go by it.
        sinks: where it goes; where `configure` says, when left out.
        level: what is below is left out; the process's level (`configure`), when left out.
        context: fields of all that it says.

    Threads: all operations.

    Raises:
        UsageError: a source that is no text, or a level that is none.
    """

    __slots__ = (
        "__weakref__",
        "_bound",
        "_calls",
        "_has_place",
        "_lanes",
        "_level",
        "_limits",
        "critical",
        "debug",
        "error",
        "info",
        "note",
        "source",
        "warning",
    )  # fmt: skip

    debug: Say
    info: Say
    note: Say
    warning: Say
    error: Say
    critical: Say

    def __init__(
        self,
        source: str,
        *,
        sinks: Sequence[Sink] | None = None,
        level: int | str | None = None,
        **context: object,
    ) -> None:
        if not isinstance(source, str):
            raise UsageError(f"source={source!r}: say who logs, as text")
        self.source: Final = source
        self._lanes = None if sinks is None else lanes_of(sinks)
        self._level = None if level is None else number_of(level)
        self._bound: Mapping[str, Value] = PROCESS.redactor.fields(given(context)[0])
        self._limits: Limits | None = None
        self._has_place = False
        self._calls: dict[int, Callable[..., None]] = {}
        with PROCESS.lock:
            PROCESS.listeners.add(self)

    def log(self, level: int | str, message: str, /, **fields: object) -> None:
        """Say something at a level, given as a word or a number.

        Raises:
            UsageError: a level that is none.
        """
        self._call(number_of(level))(message, **fields)

    def exception(self, message: str, /, **fields: object) -> None:
        """Say an error, with the exception that is being handled."""
        self._call(ERROR)(message, **({"exc_info": True} | fields))

    def bind(self, **fields: object) -> Logger:
        """A logger that says these fields as well."""
        return self._with(bound={**self._bound, **PROCESS.redactor.fields(given(fields)[0])})

    def limited(self, per_s: float, burst: float | None = None) -> Logger:
        """A logger whose every call site says so much per second at most.

        What is held back is counted: the next record that passes says it as `held_back`.

        Raises:
            UsageError: a rate or burst that is not above zero.
        """
        return self._with(limits=Limits(per_s, burst))

    def located(self) -> Logger:
        """A logger that says from where it was called: `code.file`, `code.line`, `code.function`."""
        return self._with(has_place=True)

    @property
    def level(self) -> int:
        """From which level on it says anything."""
        return PROCESS.level if self._level is None else self._level

    def is_enabled(self, level: int | str) -> bool:
        """Whether what is said at a level goes anywhere."""
        number = number_of(level)
        return number >= self.level and any(number >= each.sink.level for each in self._where())

    def forget(self) -> None:
        """Compile anew what is called next: something it depends on has changed."""
        self._calls = {}
        for name in _METHODS:
            try:
                delattr(self, name)
            except AttributeError:
                pass

    if not TYPE_CHECKING:  # to a type checker a mistyped method is none

        def __getattr__(self, name: str) -> Callable[..., None]:
            level = _METHODS.get(name)
            if level is None:
                raise AttributeError(f"a logger has no {name!r}")
            with PROCESS.lock:  # so that what changes now is either seen here, or forgets this
                call = self._call(level)
                object.__setattr__(self, name, call)
            return call

    def __repr__(self) -> str:
        return f"Logger({self.source!r})"

    def _with(
        self,
        *,
        bound: Mapping[str, Value] | None = None,
        limits: Limits | None = None,
        has_place: bool | None = None,
    ) -> Logger:
        made = Logger(self.source, level=self._level)
        made._lanes = self._lanes
        made._bound = self._bound if bound is None else bound
        made._limits = limits or self._limits
        made._has_place = self._has_place if has_place is None else has_place
        return made

    def _where(self) -> tuple[Lane, ...]:
        return process_lanes() if self._lanes is None else self._lanes

    def _call(self, level: int) -> Callable[..., None]:
        call = self._calls.get(level)
        if call is None:
            with PROCESS.lock:
                call = self._calls[level] = self._compiled(level)
        return call

    def _compiled(self, level: int) -> Callable[..., None]:
        lanes = [each for each in self._where() if level >= each.sink.level] if level >= self.level else []
        if not lanes:
            return _silent
        say = self._sayer(lanes)
        only = lanes[0].sink
        is_usual = (
            not IS_LOCKED
            and len(lanes) == 1
            and PROCESS.redactor.is_plain
            and not self._has_place
            and self._limits is None
        )
        if is_usual and isinstance(only, StoreSink):
            return ring_call(only, level, self.source, self._bound, PROCESS.redactor, say)

        def emit(message: str, /, **fields: object) -> None:
            say(level, message, fields)

        return emit

    def _sayer(self, lanes: Sequence[Lane]) -> Callable[[int, str, Mapping[str, object]], None]:
        """What says something the long way: with all that may be odd about it."""
        source, bound, redactor = self.source, self._bound, PROCESS.redactor
        limits, has_place = self._limits, self._has_place

        def say(level: int, message: str, fields: Mapping[str, object]) -> None:
            at_ns = time.time_ns()
            more: dict[str, Value] = otel_fields()
            if limits is not None or has_place:
                frame = _caller()
                held = limits.take(frame.f_code.co_filename, frame.f_lineno) if limits is not None else 0
                if held is None:
                    return
                if held:
                    more["held_back"] = held
                if has_place:
                    more |= _place(frame)
            own, is_cut = _own(fields)
            around = CURRENT.get()
            whole = {**bound, **(around.fields if around is not None else {}), **more, **own}
            text = message if type(message) is str else text_of(message)
            record = Record(at_ns, level, source, text, whole, int(Mark.CUT) if is_cut else 0)
            record = redactor.record(record)
            for each in lanes:
                each.write(record)

        return say


def _silent(message: str, /, **fields: object) -> None:
    """What is said below the level."""


def _own(fields: Mapping[str, Any]) -> tuple[Mapping[str, Value], bool]:
    if "exc_info" not in fields:
        return given(fields)
    error = raised_by(fields["exc_info"])
    own, is_cut = given({name: value for name, value in fields.items() if name != "exc_info"})
    return ({**own, **error_fields(error)} if error is not None else own), is_cut


def _caller() -> FrameType:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    if frame is None:  # there is always one
        raise UsageError("nobody called")
    return frame


def _place(frame: FrameType) -> dict[str, Value]:
    return {
        "code.file": frame.f_code.co_filename,
        "code.line": frame.f_lineno,
        "code.function": frame.f_code.co_qualname,
    }
