"""What is known to be absent, and for how long."""

from __future__ import annotations

from vcache.entry import make_key
from vcache.store.guard.absences import Absences
from vcache.testing import FakeClock

KEY = make_key("k")


def test_an_absence_holds_for_its_time() -> None:
    """And a longer one longer; nothing is remembered for no time."""
    clock = FakeClock()
    absences = Absences(monotonic=clock.monotonic)
    absences.add(KEY, 0)
    assert KEY not in absences
    absences.add(KEY, 60)
    clock.advance(59)
    assert KEY in absences
    clock.advance(1)
    assert KEY not in absences


def test_what_is_put_is_absent_no_longer() -> None:
    """Whether or not it was."""
    absences = Absences()
    absences.add(KEY, 60)
    absences.forget(KEY)
    absences.forget(KEY)
    assert KEY not in absences


def test_memory_is_bounded() -> None:
    """So many keys that nobody can remember all of them cost the remote questions, and no more."""
    absences = Absences()
    keys = [make_key(str(number)) for number in range(100_001)]
    for key in keys:
        absences.add(key, 60)
    assert keys[-1] in absences
    assert keys[0] not in absences
