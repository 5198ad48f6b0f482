from __future__ import annotations

import itertools

import pytest

from vcache.errors import UsageError
from vcache.kit.flags import Flags

MACHINES = [f"machine-{number}" for number in range(1000)]


def on(percentages: dict[str, float], name: str) -> set[str]:
    return {machine for machine in MACHINES if Flags(percentages, machine=machine).is_on(name)}


def test_a_percentage_of_the_machines_has_a_flag_on() -> None:
    """a flag at 25 is on on about a quarter of the machines, always the same ones"""
    assert len(on({"lz4-hc": 25}, "lz4-hc")) == pytest.approx(250, abs=50)
    assert on({"lz4-hc": 25}, "lz4-hc") == on({"lz4-hc": 25}, "lz4-hc")


def test_a_rising_percentage_only_adds_machines() -> None:
    """where a flag is on, it stays on while its percentage rises"""
    grown = [on({"f": percent}, "f") for percent in (0, 1, 10, 50, 99, 100)]
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(grown))
    assert grown[0] == set()
    assert grown[-1] == set(MACHINES)


def test_two_flags_hit_different_machines() -> None:
    """flags of one percentage do not fall on the same machines"""
    both = on({"a": 50, "b": 50}, "a") & on({"a": 50, "b": 50}, "b")
    assert 150 < len(both) < 350


def test_equal_flags_are_equal() -> None:
    """Flags of equal percentages and machine are equal, of others not"""
    assert Flags({"a": 100}) == Flags({"a": True})
    assert hash(Flags({"a": 100})) == hash(Flags({"a": True}))
    assert Flags({"a": 100}) != Flags({"a": 100}, machine="m")
    assert Flags({}) != {}


def test_an_unknown_flag_is_off() -> None:
    """a flag that is not configured is off, and True and False are all and none"""
    flags = Flags({"all": True, "none": False})
    assert not flags.is_on("other")
    assert flags.states() == {"all": True, "none": False}


@pytest.mark.parametrize("percent", [-1, 101, float("nan"), "50", None])
def test_what_is_no_percentage_is_refused(percent: object) -> None:
    """a percentage that is none raises with the flag's name"""
    with pytest.raises(UsageError, match="'f'"):
        Flags({"f": percent})  # type: ignore[dict-item]
