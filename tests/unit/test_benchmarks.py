"""The benchmarks run, keep what they found, and judge it rightly. No figure of theirs is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.measure import take_turns
from benchmarks.result import Compare, Figure, Result, Row, Spread


# `nox -s bench` runs each of them in its tiny form: here are the quickest.
@pytest.mark.parametrize("name", ["chunks", "hits"])
def test_a_smoke_run_keeps_every_row_with_its_machine_and_versions(name, tmp_path):
    """A benchmark in its tiny form keeps rows that the page can be made of"""
    assert main(["--smoke", "--results", str(tmp_path), name]) == 0
    kept = json.loads((tmp_path / f"{name}.json").read_text())
    assert kept["is_smoke"]
    assert kept["rows"]
    assert {"cpu", "cores", "kernel", "file system"} <= set(kept["machine"])
    assert {"python", "vcache", "diskcache"} <= set(kept["versions"])
    page = (tmp_path / "README.md").read_text()
    assert all(row["what"] in page for row in kept["rows"])


def test_a_run_that_says_nowhere_keeps_nothing_of_a_smoke_run(monkeypatch, tmp_path):
    """Figures of a smoke run never land among the kept results"""
    monkeypatch.setattr("benchmarks.__main__.RESULTS", tmp_path)
    assert main(["--smoke", "chunks"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_refused_with_the_known_ones(capsys):
    """A mistyped benchmark is an error that says which there are"""
    assert main(["--smoke", "putz"]) == 2
    assert "puts" in capsys.readouterr().err


def test_a_crash_of_a_benchmark_is_a_failure(monkeypatch, tmp_path):
    """What a benchmark raises ends the run"""

    def broken(scale, directory):
        raise ZeroDivisionError

    monkeypatch.setattr("benchmarks.bench_chunks.run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["--smoke", "--results", str(tmp_path), "chunks"])


def _row(compare: Compare, ours: float, peer: float, bound: float | None) -> Row:
    return Row("a row", compare, "µs", Figure("ours", (ours,)), Figure("peer", (peer,)), bound)


@pytest.mark.parametrize(
    ("compare", "ours", "peer", "bound", "outcome", "is_met"),
    [
        (Compare.FASTER, 2.0, 6.0, 3.0, 3.0, True),
        (Compare.FASTER, 2.0, 5.0, 3.0, 2.5, False),
        (Compare.MORE, 800.0, 200.0, 4.0, 4.0, True),
        (Compare.MORE, 700.0, 200.0, 4.0, 3.5, False),
        (Compare.WITHIN, 3.0, 2.0, 2.0, 1.5, True),
        (Compare.WITHIN, 5.0, 2.0, 2.0, 2.5, False),
        (Compare.SPACE, 1.0, 10.0, 0.15, 0.1, True),
        (Compare.SPACE, 2.0, 10.0, 0.15, 0.2, False),
        (Compare.STALL, 9.0, 10.0, 1.0, 0.9, True),
        (Compare.STALL, 11.0, 10.0, 1.0, 1.1, False),
        (Compare.PLUS, 50.0, 15.0, 40.0, 35.0, True),
        (Compare.PLUS, 60.0, 15.0, 40.0, 45.0, False),
        (Compare.ALONE, 0.9, 1.0, 1.0, 0.9, True),
        (Compare.ALONE, 1.1, 1.0, 1.0, 1.1, False),
        (Compare.FASTER, 2.0, 6.0, None, 3.0, None),
    ],
)
def test_a_row_is_judged_in_the_direction_of_its_comparison(compare, ours, peer, bound, outcome, is_met):
    """More is better for speed and rates, less for time, space, stalls and absolute limits"""
    row = _row(compare, ours, peer, bound)
    assert row.outcome == pytest.approx(outcome)
    assert row.is_met is is_met


def test_a_row_compares_median_rounds_and_ranges_over_each_round():
    """One bad round moves the range, not the outcome"""
    row = Row(
        "a row", Compare.FASTER, "µs", Figure("ours", (1.0, 2.0, 90.0)), Figure("peer", (10.0, 20.0, 30.0))
    )
    assert row.outcome == pytest.approx(10.0)
    assert row.range == pytest.approx((1 / 3, 10.0))


def test_percentiles_are_by_nearest_rank():
    """The spread of a hundred calls is told by four of them"""
    spread = Spread.of([float(value) for value in range(100, 0, -1)])
    assert (spread.p50, spread.p90, spread.p99, spread.most, spread.calls) == (51.0, 91.0, 100.0, 100.0, 100)


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    """JSON keeps all that the page needs"""
    spread = Spread.of([1.0, 2.0])
    rows = (
        Row("one", Compare.FASTER, "µs", Figure("a", (1.0,), spread), Figure("b", (2.0,)), 3.0, "a note"),
        Row("two", Compare.ALONE, "s", Figure("a", (1.5, 2.5))),
    )
    result = Result("name", "title", rows, {"cpu": "z80"}, {"python": "3"}, "2001-01-01", False, 1.0, ("x",))
    assert Result.read(result.write(tmp_path)) == result


def test_the_page_says_of_each_target_whether_it_was_met(tmp_path: Path):
    """A missed target stands out in the table"""
    rows = (_row(Compare.FASTER, 1.0, 4.0, 3.0), _row(Compare.FASTER, 1.0, 2.0, 3.0))
    page = report.page([Result("name", "title", rows, {}, {}, "2001-01-01", False, 1.0)])
    assert "1 of 2 met" in page
    assert "at least 3 times faster | yes |" in page
    assert "at least 3 times faster | **no** |" in page


def test_sides_take_turns_and_each_is_given_the_same():
    """No side always comes first, and all are called with equal arguments"""
    heard: list[tuple[str, int]] = []
    sides = {name: lambda n, name=name: heard.append((name, n)) for name in "ab"}
    figures = take_turns(sides, lambda number: [number], rounds=4, once=True)
    assert [name for name, _ in heard] == list("baabbaabba")
    assert [n for _, n in heard] == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3]
    assert {name: len(figure.rounds) for name, figure in figures.items()} == {"a": 4, "b": 4}
