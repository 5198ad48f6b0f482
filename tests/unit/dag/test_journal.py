from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.dag import runs as some
from tests.unit.dag.runs import APP, A, at, ended, node, ran, started
from vcache.dag import durations, journal
from vcache.dag.events import Hit, Noted, Planned, RunEnded, Skipped, Started, UpToDate
from vcache.dag.journal import Journal
from vcache.dag.node import Node


def write(base: Path, events, *, run: str = some.RUN + "1", **options) -> Path:
    listener = Journal(str(base), run, **options)
    for event in events:
        listener.on_event(event)
    listener.close()
    return base / ".vcache" / "runs" / f"{run}.jsonl"


def test_every_event_is_a_line(tmp_path):
    """what happened is read back in order, with the fields that the events have"""
    path = write(tmp_path, [*some.a_build()[:-1], Noted(at(9), "odd", A), Noted(at(9), "odder"),
                            Skipped(at(9), APP, "a.o failed"), some.a_build()[-1]])  # fmt: skip
    found = list(journal.lines(str(path)))
    kinds = [line.kind for line in found]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_ended"
    assert sorted(kinds[1:-1]) == sorted(
        ["planned", "up_to_date", "hit", "output", "output", "noted", "noted", "skipped", "critical_path"]
        + ["missed", "started", "finished"] * 3
    )
    by_kind = {line.kind: line for line in found}
    assert found[0].data == {
        "version": 1,
        "run": some.RUN + "1",
        "base": "/src",
        "goals": ["app"],
        "slots": 2,
    }
    hit = by_kind["hit"]
    assert (hit.node, hit.number("saved_ns"), hit.text("log")) == ("c.o", some.ms(900), some.A_LOG.hex())
    assert by_kind["missed"].text("reason") == "changed file a.o"
    assert by_kind["finished"].number("took_ns") == some.ms(299)
    assert by_kind["skipped"].text("because") == "a.o failed"
    assert [line.node for line in found if line.kind == "noted"] == ["a.o", ""]
    assert by_kind["critical_path"].words("nodes") == ("a.o", "app")
    assert by_kind["up_to_date"].node == "gen.h"
    assert all(line.at_ns >= at(0) for line in found)


def test_output_stays_outside(tmp_path):
    """bytes that a node wrote are not in the journal, their number is; long commands are cut"""
    path = write(
        tmp_path,
        [started(), *ran(A, 0, 1, text=b"secret" * 10), Started(at(2), APP, "x" * 5000), ended(3)],
    )
    text = path.read_text()
    assert "secret" not in text
    assert '"n_bytes":60' in text
    assert "x" * 239 + "\\u2026" in text
    assert "x" * 240 not in text


def test_names_of_all_kinds(tmp_path):
    """names that are no UTF-8, hold quotes or line breaks come back; further outputs are kept"""
    odd = os.fsdecode(b'\xff"\n.o')
    made = Node(name=odd, outs=(odd, "b.d"))
    hit = Hit(at(1), made, f"dag:{odd}", 1, 2, b"\1" * 32)
    path = write(tmp_path, [started(), *ran(made, 0, 1), hit, UpToDate(at(1), node("ü\udc80")), ended(2)])
    found = list(journal.lines(str(path)))
    (read,) = [line for line in found if line.kind == "hit"]
    assert (read.node, read.words("outs"), read.text("result")) == (odd, (odd, "b.d"), f"dag:{odd}")
    assert {line.node for line in found if line.node} == {odd, "ü\udc80"}
    assert next(line for line in found if line.kind == "started").words("outs") == (odd, "b.d")


def test_a_torn_line_is_left_out(tmp_path):
    """whatever the last line was cut to, all before it is read"""
    path = write(tmp_path, some.a_build())
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole) - 1):
        path.write_bytes(whole[:cut])
        found = list(journal.lines(str(path)))
        assert found[-1].kind == "critical_path"
    path.write_bytes(whole[:last] + b'\xff[]\n[1]\n{"event": 3}\n' + whole[last:])
    assert list(journal.lines(str(path)))[-1].kind == "run_ended"


def test_an_unknown_version_is_empty(tmp_path):
    """a journal of another version, or of nothing, is as if absent"""
    path = write(tmp_path, some.a_build())
    text = path.read_text().replace('"version":1', '"version":2')
    for content in (text, "", "junk\n" + text):
        path.write_text(content)
        assert list(journal.lines(str(path))) == []
        assert journal.ends(str(path)) == (None, ())


def test_the_ends_are_read_without_the_middle(tmp_path):
    """the first event and those of the end come without what is between"""
    many = [event for number in range(2000) for event in ran(node(f"{number}.o"), number, number + 1)]
    path = write(tmp_path, [started(), *many, ended(2001, n_run=2000)])
    first, last = journal.ends(str(path))
    assert first is not None and first.kind == "run_started"
    assert [line.kind for line in last] == ["critical_path", "run_ended"]
    assert last[-1].number("n_run") == 2000
    path.write_bytes(path.read_bytes()[:-10])
    assert [line.kind for line in journal.ends(str(path))[1]] == ["critical_path"]


def test_what_happened_is_on_disk_each_second(tmp_path):
    """a process that is killed loses the last second at most"""
    listener = Journal(str(tmp_path), some.RUN + "1")
    path = tmp_path / ".vcache" / "runs" / f"{some.RUN}1.jsonl"
    listener.on_event(started())
    assert not path.exists(), "nothing has happened that is worth a file"
    for event in ran(A, 0, 100):
        listener.on_event(event)
    for event in ran(APP, 500, 1600)[:2]:
        listener.on_event(event)
    on_disk = list(journal.lines(str(path)))
    assert on_disk[0].kind == "run_started"
    listener.on_event(ran(APP, 500, 1600)[2])
    assert list(journal.lines(str(path)))[-1].kind == "finished"
    assert len(list(journal.lines(str(path)))) == 7 > len(on_disk)
    listener.close()


def test_a_burst_is_not_held(tmp_path):
    """thousands of events within a second are written before they pile up"""
    listener = Journal(str(tmp_path), some.RUN + "1")
    listener.on_event(started())
    for number in range(3000):
        for event in ran(node(f"{number}.o"), 1, 2):
            listener.on_event(event)
    assert len(listener._lines) < 5000
    listener.close()


@pytest.mark.parametrize("status", [0, 1])
def test_a_run_without_work_leaves_nothing(tmp_path, status):
    """who had nothing to do leaves no journal; who failed at it does"""
    error = "unknown target" if status else ""
    path = write(
        tmp_path,
        [started(), Planned(at(0), 1), UpToDate(at(5), A), RunEnded(at(5000), status, 0, 0, 1, 0, 0, error)],
    )
    assert path.exists() == bool(status)


def test_the_oldest_go(tmp_path):
    """the last so many journals stay, within a sum of bytes, and the newest in any case"""
    for number in range(1, 7):
        write(tmp_path, some.a_build(), run=f"{some.RUN}{number}", keep_runs=3)
    path = write(tmp_path, some.a_build(), run=some.RUN + "7", keep_runs=3)
    assert [run[-1] for run, _ in journal.runs(str(tmp_path))] == ["5", "6", "7"]
    one_bytes = path.stat().st_size
    write(tmp_path, some.a_build(), run=f"{some.RUN}8", keep_bytes=one_bytes * 5 // 2)
    assert [run[-1] for run, _ in journal.runs(str(tmp_path))] == ["7", "8"]
    write(tmp_path, some.a_build(), run=f"{some.RUN}9", keep_bytes=1)
    assert [run[-1] for run, _ in journal.runs(str(tmp_path))] == ["9"]
    assert journal.runs(str(tmp_path / "elsewhere")) == []


def test_a_journal_that_cannot_be_written_ends(tmp_path, caplog):
    """a full or read-only directory costs a warning, nothing else"""
    (tmp_path / ".vcache").write_text("in the way")
    listener = Journal(str(tmp_path), some.RUN + "1")
    for event in [*some.a_build(), *some.a_build()]:
        listener.on_event(event)
    listener.close()
    (record,) = caplog.records
    assert "journal is not written" in record.getMessage()
    assert listener.fault


def test_durations_are_remembered(tmp_path):
    """what ran well is remembered over runs; a failure is not"""
    write(tmp_path, [started(), *ran(A, 0, 100), *ran(APP, 100, 200, status=1), ended(201, 1)])
    assert durations.load(str(tmp_path)) == {"a.o": some.ms(100)}
    write(tmp_path, [started(2), *ran(A, 0, 70), *ran(APP, 70, 200), ended(201)], run=some.RUN + "2")
    assert durations.load(str(tmp_path)) == {"a.o": some.ms(70), "app": some.ms(130)}


def test_a_line_is_json(tmp_path):
    """each line is one JSON object for programs that know nothing of us"""
    for line in write(tmp_path, some.a_build()).read_text().splitlines():
        assert {"event", "at_ns"} <= set(json.loads(line))
