"""history and diff, over journals of made-up runs."""

from __future__ import annotations

import json
import time

import pytest

from tests.unit.dag import runs as some
from tests.unit.dag.runs import A, B, C, at, ended, ms, node, ran
from vcache.dag.events import Hit, Noted

WARNING = b"a.c:1:2: \x1b[01;35m\x1b[Kwarning: \x1b[m\x1b[Kunused x [-Wunused]\n"


# --- history ---------------------------------------------------------------------------------


def test_runs_are_listed(vcache, record):
    """the newest first, each with what it did, how it ended and how long it took"""
    record(1, some.a_build()[1:])
    record(2, [*ran(A, 0, 90, status=1), ended(100, 1, n_failed=1, error="a.o failed")])
    record(3, ran(B, 0, 10)[:2])
    head, killed, failed, good = vcache("history").stdout.splitlines()
    assert head.split() == [
        "run",
        "id",
        "when",
        "goals",
        "built",
        "cached",
        "failed",
        "took",
        "saved",
        "status",
    ]
    assert killed.split()[:2] + killed.split()[4:] == ["last", "00000003", "app", "0", "0", "no", "end"]
    assert failed.split()[:2] + failed.split()[4:] == [
        "-2",
        "00000002",
        "app",
        "0",
        "0",
        "1",
        "100",
        "ms",
        "failed",
    ]
    assert good.split()[4:] == ["app", "3", "1", "801", "ms", "900", "ms", "ok"]
    found = json.loads(vcache("history", "--json", "--limit", "2").stdout)
    assert [each["run"][-1] for each in found] == ["3", "2"]
    assert found[0]["status"] is found[0]["took_s"] is None
    assert (found[1]["error"], found[1]["took_s"], found[1]["failed_count"]) == ("a.o failed", 0.1, 1)


def test_one_run_is_told(vcache, record):
    """with its failures, what ran slowest first, what its end waited for, and notes"""
    record(1, [*some.a_build()[1:-1], Noted(at(1), "odd"), ended(801, n_run=3, n_hit=1, saved_ns=ms(900))])
    text = vcache("history", "last").stdout
    assert (
        "ran, slowest first (3):\n    499 ms  a.o  never built\n    299 ms  app  changed file a.o\n" in text
    )
    assert "what the end waited for, 798 ms (2):\n  a.o\n  app\n" in text
    assert text.endswith("notes (1):\n  odd\n")
    nodes = {each["name"]: each for each in json.loads(vcache("history", "-1", "--json").stdout)["nodes"]}
    assert nodes["c.o"]["how"] == "hit"
    assert nodes["app"]["reason"] == "changed file a.o"
    record(2, [*ran(A, 0, 5, status=3), ended(6, 1, n_failed=1)])
    assert "failed (1):\n  a.o: 3\n" in vcache("history", "last").stdout


def test_a_target_over_runs(vcache, record):
    """what became of a target, newest first; several are refused"""
    record(1, [*ran(A, 0, 500), *ran(node("lib/a.o"), 0, 1), ended(501)])
    record(2, [Hit(at(3), A, "r", ms(500), ms(2)), ended(5, n_hit=1)])
    lines = vcache("history", "-t", "a.o").stdout.splitlines()
    assert [line.split()[4:] for line in lines[1:]] == [
        ["hit", "2", "ms"],
        ["ran", "500", "ms", "never", "built"],
    ]
    assert len(json.loads(vcache("history", "--target", "a.o", "--json").stdout)) == 2
    assert "did you mean 'a.o'" in vcache("history", "-t", "b.o").stderr
    result = vcache("history", "-t", "a")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'a' may be 'a.o', 'lib/a.o'" in result.stderr


def test_where_runs_are_looked_for(vcache, record, elsewhere, monkeypatch):
    """in the directory given, else in the nearest above that was built in"""
    assert "no run of" in vcache("history").stdout
    record(1, some.a_build()[1:])
    below = elsewhere / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert "00000001" in vcache("history").stdout
    assert "00000001" in vcache("history", "-C", str(elsewhere)).stdout
    assert "no run of" in vcache("history", "-C", ".").stdout
    assert vcache("history", "-C", "nowhere").exit_code == 2


def test_damaged_journals_are_told_as_far_as_they_go(vcache, record, elsewhere):
    """a journal of nothing or of a newer version is a line without facts, and fails nothing"""
    record(1, some.a_build()[1:])
    (elsewhere / ".vcache" / "runs" / f"{some.RUN}2.jsonl").write_text("nonsense")
    assert len(vcache("history").stdout.splitlines()) == 3
    assert vcache("history", "last").exit_code == 0


# --- diff ------------------------------------------------------------------------------------


def test_how_two_runs_differ(vcache, record, keep_log):
    """what ran and why, what broke, what got slower, which messages are new"""
    before, after = (
        keep_log(1, (2, 0, WARNING)),
        keep_log(2, (2, 0, WARNING), (2, 5, b"a.c:9:1: error: no\n")),
    )
    record(1, [*ran(A, 0, 100, log=before), *ran(B, 0, 100), Hit(at(1), C, "r", 5, 5), ended(200)])
    record(2, [*ran(A, 0, 300, reason="changed file a.c", log=after), *ran(B, 0, 1, status=1),
               *ran(C, 0, 1, reason="changed file c.h"), ended(300, 1)])  # fmt: skip
    text = vcache("diff").stdout
    assert "\nbroke (1):\n  b.o  status 1\n" in text
    assert "\nran (1):\n  c.o  changed file c.h (was from the cache)\n" in text
    assert "\nran for another reason (1):\n  a.o  never built → changed file a.c\n" in text
    assert "\nslower (1):\n  a.o  100 ms → 300 ms\n" in text
    assert "\nnew messages (1):\n  a.c:9:1: error: no\n" in text
    assert "gone messages" not in text
    found = json.loads(vcache("diff", "-2", "last", "--json").stdout)
    assert [row["node"] for row in found["ran"]] == ["c.o"]
    assert found["ran"][0]["older"]["how"] == "hit"
    assert found["diagnostics"] == [
        {"node": "a.o", "what": "new", "level": "error", "file": "a.c", "line": 9, "message": "no"}
    ]
    back = vcache("diff", "last", "-2").stdout
    assert "gone messages (1):" in back
    assert "mended (1):\n  b.o  was: status 1" in back
    assert "did not run (1):\n  c.o  from the cache\n" in back


def test_runs_that_did_the_same(vcache, record):
    """that is said; what cannot be compared by messages is said to differ"""
    record(1, some.a_build()[1:])
    record(2, some.a_build()[1:])
    assert vcache("diff").stdout.endswith("they did the same\n")
    record(3, [*ran(A, 0, 499, log=b"\7" * 32), ended(1)])
    assert "wrote something else (1):\n  a.o\n" in vcache("diff").stdout


def test_a_long_difference_is_cut(vcache, record):
    """so many rows of a kind, and how many more there are"""
    record(1, [*ran(A, 0, 1), ended(1)])
    record(2, [*(event for n in range(30) for event in ran(node(f"{n}.o"), 0, 1)), ended(1)])
    text = vcache("diff", "--limit", "3").stdout
    assert "ran (30):\n  0.o  never built (was not looked at)\n  1.o" in text
    assert "  and 27 more (--limit)\n" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diff", "-5"], "run -5: only the last 1 are known"),
        (["diff", "zz"], "there is no run 'zz'"),
        (["diff", "--jsn"], "No such option"),
        (["history", "-x"], "No such option"),
    ],
)
def test_words_that_mean_nothing(vcache, record, words, message):
    """a usage error with what there is"""
    record(1, some.a_build()[1:])
    result = vcache(*words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_big_history_is_read_quickly(vcache, record):
    """fifty runs are listed by their ends, not by all that is between"""
    many = [event for number in range(200) for event in ran(node(f"{number}.o"), 0, 1)]
    for number in range(9):
        record(number, [*many, ended(5, n_run=200)])
    begun_s = time.perf_counter()
    assert len(vcache("history").stdout.splitlines()) == 10
    assert time.perf_counter() - begun_s < 5
