"""Values of any kind come back as they were: type, sign, and which rows have none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.logs.segment.yard import START_NS, ask, named, parse, sealed
from vcache.logs.record import Record
from vcache.query.syntax import Value

HEX = tuple(f"{at * 0x9E3779B97F4A7C15F39CC0605CEDC834:064x}"[-64:] for at in range(1, 90))

COLUMNS: dict[str, tuple[Sequence[Value], str]] = {
    "one value": (["a"] * 9, "c"),
    "none but one": ([None] * 8 + [5], "d"),
    "few texts": (["a", "b", None] * 5, "t"),
    "few texts, none first": ([None, "é", "\udcff", "", "b"] * 5, "t"),
    "few texts with a NUL": (["a\0", "b", None] * 5, "d"),
    "few numbers": ([1, 2, None] * 5, "d"),
    "truth": ([True, False, None] * 5, "d"),
    "numbers": (list(range(0, 3_000, 7)), "i"),
    "numbers, some": ([None if at % 3 else at * at for at in range(1_500)], "i"),
    "numbers of 64 bits": ([at * ((1 << 64) // 301) - (1 << 63) for at in range(301)], "i"),
    "decimals": ([at / 8 for at in range(300)], "f"),
    "decimals, some": ([None if at % 2 else at / 10 for at in range(300)], "f"),
    "whole floats": ([float(at) for at in range(300)], "f"),
    "floats": ([math.pi * at for at in range(300)], "m"),
    "no numbers": ([0.5, math.nan, math.inf, -math.inf, -0.0, 0.0, 1e300, 5e-324], "m"),
    "a zero below": ([0.5, -0.0, 1.5], "m"),
    "large floats": ([1e10, 2e10], "m"),
    "1, 1.0, true and text": ([1, 1.0, True, "1", None, 0, 0.0, False, ""], "m"),
    "texts": ([f"text {at}" for at in range(300)], "s"),
    "texts, some": (
        [None if at % 3 else f"text {at}" for at in range(300)] + [f"{at}" for at in range(300)],
        "s",
    ),
    "texts beyond ascii": ([f"töxt {at} \U0001f600" for at in range(30)], "s"),
    "surrogates": ([f"\udcff{at}\ud800" for at in range(30)], "s"),
    "empty and not": (["", "a", "b", "c"], "s"),
    "long texts": (["x" * 100_000 + str(at) for at in range(5)], "s"),
    "blanks and NUL": (["\0", "\n", " ", "\0\0"], "s"),
    **{f"{digits} hex digits": ([each[-digits:] for each in HEX], "h") for digits in (16, 32, 40, 64)},
    "hex, some": ([*(each[-32:] for each in HEX), None], "h"),
    "upper case": ([each[-32:].upper() for each in HEX], "s"),
    "hex of two lengths": ([HEX[0], HEX[1][:32], HEX[2][:32]], "s"),
    "100,000 texts": ([f"t{at}" for at in range(100_000)], "s"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back(name: str, tmp_path: Path) -> None:
    """Each kind of column, whole, in part, and as what a query groups by."""
    values, kind = COLUMNS[name]
    records = [
        Record(START_NS + at, fields={} if value is None else {"x": value}, seen_ns=1)
        for at, value in enumerate(values)
    ]
    segment = sealed(tmp_path / "a", records)
    if len(values) < 10_000:
        assert repr(ask("*", [segment])[0]) == repr(named(records))
    else:
        assert ask("* | stats uniq(x), count(x) as n", [segment])[0][0][1] == len(values)
    assert repr(ask("* | last 2", [segment])[0]) == repr(named(records)[-2:])
    kinds = {
        column[1]
        for blocks, _, _ in parse((tmp_path / "a").read_bytes()).groups
        for block in blocks
        for column in block[8]
    }
    assert kind in kinds


def test_a_field_may_have_the_name_of_a_column(tmp_path: Path) -> None:
    """A record's own "@message" and "@time" are its fields, not what it says."""
    records = [
        Record(
            START_NS + at,
            9,
            "s",
            f"said {at}",
            {"@message": at, "@time": "x", "@stream": 1.5, "message": "m", "source": at, "": 1},
        )
        for at in range(5)
    ]
    found, _ = ask("*", [sealed(tmp_path / "a", records)])
    assert repr(found) == repr(named(records))
