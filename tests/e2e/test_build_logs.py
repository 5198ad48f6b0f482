"""What real builds say is kept, and a cache hit says what the miss said: the same records, the same totals."""

from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.projects import Project, Tree
from tests.e2e.sources import unpack_blosc2, unpack_lua, unpack_zstd
from tests.e2e.test_real_cmake import few
from tests.e2e.test_real_makefile import VCACHEFILE
from vcache.cache import Cache
from vcache.cli.records import records_of_node, records_of_run
from vcache.dag import journal
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Mark, Record
from vcache.query.parser import parse

pytestmark = pytest.mark.e2e

STRICT = "-Wall -Wextra -Wconversion"
ZSTD = """
from vcache.dag import File, build, cmd

cc = build.tool("gcc")


@build.step(outs=["obj/{name}.o"], depfile="obj/{name}.d")
def compile_c(src: File, name: str):
    return cmd(cc, "-O0", "-Wall", "-Wextra", "-Wconversion", "-Izstd", "-Izstd/common", "-MMD", "-MF", build.depfile,
               "-c", src, "-o", build.out(0))


build.default([compile_c(src, str(src).replace("/", "-")) for src in build.glob("zstd/*/*.c")])
"""


def lua(place: Path) -> None:
    unpack_lua(place)
    (place / "vcachefile.py").write_text(VCACHEFILE.replace("-Wall", STRICT))


def zstd(place: Path) -> None:
    unpack_zstd(place)
    (place / "vcachefile.py").write_text(ZSTD)


def strict(source: Path, base: Path, maker: str) -> list[str]:
    words = few(source, base, maker)
    return [f"{word} {STRICT}" if word.startswith("-DCMAKE_C_FLAGS=") else word for word in words]


def nothing(source: Path, base: Path, maker: str) -> list[str]:
    return ["true"]


class Said:
    """A project that is built, and the store of what its builds said.

    Attributes:
        texts: what each run printed.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.texts: dict[str, str] = {}

    @property
    def base(self) -> str:
        is_inside = (self.tree.source / "vcachefile.py").exists()
        return os.fspath(self.tree.source if is_inside else self.tree.base)

    def build(self, *words: str, **environ: str) -> str:
        """The id of the run; of the last one when there was nothing to do."""
        done = subprocess.run(
            [sys.executable, "-m", "vcache", "build", "-C", self.base, *words],
            env={**self.tree.environ, **environ}, cwd=self.tree.place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        run = journal.runs(self.base)[-1][0]
        self.texts[run] = done.stdout
        return run

    def remove(self) -> None:
        """All that was built."""
        words = [sys.executable, "-m", "vcache", "clean", "-C", self.base]
        subprocess.run(words, env=self.tree.environ, check=True, stdout=subprocess.DEVNULL)

    def ask(self, query: str) -> list[Record]:
        store = DiskLogs(self.tree.cache / "logs" / "default")
        try:
            return list(store.search(parse(query, now_ns=0)).rows)  # type: ignore[arg-type]
        finally:
            store.close()

    def of(self, run: str) -> list[Record]:
        """What nodes said in a run, of the store."""
        return self.ask(f'run = "{run}" and source != vcache')

    def artifacts(self, run: str) -> list[Record]:
        """What nodes said in a run, of the journal and the cache."""
        with Cache(f"disk:{self.tree.cache}", root=self.base) as cache:
            return list(records_of_run(self.base, cache, run))

    def last_line(self, run: str) -> str:
        return self.texts[run].rstrip().rpartition("\n")[2]


def plain(records: list[Record]) -> collections.Counter[object]:
    """What was said, and when after the node's first words, without which run brought it."""
    first: dict[object, int] = {}
    for each in records:
        node = each.fields["node"]
        first[node] = min(first.get(node, each.at_ns), each.at_ns)
    return collections.Counter(
        (
            each.at_ns - first[each.fields["node"]], each.level, each.source, each.message, each.repeats,
            tuple(sorted((name, value) for name, value in each.fields.items() if name not in ("run", "origin"))),
        )
        for each in records
    )  # fmt: skip


def grepped(text: str) -> Mapping[str, int]:
    """Warnings by file, as grep finds them in what was printed."""
    return collections.Counter(re.findall(r"^([^:\n]+):\d+:\d+: warning: ", text, re.MULTILINE))


PROJECTS = {
    "lua": Project(lua, nothing, "", "", ""),
    "zstd": Project(zstd, nothing, "", "", ""),
    "c-blosc2": replace(Project(unpack_blosc2, strict, "", "", "")),
}


@pytest.fixture(
    scope="module",
    params=["lua", *(pytest.param(name, marks=pytest.mark.slow) for name in ("zstd", "c-blosc2"))],
)
def said(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Said:
    place = tmp_path_factory.mktemp("logs")
    found = Said(Tree(PROJECTS[request.param], place / "here", place / "cache"))
    found.tree.unpack()
    if request.param == "c-blosc2":
        found.tree.configure("vcache-ninja")
    found.build()
    return found


@pytest.fixture
def built(said: Said) -> str:
    """The first run."""
    return journal.runs(said.base)[0][0]


def test_warnings_by_file_are_those_that_grep_finds(said: Said, built: str):
    """In the raw output, and in as many records; the last line says how many."""
    wanted = grepped(said.texts[built])
    store = DiskLogs(said.tree.cache / "logs" / "default")
    query = f'run = "{built}" and level = warning | count by file | sort -count'
    rows = list(store.search(parse(query, now_ns=0)).rows)
    store.close()
    assert dict(rows) == dict(wanted)  # type: ignore[arg-type]
    assert sum(wanted.values()) > 20
    assert said.last_line(built).endswith(f"; {sum(wanted.values()):,} warnings")


def test_a_hit_is_equal_to_a_miss(said: Said, built: str):
    """The same records at the same distances, the same totals, marked with the run that they come from."""
    said.remove()
    again = said.build()
    miss, hit = said.of(built), said.of(again)
    assert plain(hit) == plain(miss)
    assert all(each.marks == Mark.REPLAYED and each.fields["origin"] == built for each in hit)
    assert not any(each.marks or "origin" in each.fields for each in miss)
    assert grepped(said.texts[again]) == grepped(said.texts[built])
    count = f"{sum(grepped(said.texts[built]).values()):,}"
    assert said.last_line(again).endswith(f"; {count} warnings ({count} from the cache)")
    for run in (built, again):
        (end,) = said.ask(f'run = "{run}" and event = run_ended')
        assert end.fields["warnings"] == int(count.replace(",", ""))


def test_what_is_up_to_date_still_warns(said: Said, built: str):
    """A build that has nothing to do says how many warnings stand, and shows them if it is asked to."""
    said.build()
    count = f"{sum(grepped(said.texts[built]).values()):,}"
    said.build()
    run = said.build()
    assert re.fullmatch(rf"nothing to do: \d+ up to date; {count} warnings", said.last_line(run))
    run = said.build("--warnings")
    assert grepped(said.texts[run]) == grepped(said.texts[built])


def test_the_cache_knows_what_the_store_does_not(said: Said, built: str):
    """The records of a run are an artifact: the same where nothing was kept as it was said."""
    said.remove()
    silent = said.build(VCACHE_LOGS="off")
    assert said.of(silent) == []
    assert plain(said.artifacts(silent)) == plain(said.artifacts(built)) == plain(said.of(built))


def test_another_checkout_says_the_same(said: Said, built: str, tmp_path: Path):
    """Its hits name the run of the first one."""
    other = Said(replace(said.tree, place=tmp_path / "there"))
    other.tree.unpack()
    if said.tree.maker:
        other.tree.configure("vcache-ninja")
    run = other.build()
    hits = [each for each in other.of(run) if each.marks & Mark.REPLAYED]
    nodes = {each.fields["node"] for each in hits}
    assert {each.fields["origin"] for each in hits} <= {built}
    # CMake has compilers name files by their whole path: what names its place is true there alone.
    assert bool(nodes) is not bool(said.tree.maker)
    assert plain(hits) == plain([each for each in other.of(built) if each.fields["node"] in nodes])


def test_the_records_of_a_node(said: Said, built: str):
    """By its name, as they stand in the store."""
    live = said.of(built)
    node = str(live[0].fields["node"])
    with Cache(f"disk:{said.tree.cache}", root=said.base) as cache:
        found = records_of_node(said.base, cache, built, node)
    assert found == [each._replace(id="", seen_ns=0) for each in live if each.fields["node"] == node]


def test_a_node_is_shown_whatever_the_store_knows(said: Said, built: str):
    """Where nothing is kept as it is said, and where the node was up to date, from the cache."""
    node = str(said.of(built)[0].fields["node"])
    shown = []
    for place in ("on", os.fspath(said.tree.place / "empty")):
        words = [sys.executable, "-m", "vcache", "logs", "show", built, node, "--format", "json"]
        environ = {**said.tree.environ, "VCACHE_LOGS": place}
        text = subprocess.check_output(words, env=environ, cwd=said.base, text=True)
        rows = map(json.loads, text.splitlines())
        # An id, and when it was taken in, are the store's own.
        shown.append([{name: row[name] for name in row if name not in ("@id", "@seen")} for row in rows])
    assert shown[0] == shown[1] != []


def test_records_lead_to_their_spans(tmp_path: Path):
    """A trace of the build and its records name the same spans."""
    (tmp_path / "build.ninja").write_text(
        "rule say\n command = echo $out; touch $out\nbuild a: say\nbuild b: say\n"
    )
    ours = {"VCACHE_DIR": os.fspath(tmp_path / "cache"), "VCACHE_LOGS": os.fspath(tmp_path / "logs")}
    words = [sys.executable, "-m", "vcache", "build", "--spans", os.fspath(tmp_path / "spans")]
    subprocess.run(words, cwd=tmp_path, env={**os.environ, **ours}, check=True, stdout=subprocess.DEVNULL)
    spans = map(json.loads, (tmp_path / "spans").read_text().splitlines())
    of = {span["attributes"].get("vcache.node", ""): (span["trace_id"], span["span_id"]) for span in spans}
    store = DiskLogs(tmp_path / "logs")
    records: list[Record] = list(store.search(parse("", now_ns=0)).rows)  # type: ignore[arg-type]
    store.close()
    told = {
        each.fields.get("node", ""): (each.fields["trace_id"], each.fields["span_id"]) for each in records
    }
    assert told == of
    assert set(of) == {"a", "b", ""}
