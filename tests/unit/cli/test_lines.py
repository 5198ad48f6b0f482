from __future__ import annotations

import io

import pytest

from tests.unit.cli.screen import tell
from tests.unit.dag import runs as some
from tests.unit.dag.runs import APP, A, B, at, ended, ms, node, ran, started
from vcache.cli.ansi import Paint
from vcache.cli.lines import ALL, QUIET, VERBOSE, Lines, summary
from vcache.cli.recording import Warnings
from vcache.dag.events import Noted, Output, Planned, RunEnded, Skipped
from vcache.dag.node import Node

PLAIN = Paint(is_on=False)


def lines(events, *, verbosity: int = 0, paint: Paint = PLAIN) -> str:
    stream = io.StringIO()
    shown = Lines(stream, paint, verbosity=verbosity)
    for event in events:
        shown.on_event(event)
    shown.close()
    return stream.getvalue()


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


def test_twice_verbose_says_all() -> None:
    """-vv names what is up to date as well"""
    assert "[1/4] cc gen.h  up to date\n" in lines(some.a_build(), verbosity=ALL)


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
            failed._replace(will_retry=True),
            *ran(A, 200, 300)[1:],
            ended(301, n_run=1),
        ]
    )
    assert text == (
        "[0/1] cc a.o  failed after 100 ms: exit status 1\n[1/1] cc a.o  100 ms\nbuilt 1 in 301 ms\n"
    )


def test_remarks_and_notes() -> None:
    """why a success was not kept, and whatever the run notes, are told"""
    *begun, finished = ran(A, 0, 100)
    text = lines([started(), *begun, finished._replace(remark="a.c changed meanwhile"), Noted(at(1), "odd", B),
                  Noted(at(1), "odder")])  # fmt: skip
    assert "note: a.o: a.c changed meanwhile\nnote: b.o: odd\nnote: odder\n" in text
    noted = Noted(at(1), "a.c changed meanwhile: its result is not kept", A)
    text = lines([started(), *begun, noted, finished._replace(remark="a.c changed meanwhile")])
    assert text.count("note:") == 1


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


@pytest.mark.parametrize(
    ("warnings", "text"),
    [
        (Warnings(), ""),
        (Warnings(1), "; 1 warning"),
        (Warnings(1200), "; 1,200 warnings"),
        (Warnings(1, 2), "; 3 warnings (2 from the cache)"),
        (Warnings(0, 2, 3), "; 5 warnings (2 from the cache, 3 of what is up to date)"),
    ],
    ids=["none", "one", "fresh", "cached", "standing"],
)
def test_warnings_are_counted_whoever_said_them(warnings: Warnings, text: str) -> None:
    """the total is that of a build of everything; where nothing was done it says nothing more"""
    did = summary(ended(5, n_run=1), ms(1000), PLAIN, warnings=warnings)
    assert did == f"built 1 in 1 s{text}"
    nothing = summary(ended(5, n_up_to_date=2), ms(1), PLAIN, warnings=warnings)
    assert nothing == f"nothing to do: 2 up to date{text.partition(' (')[0]}"


def test_what_was_up_to_date_is_shown_if_it_is_asked_for() -> None:
    """before the last line, and with nothing that acts on a terminal"""
    stream = io.StringIO()
    shown = Lines(stream, PLAIN, standing=lambda: [("a.o", b"w\x1b[2Jarning"), ("b.o", b"")])
    shown.on_event(started())
    shown.on_event(ended(1, n_up_to_date=1))
    shown.close()
    head, text, last = stream.getvalue().splitlines()
    assert head == "a.o, as it was when it was built:"
    assert "\x1b" not in text
    assert last == "nothing to do: 1 up to date"


def test_many_failures_are_listed_at_the_end() -> None:
    """the failed nodes are named again, ten of them at most"""
    events = [event for number in range(12) for event in ran(node(f"{number}.o"), 0, 1, status=1)]
    text = lines([started(), *events, ended(1, 1, n_failed=12)])
    assert "failed: 0.o, 1.o, 2.o, 3.o, 4.o, 5.o, 6.o, 7.o, 8.o, 9.o, and 2 more\n12 failed; nothing" in text
