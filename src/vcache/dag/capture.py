"""What nodes wrote, as records: one per diagnostic of a compiler, one per other line. Pure.

It knows chunks of bytes and conditions, and nothing of runs and stores.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from vcache.hash import digest
from vcache.kit.data import dataclass
from vcache.kit.diagnostics import Diagnostic, parse, plain

__all__ = ["Chunk", "Record", "Records", "records_of"]

Chunk = tuple[int, int, bytes]
"""1 for standard output or 2 for standard error, ns since the start, bytes."""

_STREAMS = {1: "stdout", 2: "stderr"}


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that was written.

    Attributes:
        node: the name of the node that wrote it.
        at_ns: when it began, in ns since the start of its command.
        stream: "stdout" or "stderr".
        text: all of it, without colours: for a diagnostic with the excerpt of the source.
        level: "debug", "info", "note", "warning", "error" or "critical"; "info" for plain lines.
        file, line, column: the place that a diagnostic speaks of; "" and 0 for none.
        message: what a diagnostic says, without its place; a plain line is its own message.
        option: the compiler's switch for it, such as "-Wunused-variable"; "" for none.
    """

    node: str
    at_ns: int
    stream: str
    text: str
    level: str = "info"
    file: str = ""
    line: int = 0
    column: int = 0
    message: str = ""
    option: str = ""


def records_of(node: str, chunks: Iterable[Chunk]) -> Iterator[Record]:
    """The records of what one node wrote: those of standard output, then those of standard error."""
    parts = list(chunks)
    for number, stream in _STREAMS.items():
        own = [(at_ns, data) for which, at_ns, data in parts if which == number]
        if own:
            yield from _of_stream(node, stream, own)


def _of_stream(node: str, stream: str, parts: Sequence[tuple[int, bytes]]) -> Iterator[Record]:
    raw = b"".join(data for _, data in parts)
    lines = raw.decode("utf-8", "backslashreplace").split("\n")
    times = _Times(parts)
    said = iter(parse("\n".join(lines)))
    next_said = next(said, None)
    # Decoded with replacements, lines and bytes are of different lengths: count in bytes.
    starts = _starts(raw)
    at = 0
    while at < len(lines):
        if next_said is not None and next_said.first == at:
            group = [next_said]
            while (next_said := next(said, None)) is not None and next_said.first <= at:
                group.append(next_said)  # of one line of JSON
            for each in group:
                yield _record(node, times.at(starts[at]), stream, lines, each)
            at = max(each.last for each in group) + 1
            continue
        line = plain(lines[at]).rstrip("\r")
        if line:
            yield Record(node, times.at(starts[at]), stream, line, message=line)
        at += 1


def _record(node: str, at_ns: int, stream: str, lines: Sequence[str], said: Diagnostic) -> Record:
    text = plain("\n".join(lines[said.first : said.last + 1]))
    return Record(
        node, at_ns, stream, text, said.level, said.file, said.line, said.column, said.message, said.option
    )


class _Times:
    """When each byte of a stream was written."""

    def __init__(self, parts: Sequence[tuple[int, bytes]]) -> None:
        self._ns = [at_ns for at_ns, _ in parts]
        self._begins = [0]
        for _, data in parts[:-1]:
            self._begins.append(self._begins[-1] + len(data))

    def at(self, offset: int) -> int:
        return self._ns[bisect_right(self._begins, offset) - 1]


def _starts(raw: bytes) -> list[int]:
    starts, at = [0], raw.find(b"\n")
    while at >= 0:
        starts.append(at + 1)
        at = raw.find(b"\n", at + 1)
    return starts


class Records(Sequence[Record]):
    """What several nodes wrote, as far as a condition takes it. Read on first use.

    It is identified by the bytes that were written and the condition, so that a query is answered
    from the cache without reading them. When they were written counts where the condition asks for it:
    a command that says the same a moment earlier has said the same.
    """

    __slots__ = ("_found", "_logs", "_text", "_where")

    def __init__(
        self,
        logs: Iterable[tuple[str, Sequence[Chunk]]],
        *,
        where: Callable[[Record], bool] | None = None,
        text: str = "",
    ) -> None:
        self._logs = [(node, tuple(chunks)) for node, chunks in logs]
        self._where, self._text = where, text
        self._found: list[Record] | None = None

    def __vcache_key__(self) -> object:
        is_timed = "at_ns" in self._text
        return (self._text, [(node, _digest(chunks, is_timed=is_timed)) for node, chunks in self._logs])

    def _all(self) -> list[Record]:
        if self._found is None:
            where = self._where
            self._found = [
                record
                for node, chunks in self._logs
                for record in records_of(node, chunks)
                if where is None or where(record)
            ]
        return self._found

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Record]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Records | list):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} records of {len(self._logs)} logs>"


def _digest(chunks: Sequence[Chunk], *, is_timed: bool) -> bytes:
    if not chunks:
        return b""
    if is_timed:
        parts = [part for stream, at_ns, data in chunks for part in (b"%d %d" % (stream, at_ns), data)]
    else:  # nor does it count in how many pieces a pipe gave them
        parts = [b"".join(data for number, _, data in chunks if number == stream) for stream in _STREAMS]
    return digest(b"".join(len(part).to_bytes(8, "little") + part for part in parts))
