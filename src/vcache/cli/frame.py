"""What the live display of a build shows: counts, forecast and the drawing of a frame. Pure.

It must not know terminals: it gives lines that fit a width. Own lines rather than rich's: importing
`rich.live` and `rich.progress` takes 40 to 50 ms, which is what a build of one file may take beyond its
compiler; this takes 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from vcache.kit.ansi import cells_of
from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from vcache.cli.ansi import Paint
    from vcache.dag.node import Node

__all__ = ["Forecast", "Tally", "cells_of", "frame", "span", "title"]

MOST_RUNNING: Final = 8
_BAR_CELLS: Final = 30
_NS: Final = 1e9
# A finished run of a node must not say "0 s left" when it takes longer than it used to.
_OVERDUE: Final = 0.1


class Tally:
    """Where a run stands."""

    __slots__ = ("failed", "n_failed", "n_fresh", "n_hit", "n_ran", "n_skipped", "planned", "running",
                 "saved_ns", "slots", "started_ns")  # fmt: skip

    def __init__(self) -> None:
        self.started_ns = 0
        self.slots = 1
        self.planned = 0
        self.n_ran = 0
        self.n_hit = 0
        self.n_fresh = 0
        self.n_failed = 0
        self.n_skipped = 0
        self.saved_ns = 0
        self.running: dict[Node, int] = {}
        """By node, since when."""
        self.failed: list[Node] = []

    @property
    def n_done(self) -> int:
        """How many nodes are settled, in whatever way."""
        return self.n_ran + self.n_hit + self.n_fresh + self.n_failed + self.n_skipped

    @property
    def total(self) -> int:
        """How many nodes are wanted, as far as is known."""
        return max(self.planned, self.n_done + len(self.running))


class Forecast:
    """When a run will end, learned from how long its nodes took before.

    What is to come is not known node by node, so it is taken to be like what was: of the time that all
    nodes once took, the same share has to be spent again, at the speed of today.

    Args:
        durations: by name of a node, how many nanoseconds it last took.
    """

    def __init__(self, durations: Mapping[str, int]) -> None:
        self._durations = durations
        self._known_ns = sum(durations.values())
        self._n_done = 0
        self._done_ns = 0  # what the settled nodes would take
        self._spent_ns = 0  # … and those of them that had to run
        self._n_ran = 0
        self._ran_ns = 0
        self._expected_ns = 0  # of those of them that were known before: their speed is today's
        self._measured_ns = 0

    def ran(self, name: str, took_ns: int) -> None:
        """A node had to run."""
        self._n_ran += 1
        self._ran_ns += took_ns
        known_ns = self._durations.get(name)
        if known_ns is not None:
            self._expected_ns += known_ns
            self._measured_ns += took_ns
        weight_ns = took_ns if known_ns is None else known_ns
        self._spent_ns += weight_ns
        self._settle(weight_ns)

    def spared(self, name: str, saved_ns: int = 0) -> None:
        """A node came from the cache, or had nothing to do."""
        self._settle(self._durations.get(name) or saved_ns or self._mean_ns)

    def remaining_ns(self, tally: Tally, now_ns: int) -> int | None:
        """How much longer it takes; None when nothing speaks of it."""
        mean_ns = self._mean_ns
        if not mean_ns:
            return None
        speed = self._measured_ns / self._expected_ns if self._expected_ns else 1.0
        running_ns, left_ns = 0.0, []
        for node, since_ns in tally.running.items():
            expected_ns = self._durations.get(node.name, mean_ns)
            running_ns += expected_ns
            elapsed_ns = max(0, now_ns - since_ns)
            left_ns.append(max(expected_ns * speed - elapsed_ns, elapsed_ns * _OVERDUE))
        to_come_ns = 0.0
        if tally.total > self._n_done + len(left_ns):
            settled_ns = self._done_ns + running_ns
            share = (self._spent_ns + running_ns) / settled_ns if settled_ns else 1.0
            to_come_ns = max(0.0, mean_ns * tally.total - settled_ns) * share * speed
        return round(max([(to_come_ns + sum(left_ns)) / max(1, tally.slots), *left_ns]))

    def expected_ns(self, name: str) -> int | None:
        """How long a node took last time; None when that is not known."""
        return self._durations.get(name)

    @property
    def _mean_ns(self) -> float:
        if self._durations:
            return self._known_ns / len(self._durations)
        return self._ran_ns / self._n_ran if self._n_ran else 0.0

    def _settle(self, weight_ns: float) -> None:
        self._n_done += 1
        self._done_ns += round(weight_ns)


def frame(
    tally: Tally,
    forecast: Forecast,
    now_ns: int,
    *,
    columns: int,
    rows: int,
    paint: Paint,
    is_ascii: bool = False,
) -> list[str]:
    """The lines of the display, none wider than the terminal, not more than fit.

    Args:
        columns, rows: of the terminal.
        is_ascii: nothing beyond ASCII can be shown.
    """
    width = max(20, columns - 1)  # the last column is left alone: some terminals wrap behind it
    lines = [_head(tally, forecast, now_ns, width, paint, is_ascii=is_ascii)]
    most = max(0, min(MOST_RUNNING, rows - 4))
    running = sorted(tally.running.items(), key=lambda item: item[1])  # the longest first
    lines += [
        _running(node, now_ns - since_ns, forecast.expected_ns(node.name), width, paint, is_ascii=is_ascii)
        for node, since_ns in running[:most]
    ]
    if len(running) > most:
        lines.append(paint("2", f"          and {len(running) - most} more"[:width]))
    return lines


def _head(tally: Tally, forecast: Forecast, now_ns: int, width: int, paint: Paint, *, is_ascii: bool) -> str:
    total, done = tally.total, tally.n_done
    percent = f"{100 * done // total if total else 0:3d}%"
    facts = [("", f"{percent}  {done:,}/{total:,}")]
    if tally.n_failed:
        facts.append(("1;31", f"{tally.n_failed:,} failed"))
    facts.append(("36", f"{tally.n_ran:,} built"))
    if tally.n_hit:
        facts.append(("32", f"{tally.n_hit:,} from the cache"))
    remaining_ns = forecast.remaining_ns(tally, now_ns)
    facts.append(("2", span(now_ns - tally.started_ns)))
    if remaining_ns is not None and now_ns - tally.started_ns > _NS:
        facts.append(("1", f"{span(max(_NS, remaining_ns), is_rough=True)} left"))
    if tally.saved_ns >= _NS:
        facts.append(("32", f"{span(tally.saved_ns, is_rough=True)} saved"))
    gap, text, used = "  ", [], 1
    for style, words in facts:
        if used + len(gap) + len(words) > width:
            break
        text.append(gap + paint(style, words))
        used += len(gap) + len(words)
    cells = min(_BAR_CELLS, width - used)
    bar = _bar(tally, cells, paint, is_ascii=is_ascii) if cells >= 6 else ""
    return " " + bar + "".join(text)


def _bar(tally: Tally, cells: int, paint: Paint, *, is_ascii: bool) -> str:
    """Failed, built, spared and what is to come, each by its share of the whole."""
    whole = max(1, tally.total)
    full, empty = ("#", "-") if is_ascii else ("━", "─")
    parts, at, sum_ = [], 0, 0
    for style, count in (
        ("31", tally.n_failed),
        ("36", tally.n_ran),
        ("32", tally.n_hit + tally.n_fresh),
        ("33", tally.n_skipped),
    ):
        sum_ += count
        # A cell at the end of what came before, so that roundings do not add up.
        end = cells * sum_ // whole
        end = max(end, min(at + 1, cells)) if style == "31" and count else end
        parts.append(paint(style, full * (end - at)))
        at = max(at, end)
    return "".join(parts) + paint("2", empty * (cells - at))


def _running(
    node: Node, elapsed_ns: int, expected_ns: int | None, width: int, paint: Paint, *, is_ascii: bool
) -> str:
    took = span(elapsed_ns)
    tail = ""
    if expected_ns is not None and expected_ns >= _NS:
        tail = f"  of {'~' if is_ascii else '≈'} {span(expected_ns, is_rough=True)}"
    if width < 30:  # the name is worth more
        tail = ""
    room = width - 10 - len(tail)
    words = _cut(title(node), room, is_ascii=is_ascii)
    is_late = expected_ns is not None and elapsed_ns > 1.5 * expected_ns + _NS
    return f"{paint('33' if is_late else '2', f'{took:>8}')}  {words}{paint('2', tail)}"


def title(node: Node) -> str:
    """A node in a line for people: what the build file says of it, else its rule and name."""
    text = node.text or (f"{node.rule} {node.name}" if node.rule else node.name)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "?" for char in text)
    return text


def span(duration_ns: float, *, is_rough: bool = False) -> str:
    """A duration whose width changes little while it grows."""
    duration_s = max(0.0, duration_ns / _NS)
    if duration_s < 59.95:
        return f"{duration_s:.0f} s" if is_rough else f"{duration_s:.1f} s"
    return format_duration(duration_s)


def _cut(text: str, room: int, *, is_ascii: bool) -> str:
    """The text within so many cells; of a path that is too long the end is kept as well."""
    if len(text) <= room and text.isascii():
        return text
    if (width := cells_of(text)) <= room:
        return text
    dots = "..." if is_ascii else "…"
    room = max(4, room - len(dots))
    if width == len(text):
        head = room // 3
        return text[:head] + dots + text[len(text) - (room - head) :]
    kept = list(_within(text, room))
    return "".join(kept) + dots


def _within(text: str, room: int) -> Iterable[str]:
    for char in text:
        room -= cells_of(char)
        if room < 0:
            return
        yield char
