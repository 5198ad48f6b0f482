"""How one run sees files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vcache.cache import Cache
from vcache.dag.files import Files
from vcache.discovery import begin
from vcache.errors import FingerprintError


@pytest.fixture
def files(tmp_path: Path):
    (tmp_path / "root" / "build").mkdir(parents=True)
    with Cache("mem:1MB", root=tmp_path / "root") as cache:
        yield Files(cache.observer, cache.digests, base=str(tmp_path / "root/build"), root=cache.root)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "root" / "build"


def test_names_are_relative_to_the_root(files, base):
    """However the graph spells them; what lies outside keeps its place."""
    assert files.name("a.o") == "build/a.o"
    assert files.name("../src/a.c") == "src/a.c"
    assert files.name(str(base.parent / "src/a.c")) == "src/a.c"
    assert files.name("/usr/include/x.h") == "/usr/include/x.h"
    assert not files.is_below_root("/usr/include/x.h")
    assert not files.is_below_root("../../elsewhere")


def test_a_file_is_looked_at_once_until_it_is_made(files, base):
    """What a run has seen it goes by."""
    (base / "a").write_text("1")
    first = files.input("a")
    (base / "a").write_text("2")
    assert files.input("a") is first
    files.made(["a"])
    assert files.input("a") != first


def test_one_file_by_two_spellings_is_forgotten_by_both(files, base):
    """An output declared as a relative path was discovered as an absolute one."""
    (base / "a").write_text("1")
    before = files.look("file", "build/a")
    (base / "a").write_text("2")
    files.made(["a"])
    assert files.look("file", "build/a") != before


def test_a_missing_input_is_none_and_appears(files, base):
    """Absence is remembered no longer than until something is made."""
    assert files.input("b") is None
    (base / "b").write_text("")
    files.made(["other"])
    assert files.input("b") is not None


def test_a_directory_counts_by_its_names_and_with_a_slash_by_all_below(files, base):
    """As a plain input its listing counts; as a tree its content."""
    (base / "d").mkdir()
    (base / "d/x").write_text("1")
    listed, whole = files.input("d"), files.input("d/")
    assert (listed.kind, whole.kind) == ("list", "dir")
    (base / "d/x").write_text("2")
    files.made(["d/x"])
    assert files.input("d") == listed
    assert files.input("d/") != whole


def test_what_is_at_an_output(files, base):
    """Files, links and trees have digests of their own; nothing has none; a FIFO is refused."""
    (base / "f").write_text("1")
    (base / "l").symlink_to("f")
    (base / "t").mkdir()
    (base / "t/f").write_text("1")
    found = [files.out(path) for path in ("f", "l", "t/")]
    assert len(set(found)) == 3
    assert files.out("none") == b""
    os.mkfifo(base / "p")
    with pytest.raises(FingerprintError):
        files.out("p")


def test_an_old_file_is_the_same_and_a_new_one_is_not(files, base):
    """Since something began to run."""
    (base / "a").write_text("1")
    began = begin(waits=True)
    assert files.is_same_since("a", began_ns=began, started_ns=time.time_ns())
    (base / "a").write_text("2")
    assert not files.is_same_since("a", began_ns=began, started_ns=time.time_ns())


def test_what_was_seen_before_is_known_by_its_content(files, base):
    """A header that was generated a moment before its compile began has not changed by being new."""
    began = begin(waits=False)
    (base / "a").write_text("1")
    files.out("a")
    started = time.time_ns()
    assert files.is_same_since("a", began_ns=began, started_ns=started)
    (base / "a").write_text("2")
    assert not files.is_same_since("a", began_ns=began, started_ns=started)


def test_what_was_restored_is_known_without_being_read(files, base):
    """Its content counts as seen, but by no signature: it is too young."""
    files.restored("a.o", b"d" * 32)
    state = files.seen[str(base / "a.o")]
    assert (state.digest, state.hint) == (b"d" * 32, b"")


def test_a_link_into_nowhere_is_there(files, base):
    """An output counts by itself; with a slash at its end it is a directory."""
    (base / "link").symlink_to("nowhere")
    (base / "d").mkdir()
    assert files.is_there("link")
    assert files.is_there("d/")
    assert not files.is_there("e")


@pytest.mark.parametrize("path", ["d", "d/"])
def test_names_that_are_no_text_count_like_others(files, base, path):
    """A directory with a file name in an old encoding is an input as any."""
    (base / "d").mkdir()
    (base / os.fsdecode(b"d/\xff")).write_text("1")
    first = files.input(path)
    files.made([path])
    (base / os.fsdecode(b"d/\xfe")).write_text("1")
    assert files.input(path) != first


def test_what_cannot_be_looked_at_is_named(files, base):
    """An output behind a loop of links, or with too long a name, fails its node and not the run."""
    (base / "loop").symlink_to("loop")
    for path in ("loop/x", "x" * 300):
        with pytest.raises(FingerprintError, match=r"cannot read .*make it readable"):
            files.out(path)
