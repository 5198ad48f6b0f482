"""The numbers in a status line."""

from __future__ import annotations

import pytest

from vcache.dag.ninja.progress import FORMAT, Progress
from vcache.errors import UsageError

MS = 1_000_000


def at(elapsed_ms: int, template: str, *, started: int = 3, finished: int = 2, planned: int = 8) -> str:
    progress = Progress(template, slots=2)
    progress.began_ns = 5 * MS
    progress.n_started, progress.n_finished, progress.n_planned = started, finished, planned
    progress.n_running = started - finished
    progress.pass_time(elapsed_ms * MS + 5 * MS)
    return progress.text()


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (FORMAT, "[2/8] "),
        ("%s %t %r %u %f %%|", "3 8 1 5 2 %|"),
        ("%p %P", " 25%  25%"),
        ("%e %w", "2.000 00:02"),
        ("%E %W", "6.000 00:06"),
        ("%o", "1.0"),
        ("%c", "?"),
        ("", ""),
    ],
)
def test_placeholders(template: str, text: str):
    """Each placeholder of NINJA_STATUS says its number."""
    assert at(2_000, template) == text


def test_nothing_is_known_at_the_start():
    """Rates and remaining times are a question mark before anything has finished."""
    assert at(0, "%o %c %E %W %p", finished=0) == "? ? ? ?   0%"


def test_hours_are_shown_when_either_time_has_some():
    """Elapsed and remaining time are of one form."""
    assert at(3_725_000, "%w %W", finished=4) == "1:02:05 1:02:05"
    assert at(3_000_000, "%w %W", finished=2) == "0:50:00 2:30:00"


def test_the_current_rate_is_over_the_last_ones():
    """As many as run at once are averaged."""
    progress = Progress("%c", slots=2)
    shown = []
    for finished, elapsed_ms in ((1, 100), (2, 300), (3, 400), (3, 900)):
        progress.n_finished = finished
        progress.pass_time(elapsed_ms * MS)
        shown.append(progress.text())
    assert shown == ["?", "10.0", "20.0", "20.0"]


@pytest.mark.parametrize("template", ["%z", "%", "%s %q"])
def test_unknown_placeholders_are_refused(template: str):
    """A placeholder that ninja does not know is an error that names it."""
    with pytest.raises(UsageError, match=r"unknown placeholder '%.?' in \$NINJA_STATUS"):
        Progress(template)
