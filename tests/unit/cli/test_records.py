"""The records of runs that are over: of their journals and of what the cache keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vcache.cache import Cache
from vcache.cli.recording import Recorder
from vcache.cli.records import Told, records_of_node, records_of_run, records_told, tool_of
from vcache.dag.journal import Journal
from vcache.dag.session import Build, Options
from vcache.discovery import begin
from vcache.logs.record import Mark, Record

NINJA = """\
rule cc
  command = sed 's/$$/ [-Wx]/' $in >&2; echo made $out; cp $in $out
rule cat
  command = cat $in > $out
build a.o: cc a.c
build b.o: cc b.c
build app: cat a.o b.o
"""
WARNING = "%s:1:2: warning: w\n"


class Store:
    """Takes records."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, records: Any) -> None:
        self.records += records

    def close(self) -> None: ...


class Place:
    """A build that is recorded."""

    def __init__(self, base: Path, cache: Cache) -> None:
        self.base, self.cache = base, cache
        self.live: dict[str, list[Record]] = {}

    def write(self, name: str) -> None:
        (self.base / name).write_text(WARNING % name)
        begin(waits=True)

    def build(self, **options: Any) -> str:
        """A run; its id."""
        store = Store()
        work = Build(self.cache, base=str(self.base), options=Options(jobs=1, **options))
        journal = Journal(str(self.base), work.run)
        recorder = Recorder(str(self.base), work.run, opens=lambda: store)
        for listener in (recorder, journal):
            work._bus.subscribe(listener.on_event)
        work.ninja()
        journal.close()
        recorder.close()
        self.live[work.run] = [each for each in store.records if each.source != "vcache"]
        return work.run

    def of(self, run: str, node: str) -> list[Record]:
        return records_of_node(str(self.base), self.cache, run, node)


@pytest.fixture
def place(tmp_path: Path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "build.ninja").write_text(NINJA)
    with Cache(f"disk:{tmp_path / 'cache'}", root=base) as cache:
        found = Place(base, cache)
        for name in ("a.c", "b.c"):
            found.write(name)
        yield found


def told(record: Record) -> tuple[object, ...]:
    """What a record says but for which run brought it, and when."""
    fields: Mapping[str, object] = {
        name: value for name, value in record.fields.items() if name not in ("run", "origin")
    }
    return record.level, record.source, record.message, fields


def offsets(records: list[Record]) -> list[int]:
    return [record.at_ns - records[0].at_ns for record in records]


def test_what_was_live_is_found_again_in_the_cache(place: Place):
    """A store that is gone, or was never asked, takes nothing away."""
    run = place.build()
    for name in ("a.o", "b.o"):
        live = [each for each in place.live[run] if each.fields["node"] == name]
        assert place.of(run, name) == live
        assert len(live) == 2
    assert place.of(run, "app") == place.of(run, "nobody") == []
    assert sorted(map(told, records_of_run(str(place.base), place.cache, run)), key=str) == sorted(
        map(told, place.live[run]), key=str
    )


def test_a_hit_says_what_the_miss_said(place: Place):
    """The same records at the same distances, of this run, marked with the one that they come from."""
    first = place.build()
    for name in ("a.o", "b.o", "app"):
        os.unlink(place.base / name)
    second = place.build()
    for name in ("a.o", "b.o"):
        miss, hit = place.of(first, name), place.of(second, name)
        assert [told(each) for each in hit] == [told(each) for each in miss]
        assert offsets(hit) == offsets(miss)
        assert all(each.marks == Mark.REPLAYED for each in hit)
        assert {(each.fields["run"], each.fields["origin"]) for each in hit} == {(second, first)}
        assert hit == [each for each in place.live[second] if each.fields["node"] == name]


def test_what_was_up_to_date_says_what_it_said_when_it_was_made(place: Place):
    """With the run that made it, also where that one had it from the cache."""
    first = place.build()
    os.unlink(place.base / "b.o")
    os.unlink(place.base / "a.o")
    second = place.build()
    place.write("b.c")
    (place.base / "b.c").write_text("b.c:3:4: warning: v\n")
    third = place.build(is_forced=False, trace="")
    (line,) = (each for each in place.of(third, "b.o") if each.level == 13)
    assert line.fields["line"] == 3
    found = place.of(third, "a.o")
    # A run over a graph that was stored looks at what changed alone: the tree knows of the others.
    assert [told(each) for each in found] == [told(each) for each in place.of(first, "a.o")]
    assert {(each.fields["run"], each.fields["origin"]) for each in found} == {(third, first)}
    assert second != third


@pytest.mark.parametrize(
    ("program", "tool"),
    [("gcc", "gcc"), ("x86_64-linux-gnu-g++-12", "g++"), ("clang-17", "clang"), ("ld.lld", "ld.lld"),
     ("python3", "python3"), ("musl-gcc", "gcc"), ("", "")],
)  # fmt: skip
def test_compilers_are_known_by_their_names(program: str, tool: str):
    """Whatever they are for, and of whatever version."""
    assert tool_of(program) == tool


def test_what_failed_says_how():
    """And a node without a rule is of its program."""
    (record,) = records_told(Told("r", "n", ((2, 0, b"a.c:1: error: e\n"),), 5, status=2, program="cc"))
    assert (record.source, record.level, record.fields["status"]) == ("cc", 17, 2)
