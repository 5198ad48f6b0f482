"""log, over journals of made-up runs."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from tests.unit.dag import runs as some
from tests.unit.dag.runs import A, B, at, ended, ms, node, ran
from vcache.cli import log
from vcache.cli.ansi import safe_text
from vcache.dag.events import Hit, UpToDate
from vcache.dag.node import Made
from vcache.dag.tree import Tree

WARNING = b"a.c:1:2: \x1b[01;35m\x1b[Kwarning: \x1b[m\x1b[Kunused x [-Wunused]\n"


def test_the_last_output_of_a_target(vcache, record, keep_log, monkeypatch):
    """of the last run that made it, plain where no colour is wanted, as it was where it is"""
    first, second = keep_log(1, (1, 0, b"old\n")), keep_log(2, (2, 0, WARNING), (1, 5, b"\x1b]0;x\x07done\n"))
    record(1, [*ran(A, 0, 1, log=first), ended(1)])
    record(2, [*ran(A, 0, 1, log=second), ended(1)])
    record(3, [UpToDate(at(0), A), *ran(B, 0, 1), ended(1)])
    result = vcache("log", "a.o")
    assert result.stdout == "a.c:1:2: warning: unused x [-Wunused]\n␛]0;x␇done\n"
    assert result.stderr == "vcache: a.o: ran in run 00000002\n"
    assert vcache("log", "a.o", "--run", "-3").stdout == "old\n"
    assert vcache("log", "a.o", "--raw", "-q").stdout_bytes == WARNING + b"\x1b]0;x\x07done\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert (
        vcache("log", "a.o").stdout == "a.c:1:2: \x1b[01;35mwarning: \x1b[munused x [-Wunused]\n␛]0;x␇done\n"
    )


def test_output_as_records(vcache, record, keep_log):
    """--json prints the compiler's messages as records"""
    record(1, [*ran(A, 0, 2000, status=1, log=keep_log(1, (2, 0, WARNING))), ended(1, 1)])
    found = json.loads(vcache("log", "a.o", "--json").stdout)
    assert found.pop("text").startswith("a.c:1:2: ")
    assert found == {
        "node": "a.o", "run": some.RUN + "1", "how": "failed", "status": 1, "took_s": 2.0, "log": "01" * 32,
        "diagnostics": [
            {"level": "warning", "message": "unused x", "file": "a.c", "line": 1, "column": 2, "option": "-Wunused",
             "within": []}
        ],
    }  # fmt: skip


def test_a_hit_has_the_output_of_its_run(vcache, record, keep_log):
    """what came from the cache is printed as what was built"""
    record(1, [Hit(at(1), A, "r", 5, 5, keep_log(1, (1, 0, b"from afar\n"))), ended(1)])
    result = vcache("log", "a")
    assert (result.stdout, result.stderr) == ("from afar\n", "vcache: a.o: from the cache in run 00000001\n")


def test_nothing_was_written(vcache, record):
    """a silent target prints nothing and says so to a person"""
    record(1, [*ran(A, 0, 1), ended(1)])
    result = vcache("log", "a.o")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "vcache: a.o: ran in run 00000001; it wrote nothing\n"


def test_output_that_is_gone(vcache, record):
    """what the cache dropped is exit code 1"""
    record(1, [*ran(A, 0, 1, log=b"\1" * 32), ended(1)])
    result = vcache("log", "a.o")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "what a.o wrote is no longer in the cache" in result.stderr


def test_which_target_is_meant(vcache, record, keep_log):
    """an exact name wins over older and newer ends of paths; several ends, and none, are refused"""
    kept = keep_log(1, (1, 0, b"x\n"))
    record(1, [*ran(node("obj/a.o"), 0, 1, log=kept), ended(1)])
    record(2, [*ran(node("a.o"), 0, 1, log=kept), ended(1)])
    record(3, [*ran(node("lib/a.o"), 0, 1, log=kept), ended(1)])
    assert "a.o: ran in run 00000002" in vcache("log", "a.o").stderr
    assert "obj/a.o: ran in run 00000001" in vcache("log", "obj/a.o").stderr
    result = vcache("log", "a")
    assert result.exit_code == 2
    assert "give more of it" in result.stderr
    assert "did you mean 'a.o'" in vcache("log", "a.c").stderr
    assert vcache("log", "zzzz").exit_code == 2


def test_a_replay_keeps_the_pace(vcache, record, keep_log, monkeypatch):
    """each piece comes at its time, or so many times as fast"""
    now_s, slept = [100.0], []

    def sleep(wait_s: float) -> None:
        if wait_s > 1e-6:  # what is left of a rounding
            slept.append(round(wait_s, 3))
        now_s[0] += wait_s

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: now_s[0], time_ns=time.time_ns)
    monkeypatch.setattr(log, "time", clock)
    kept = keep_log(1, (1, ms(500), b"one\n"), (2, ms(500), b"two \xc3"), (2, ms(2500), b"\xa9\n"))
    record(1, [*ran(A, 0, 1, log=kept), ended(1)])
    assert vcache("log", "a.o", "--replay").stdout == "one\ntwo é\n"
    assert slept == [0.5, 2.0]
    slept.clear()
    assert vcache("log", "a.o", "--replay", "--speed", "10").stdout == "one\ntwo é\n"
    assert slept == [0.05, 0.2]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"plain\n", b"more"],
        ["é☃𝄞".encode()[:1], "é☃𝄞".encode()[1:]],
        ["é☃𝄞".encode()[:4], "é☃𝄞".encode()[4:]],
        ["é☃𝄞".encode()[:7], "é☃𝄞".encode()[7:]],
        [b"a\x1b[3", b"1mred\x1b", b"[0m\n"],
        [b"\xff\xff", b"\xc3"],
        [b"", b""],
    ],
)
def test_no_piece_ends_within_a_letter_or_an_escape(pieces):
    """what is shown in pieces is what is shown at once"""
    paced = list(log._paced(tuple((1, 0, piece) for piece in pieces), 1.0))
    whole = b"".join(pieces)
    assert b"".join(paced) == whole
    assert "".join(safe_text(piece, keeps_colour=False) for piece in paced) == safe_text(
        whole, keeps_colour=False
    )


def test_what_the_tree_remembers(record, vcache, keep_log, monkeypatch):
    """a target whose runs are no longer written down is found by what the tree remembers of it"""
    kept = keep_log(1, (1, 0, b"long ago\n"))
    made = Made(base=b"", log=kept)
    monkeypatch.setattr(Tree, "last", lambda self, name: made if name == "a.o" else None)
    record(1, [*ran(B, 0, 1), ended(1)])
    result = vcache("log", "a.o")
    assert (result.stdout, result.stderr) == ("long ago\n", "vcache: a.o: up to date\n")
    assert json.loads(vcache("log", "a.o", "--json").stdout)["run"] is None


def test_words_that_mean_nothing(vcache):
    """a missing target is a usage error"""
    assert vcache("log").exit_code == 2
    assert vcache("log", "--replai", "x").exit_code == 2


def test_targets_are_completed(vcache, record, monkeypatch):
    """the targets of the last run that begin with what was typed; nothing where nothing is known"""

    def completed(words: str) -> str:
        monkeypatch.setenv("_VCACHE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        text: str = vcache().stdout
        return text.strip()

    assert completed("vcache log a") == ""
    record(1, some.a_build()[1:])
    assert completed("vcache log a") == "plain,a.o\nplain,app"
    assert completed("vcache history -t c") == "plain,c.o"
