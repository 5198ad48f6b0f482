"""What is printed for a run's events."""

from __future__ import annotations

import io

import pytest

from vcache.dag import events
from vcache.dag.ninja.screen import Screen, Terminal
from vcache.dag.ninja.status import Status, Verbosity
from vcache.dag.node import CONSOLE, Command, Node


def node(name: str, *, text: str = "", pool: str = "", outs: tuple[str, ...] = ()) -> Node:
    return Node(name=name, outs=outs or (name,), work=Command(shell=f"make {name}"), text=text, pool=pool)


A, B, C = node("a", text="MAKE a"), node("b"), node("c", text="CON c", pool=CONSOLE)


class Play:
    """Plays events into a Status, and keeps what it prints."""

    def __init__(
        self,
        *,
        is_smart: bool = False,
        verbosity: Verbosity = "normal",
        keep_going: int = 1,
        explains: bool = False,
        has_output: bool = True,
        has_summary: bool = False,
        template: str = "[%f/%t] ",
    ) -> None:
        self.sink = io.BytesIO()
        self.status = Status(
            Screen(self.sink, Terminal(is_smart=is_smart, has_colour=is_smart)),
            lambda line: self.sink.write(f"<{line}>\n".encode()),
            verbosity=verbosity, keep_going=keep_going, explains=explains, has_output=has_output,
            has_summary=has_summary, template=template,
        )  # fmt: skip
        self.tell(events.RunStarted("r", 0, "/b", (), 2))

    def tell(self, *told: events.Event) -> Play:
        for event in told:
            self.status.on_event(event)
        return self

    def run(self, made: Node, status: int = 0, output: bytes = b"", remark: str = "") -> Play:
        log = b"digest" if output else b""
        self.tell(events.Started(0, made, "x"), events.Finished(0, made, status, 1, "", remark, log))
        return self.tell(events.Output(0, made, ((1, 0, output),), is_replayed=False)) if output else self

    def hit(self, made: Node, output: bytes = b"") -> Play:
        self.tell(events.Hit(0, made, "r", 2_000_000_000, 1, b"digest" if output else b""))
        return self.tell(events.Output(0, made, ((1, 0, output),), is_replayed=True)) if output else self

    def end(self, status: int = 0, n_run: int = 1, n_hit: int = 0, error: str = "") -> str:
        self.tell(events.RunEnded(0, status, n_run, n_hit, 0, 0, n_hit * 2_000_000_000, error))
        return self.sink.getvalue().decode()


def planned(count: int) -> events.Planned:
    return events.Planned(0, count)


def test_the_manifest_is_made_first_and_counted_apart():
    """A manifest that makes itself is a build of its own; the one after it begins to count anew."""
    play = Play().tell(planned(1)).run(A).tell(planned(1), events.UpToDate(0, A))
    assert play.tell(planned(2)).run(A).run(B).end() == "[1/1] MAKE a\n[1/2] MAKE a\n[2/2] make b\n"


def test_nothing_to_do_is_said_after_the_manifest_was_made():
    """What counts is the build, not what made its manifest."""
    shown = (
        Play().tell(planned(1)).run(A).tell(planned(2), events.UpToDate(0, A), events.UpToDate(0, B)).end()
    )
    assert shown == "[1/1] MAKE a\nninja: no work to do.\n"


def test_a_missing_source_is_an_error_of_the_manifest():
    """A node that could not be started is no failed command."""
    play = Play().tell(planned(1))
    placed = Node(name="x", outs=("x",), work=Command(shell="x"), place="build.ninja:7")
    play.tell(events.Finished(0, placed, 1, 0, "", "build.ninja:7: 'y', needed by 'x', missing"))
    assert play.end(1) == "<ninja: error: 'y', needed by 'x', missing>\n"
    assert play.status.exit_status == 1


def test_runs_and_hits_print_the_same_lines():
    """A result from the cache shows its line and its output as a run does."""
    ran = Play().tell(planned(2)).run(A).run(B, output=b"warning\n").end(n_run=2)
    hit = Play().tell(planned(2)).hit(A).hit(B, output=b"warning\n").end(n_run=0, n_hit=2)
    assert ran == hit == "[1/2] MAKE a\n[2/2] make b\nwarning\n"


def test_what_is_up_to_date_is_not_counted():
    """The total counts what has to be made, as far as that is known."""
    assert (
        Play().tell(planned(3), events.UpToDate(0, B), events.UpToDate(0, C)).run(A).end() == "[1/1] MAKE a\n"
    )


def test_a_failure_says_which_outputs_and_which_command():
    """A failure prints its status, all outputs, the command and the output."""
    failed = node("x", text="MAKE x", outs=("x", "x.map"))
    play = Play().tell(planned(2)).run(failed, 3, b"oops", "exit status 3")
    assert play.end(1) == (
        "[1/2] MAKE x\nFAILED: [code=3] x x.map \nmake x\noops\nninja: build stopped: subcommand failed.\n"
    )
    assert play.status.exit_status == 3


def test_the_last_failure_gives_the_exit_status():
    """With several failures the last one's status is the command's."""
    play = Play(keep_going=0).run(A, 3).run(B, 5)
    play.end(1)
    assert play.status.exit_status == 5


@pytest.mark.parametrize(
    ("keep_going", "n_failed", "words"),
    [
        (1, 1, "subcommand failed"),
        (2, 2, "subcommands failed"),
        (2, 1, "cannot make progress due to previous errors"),
        (0, 2, "cannot make progress due to previous errors"),
    ],
)
def test_why_it_stopped(keep_going: int, n_failed: int, words: str):
    """The last line depends on how many failures were allowed."""
    play = Play(keep_going=keep_going)
    for failed in (A, B)[:n_failed]:
        play.run(failed, 1)
    assert play.end(1).endswith(f"\nninja: build stopped: {words}.\n")


def test_a_failure_without_a_status_says_what_it_was():
    """What no exit status tells is printed."""
    assert "\nmake a\nit took too long\n" in Play().run(A, 124, remark="it took too long").end(1)


def test_an_interrupt_blames_nobody():
    """After an interrupt there is one line, and the status of one."""
    play = Play().tell(planned(1), events.Started(0, A, "x"), events.Finished(0, A, 130, 1))
    assert play.end(130).endswith("ninja: build stopped: interrupted by user.\n")
    assert "FAILED" not in play.sink.getvalue().decode()
    assert play.status.exit_status == 130


def test_a_wrong_build_file_is_an_error():
    """What is wrong with the build file goes to standard error, and the status is 1."""
    play = Play()
    assert play.end(2, n_run=0, error="it is wrong") == "<ninja: error: it is wrong>\n"
    assert play.status.exit_status == 1


def test_nothing_to_do_is_said_unless_quiet():
    """A run that made nothing says so."""
    assert Play().tell(planned(1), events.UpToDate(0, A)).end(n_run=0) == "ninja: no work to do.\n"
    assert Play(verbosity="quiet").end(n_run=0) == ""


def test_quiet_shows_output_and_failures():
    """--quiet leaves out status lines only."""
    shown = Play(verbosity="quiet").tell(planned(3)).run(A).run(B, output=b"said\n").run(C, 2).end(1)
    assert shown == "said\nFAILED: [code=2] c \nmake c\nninja: build stopped: subcommand failed.\n"


def test_verbose_shows_commands():
    """--verbose shows the command in place of its description."""
    assert Play(verbosity="verbose").tell(planned(1)).run(A).end() == "[1/1] make a\n"


def test_a_terminal_shows_starts_and_ends():
    """On a terminal a line is shown at the start and at the end, one over the other."""
    assert Play(is_smart=True).tell(planned(1)).run(A).end() == "\r[0/1] MAKE a\x1b[K\r[1/1] MAKE a\x1b[K\n"


def test_colours_stay_on_terminals_only():
    """Escape codes of output and of FAILED are for terminals."""
    assert "\nred\n" in Play().run(A, 1, b"\x1b[31mred\x1b[0m\n").end(1)
    shown = Play(is_smart=True).run(A, 1, b"\x1b[31mred\x1b[0m\n").end(1)
    assert "\x1b[31mFAILED: [code=1] \x1b[0ma \nmake a\n\x1b[31mred\x1b[0m\n" in shown


def test_the_console_has_the_screen_for_itself():
    """A console command's line comes before it runs; others' lines wait until it ends."""
    play = Play().tell(planned(3), events.Started(0, C, "x"))
    assert play.sink.getvalue() == b"[0/3] CON c\n"
    play.run(A, output=b"of a").run(B)
    assert play.sink.getvalue() == b"[0/3] CON c\n"
    play.tell(events.Finished(0, C, 0, 1))
    assert play.end() == "[0/3] CON c\n[1/3] MAKE a\nof a\n[2/3] make b\n"


def test_output_that_comes_late_stays_with_its_line():
    """A line waits for the output that the runner has announced."""
    play = Play().tell(planned(2), events.Started(0, A, "x"), events.Finished(0, A, 0, 1, log=b"digest"))
    play.run(B).tell(events.Output(0, A, ((1, 0, b"of a\n"),), is_replayed=False))
    assert play.end() == "[2/2] make b\n[1/2] MAKE a\nof a\n"


def test_output_that_comes_early_waits_for_its_line():
    """Output told before the end is printed after the line."""
    play = Play().tell(planned(1), events.Started(0, A, "x"))
    play.tell(
        events.Output(0, A, ((1, 0, b"o"), (2, 1, b"e\n")), is_replayed=False), events.Finished(0, A, 0, 1)
    )
    assert play.end() == "[1/1] MAKE a\noe\n"


def test_output_that_never_comes_takes_no_line_away():
    """A line whose output was lost is printed at the end."""
    play = Play().tell(planned(1), events.Started(0, A, "x"), events.Finished(0, A, 0, 1, log=b"digest"))
    assert play.end() == "[1/1] MAKE a\n"


def test_tries_that_are_followed_by_others_are_silent():
    """A node is counted once, however often it is tried."""
    play = Play().tell(planned(1), events.Started(0, A, "x"))
    play.tell(events.Finished(0, A, 1, 1, will_retry=True), events.Started(0, A, "x", attempt=2))
    assert play.tell(events.Finished(0, A, 0, 1)).end() == "[1/1] MAKE a\n"


def test_explanations_come_before_the_line():
    """-d explain says why, before the line."""
    missed = events.Missed(0, A, "output a doesn't exist")
    assert Play(explains=True).tell(planned(1), missed).run(A).end() == (
        "<ninja explain: output a doesn't exist>\n[1/1] MAKE a\n"
    )
    assert Play().tell(planned(1), missed).run(A).end() == "[1/1] MAKE a\n"


def test_notes_are_lines_of_their_own():
    """What is worth noting begins a line, and is vcache's own."""
    shown = Play(is_smart=True).tell(planned(1), events.Started(0, A, "x"), events.Noted(0, "a note")).end()
    assert "\x1b[K\n<vcache: a note>\n" in shown


def test_a_dry_run_shows_no_output():
    """What the cache knows of output is not shown where nothing runs."""
    assert Play(has_output=False).tell(planned(1)).hit(A, b"said\n").end(n_run=0, n_hit=1) == "[1/1] MAKE a\n"


def test_the_summary_says_what_the_cache_did():
    """One line at the end, where it was asked for and anything was done."""
    assert (
        Play(has_summary=True)
        .hit(A)
        .run(B)
        .end(n_hit=1)
        .endswith("vcache: 1 from the cache, 1 run, 2 s saved\n")
    )
    assert "vcache" not in Play(has_summary=True).end(n_run=0)


def test_skipped_nodes_give_the_screen_back():
    """A console command that was stopped does not keep the screen."""
    play = Play().tell(planned(1), events.Started(0, C, "x"), events.Skipped(0, C, "interrupted"))
    assert play.end(130) == "[0/1] CON c\nninja: build stopped: interrupted by user.\n"
