"""What nodes wrote, as records of the log store: the live ones, and those of a run that is over.

The records of a node are an artifact: they are made of its output, which the cache keeps, and are
the same whether it ran, was restored, or was up to date; what was said by another run is marked so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from vcache.dag.events import Finished, Noted, Output, RunEnded, RunStarted
from vcache.kit.data import NamedTuple
from vcache.logs.record import Mark, Record
from vcache.query.levels import DEBUG, ERROR, INFO, NOTE, UNSET, WARNING, level_of

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.dag.events import Event
    from vcache.dag.history import Made
    from vcache.dag.nodelogs import Chunks
    from vcache.query.syntax import Value
    from vcache.tracing import SpanContext

__all__ = [
    "SOURCE", "Told", "records_of_event", "records_of_node", "records_of_run", "records_told", "tool_of",
    "warnings_of",
]  # fmt: skip

SOURCE: Final = "vcache"
"""The source of what is said of a run itself."""

_PLAIN: Final = "info"
_TOOLS: Final = re.compile(
    r"(?:[\w.]+-)*?(gcc|g\+\+|clang\+\+|clang-cl|clang|c\+\+|cc|cpp|gfortran|ld|ar|nvcc|icpx|icx)(?:-[\d.]+)?(?:\.exe)?"
)


class Told(NamedTuple):
    """What a node wrote, with all that its records say besides.

    Attributes:
        run: in which it was said, by a command or from the cache.
        rule: of the node.
        started_ns: what the times of its chunks count from.
        origin: the run that wrote it, where that is another one and known.
        trace_id, span_id: of the span of its node; "" where there are none.
    """

    run: str
    node: str
    chunks: Chunks
    started_ns: int
    is_replayed: bool = False
    rule: str = ""
    origin: str = ""
    action: str = ""
    program: str = ""
    status: int = 0
    trace_id: str = ""
    span_id: str = ""


def records_of_event(
    event: Event, run: str, *, span: SpanContext | None = None, warnings: int = 0
) -> list[Record]:
    """The records of something that happens in a run; none for what is told by other events.

    Args:
        span: what they are a part of.
        warnings: how many the run has, for its end.
    """
    ids = {} if span is None else {"trace_id": span.trace_id, "span_id": span.span_id}
    if isinstance(event, Output):
        return list(records_told(_told_by(event, run, **ids)))
    said = _of_run(event, warnings)
    if said is None:
        return []
    level, message, fields = said
    kept = {name: value for name, value in fields.items() if value != ""}
    return [Record(event.at_ns, level, SOURCE, message, {"run": run, **kept, **ids})]


def _told_by(output: Output, run: str, *, trace_id: str = "", span_id: str = "") -> Told:
    return Told(
        run, output.node.name, output.chunks, output.started_ns or output.at_ns, output.is_replayed,
        output.node.rule, output.origin, output.action, output.program, output.status, trace_id, span_id,
    )  # fmt: skip


def _of_run(event: Event, warnings: int) -> tuple[int, str, dict[str, Value]] | None:
    """Level, message and fields of what is said of a run."""
    if isinstance(event, RunStarted):
        goals = " ".join(event.goals)
        return INFO, f"run of {goals or 'the default'} began", {
            "event": "run_started", "goals": goals, "base": event.base, "slots": event.slots,
        }  # fmt: skip
    if isinstance(event, Finished) and event.status:
        why = event.remark or f"exit status {event.status}"
        return ERROR, f"{event.node.name} failed: {why}", {
            "event": "failed", "node": event.node.name, "status": event.status, "took_s": event.took_ns / 1e9,
        }  # fmt: skip
    if isinstance(event, Noted):
        node = "" if event.node is None else event.node.name
        return DEBUG if event.is_detail else NOTE, event.text, {"event": "noted", "node": node}
    if isinstance(event, RunEnded):
        return ERROR if event.status else INFO, _end_in_words(event), {
            "event": "run_ended", "status": event.status, "ran": event.n_run, "hits": event.n_hit,
            "up_to_date": event.n_up_to_date, "failed": event.n_failed, "warnings": warnings,
            "saved_s": event.saved_ns / 1e9,
        }  # fmt: skip
    return None


def _end_in_words(event: RunEnded) -> str:
    head = "run ended" if not event.status else f"run ended with status {event.status}: {event.error}"
    return f"{head}; {event.n_run} ran, {event.n_hit} from the cache, {event.n_up_to_date} up to date"


def records_told(told: Told) -> Iterator[Record]:
    """Its records: a compiler's diagnostics by its name, any other line by the name of the rule."""
    from vcache.dag.capture import (
        records_of,
    )  # 4 ms of regular expressions, which a silent build has no need of

    shared = {
        name: value
        for name in ("run", "node", "action", "origin", "status", "trace_id", "span_id")
        if (value := getattr(told, name))
    }
    tool = tool_of(told.program) or told.rule or SOURCE
    plain = told.rule or tool
    marks = Mark.REPLAYED if told.is_replayed else 0
    for each in records_of(told.node, told.chunks):
        fields: dict[str, Value] = {**shared, "stream": each.stream}
        fields |= {
            name: value for name in ("file", "line", "column", "option") if (value := getattr(each, name))
        }
        if each.text != each.message:
            fields["text"] = each.text
        yield Record(
            told.started_ns + each.at_ns,
            level_of(each.level) or UNSET,
            plain if each.level == _PLAIN else tool,
            each.message,
            fields,
            int(marks),
        )


def tool_of(program: str) -> str:
    """A program by the name that people use: "gcc" for x86_64-linux-gnu-gcc-12."""
    match = _TOOLS.fullmatch(program)
    return match[1] if match else program


# --- runs that are over --------------------------------------------------------------------------


def records_of_node(base: str, cache: Cache, run: str, node: str) -> list[Record]:
    """What a node said in a run, of what the run's journal and the cache hold.

    Of a node that was up to date, or that the run did not look at, that is what it said when it was last
    made before. Empty for a node that said nothing, and where what it said is no longer in the cache.

    Args:
        base: the build's directory.
        run: the id of a run that has a journal.
        node: its name.

    Raises:
        OSError: the journal cannot be read.
    """
    return list(_Past(base, cache, run).of(node))


def records_of_run(base: str, cache: Cache, run: str) -> Iterator[Record]:
    """What all nodes of a run said, those first that its journal names, node by node; as `records_of_node`.

    Raises:
        OSError: the journal cannot be read.
    """
    past = _Past(base, cache, run)
    for name in past.names():
        yield from past.of(name)


class _Past:
    """A run that is over."""

    def __init__(self, base: str, cache: Cache, run: str) -> None:
        from vcache.dag import history, journal

        self._base, self._cache, self._run = base, cache, run
        self._journals = dict(journal.runs(base))
        found = history.described(run, journal.lines(self._journals[run])) if run in self._journals else None
        self._nodes: Mapping[str, Made] = {} if found is None else found.nodes
        self._is_partial = found is not None and found.summary.is_partial
        self._at_ns = 0 if found is None else found.summary.ended_ns or found.summary.started_ns
        self._remembered: Mapping[str, Made] | None = None

    def names(self) -> list[str]:
        """The nodes that the run looked at, or knew to be up to date without a look."""
        return list(dict.fromkeys((*self._nodes, *(self._earlier() if self._is_partial else ()))))

    def of(self, name: str) -> Iterator[Record]:
        made = self._nodes.get(name)
        if made is not None and made.how in ("ran", "failed", "hit"):
            return records_told(self._told(made))
        earlier = self._earlier().get(name)
        if earlier is None and self._run == max(self._journals, default=""):
            earlier = self._of_tree(name)  # its run's journal is gone
        if earlier is None or not earlier.log:
            return iter(())
        return records_told(self._told(earlier, is_over=True))

    def _of_tree(self, name: str) -> Made | None:
        from vcache.dag.history import Made
        from vcache.dag.tree import Tree

        tree = Tree.open(self._base, root=os.fspath(self._cache.root), digests=self._cache.digests)
        last = tree.last(name)
        if last is None:
            return None
        return Made(name, "up_to_date", took_ns=last.took_ns, log=last.log.hex(), result=last.result)

    def _told(self, made: Made, *, is_over: bool = False) -> Told:
        """What was told of a node; `is_over`: in an earlier run than this one."""
        chunks, origin = _output(self._cache, made)
        is_replayed = is_over or made.how == "hit"
        started_ns = made.started_ns
        if is_over:
            started_ns = self._at_ns - max(made.took_ns, *(at_ns for _, at_ns, _ in chunks), 0)
        return Told(
            self._run, made.name, chunks, started_ns, is_replayed, made.rule,
            (made.origin or origin) if is_replayed else "", made.action, made.program, made.status or 0,
        )  # fmt: skip

    def _earlier(self) -> Mapping[str, Made]:
        """By name, the last time before this run that each node was made."""
        if self._remembered is None:
            from vcache.dag import history, journal
            from vcache.kit.data import replace

            found: dict[str, Made] = {}
            for run, path in self._journals.items():
                if run >= self._run:
                    break
                for made in history.described(run, journal.lines(path)).nodes.values():
                    if made.how == "ran":
                        found[made.name] = replace(made, origin=run)
                    elif made.how == "hit":
                        found[made.name] = replace(made, took_ns=made.saved_ns)
            self._remembered = found
        return self._remembered


def _output(cache: Cache, made: Made) -> tuple[Chunks, str]:
    """What a node wrote, and the run that wrote it, as far as the cache knows."""
    from vcache.dag.nodelogs import log_digest, recall

    if not made.log:
        return (), ""
    chunks, origin = _result(cache, made.result)
    if log_digest(chunks).hex() == made.log:
        return chunks, origin  # with the times of that very run
    return recall(cache, made.log) or (), ""


def _result(cache: Cache, name: str) -> tuple[Chunks, str]:
    if not name:
        return (), ""
    _, content = cache.glance_key(cache.key(name))
    if not isinstance(content, dict) or not isinstance(value := content.get("value"), list):
        return (), ""
    try:
        chunks = tuple((int(stream), int(at_ns), bytes(data)) for stream, at_ns, data in value)
    except (TypeError, ValueError):
        return (), ""  # another program's
    origin = content.get("run")
    return chunks, origin if isinstance(origin, str) else ""


def warnings_of(records: Iterable[Record]) -> int:
    """How many of them are warnings."""
    return sum(WARNING <= record.level < ERROR for record in records)
