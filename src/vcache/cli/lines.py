"""A build as plain lines, for CI and files: one for each node that ran, and what nodes wrote.

Output of nodes is printed whole, one after the other. It must not know how a build works: it sees
its events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TextIO, TypeAlias

from vcache.cli.ansi import safe_text, write
from vcache.cli.frame import Tally, title
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
from vcache.dag.node import CONSOLE
from vcache.kit.units import format_duration

if TYPE_CHECKING:
    from vcache.cli.ansi import Paint
    from vcache.cli.recording import Warnings
    from vcache.dag.events import Event
    from vcache.dag.node import Node

__all__ = ["ALL", "QUIET", "VERBOSE", "Lines", "Standing", "WarningsOf", "summary"]

QUIET: Final = -1
VERBOSE: Final = 1
ALL: Final = 2

WarningsOf: TypeAlias = "Callable[[], Warnings]"
Standing: TypeAlias = Callable[[], Iterable[tuple[str, bytes]]]
"""Names of what was up to date, with what it had written."""

_MOST_FAILED: Final = 10


class Lines:
    """A line for each node that ran, and what nodes wrote."""

    def __init__(
        self, stream: TextIO, paint: Paint, *, verbosity: int = 0, is_dry_run: bool = False,
        warnings: WarningsOf | None = None, standing: Standing | None = None,
    ) -> None:  # fmt: skip
        self._stream = stream
        self._paint = paint
        self._verbosity = verbosity
        self._is_dry_run = is_dry_run
        self._warnings, self._standing = warnings, standing
        self._tally = Tally()
        self._told: dict[Node, str] = {}
        self._reasons: dict[Node, str] = {}
        self._words: dict[Node, str] = {}
        self._early: dict[Node, Output] = {}  # output that came before the news of its node's end
        self._has_console: Node | None = None
        self._held: list[str] = []  # said while a node has the terminal for itself
        self._steps: dict[type, Callable[..., None]] = {
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
        """Show an event."""
        self._steps[type(event)](event)

    def close(self) -> None:
        """Say what is still to be said."""
        self._release()

    # --- counts ------------------------------------------------------------------------------

    def _run_started(self, event: RunStarted) -> None:
        self._tally.started_ns = event.at_ns
        self._tally.slots = event.slots

    def _planned(self, event: Planned) -> None:
        self._tally.planned = event.count

    def _up_to_date(self, event: UpToDate) -> None:
        self._tally.n_fresh += 1
        if self._verbosity >= ALL:
            self._say(self._line(event.node, self._paint("2", "up to date")))

    def _missed(self, event: Missed) -> None:
        if self._verbosity >= VERBOSE:
            self._reasons[event.node] = event.reason

    def _started(self, event: Started) -> None:
        self._tally.running.setdefault(event.node, event.at_ns)
        self._words[event.node] = event.words
        if event.node.pool == CONSOLE and not self._is_dry_run:
            if self._verbosity > QUIET:
                self._say(self._line(event.node, ""))
            self._has_console = event.node

    # --- what is said ------------------------------------------------------------------------

    def _hit(self, event: Hit) -> None:
        self._tally.running.pop(event.node, None)  # a function that found its value in its own cache
        self._tally.n_hit += 1
        self._tally.saved_ns += event.saved_ns
        if self._verbosity >= VERBOSE:
            self._say(
                self._line(event.node, self._paint("32", f"from the cache, {_took(event.saved_ns)} saved"))
            )

    def _output(self, event: Output) -> None:
        if event.node in self._tally.running:
            self._early[event.node] = event
        elif self._verbosity > QUIET or (event.node in self._tally.failed and not event.is_replayed):
            self._say(self._block(event))

    def _finished(self, event: Finished) -> None:
        node = event.node
        self._tally.running.pop(node, None)
        words, reason = self._words.pop(node, ""), self._reasons.pop(node, "")
        if event.status and not event.will_retry:
            self._tally.n_failed += 1
            self._tally.failed.append(node)
        elif not event.will_retry:
            self._tally.n_ran += 1
        if node is self._has_console:
            self._release()
        if text := self._end_of(event, words, reason):
            self._say(text)
        if (output := self._early.pop(node, None)) is not None:
            self._output(output)

    def _end_of(self, event: Finished, words: str, reason: str) -> str:
        took = _took(event.took_ns)
        if event.will_retry:
            if self._verbosity <= QUIET:
                return ""
            head = f"failed after {took}: {event.remark or _status_words(event.status)}"
            return self._line(event.node, self._paint("33", head))
        if event.status:
            head = f"{self._paint('1;31', 'FAILED')} {_shown(event.node.name)}: "
            after = f" after {took}" if event.took_ns else ""  # what never began took no time
            return f"{head}{event.remark or _status_words(event.status)}{after}\n{_shown(words)}\n"
        if self._verbosity <= QUIET:
            return ""
        was_shown = event.node.pool == CONSOLE and not self._is_dry_run
        text = "" if was_shown else self._done(event, took, reason, words)
        if event.remark.strip() and not self._told.pop(event.node, "").startswith(event.remark):
            text += f"{self._paint('33', 'note:')} {_shown(event.node.name)}: {_shown(event.remark)}\n"
        return text

    def _done(self, event: Finished, took: str, reason: str, words: str) -> str:
        text = self._line(event.node, "" if self._is_dry_run else self._paint("2", took))
        if self._verbosity >= VERBOSE:
            text += f"    {_shown(reason)}\n" if reason else ""
            text += f"    {_shown(words)}\n" if words else ""
        return text

    def _skipped(self, event: Skipped) -> None:
        self._tally.n_skipped += 1
        if self._verbosity >= VERBOSE:
            self._say(self._line(event.node, self._paint("33", f"not tried: {_shown(event.because)}")))

    def _noted(self, event: Noted) -> None:
        if event.node is not None:
            self._told[event.node] = event.text
        if self._verbosity > (QUIET if not event.is_detail else 0):
            name = "" if event.node is None else f"{_shown(event.node.name)}: "
            self._say(f"{self._paint('33', 'note:')} {name}{_shown(event.text)}\n")

    def _run_ended(self, event: RunEnded) -> None:
        self._release()
        tally = self._tally
        text = ""
        if len(tally.failed) > 1 or (tally.failed and tally.n_skipped):
            names = [_shown(node.name) for node in tally.failed[:_MOST_FAILED]]
            more = [f"and {len(tally.failed) - len(names)} more"] if len(tally.failed) > len(names) else []
            text = f"{self._paint('1;31', 'failed:')} {', '.join(names + more)}\n"
        for name, data in () if self._standing is None else self._standing():
            text += self._replayed(name, safe_text(data, keeps_colour=self._paint.is_on))
        if self._verbosity > QUIET:
            text += self._summary(event) + "\n"
        if text:
            self._say(text)

    def _summary(self, event: RunEnded) -> str:
        took_ns = None if self._is_dry_run else event.at_ns - self._tally.started_ns
        warnings = None if self._warnings is None or self._is_dry_run else self._warnings()
        return summary(event, took_ns, self._paint, n_skipped=self._tally.n_skipped, warnings=warnings)

    def _line(self, node: Node, tail: str) -> str:
        tally = self._tally
        total = f"{tally.total}"
        return f"[{tally.n_done:>{len(total)}}/{total}] {title(node)}{'  ' if tail else ''}{tail}\n"

    def _block(self, event: Output) -> str:
        text = safe_text(b"".join(data for _, _, data in event.chunks), keeps_colour=self._paint.is_on)
        if event.is_replayed:
            return self._replayed(event.node.name, text)
        return _whole(text)

    def _replayed(self, name: str, text: str) -> str:
        head = self._paint("2", f"{_shown(name)}, as it was when it was built:")
        return f"{head}\n{_whole(text)}" if text else ""

    def _say(self, text: str) -> None:
        if self._has_console is not None:
            self._held.append(text)
        else:
            self._print(text)

    def _release(self) -> None:
        """The terminal is ours again."""
        self._has_console = None
        held, self._held = "".join(self._held), []
        if held:
            self._print(held)

    def _print(self, text: str) -> None:
        write(self._stream, text)


def _whole(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"


def summary(
    event: RunEnded,
    took_ns: int | None,
    paint: Paint,
    *,
    n_skipped: int = 0,
    warnings: Warnings | None = None,
) -> str:
    """A run in a line: "built 12, 341 from the cache, 9 up to date in 4.2 s; 58 s saved; 3 warnings".

    Args:
        took_ns: None for a dry run.
    """
    done = []
    if event.n_run:
        done.append(f"{'would build' if took_ns is None else 'built'} {event.n_run:,}")
    if event.n_hit:
        done.append(paint("32", f"{event.n_hit:,} from the cache"))
    if event.n_up_to_date:
        done.append(f"{event.n_up_to_date:,} up to date")
    if n_skipped:
        done.append(f"{n_skipped:,} not tried")
    text = ", ".join(done)
    if not event.status and not event.n_run and not event.n_hit:
        count = 0 if warnings is None else warnings.total  # of what is up to date, as goes without saying
        return f"nothing to do{': ' if text else ''}{text}{_counted(count, paint)}"
    text = text or "nothing was built"
    if took_ns is not None:
        text += f" in {_took(took_ns)}"
        if event.saved_ns >= 100_000_000:
            text += f"; {_took(event.saved_ns)} saved"
    text += "" if warnings is None else _warned(warnings, paint)
    if not event.status:
        return text
    if event.status == INTERRUPTED:
        head = "interrupted"
    elif event.n_failed:
        head = f"{event.n_failed:,} failed"
    else:
        # An error of several lines, such as a trace of the user's own code, stands for itself.
        error, is_long = _shown(event.error), "\n" in event.error.rstrip()
        head = "stopped" if is_long or not error else f"stopped: {error}"
        if is_long:
            return f"{error.rstrip()}\n{paint('1;31', head)}; {text}"
    return f"{paint('1;31', head)}; {text}"


def _warned(warnings: Warnings, paint: Paint) -> str:
    """How many warnings there are, and who said them: the total is that of a build of everything."""
    where = [
        f"{count:,} {words}"
        for count, words in (
            (warnings.cached, "from the cache"),
            (warnings.standing, "of what is up to date"),
        )
        if count
    ]
    return _counted(warnings.total, paint) + (f" ({', '.join(where)})" if where else "")


def _counted(count: int, paint: Paint) -> str:
    return "; " + paint("33", f"{count:,} warning{'s' if count > 1 else ''}") if count else ""


def _took(duration_ns: int) -> str:
    """How long something took that is over: three digits."""
    return format_duration(duration_ns / 1e9)


def _status_words(status: int) -> str:
    if status == 124:
        return "timed out"
    if status > 128:
        import signal

        try:
            return f"ended by {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"exit status {status}"


def _shown(text: str) -> str:
    """Text of a build file: nothing but text, on its lines."""
    if text.isprintable():
        return text
    return safe_text(text.encode("utf-8", "surrogateescape"), keeps_colour=False)
