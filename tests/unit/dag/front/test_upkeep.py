"""Nodes that seal and thin out the log store of a build."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.dag.front.project import Project
from vcache.dag import events
from vcache.dag.loading import load
from vcache.dag.node import Command
from vcache.errors import GraphError
from vcache.logs.disk import DiskLogs
from vcache.testing.logs import numbered

FILE = """
@build.step(outs=["a"])
def a():
    return sh("touch a")

build.logs_seal()
build.logs_gc(keep={"make": "10"})
"""


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with 25 records in its tail, which the settings name."""
    place = tmp_path / "logs"
    with DiskLogs(place) as store:
        store.append(numbered(25))
    monkeypatch.setenv("VCACHE_LOGS", str(place))
    monkeypatch.setenv("VCACHE_DIR", str(tmp_path / "cache"))
    return place


def test_they_are_made_by_name_and_always(project: Project, logs: Path) -> None:
    """A store is sealed, then thinned out, each time that this is wanted."""
    project.file("vcachefile.py", f"from vcache.dag import build, sh\n{FILE}")
    assert project.run("logs-seal").ran == {"logs-seal"}
    with DiskLogs(logs) as store:
        assert (store.stats().segments, store.stats().records) == (1, 25)
    project.run("logs-gc")
    with DiskLogs(logs) as store:
        assert store.stats().records == 10
        store.append(numbered(25))
    assert project.run("logs-gc").ran == {"logs-gc"}
    with DiskLogs(logs) as store:
        assert store.stats().records == 10
    said = b"".join(
        data for each in project.events if isinstance(each, events.Output) for _, _, data in each.chunks
    )
    assert b"25 records dropped" in said


def test_nobody_wants_them_who_does_not_say_so(project: Project) -> None:
    """They are no default, neither alone nor beside others; a phony name may stand for them."""
    loaded = project.load(FILE + 'build.phony("upkeep", build.logs_gc(name="mine", tags=["tidy"]))\n')
    assert [node.name for node in loaded.targets()] == ["upkeep", "a"]
    assert [node.name for node in loaded.targets(["tag:tidy"])] == ["mine"]


def test_the_command_leads_to_the_store_of_the_run(project: Project) -> None:
    """With the bounds that the file says, and the words that the run knows."""
    project.load('build.logs_gc(max_age="30d", max_bytes="2GB", keep={"gcc": "7d,100MB"})')
    assert project.loaded is not None
    loaded = load(project.loaded.file, cache=project.cache, log_words=lambda: ("--logs", "/there"))
    (node,) = loaded.targets(["logs-gc"])
    assert isinstance(node.work, Command)
    assert node.work.argv == (
        sys.executable, "-m", "vcache", "logs", "gc", "--max-age", "30d", "--max-bytes", "2GB",
        "--keep", "gcc=7d,100MB", "--logs", "/there",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('logs_gc(max_age="soon")', r"max_age='soon'.*soon"),
        ("logs_gc(max_age=30)", r"max_age=30: give text"),
        ('logs_gc(max_bytes="2 hours")', "max_bytes='2 hours'"),
        ('logs_gc(keep="30d")', "keep='30d': give bounds by source"),
        ('logs_gc(keep={"gcc": ""})', "keep={'gcc': ''}: give a source and its bounds"),
        ('logs_gc(keep={"gcc": "7d,x"})', "keep={'gcc': '7d,x'}"),
        ('logs_seal(name="a")', "'a'"),
    ],
)
def test_a_wrong_bound_is_told_where_it_is_written(project: Project, call: str, said: str) -> None:
    """When the file is read, with its line and the value."""
    with pytest.raises(GraphError, match=rf"vcachefile\.py:9: .*{said}"):
        project.load(f"{FILE}build.{call}\n")
