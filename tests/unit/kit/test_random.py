from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import UsageError
from vcache.kit.ids import UuidGenerator
from vcache.kit.random import Seeded, seed_of


def test_the_stream_is_splitmix64() -> None:
    """a seed gives the numbers that the algorithm's reference implementation gives"""
    # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64, from S. Vigna's splitmix64.c
    stream = Seeded(1234567)
    assert [stream.word() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_a_seed_of_words_is_equal_in_another_process() -> None:
    """words give the same seed whatever the hash seed of the interpreter"""
    code = "from vcache.kit.random import seed_of; print(seed_of('node', 'a.o'))"
    for hash_seed in "01":
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True
        )
        assert int(done.stdout) == seed_of("node", "a.o")
    assert seed_of("node", "b.o") != seed_of("node", "a.o") != seed_of("nodea.o")


def test_without_a_seed_streams_differ() -> None:
    """two streams of the system's randomness are not alike"""
    assert Seeded().word() != Seeded().word()


@given(st.integers(), st.integers(0, 300))
def test_bits_fit(seed: int, count: int) -> None:
    """so many bits are asked for, so many are given, and the generator of ids takes them"""
    assert 0 <= Seeded(seed).bits(count) < 1 << count
    assert UuidGenerator(random_bits=Seeded(seed).bits)().version == 7


@given(st.integers(), st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_a_number_between(seed: int, low: float, span: float) -> None:
    """shares are in [0, 1), numbers between two bounds stay there"""
    stream = Seeded(seed)
    assert 0 <= stream.share() < 1
    assert low <= stream.between(low, low + span) <= low + span


def test_whole_numbers_are_even() -> None:
    """each number below a bound comes about as often as any other"""
    stream = Seeded(1)
    seen = Counter(stream.below(6) for _ in range(6000))
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]
    assert all(850 < count < 1150 for count in seen.values())
    assert stream.below(1) == 0


def test_shuffle_and_choice() -> None:
    """a shuffle keeps what there is, equal seeds shuffle alike, a choice is one of the items"""
    first, second = list(range(50)), list(range(50))
    Seeded(7).shuffle(first)
    Seeded(7).shuffle(second)
    assert first == second != sorted(first)
    assert sorted(first) == list(range(50))
    stream = Seeded(7)
    assert {stream.choice("abc") for _ in range(50)} == set("abc")


def test_nothing_to_draw_from() -> None:
    """an empty range or sequence is a usage error that says so"""
    with pytest.raises(UsageError, match="bound of 1 or more"):
        Seeded(1).below(0)
    with pytest.raises(UsageError, match="empty"):
        Seeded(1).choice(())
