"""What ninja prints while it builds, said from the runner's events: a `Listener`.

The lines are ninja's, so that what reads them needs no change: a result from the cache shows the
line that its run would have shown. Facts were taken from the manual and from the program itself
(tests/e2e/test_vcache_ninja.py runs both). In one place it is kinder: after output without an end
of line, the next status line begins a line of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from vcache.dag.events import (
    INTERRUPTED,
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
from vcache.dag.ninja.progress import FORMAT, Progress
from vcache.dag.ninja.screen import strip_ansi
from vcache.dag.node import CONSOLE, Command
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from vcache.dag.events import Event
    from vcache.dag.ninja.screen import Screen
    from vcache.dag.node import Node

__all__ = ["Status", "Verbosity", "summary"]

Verbosity = Literal["quiet", "normal", "verbose"]


@dataclass(slots=True)
class _Report:
    """What is to be said of a node."""

    line: str
    reason: str
    failure: str = ""


class Status:
    """Prints what ninja would print.

    Args:
        screen: where to.
        notes: takes lines for standard error.
        template: NINJA_STATUS.
        verbosity: "verbose" for whole commands, "quiet" for output and failures only.
        keep_going: how many failures end the run; 0 for none. It decides the words at the end.
        explains: say why a node runs, on `notes`.
        has_output: show what commands wrote. A dry run has none, though the cache would know it.
        has_summary: end with a line about what the cache did.
    """

    def __init__(
        self,
        screen: Screen,
        notes: Callable[[str], object],
        *,
        template: str = FORMAT,
        verbosity: Verbosity = "normal",
        keep_going: int = 1,
        explains: bool = False,
        has_output: bool = True,
        has_summary: bool = False,
    ) -> None:
        self.exit_status = 0
        self._screen = screen
        self._template = template
        self._verbosity = verbosity
        self._keep_going = keep_going
        self._explains = explains
        self._notes = notes
        self._has_output = has_output
        self._has_summary = has_summary
        self._progress = Progress(template)
        self._n_failed = 0
        self._n_candidates = self._n_settled = self._n_skipped = self._n_told_done = 0
        self._has_complained = False
        self._running: set[Node] = set()
        self._reasons: dict[Node, str] = {}
        self._outputs: dict[Node, bytes] = {}
        self._reports: dict[Node, _Report] = {}
        self._handlers: dict[type[object], Callable[..., None]] = {
            RunStarted: self._run_started,
            Planned: self._planned,
            UpToDate: self._up_to_date,
            Hit: self._hit,
            Missed: self._missed,
            Started: self._started,
            Output: self._output,
            Finished: self._finished,
            Skipped: self._skipped,
            Noted: self._noted,
            RunEnded: self._run_ended,
        }

    def on_event(self, event: Event) -> None:
        """See `Listener`."""
        self._progress.pass_time(event.at_ns)
        self._handlers[type(event)](event)
        self._screen.flush()

    def _run_started(self, event: RunStarted) -> None:
        self._progress = Progress(self._template, event.slots)
        self._progress.began_ns = event.at_ns

    def _planned(self, event: Planned) -> None:
        progress = self._progress
        if (
            self._n_candidates
            and self._n_candidates == self._n_settled + self._n_skipped + progress.n_finished
        ):
            # All that was planned has come to its end: the manifest is made, and the build begins.
            self._n_settled = self._n_skipped = self._n_told_done = 0
            progress.n_started = progress.n_finished = 0
        self._n_candidates = event.count
        progress.n_planned = event.count - self._n_settled

    def _up_to_date(self, event: UpToDate) -> None:
        self._settle()

    def _settle(self) -> None:
        """One node less is to be made."""
        self._n_settled += 1
        self._progress.n_planned = self._n_candidates - self._n_settled

    def _missed(self, event: Missed) -> None:
        if self._explains:
            self._reasons[event.node] = event.reason

    def _hit(self, event: Hit) -> None:
        self._progress.n_started += 1
        self._progress.n_finished += 1
        self._n_told_done += 1
        self._show_when_whole(event.node, event.log, self._report(event.node))

    def _started(self, event: Started) -> None:
        node = event.node
        if event.attempt > 1:
            return
        self._running.add(node)
        self._progress.n_started += 1
        self._progress.n_running += 1
        has_console = node.pool == CONSOLE
        if has_console or self._screen.terminal.is_smart:
            self._show(self._report(node))
        if has_console:
            self._screen.lend()

    def _finished(self, event: Finished) -> None:
        node = event.node
        if event.will_retry:
            self._outputs.pop(node, None)
            return
        if event.status and node not in self._running:
            self._complain(event)
            return
        if event.status == INTERRUPTED:  # no fault of the command's: the last line says it
            self.exit_status = INTERRUPTED
            self._leave(node)
            return
        self._progress.n_finished += 1
        self._n_told_done += 1
        if node.pool == CONSOLE and node in self._running:
            self._screen.take_back()
            report = _Report("", "")
        else:
            report = self._report(node)
        self._leave(node)
        if event.status:
            self._n_failed += 1
            self.exit_status = event.status
            report.failure = self._failure(event)
        self._show_when_whole(node, event.log, report)

    def _complain(self, event: Finished) -> None:
        """Say what is wrong with a node that could not even be started."""
        self._settle()
        self._reasons.pop(event.node, None)
        self._has_complained = True
        self._note(f"ninja: error: {event.remark.removeprefix(f'{event.node.place}: ')}")

    def _output(self, event: Output) -> None:
        data = b"".join(chunk for _, _, chunk in event.chunks)
        if event.node in self._running:  # its line is still to come
            self._outputs[event.node] = data
            return
        self._show(self._reports.pop(event.node, _Report("", "")))
        self._pass_on(data)

    def _show_when_whole(self, node: Node, log: bytes, report: _Report) -> None:
        """Show a line with the output that belongs to it, which the runner may tell later."""
        if log and node not in self._outputs:
            self._reports[node] = report
        else:
            self._show(report)
            self._pass_on(self._outputs.pop(node, b""))

    def _report(self, node: Node) -> _Report:
        """The line of a node, with this moment's numbers."""
        words = _words(node)
        text = node.text if node.text and self._verbosity != "verbose" else words
        line = "" if self._verbosity == "quiet" else self._progress.text() + text
        return _Report(line, self._reasons.pop(node, ""))

    def _show(self, report: _Report) -> None:
        if report.reason:
            self._note(f"ninja explain: {report.reason}")
        if report.line:
            self._screen.status(report.line)
        if report.failure:
            self._screen.output(os.fsencode(report.failure))

    def _failure(self, event: Finished) -> str:
        head, outs = f"FAILED: [code={event.status}] ", "".join(f"{out} " for out in event.node.outs)
        if self._screen.terminal.has_colour:
            head = f"\x1b[31m{head}\x1b[0m"
        # A plain exit status has been said; what else went wrong has not.
        is_plain = event.remark in {f"exit status {event.status}", f"signal {event.status - 128}"}
        more = "" if is_plain or not event.remark else f"{event.remark}\n"
        return f"{head}{outs}\n{_words(event.node)}\n{more}"

    def _pass_on(self, data: bytes) -> None:
        if data and self._has_output:
            self._screen.output(data if self._screen.terminal.has_colour else strip_ansi(data))

    def _skipped(self, event: Skipped) -> None:
        self._n_skipped += 1  # it stays in the total, as in ninja
        self._leave(event.node)

    def _leave(self, node: Node) -> None:
        """It does not run any more."""
        if node in self._running:
            self._running.remove(node)
            self._progress.n_running -= 1
            if node.pool == CONSOLE:
                self._screen.take_back()

    def _noted(self, event: Noted) -> None:
        if event.is_detail:
            return
        # What is wrong with a manifest is told in ninja's name, as ninja tells it.
        name = "" if event.node is None else f"{event.node.name}: "
        self._note(f"{'ninja' if event.text.startswith('warning: ') else 'vcache'}: {name}{event.text}")

    def _note(self, line: str) -> None:
        self._screen.output(b"")
        self._screen.flush()
        self._notes(line)

    def _run_ended(self, event: RunEnded) -> None:
        self._screen.take_back()
        for report in self._reports.values():
            self._show(report)
        self._reports.clear()
        self._screen.output(b"")
        if self._has_summary and event.n_run + event.n_hit:
            self._say(summary(event))
        if INTERRUPTED in {event.status, self.exit_status}:
            self.exit_status = INTERRUPTED
            self._say("ninja: build stopped: interrupted by user.")
        elif event.status == 2:
            self.exit_status = 1
            self._note(f"ninja: error: {event.error}")
        elif event.status:
            self.exit_status = self.exit_status or 1
            if self._n_failed or not self._has_complained:
                self._say(f"ninja: build stopped: {self._why_stopped(event)}.")
        elif not self._n_told_done and self._verbosity != "quiet":
            self._say("ninja: no work to do.")

    def _why_stopped(self, event: RunEnded) -> str:
        if not self._n_failed:
            return event.error or "a node could not be made"
        if self._keep_going == 0 or self._n_failed < self._keep_going:
            return "cannot make progress due to previous errors"
        return "subcommands failed" if self._keep_going > 1 else "subcommand failed"

    def _say(self, line: str) -> None:
        self._screen.output(os.fsencode(line + "\n"))


def summary(ended: RunEnded) -> str:
    """One line about what the cache did."""
    from vcache.kit.units import format_duration

    saved = f", {format_duration(ended.saved_ns / 1e9)} saved" if ended.saved_ns else ""
    return f"vcache: {ended.n_hit} from the cache, {ended.n_run} run{saved}"


def _words(node: Node) -> str:
    """The command of a node, as the build file has it."""
    work = node.work
    if not isinstance(work, Command):
        return node.name
    return work.shell or " ".join(work.argv)
