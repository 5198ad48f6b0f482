from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dag.runs import at, ms, node
from vcache.cli.ansi import Paint
from vcache.cli.frame import Forecast, Tally, cells_of, frame, span, title
from vcache.dag.node import Node

PLAIN = Paint(is_on=False)


def tally(
    planned: int = 10, *, slots: int = 2, running: Mapping[str, float] | None = None, **counts: int
) -> Tally:
    made = Tally()
    made.started_ns, made.planned, made.slots = at(0), planned, slots
    for name, since_ms in (running or {}).items():
        made.running[node(name)] = at(since_ms)
    for name, count in counts.items():
        setattr(made, name, count)
    return made


def draw(state: Tally, durations=None, *, now_ms: float = 0, columns: int = 100, rows: int = 24, **options):
    forecast = Forecast(durations or {})
    return frame(state, forecast, at(now_ms), columns=columns, rows=rows, paint=PLAIN, **options)


def test_a_frame_says_where_the_run_stands() -> None:
    """done and wanted, built, from the cache, failed, time, and what runs, longest first"""
    state = tally(
        40, running={"b.o": 3000, "a.o": 500}, n_ran=5, n_hit=12, n_fresh=2, n_failed=1, saved_ns=ms(58_000)
    )
    head, *running = draw(state, {"a.o": ms(9000)}, now_ms=4000, columns=120)
    assert head.split("  ")[1:] == [
        " 50%", "20/40", "1 failed", "5 built", "12 from the cache", "4.0 s", "2m 58s left", "58 s saved",
    ]  # fmt: skip
    assert running == ["   3.5 s  cc a.o  of ≈ 9 s", "   1.0 s  cc b.o"]


def test_the_bar_is_made_of_shares() -> None:
    """each cell of the bar stands for an equal part; a single failure is seen"""
    bars = {
        count: draw(tally(100, n_ran=count), columns=100)[0].split("  ")[0].strip() for count in (0, 50, 100)
    }
    assert bars == {0: "─" * 30, 50: "━" * 15 + "─" * 15, 100: "━" * 30}
    assert draw(tally(10_000, n_failed=1))[0].count("━") == 1
    assert draw(tally(2, n_ran=1), is_ascii=True)[0].strip().startswith("#" * 15 + "-" * 15)


def test_as_many_rows_as_fit() -> None:
    """eight nodes at most, fewer on a low terminal, and how many more there are"""
    running = {f"{number}.o": number for number in range(12)}
    tall = draw(tally(running=running))
    assert len(tall) == 10
    assert tall[-1].strip() == "and 4 more"
    assert len(draw(tally(running=running), rows=7)) == 5
    assert len(draw(tally(running=running), rows=2)) == 2


@given(
    st.integers(1, 200),
    st.integers(1, 60),
    st.dictionaries(st.text(max_size=80), st.floats(0, 1e7), max_size=12),
    st.integers(0, 10_000),
    st.dictionaries(
        st.sampled_from(["n_ran", "n_hit", "n_fresh", "n_failed", "n_skipped"]), st.integers(0, 999_999)
    ),
    st.booleans(),
)
def test_a_frame_fits(columns, rows, running, planned, counts, is_ascii) -> None:
    """no line is wider than the terminal, nor the frame higher, nor does any line hold a control"""
    state = tally(planned, running=running, **counts)
    durations = {name: ms(since_ms) for name, since_ms in running.items()}
    lines = draw(state, durations, now_ms=1e7, columns=columns, rows=rows, is_ascii=is_ascii)
    assert all(cells_of(line) < max(columns, 30) for line in lines)
    assert len(lines) <= max(2, rows - 1)
    assert all(line.isprintable() for line in lines)


def test_a_long_name_keeps_both_ends() -> None:
    """of a path that does not fit the beginning and the end stay"""
    name = "a/very/long/path/" * 5 + "file.o"
    (_, line) = draw(tally(running={name: 0}), columns=40)
    assert line.endswith("file.o")
    assert "cc a/very" in line
    assert len(line) == 39
    (_, wide) = draw(tally(running={"漢" * 50: 0}), columns=40)
    assert cells_of(wide) <= 39


def test_titles() -> None:
    """what the build file says of a node, else its rule and name; never a control character"""
    assert title(Node(name="a", rule="cc", text="CC a")) == "CC a"
    assert title(Node(name="a", rule="cc")) == "cc a"
    assert title(Node(name="a\x1b[2J")) == "a?[2J"


@pytest.mark.parametrize(
    ("duration_s", "exact", "rough"),
    [(0.04, "0.0 s", "0 s"), (12.34, "12.3 s", "12 s"), (200, "3m 20s", "3m 20s")],
)
def test_spans(duration_s, exact, rough) -> None:
    """short ones to a tenth, long ones in minutes and hours"""
    assert span(duration_s * 1e9) == exact
    assert span(duration_s * 1e9, is_rough=True) == rough


# --- the forecast ----------------------------------------------------------------------------


def test_nothing_is_forecast_of_nothing() -> None:
    """without history and before anything ran there is no forecast"""
    assert Forecast({}).remaining_ns(tally(10), at(0)) is None


def test_history_says_how_long_it_takes() -> None:
    """a full build takes what its nodes took, shared by the slots"""
    durations = {f"{number}.o": ms(1000) for number in range(10)}
    assert Forecast(durations).remaining_ns(tally(10, slots=2), at(0)) == ms(5000)
    state = tally(10, slots=2, running={"0.o": 0, "1.o": 0})
    assert Forecast(durations).remaining_ns(state, at(500)) == ms(4500)


def test_hits_make_the_rest_cheaper() -> None:
    """where nine of ten came from the cache, the rest is taken to do so as well"""
    durations = {f"{number}.o": ms(1000) for number in range(100)}
    forecast, state = Forecast(durations), tally(100, slots=1)
    for number in range(45):
        forecast.spared(f"{number}.o")
        state.n_hit += 1
    for number in range(45, 50):
        forecast.ran(f"{number}.o", ms(1000))
        state.n_ran += 1
    assert forecast.remaining_ns(state, at(0)) == ms(5000)


def test_a_slow_day_makes_it_longer() -> None:
    """the speed of today scales what was measured before"""
    durations = {f"{number}.o": ms(1000) for number in range(10)}
    forecast, state = Forecast(durations), tally(10, slots=1, n_ran=5)
    for number in range(5):
        forecast.ran(f"{number}.o", ms(3000))
    assert forecast.remaining_ns(state, at(0)) == ms(15_000)


def test_the_longest_node_bounds_it() -> None:
    """no forecast is shorter than what the longest running node still needs, nor is it ever zero"""
    state = tally(2, slots=8, running={"big": 0, "small": 0})
    forecast = Forecast({"big": ms(60_000), "small": ms(100)})
    assert forecast.remaining_ns(state, at(10_000)) == ms(50_000)
    assert (forecast.remaining_ns(state, at(100_000)) or 0) > 0


def test_a_first_build_is_forecast_from_itself() -> None:
    """without history, what ran so far speaks for the rest"""
    forecast, state = Forecast({}), tally(10, slots=1, n_ran=2)
    forecast.ran("a", ms(100))
    forecast.ran("b", ms(300))
    assert forecast.remaining_ns(state, at(0)) == ms(1600)
