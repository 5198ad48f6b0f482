"""The journal of a run: its events, one JSON object a line, in `<base>/.vcache/runs/<run id>.jsonl`.

docs/design/runs.md says what stands in a line. A journal is a cache of what happened: where it cannot
be written, is damaged or of an unknown version, a build goes on and `history` knows less. It must not
know what is made of it (`vcache.dag.history`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from vcache.dag import durations
from vcache.dag.events import (
    Finished,
    Hit,
    Missed,
    Noted,
    Output,
    Planned,
    RunEnded,
    RunStarted,
    Skipped,
    Started,
    UpToDate,
)
from vcache.dag.frozen import DIRECTORY
from vcache.dag.waits import Waits
from vcache.kit.data import NamedTuple
from vcache.kit.logs import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcache.dag.events import Event
    from vcache.dag.node import Node

__all__ = ["KEEP_BYTES", "KEEP_RUNS", "Journal", "Line", "ends", "lines", "runs", "runs_dir"]

VERSION: Final = 1
KEEP_RUNS: Final = 50
KEEP_BYTES: Final = 64 << 20
_SUFFIX: Final = ".jsonl"
_FLUSH_NS: Final = 1_000_000_000
_FLUSH_LINES: Final = 4_096  # of some 200 bytes: a burst of hits does not pile up for a second
_MOST_WORDS: Final = 240  # the whole command is the graph's to know
_TAIL_BYTES: Final = 64 << 10

_ENDINGS: Final = (b'{"event":"critical_path",', b'{"event":"run_ended",')

_quoted: Final = json.encoder.encode_basestring_ascii
_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Line(NamedTuple):  # every build that does something loads this: a dataclass costs 0.8 ms more
    """One event, read back.

    Attributes:
        kind: the event's name, such as "run_started".
        at_ns: when it was.
        node: the name of its node; "" for an event of the run.
        data: its other fields; what is at its default may be left out.
    """

    kind: str
    at_ns: int
    node: str
    data: Mapping[str, object]

    def text(self, name: str) -> str:
        """A field that is text; "" when it is not there, or something else."""
        value = self.data.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """A field that is a whole number; 0 when it is not there, or something else."""
        value = self.data.get(name)
        return value if isinstance(value, int) else 0

    def words(self, name: str) -> tuple[str, ...]:
        """A field that is a list of text; what is none is left out."""
        value = self.data.get(name)
        return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()


class Journal:
    """A listener that writes a run down. It raises nothing: a journal that cannot be written ends.

    A run that had nothing to do leaves none, as the quick look at a clean tree leaves none either.

    Args:
        base: the graph's base directory, absolute.
        run: the run's id, a UUIDv7: names in order are runs in order.
        keep_runs, keep_bytes: how many journals stay, with this one.
    """

    def __init__(
        self, base: str, run: str, *, keep_runs: int = KEEP_RUNS, keep_bytes: int = KEEP_BYTES
    ) -> None:
        self.fault = ""
        self._base = base
        self._path = os.path.join(runs_dir(base), run + _SUFFIX)
        self._keep = (keep_runs, keep_bytes)
        self._descriptor = -1
        self._lines: list[str] = []
        self._fresh: list[str] = []  # up to date since the last flush: a line for all of them
        self._flushed_ns = 0
        self._is_worth_keeping = False
        self._took: dict[str, int] = {}
        self._waits = Waits()

    def on_event(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, UpToDate):  # a no-op build has nothing but these
            self._fresh.append(event.node.name)
            return
        self._waits.on_event(event)
        if isinstance(event, RunEnded):
            self._add_path(event.at_ns)
        record = _RECORDS[type(event)](event)
        self._lines.append(record if isinstance(record, str) else _encode(record))
        if not isinstance(event, (RunStarted, Planned, RunEnded)):
            self._is_worth_keeping = True
        elif isinstance(event, RunEnded):
            self._is_worth_keeping = self._is_worth_keeping or event.status != 0
        if isinstance(event, Finished) and not event.status:
            self._took[event.node.name] = event.took_ns
        if event.at_ns - self._flushed_ns >= _FLUSH_NS or len(self._lines) >= _FLUSH_LINES:
            self._flush(event.at_ns)

    def close(self) -> None:
        """Write what is left, and drop the oldest journals."""
        if self._is_worth_keeping:
            self._flush(self._flushed_ns)
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        self._is_worth_keeping = False
        try:
            durations.add(self._base, self._took)
            _prune(runs_dir(self._base), *self._keep)
        except OSError as error:
            self._fail(error)

    def _add_path(self, at_ns: int) -> None:
        path = self._waits.path()
        if path:
            self._lines.append(
                _encode(
                    {
                        "event": "critical_path",
                        "at_ns": at_ns,
                        "nodes": [wait.node.name for wait in path],
                        "took_ns": sum(wait.took_ns for wait in path),
                    }
                )
            )

    def _flush(self, at_ns: int) -> None:
        if not self._is_worth_keeping:
            return
        if self._fresh:
            names, self._fresh = self._fresh, []
            self._lines.insert(
                1 if self._descriptor < 0 else 0,  # the line of the run's start stays the first
                _encode({"event": "up_to_date", "at_ns": self._flushed_ns or at_ns, "nodes": names}),
            )
        if self._lines and not self.fault:
            text = "\n".join(self._lines) + "\n"
            try:
                if self._descriptor < 0:
                    self._descriptor = _create(self._path)
                _write_all(self._descriptor, text.encode())
            except OSError as error:
                self._fail(error)
        self._lines.clear()
        self._flushed_ns = at_ns

    def _fail(self, error: OSError) -> None:
        """Say once that there will be no journal, and be silent from then on."""
        if self.fault:
            return
        self.fault = f"{self._path}: {error.strerror or error}"
        logger("vcache.journal").warning("this run's journal is not written: %s", self.fault)


def runs_dir(base: str) -> str:
    """Where the journals of a tree are."""
    return os.path.join(base, DIRECTORY, "runs")


def runs(base: str) -> list[tuple[str, str]]:
    """The ids and paths of the journals of a tree, oldest first."""
    directory = runs_dir(base)
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    stems = sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
    return [(stem, os.path.join(directory, stem + _SUFFIX)) for stem in stems]


def lines(path: str, *, naming: str = "") -> Iterator[Line]:
    """The events of a journal, in order. Lines that are torn or damaged are left out.

    `up_to_date` comes as one event for each node. A journal of an unknown version is empty.

    Args:
        naming: give only lines that hold this text, which takes a tenth of the time.

    Raises:
        OSError: it cannot be read.
    """
    wanted = _encode(naming)[1:-1].encode()
    with open(path, "rb") as file:
        for number, raw in enumerate(file):
            if number and wanted not in raw:
                continue
            line = _parsed(raw)
            if number == 0 and (line is None or line.number("version") != VERSION):
                return
            if line is None:
                continue
            if line.kind == "up_to_date":
                for name in line.words("nodes"):
                    yield Line(line.kind, line.at_ns, name, {})
            else:
                yield line


def ends(path: str) -> tuple[Line | None, tuple[Line, ...]]:
    """The first event of a journal, and those that its run's end brought, without reading what is between.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        first = _parsed(file.readline())
        if first is None or first.number("version") != VERSION:
            return None, ()
        start = max(file.tell(), os.fstat(file.fileno()).st_size - _TAIL_BYTES)
        file.seek(start)
        raws = file.read().splitlines()
    last = (_parsed(raw) for raw in raws if raw.startswith(_ENDINGS))
    return first, tuple(line for line in last if line is not None)


def _parsed(raw: bytes) -> Line | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):  # also what is not UTF-8, or a run of brackets
        return None
    if not isinstance(found, dict):
        return None
    kind, at_ns, node = found.pop("event", None), found.pop("at_ns", None), found.pop("node", "")
    if not (isinstance(kind, str) and isinstance(at_ns, int) and isinstance(node, str)):
        return None
    return Line(kind, at_ns, node, found)


def _create(path: str) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _prune(directory: str, keep_runs: int, keep_bytes: int) -> None:
    """Remove the oldest journals: beyond a number, and beyond a sum of bytes. The newest stays."""
    names = sorted((name for name in os.listdir(directory) if name.endswith(_SUFFIX)), reverse=True)
    held_bytes = 0
    for number, name in enumerate(names):
        path = os.path.join(directory, name)
        try:
            held_bytes += os.stat(path).st_size
            if number and (number >= keep_runs or held_bytes > keep_bytes):
                os.unlink(path)
        except FileNotFoundError:
            continue  # another run of this tree was quicker


# --- what stands in a line -------------------------------------------------------------------


def _names(node: Node) -> dict[str, object]:
    """The node, and what else it makes: `vcache log` finds it by any output."""
    if node.outs and node.outs != (node.name,):
        return {"node": node.name, "outs": node.outs}
    return {"node": node.name}


def _filled(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value}


def _run_started(event: RunStarted) -> dict[str, object]:
    return {
        "event": "run_started", "at_ns": event.at_ns, "version": VERSION, "run": event.run,
        "base": event.base, "goals": event.goals, "slots": event.slots,
    }  # fmt: skip


def _planned(event: Planned) -> dict[str, object]:
    return {"event": "planned", "at_ns": event.at_ns, "count": event.count}


def _hit(event: Hit) -> str:
    # By hand: 10,000 hits are the whole of a warm build, and this takes a third of the encoder's time.
    node = event.node
    outs = f',"outs":{_encode(node.outs)}' if node.outs and node.outs != (node.name,) else ""
    log = f',"log":"{event.log.hex()}"' if event.log else ""
    origin = f',"origin":{_quoted(event.origin)}' if event.origin else ""
    return (
        f'{{"event":"hit","at_ns":{event.at_ns},"node":{_quoted(node.name)}{outs},"result":{_quoted(event.result)},'
        f'"saved_ns":{event.saved_ns},"took_ns":{event.took_ns}{log}{origin}}}'
    )


def _missed(event: Missed) -> dict[str, object]:
    return {"event": "missed", "at_ns": event.at_ns, "node": event.node.name, "reason": event.reason}


def _started(event: Started) -> dict[str, object]:
    words = event.words
    if len(words) > _MOST_WORDS:
        words = words[: _MOST_WORDS - 1] + "…"
    return {
        "event": "started", "at_ns": event.at_ns, **_names(event.node), "words": words, "lane": event.lane,
        **({"attempt": event.attempt} if event.attempt != 1 else {}),
    }  # fmt: skip


def _output(event: Output) -> dict[str, object]:
    # Its bytes are an entry of the cache, under the `log` of the node's hit or finish.
    n_bytes = sum(len(data) for _, _, data in event.chunks)
    return {
        "event": "output", "at_ns": event.at_ns, "node": event.node.name, "n_bytes": n_bytes,
        **_filled(
            is_replayed=event.is_replayed, started_ns=event.started_ns, rule=event.node.rule,
            program=event.program, action=event.action, origin=event.origin,
        ),
    }  # fmt: skip


def _finished(event: Finished) -> dict[str, object]:
    return {
        "event": "finished", "at_ns": event.at_ns, "node": event.node.name, "status": event.status,
        "took_ns": event.took_ns, "lane": event.lane,
        **_filled(
            result=event.result, remark=event.remark, log=event.log.hex(), will_retry=event.will_retry
        ),
    }  # fmt: skip


def _skipped(event: Skipped) -> dict[str, object]:
    return {"event": "skipped", "at_ns": event.at_ns, "node": event.node.name, "because": event.because}


def _noted(event: Noted) -> dict[str, object]:
    record: dict[str, object] = {"event": "noted", "at_ns": event.at_ns, "text": event.text}
    if event.is_detail:
        record["is_detail"] = True
    return record if event.node is None else record | {"node": event.node.name}


def _run_ended(event: RunEnded) -> dict[str, object]:
    return {
        "event": "run_ended", "at_ns": event.at_ns, "status": event.status, "n_run": event.n_run,
        "n_hit": event.n_hit, "n_up_to_date": event.n_up_to_date, "n_failed": event.n_failed,
        "saved_ns": event.saved_ns, **_filled(error=event.error, is_partial=event.is_partial),
    }  # fmt: skip


# A table rather than singledispatch: three look-ups less per event.
_RECORDS: Final[dict[type, Callable[..., dict[str, object] | str]]] = {
    RunStarted: _run_started,
    Planned: _planned,
    Hit: _hit,
    Missed: _missed,
    Started: _started,
    Output: _output,
    Finished: _finished,
    Skipped: _skipped,
    Noted: _noted,
    RunEnded: _run_ended,
}
