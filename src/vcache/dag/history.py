"""What the journals of runs tell: a run as a whole, and how two runs differ. Pure.

It must not know where journals are, nor what output looked like: it hands on the digests of logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from vcache.errors import UsageError
from vcache.kit.data import dataclass, field, replace

if TYPE_CHECKING:
    from vcache.dag.journal import Line

__all__ = [
    "Change", "Difference", "Made", "Run", "Summary", "chosen", "compared", "described", "matching", "summary",
]  # fmt: skip

How = Literal["ran", "hit", "up_to_date", "failed", "skipped", "unfinished"]

_BUSY: Final = ("ran", "failed")
_IDLE: Final = ("hit", "up_to_date")
_MADE: Final = ("ran", "failed", "hit")
_LEAST_NS: Final = 50_000_000
_LEAST_RATIO: Final = 1.25


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in a line.

    Attributes:
        id: a UUIDv7.
        goals: what was asked for.
        ended_ns: None for a run that was killed, or still goes on.
        status: as in `RunEnded`; None without an end.
        saved_ns: what its hits had once taken, together.
        critical: what its end waited for, first to last.
        critical_ns: how long that took, together.
        is_partial: only what may have changed was looked at.
    """

    id: str
    started_ns: int
    goals: tuple[str, ...] = ()
    slots: int = 0
    ended_ns: int | None = None
    status: int | None = None
    n_run: int = 0
    n_hit: int = 0
    n_up_to_date: int = 0
    n_failed: int = 0
    saved_ns: int = 0
    error: str = ""
    critical: tuple[str, ...] = ()
    critical_ns: int = 0
    is_partial: bool = False

    @property
    def took_ns(self) -> int | None:
        """From start to end; None without an end."""
        return None if self.ended_ns is None else max(0, self.ended_ns - self.started_ns)


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a node in a run.

    Attributes:
        how: "unfinished" is what ran when the run was killed.
        outs: what it makes, where that is more than its name says.
        took_ns: of a run or a hit.
        saved_ns: what a hit's run once took.
        reason: why it had to run.
        words: the beginning of its command.
        status: the exit status of its last try; None when it did not run.
        tries: how often it was started.
        log: the digest of its output in hex; "" when it wrote nothing.
        started_ns: what the times of its output count from; 0 when it wrote nothing.
        origin: of a hit, the run that made it; "" when unknown.
        rule, program, action: of an output, what `vcache.dag.events.Output` says of it.
    """

    name: str
    how: How
    outs: tuple[str, ...] = ()
    took_ns: int = 0
    saved_ns: int = 0
    reason: str = ""
    words: str = ""
    status: int | None = None
    tries: int = 0
    remark: str = ""
    log: str = ""
    result: str = ""
    started_ns: int = 0
    origin: str = ""
    rule: str = ""
    program: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run with all its nodes, by name, in the order in which they first came up."""

    summary: Summary
    nodes: Mapping[str, Made]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A node in two runs. None is a run that did not look at it: up to date, not asked for, or not there."""

    name: str
    older: Made | None
    newer: Made | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What is different in the newer of two runs. A node may stand in several lists.

    Attributes:
        ran: ran in the newer; came from the cache or needed nothing in the older.
        spared: the other way round.
        reasons: ran in both, for different reasons.
        broke, mended: failed in one only.
        slower, faster: ran in both, and took much longer or shorter; largest difference first.
        logs: made by a run or a hit in both, and the output differs.
    """

    older: Summary
    newer: Summary
    ran: tuple[Change, ...] = ()
    spared: tuple[Change, ...] = ()
    reasons: tuple[Change, ...] = ()
    broke: tuple[Change, ...] = ()
    mended: tuple[Change, ...] = ()
    slower: tuple[Change, ...] = ()
    faster: tuple[Change, ...] = ()
    logs: tuple[Change, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the two did the same."""
        return not any(
            (self.ran, self.spared, self.reasons, self.broke, self.mended, self.slower, self.faster, self.logs)
        )  # fmt: skip


def summary(run_id: str, lines: Iterable[Line]) -> Summary:
    """A run in a line, of all its events or of the first and last ones.

    Without the event of its end the counts are those of the events that are given.
    """
    found = Summary(run_id, 0)
    counts: dict[str, Any] = dict.fromkeys(("n_run", "n_hit", "n_up_to_date", "n_failed", "saved_ns"), 0)
    for line in lines:
        if line.kind == "run_started":
            found = replace(
                found, started_ns=line.at_ns, goals=line.words("goals"), slots=line.number("slots")
            )
        elif line.kind == "critical_path":
            found = replace(found, critical=line.words("nodes"), critical_ns=line.number("took_ns"))
        elif line.kind == "run_ended":
            ended: dict[str, Any] = {name: line.number(name) for name in counts}
            return replace(
                found,
                ended_ns=line.at_ns,
                status=line.number("status"),
                error=line.text("error"),
                is_partial=bool(line.data.get("is_partial")),
                **ended,
            )
        else:
            _count(counts, line)
    return replace(found, **counts)


def _count(counts: dict[str, Any], line: Line) -> None:
    if line.kind == "hit":
        counts["n_hit"] += 1
        counts["saved_ns"] += line.number("saved_ns")
    elif line.kind == "up_to_date":
        counts["n_up_to_date"] += 1
    elif line.kind == "finished" and not line.data.get("will_retry"):
        counts["n_failed" if line.number("status") else "n_run"] += 1


def described(run_id: str, lines: Iterable[Line]) -> Run:
    """A run with all its nodes, of all its events."""
    nodes: dict[str, Made] = {}
    notes: list[str] = []

    def seen() -> Iterator[Line]:
        for line in lines:
            step = _STEPS.get(line.kind)
            if step is not None and line.node:
                nodes[line.node] = step(nodes.get(line.node), line)
            elif line.kind == "noted":
                notes.append(line.text("text"))
            yield line

    return Run(summary(run_id, seen()), nodes, tuple(notes))


def _up_to_date(before: Made | None, line: Line) -> Made:
    return Made(line.node, "up_to_date")


def _hit(before: Made | None, line: Line) -> Made:
    return Made(
        line.node, "hit", line.words("outs"), line.number("took_ns"), line.number("saved_ns"),
        log=line.text("log"), result=line.text("result"),
        origin=line.text("origin"),
    )  # fmt: skip


def _missed(before: Made | None, line: Line) -> Made:
    return replace(before or Made(line.node, "unfinished"), reason=line.text("reason"))


def _started(before: Made | None, line: Line) -> Made:
    return replace(
        before or Made(line.node, "unfinished"),
        how="unfinished", outs=line.words("outs"), words=line.text("words"), tries=line.number("attempt") or 1,
    )  # fmt: skip


def _finished(before: Made | None, line: Line) -> Made:
    status = line.number("status")
    return replace(
        before or Made(line.node, "unfinished"),
        how="unfinished" if line.data.get("will_retry") else "failed" if status else "ran",
        took_ns=line.number("took_ns"), status=status, remark=line.text("remark"), log=line.text("log"),
        result=line.text("result"),
    )  # fmt: skip


def _output(before: Made | None, line: Line) -> Made:
    return replace(
        before or Made(line.node, "unfinished"),
        started_ns=line.number("started_ns"), rule=line.text("rule"), program=line.text("program"),
        action=line.text("action"),
    )  # fmt: skip


def _skipped(before: Made | None, line: Line) -> Made:
    return replace(before or Made(line.node, "skipped"), how="skipped", remark=line.text("because"))


_STEPS: Final[dict[str, Callable[[Made | None, Line], Made]]] = {
    "up_to_date": _up_to_date,
    "hit": _hit,
    "missed": _missed,
    "started": _started,
    "finished": _finished,
    "output": _output,
    "skipped": _skipped,
}


@dataclass(slots=True)
class _Lists:
    """A difference while it is made."""

    ran: list[Change] = field(default_factory=list)
    spared: list[Change] = field(default_factory=list)
    reasons: list[Change] = field(default_factory=list)
    broke: list[Change] = field(default_factory=list)
    mended: list[Change] = field(default_factory=list)
    slower: list[Change] = field(default_factory=list)
    faster: list[Change] = field(default_factory=list)
    logs: list[Change] = field(default_factory=list)


def compared(older: Run, newer: Run) -> Difference:
    """What is different in the newer of two runs."""
    lists = _Lists()
    for name in dict.fromkeys((*newer.nodes, *older.nodes)):
        change = Change(name, older.nodes.get(name), newer.nodes.get(name))
        _sort_work(change, lists)
        if change.older is not None and change.newer is not None:
            _sort_outcome(change, change.older, change.newer, lists)
    for timed in (lists.slower, lists.faster):
        timed.sort(key=_by_how_far)
    return Difference(
        older.summary, newer.summary, **{name: tuple(getattr(lists, name)) for name in _Lists.__slots__}
    )


def _sort_work(change: Change, lists: _Lists) -> None:
    older, newer = change.older, change.newer
    worked_before, works = (made is not None and made.how in _BUSY for made in (older, newer))
    idle_before, idles = (made is None or made.how in _IDLE for made in (older, newer))
    if works and idle_before:
        lists.ran.append(change)
    elif idles and worked_before:
        lists.spared.append(change)
    elif older is not None and newer is not None and works and worked_before and newer.reason != older.reason:
        lists.reasons.append(change)


def _sort_outcome(change: Change, older: Made, newer: Made, lists: _Lists) -> None:
    if (newer.how == "failed") != (older.how == "failed") and "skipped" not in (newer.how, older.how):
        (lists.broke if newer.how == "failed" else lists.mended).append(change)
    if newer.how == older.how == "ran" and _is_far(older.took_ns, newer.took_ns):
        (lists.slower if newer.took_ns > older.took_ns else lists.faster).append(change)
    if newer.how in _MADE and older.how in _MADE and newer.log != older.log:
        lists.logs.append(change)


def _by_how_far(change: Change) -> int:
    assert change.older is not None and change.newer is not None
    return -abs(change.newer.took_ns - change.older.took_ns)


def _is_far(one_ns: int, other_ns: int) -> bool:
    """Whether two durations differ by more than what one machine's runs do anyway."""
    least, most = sorted((one_ns, other_ns))
    return most - least >= _LEAST_NS and most >= least * _LEAST_RATIO


def chosen(word: str, ids: Sequence[str]) -> str:
    """The run that a word means.

    Args:
        word: "last", "-1" for the last, "-2" for the one before, or the beginning or end of an id.
        ids: of the runs there are, oldest first.

    Raises:
        UsageError: none, or more than one.
    """
    if not ids:
        raise UsageError("no run is known here: `vcache build` writes down what it does in .vcache/runs")
    number = 1 if word == "last" else int(word[1:]) if word[:1] == "-" and word[1:].isdecimal() else 0
    if number:
        if number > len(ids):
            raise UsageError(f"run {word}: only the last {len(ids)} are known")
        return ids[-number]
    plain = word.lower()
    found = [run for run in ids if plain and (run.startswith(plain) or run.endswith(plain))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"there is no run {word!r}: give the beginning or end of an id of `vcache history`, 'last' or -2"
        )
    ends = ", ".join(run[-8:] for run in found[-5:])
    raise UsageError(f"run {word!r} is one of {len(found)}: give more of it, or its end, such as {ends}")


def matching(target: str, nodes: Iterable[Made]) -> list[Made]:
    """The nodes that a target means: by name or output, else by the end or beginning of a path.

    Gives the nodes of the first of these ways that finds any, in their order.
    """
    known = [(made, (made.name, *made.outs)) for made in nodes]
    tail = "/" + target.removeprefix("./")
    ways: tuple[Callable[[str], bool], ...] = (
        lambda name: name == target,
        lambda name: name == tail[1:],
        lambda name: name.endswith(tail),
        lambda name: name.rpartition("/")[2].partition(".")[0] == target,
        lambda name: name.startswith(target),
    )
    for way in ways:
        if found := [made for made, names in known if any(map(way, names))]:
            return found
    return []
