from __future__ import annotations

import threading

from tests.unit.cli.screen import Screen, tell
from tests.unit.dag.runs import A, B, C, at, ended, ms, node, ran, started
from vcache.cli import live as display
from vcache.cli.ansi import Paint
from vcache.cli.lines import VERBOSE
from vcache.cli.live import Live
from vcache.dag.events import Hit, Planned, UpToDate

PLAIN = Paint(is_on=False)


def live(**options) -> tuple[Screen, Live]:
    screen = Screen()
    shown = Live(screen, PLAIN, durations={}, clock=lambda: at(4000), size=lambda stream: (60, 24), **options)
    shown._painter = threading.current_thread()  # the test paints
    return screen, shown


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
    monkeypatch.setattr(display, "_FIRST_PAINT_S", 0.0)
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
    monkeypatch.setattr(display, "_FIRST_PAINT_S", 0.0)
    screen = Screen()
    monkeypatch.setattr(screen, "write", lambda text: (_ for _ in ()).throw(OSError(5, "gone")))
    shown = Live(screen, PLAIN, durations={}, clock=lambda: at(4000))
    tell(shown, [started(), *ran(A, 0, 1)[:2]])
    assert shown._painter is not None
    shown._painter.join(10)
    assert not shown._painter.is_alive()
