"""What calls for another build while one watches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vcache.cli.watch import News
from vcache.dag.events import Finished, RunEnded
from vcache.dag.node import Node

ADDED, MODIFIED, DELETED = 1, 2, 3
NEVER_NS, EVER_NS = 0, 1 << 62


class Desk:
    """A directory, and builds of it that make `out`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.now_ns = NEVER_NS
        self.news = News(os.fspath(base), clock=lambda: self.now_ns)

    def build(self, *, status: int = 0, until_ns: int = EVER_NS) -> None:
        """A build, over at a time: before or after whatever the files say."""
        node = Node(name="out", outs=("out",))
        self.news.on_event(Finished(0, node, status, 0))
        self.news.on_event(RunEnded(0, status, 1, 0, 0, status, 0))
        self.now_ns = until_ns
        self.news.ended()

    def among(self, *changes: tuple[int, str]) -> list[str]:
        paths = self.news.among({(kind, os.fspath(self.base / name)) for kind, name in changes})
        return [os.path.relpath(path, self.base) for path in paths]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    for name in ("in", "out", "log"):
        (tmp_path / name).write_text(name)
    return Desk(tmp_path)


def test_an_edit_after_a_build_calls_for_one(desk: Desk) -> None:
    """each time, also of an output"""
    desk.build(until_ns=NEVER_NS)
    for _ in range(2):
        assert desk.among((MODIFIED, "in"), (MODIFIED, "out")) == ["in", "out"]


def test_what_a_build_made_calls_for_none(desk: Desk) -> None:
    """an output that changed while the build ran"""
    desk.build()
    assert desk.among((MODIFIED, "out")) == []


def test_what_changed_meanwhile_calls_for_one_build_and_not_for_another(desk: Desk) -> None:
    """it may be an edit, and it may be the log of a command that fails each time"""
    desk.build(status=1)
    assert desk.among((MODIFIED, "log")) == ["log"]
    desk.build(status=1)
    assert desk.among((MODIFIED, "log")) == []
    assert desk.among((MODIFIED, "in"), (MODIFIED, "log")) == ["in"]
    desk.build(status=1, until_ns=NEVER_NS)
    assert desk.among((MODIFIED, "log")) == ["log"]


def test_a_file_that_is_there_again_calls_for_one(desk: Desk) -> None:
    """that it was gone was told, and is no reason to pass over its return while a build ran"""
    (desk.base / "in").unlink()
    desk.build(status=1)
    assert desk.among((DELETED, "in")) == ["in"]
    (desk.base / "in").write_text("again")
    desk.build(status=1)
    assert desk.among((ADDED, "in")) == ["in"]


@pytest.mark.parametrize(("status", "expected"), [(0, ["out"]), (1, [])])
def test_an_output_that_is_gone_was_removed_by_a_failure_or_by_somebody(
    desk: Desk, status: int, expected: list[str]
) -> None:
    """a failed build removes its outputs, one that went well does not"""
    (desk.base / "out").unlink()
    desk.build(status=status)
    assert desk.among((DELETED, "out")) == expected


def test_what_came_and_went_and_directories_call_for_none(desk: Desk) -> None:
    """files of a moment; a directory tells nothing that its files do not tell"""
    (desk.base / "sub").mkdir()
    desk.build(until_ns=NEVER_NS)
    assert desk.among((ADDED, "moment"), (DELETED, "moment"), (ADDED, "sub")) == []
    assert desk.among((DELETED, "in.h")) == ["in.h"]
