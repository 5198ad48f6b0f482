from __future__ import annotations

import pytest

from vcache.kit.outcome import Outcome


def test_a_value_is_given_back() -> None:
    """what a call returned is what `get` gives, None included"""
    assert Outcome.of(lambda: 6 * 7).get() == 42
    nothing: Outcome[None] = Outcome.of(lambda: None)
    assert nothing.error is None
    assert nothing.get_or(1) is None


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_is_raised_where_the_value_is_wanted(kind: type[BaseException]) -> None:
    """what a call raised, whatever it is, waits for who asks; a default takes its place"""

    def work() -> int:
        raise kind("no")

    outcome = Outcome.of(work)
    assert isinstance(outcome.error, kind)
    assert outcome.get_or(7) == 7
    with pytest.raises(kind, match="no") as caught:
        outcome.get()
    assert caught.value is outcome.error


def test_it_says_what_it_is() -> None:
    """a reader of a log sees the value, or the error"""
    assert repr(Outcome(1)) == "Outcome(1)"
    assert repr(Outcome(None, KeyError("k"))) == "Outcome(error=KeyError('k'))"
