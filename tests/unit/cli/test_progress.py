from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from tests.unit.dag import runs as some
from tests.unit.dag.runs import APP, A, B, C, at, ended, ms, node, ran, started
from vcache.cli import progress
from vcache.cli.ansi import Paint
from vcache.cli.progress import QUIET, VERBOSE, Lines, Live, listener, summary
from vcache.dag.events import Hit, Noted, Output, Planned, RunEnded, Skipped, UpToDate
from vcache.dag.node import Node

PLAIN = Paint(is_on=False)


class Screen(io.StringIO):
    """A terminal of 60 columns: knows text, line breaks and the few escapes that a display needs."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = [""]
        self.row = 0
        self.was_written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\n|[^\x1b\n]+", text):
            if part == "\n":
                self.row += 1
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif part.endswith("F") and part[0] == "\x1b":
                self.row -= int(part[2:-1])
                assert self.row >= 0
            elif part == "\x1b[J":
                del self.rows[self.row + 1 :]
                self.rows[self.row] = ""
            elif part == "\x1b[K" or re.fullmatch(r"\x1b\[(\?7[lh]|[0-9;]*m)", part):
                pass
            else:
                assert part[0] != "\x1b", part
                self.rows[self.row] = part
        self.was_written.set()
        return len(text)

    @property
    def shown(self) -> list[str]:
        return [row.rstrip() for row in self.rows if row.strip()]


def lines(events, *, verbosity: int = 0, paint: Paint = PLAIN) -> str:
    stream = io.StringIO()
    shown = Lines(stream, paint, verbosity=verbosity)
    for event in events:
        shown.on_event(event)
    shown.close()
    return stream.getvalue()


def live(**options) -> tuple[Screen, Live]:
    screen = Screen()
    shown = Live(screen, PLAIN, durations={}, clock=lambda: at(4000), size=lambda stream: (60, 24), **options)
    shown._painter = threading.current_thread()  # the test paints
    return screen, shown


def tell(shown: Lines, events) -> None:
    for event in events:
        shown.on_event(event)


# --- lines -----------------------------------------------------------------------------------


def test_a_line_for_each_node_that_ran() -> None:
    """in CI: what ran, with its output whole below; hits are summed, what they said is replayed"""
    assert lines(some.a_build()) == (
        "c.o, as it was when it was built:\nfrom the cache\n"
        "[3/4] cc b.o  198 ms\n"
        "[4/4] cc a.o  499 ms\n"
        "a.c:1:2: warning: w\n"
        "[5/5] cc app  299 ms\n"
        "built 3, 1 from the cache, 1 up to date in 801 ms; 900 ms saved\n"
    )


def test_verbose_says_why_and_what() -> None:
    """-v adds the hits, the reasons and the commands"""
    text = lines(some.a_build(), verbosity=VERBOSE)
    assert "[2/4] cc c.o  from the cache, 900 ms saved\n" in text
    assert "[5/5] cc app  299 ms\n    changed file a.o\n    make app\n" in text


def test_quiet_says_what_failed() -> None:
    """-q is silent about a build that goes well, and shows a failure whole"""
    assert lines(some.a_build(), verbosity=QUIET) == ""
    failing = [started(), *ran(A, 0, 100, status=2, text=b"no such thing"), *ran(B, 0, 1, text=b"warning"),
               Noted(at(1), "odd"), Skipped(at(2), APP, "a.o failed"), ended(101, 1, n_run=1, n_failed=1)]  # fmt: skip
    assert lines(failing, verbosity=QUIET) == (
        "FAILED a.o: exit status 2 after 100 ms\nmake a.o\nno such thing\nfailed: a.o\n"
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [(1, "exit status 1"), (124, "timed out"), (139, "ended by SIGSEGV"), (250, "exit status 250")],
)
def test_how_a_node_failed(status, words) -> None:
    """a status is told in words"""
    assert f"FAILED a.o: {words} after" in lines([started(), *ran(A, 0, 100, status=status)])


def test_output_that_comes_before_the_end_waits() -> None:
    """the head of a node comes before its output, whichever the runner tells first"""
    missed, begun, finished = ran(A, 0, 100, status=1)
    output = Output(at(99), A, ((1, 0, b"one\n"), (2, 1, b"two\n")), is_replayed=False)
    expected = "FAILED a.o: exit status 1 after 100 ms\nmake a.o\none\ntwo\n"
    assert lines([started(), missed, begun, output, finished]) == expected
    assert lines([started(), missed, begun, finished, output]) == expected


def test_a_retry_is_told() -> None:
    """a failure that is tried again is a line, not a failure"""
    missed, begun, failed = ran(A, 0, 100, status=1)
    text = lines(
        [
            started(),
            Planned(at(0), 1),
            missed,
            begun,
            replace(failed, will_retry=True),
            *ran(A, 200, 300)[1:],
            ended(301, n_run=1),
        ]
    )
    assert text == (
        "[0/1] cc a.o  exit status 1 after 100 ms; it is tried again\n[1/1] cc a.o  100 ms\nbuilt 1 in 301 ms\n"
    )


def test_remarks_and_notes() -> None:
    """why a success was not kept, and whatever the run notes, are told"""
    *begun, finished = ran(A, 0, 100)
    text = lines([started(), *begun, replace(finished, remark="a.c changed meanwhile"), Noted(at(1), "odd", B),
                  Noted(at(1), "odder")])  # fmt: skip
    assert "note: a.o: a.c changed meanwhile\nnote: b.o: odd\nnote: odder\n" in text


def test_output_cannot_act() -> None:
    """escapes other than colours are shown, colours go where they are not wanted, names are text"""
    evil = Node(name="a\x1b]0;x\x07", outs=("a",))
    events = [started(), *ran(evil, 0, 1, status=1, text=b"\x1b[31mred\x1b[0m\x1b[2J\n")]
    plain, coloured = lines(events), lines(events, paint=Paint(is_on=True))
    assert "red␛[2J\n" in plain
    assert "\x1b[31mred\x1b[0m␛[2J\n" in coloured
    assert "\x1b]" not in plain + coloured


def test_a_node_with_the_terminal_is_not_disturbed() -> None:
    """while a node has the terminal for itself nothing is written; then it all comes"""
    stream = io.StringIO()
    shown = Lines(stream, PLAIN)
    alone = node("menu", rule="", pool="console")
    tell(shown, [started(), *ran(alone, 0, 300)[:2]])
    before = stream.getvalue()
    assert before == "[0/1] menu\n"
    tell(shown, ran(A, 10, 20, text=b"warning\n"))
    assert stream.getvalue() == before
    tell(shown, ran(alone, 0, 300)[2:])
    assert stream.getvalue() == before + "[1/2] cc a.o  10 ms\nwarning\n"
    tell(shown, ran(alone, 0, 300)[:2])
    tell(shown, ran(B, 10, 20))
    shown.close()
    assert "cc b.o" in stream.getvalue(), "what was held is not lost when the run is cut off"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ended(0, n_run=12, n_hit=341, n_up_to_date=9, saved_ns=ms(58_000)),
         "built 12, 341 from the cache, 9 up to date in 4.2 s; 58 s saved"),
        (ended(0, n_up_to_date=1234), "nothing to do: 1,234 up to date"),
        (ended(0), "nothing to do"),
        (ended(0, 1, n_run=1, n_failed=2), "2 failed; built 1 in 4.2 s"),
        (ended(0, 130, n_run=1), "interrupted; built 1 in 4.2 s"),
        (ended(0, 2, error="a cycle: a → b → a"), "stopped: a cycle: a → b → a; nothing was built in 4.2 s"),
        (ended(0, 1), "stopped; nothing was built in 4.2 s"),
    ],
)  # fmt: skip
def test_a_run_in_a_line(event: RunEnded, text: str) -> None:
    """the last line says what was done, what was spared, how long it took and what went wrong"""
    assert summary(event, ms(4200), PLAIN) == text


def test_many_failures_are_listed_at_the_end() -> None:
    """the failed nodes are named again, ten of them at most"""
    events = [event for number in range(12) for event in ran(node(f"{number}.o"), 0, 1, status=1)]
    text = lines([started(), *events, ended(1, 1, n_failed=12)])
    assert "failed: 0.o, 1.o, 2.o, 3.o, 4.o, 5.o, 6.o, 7.o, 8.o, 9.o, and 2 more\n12 failed; nothing" in text


def test_a_dry_run_says_what_it_would_do() -> None:
    """lines without times, and a summary that claims nothing"""
    stream = Screen()
    shown = listener(stream, environ={"TERM": "xterm", "NO_COLOR": "1"}, is_dry_run=True)
    alone = node("menu", rule="", pool="console")
    tell(
        shown,
        [started(), *ran(A, 0, 0), *ran(alone, 0, 0)[1:2], *ran(alone, 0, 0)[2:], ended(5, n_run=2, n_hit=1)],
    )
    assert type(shown) is Lines
    assert stream.shown == ["[1/1] cc a.o", "[2/2] menu", "would build 2, 1 from the cache"]


# --- the display -----------------------------------------------------------------------------


def test_the_display_stays_below_the_output() -> None:
    """what nodes write stands above, whole and in order; the display is painted anew below it"""
    screen, shown = live()
    tell(shown, [started(), Planned(at(0), 3), *ran(A, 0, 100)[:2], *ran(B, 0, 100)[:2]])
    shown.paint()
    assert screen.shown[1:] == ["   4.0 s  cc a.o", "   4.0 s  cc b.o"]
    tell(shown, ran(A, 0, 100, text=b"a.c: warning\nsecond line\n")[2:])
    assert screen.shown[:3] == ["cc a.o", "a.c: warning", "second line"]
    shown.paint()
    assert screen.shown[:3] == ["cc a.o", "a.c: warning", "second line"]
    assert screen.shown[4:] == ["   4.0 s  cc b.o"]
    assert "1/3" in screen.shown[3]
    tell(shown, [*ran(B, 0, 100, status=1, text=b"error")[2:], ended(200, 1, n_run=1, n_failed=1)])
    assert screen.shown == [
        "cc a.o", "a.c: warning", "second line", "FAILED b.o: exit status 1 after 100 ms", "make b.o", "error",
        "1 failed; built 1 in 200 ms",
    ]  # fmt: skip
    shown.paint()
    assert screen.shown[-1] == "1 failed; built 1 in 200 ms", "after the end nothing is painted"


def test_a_quiet_success_leaves_one_line() -> None:
    """of a build without output only the summary stays"""
    screen, shown = live()
    for event in [
        started(),
        Planned(at(0), 3),
        *ran(A, 0, 1),
        Hit(at(1), C, "r", ms(5), 1),
        UpToDate(at(1), B),
    ]:
        shown.on_event(event)
        shown.paint()
    tell(shown, [ended(900, n_run=1, n_hit=1, n_up_to_date=1)])
    shown.close()
    assert screen.shown == ["built 1, 1 from the cache, 1 up to date in 900 ms"]


def test_nothing_is_written_when_nothing_changed() -> None:
    """a frame that is as the last one costs no write"""
    screen, shown = live()
    tell(shown, [started(), *ran(A, 0, 1)[:2]])
    shown.paint()
    before, screen.rows = screen.rows, ["untouched"]
    shown.paint()
    assert (before != screen.rows, screen.rows) == (True, ["untouched"])


def test_the_display_makes_room_for_a_node_with_the_terminal() -> None:
    """a node that has the terminal finds it clear, and nothing is painted over it"""
    screen, shown = live()
    alone = node("menu", rule="", pool="console")
    tell(shown, [started(), *ran(A, 0, 1)[:2]])
    shown.paint()
    tell(shown, ran(alone, 0, 300)[:2])
    shown.paint()
    assert screen.shown == ["[0/2] menu"]
    tell(shown, ran(alone, 0, 300)[2:])
    shown.paint()
    assert len(screen.shown) == 3


def test_verbose_keeps_a_line_for_each_node() -> None:
    """-v on a terminal: lines above the display"""
    screen, shown = live(verbosity=VERBOSE)
    tell(shown, [started(), Planned(at(0), 2), *ran(A, 0, 1000), *ran(B, 0, 1)[:2]])
    shown.paint()
    assert screen.shown[:3] == ["[1/2] cc a.o  1 s", "    never built", "    make a.o"]


def test_a_lost_display_is_taken_away() -> None:
    """a run that ends without its last event leaves no display behind"""
    screen, shown = live()
    tell(shown, [started(), *ran(A, 0, 1)[:2]])
    shown.paint()
    shown.close()
    assert screen.shown == []


def test_a_thread_paints(monkeypatch) -> None:
    """after a moment the display appears by itself, and its thread ends with it"""
    monkeypatch.setattr(progress, "_FIRST_PAINT_S", 0.0)
    screen = Screen()
    shown = Live(screen, PLAIN, durations={}, clock=lambda: at(4000), size=lambda stream: (60, 24))
    tell(shown, [started(), *ran(A, 0, 1)[:2]])
    while len(screen.shown) < 2:
        assert screen.was_written.wait(10)
        screen.was_written.clear()
    assert screen.shown[1:] == ["   4.0 s  cc a.o"]
    shown.close()
    assert shown._painter is not None and not shown._painter.is_alive()


def test_a_terminal_that_goes_away_ends_the_painting(monkeypatch) -> None:
    """a display whose stream is closed under it stops, and raises nothing"""
    monkeypatch.setattr(progress, "_FIRST_PAINT_S", 0.0)
    screen = Screen()
    monkeypatch.setattr(screen, "write", lambda text: (_ for _ in ()).throw(OSError(5, "gone")))
    shown = Live(screen, PLAIN, durations={}, clock=lambda: at(4000))
    tell(shown, [started(), *ran(A, 0, 1)[:2]])
    assert shown._painter is not None
    shown._painter.join(10)
    assert not shown._painter.is_alive()


# --- which one -------------------------------------------------------------------------------


def test_a_listener_that_fits() -> None:
    """a terminal gets the display, everything else gets lines, quiet gets no display"""
    xterm = {"TERM": "xterm"}
    assert type(listener(Screen(), environ=xterm)) is Live
    assert type(listener(Screen(), environ={**xterm, "CI": "1"})) is Lines
    assert type(listener(Screen(), environ={"TERM": "dumb"})) is Lines
    assert type(listener(io.StringIO(), environ=xterm)) is Lines
    assert type(listener(Screen(), environ=xterm, verbosity=QUIET)) is Lines


def test_the_display_costs_little_to_load() -> None:
    """neither rich nor click's testing is loaded for it"""
    code = "import vcache.cli.progress, sys; print('rich' in sys.modules, 'difflib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False False\n"
