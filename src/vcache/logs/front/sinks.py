"""Where records go, besides a store: lines for people, lines of JSON, a function.

A sink knows nothing of loggers, folding and secrets: what it is told is to be written.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from vcache.logs.front.leveling import number_of
from vcache.logs.record import Record
from vcache.query.levels import CRITICAL, ERROR, NOTE, WARNING, word_of

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["CallSink", "JsonSink", "TextSink", "json_line", "text_line"]

_S: Final = 10**9
_STACK: Final = "error.stack"
_COLOURS: Final = ((CRITICAL, "1;31"), (ERROR, "31"), (WARNING, "33"), (NOTE, "36"))
_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # `dumps` makes one each time, for 2 µs
_BARE: Final = re.compile(r"[^\s\"=]+")
_OWN_NAMES: Final = frozenset(("time", "level", "source", "message", "repeats", "marks"))


class _Out:
    """A stream, or a file that lines are appended to, each by one write.

    The program's own stdout and stderr are asked for at each write: who redirects them means later lines too.
    """

    def __init__(self, target: TextIO | str | os.PathLike[str] | None) -> None:
        self._stream: TextIO | None = None
        self._is_stdout = target is not None and target is sys.stdout
        self._descriptor = -1
        self._is_file = isinstance(target, (str, os.PathLike))
        if isinstance(target, (str, os.PathLike)):
            self._descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        elif target is not None and target is not sys.stdout and target is not sys.stderr:
            self._stream = target

    def write(self, line: str) -> None:
        if self._descriptor >= 0:
            data = memoryview(line.encode("utf-8", "backslashreplace"))
            while data:
                data = data[os.write(self._descriptor, data) :]
        elif not self._is_file:
            stream = self._now()
            try:
                stream.write(line)
            except UnicodeEncodeError:
                encoding = getattr(stream, "encoding", None) or "ascii"
                stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()

    def has_colours(self) -> bool:
        """Whether what is written is seen at once, by a terminal that has colours."""
        if self._is_file or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        try:
            return self._now().isatty()
        except (AttributeError, ValueError):
            return False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _now(self) -> TextIO:
        return self._stream or (sys.stdout if self._is_stdout else sys.stderr)


class _LineSink:
    """Lines on a stream or in a file; how a record is one is for who is made of this."""

    def __init__(
        self,
        target: TextIO | str | os.PathLike[str] | None = None,
        *,
        level: int | str = 0,
        folds: bool = True,
    ) -> None:
        self.level: Final = number_of(level)
        self.folds: Final = folds
        self._out = _Out(target)

    def close(self) -> None:
        self._out.close()


class TextSink(_LineSink):
    """Lines for people: time, level, source, message, fields.

    Colours are for terminals, unless NO_COLOR is set; a file has none. Control characters are shown as
    escapes.

    Args:
        target: a stream, which stays open, or the path of a file that is appended to; None for stderr.
        level: what is below is left out.
        folds: whether repeated lines come as one with a count.

    Raises:
        OSError: the file cannot be opened.
        UsageError: a level that is none.
    """

    def write(self, record: Record) -> None:
        self._out.write(text_line(record, has_colours=self._out.has_colours()))


class JsonSink(_LineSink):
    """One JSON object a line: `time` (RFC 3339, UTC, nanoseconds), `level`, `source`, `message`, and fields.

    Args:
        target: a stream, which stays open, or the path of a file that is appended to; None for stderr.
        level: what is below is left out.
        folds: whether repeated lines come as one with a count.

    Raises:
        OSError: the file cannot be opened.
        UsageError: a level that is none.
    """

    def write(self, record: Record) -> None:
        self._out.write(json_line(record))


class CallSink:
    """A function that is called with each record, in the thread that logs."""

    def __init__(
        self, function: Callable[[Record], object], *, level: int | str = 0, folds: bool = False
    ) -> None:
        self.level: Final = number_of(level)
        self.folds: Final = folds
        self._function = function

    def write(self, record: Record) -> None:
        self._function(record)

    def close(self) -> None: ...


def text_line(record: Record, *, has_colours: bool = False) -> str:
    """A record for people, with a line break behind it; further lines of it are indented."""
    clock = f"{_local(record.at_ns // _S)}.{record.at_ns % _S // 10**6:03d}"
    word = f"{word_of(record.level) or '-':<8}"
    fields = dict(record.fields)
    stack = fields.pop(_STACK, None)
    said = _safe(record.message)
    if record.repeats > 1:
        said += f" ({record.repeats} times)"
    if fields:
        said += "  " + " ".join([f"{_safe(name)}={_shown(value)}" for name, value in fields.items()])
    if isinstance(stack, str):
        said += "\n" + _safe(stack.rstrip("\n"))
    said = said.replace("\n", "\n    ")
    if has_colours:
        colour = next((code for least, code in _COLOURS if record.level >= least), "")
        word = f"\x1b[{colour}m{word}\x1b[0m" if colour else word
        clock = f"\x1b[2m{clock}\x1b[0m"
    return f"{clock} {word} {_safe(record.source)}: {said}\n"


def json_line(record: Record) -> str:
    """A record as a line of JSON, in ASCII. A field that has one of the five names has "fields." before it."""
    said: dict[str, object] = {
        "time": _rfc3339(record.at_ns), "level": word_of(record.level), "source": record.source,
        "message": record.message,
    }  # fmt: skip
    if record.repeats != 1:
        said["repeats"] = record.repeats
    if record.marks:
        said["marks"] = int(record.marks)
    for name, value in record.fields.items():
        said[f"fields.{name}" if name in _OWN_NAMES else name] = _finite(value)
    return _encode(said) + "\n"


def _finite(value: object) -> object:
    """JSON has no word for what is no number."""
    if type(value) is float and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def _rfc3339(at_ns: int) -> str:
    seconds, part = divmod(at_ns, _S)
    try:
        return f"{_utc(seconds)}.{part:09d}Z"
    except (ValueError, OverflowError, OSError):
        return str(at_ns)


@lru_cache(maxsize=4)
def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=4)
def _local(seconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _safe(text: str) -> str:
    """A text that moves no cursor."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def _shown(value: object) -> str:
    text = _safe(str(value))
    if type(value) is str and not _BARE.fullmatch(text):
        return json.dumps(text, ensure_ascii=False)
    return text
