"""Inputs that only a run shows: sets of names, looked at again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vcache import Absent, Cache, Dir, Env, File, Glob, Tool
from vcache.discovery import (
    Discovery,
    begin,
    found_files,
    learn_names,
    named_by_depfile,
    seen_key,
    sets_of,
    spec_of,
)
from vcache.entry import Dep
from vcache.fingerprint.inputs import Listing, Spec
from vcache.fingerprint.manifest import Manifest

BASE = Manifest([Dep("arg", "x", b"1")])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Cache("c", root=tmp_path) as cache:
        yield cache


def learn(cache: Cache, *specs: object, base: Manifest = BASE) -> Manifest:
    return Discovery(cache, base).learn(cache.observer.observe_all(specs))  # type: ignore[arg-type]


def candidates(cache: Cache, base: Manifest = BASE) -> list[bytes]:
    return [manifest.fingerprint() for manifest in Discovery(cache, base).candidates()]


def test_what_was_seen_is_looked_at_again(cache):
    """A candidate is the base with what the names hold now: equal while nothing changed, also when it is back."""
    Path("a").write_text("1")
    assert candidates(cache) == []
    learned = learn(cache, File("a"), Absent("b"), Listing("."))
    assert candidates(cache) == [learned.fingerprint()]
    Path("a").write_text("2")
    assert learned.fingerprint() not in candidates(cache)
    assert len(candidates(cache)) == 1
    Path("a").write_text("1")
    assert candidates(cache) == [learned.fingerprint()]


def test_a_name_that_cannot_be_looked_at_is_no_candidate(cache):
    """A file that is gone, or a directory now: that run saw something else."""
    Path("a").write_text("1")
    learn(cache, File("a"))
    Path("a").unlink()
    assert candidates(cache) == []
    Path("a").mkdir()
    assert candidates(cache) == []


def test_bases_do_not_meet(cache):
    """What one recipe saw is nothing to another one."""
    Path("a").write_text("1")
    learn(cache, File("a"))
    assert candidates(cache, Manifest([Dep("arg", "x", b"2")])) == []


def test_the_latest_set_comes_first_and_old_ones_go(cache):
    """Sixteen sets are kept; one that is seen again moves to the front and is not kept twice."""
    for n in range(20):
        Path(f"f{n}").write_text(str(n))
    learned = [learn(cache, File(f"f{n}")).fingerprint() for n in range(20)]
    assert candidates(cache) == learned[:3:-1]
    learn(cache, File("f10"))
    assert candidates(cache)[0] == learned[10]
    assert sorted(candidates(cache)) == sorted(learned[4:])


def test_a_set_of_nonsense_is_none(cache):
    """What another program left under the key is passed over."""
    discovery = Discovery(cache, BASE)
    for nonsense in (5, "text", [], [[["nosuchkind", "a"]]]):
        cache.put_key(discovery._key, nonsense)
        assert list(discovery.candidates()) == []


@pytest.mark.parametrize("root", ["plain", "with space", "[odd]*"])
def test_every_kind_that_can_be_seen_can_be_seen_again(tmp_path, monkeypatch, root):
    """From kind and name alone, an observed input leads to an equal one; values and code do not."""
    (tmp_path / root / "d/sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / root)
    for name in ("a", "d/b", "d/sub/c", "d/.hidden"):
        Path(name).write_text(name)
    Path("run.sh").write_text("#!/bin/sh\n")
    Path("run.sh").chmod(0o755)
    outside = tmp_path / "outside"
    outside.write_text("x")
    specs: list[Spec] = [
        File("a"), File("a", by="mtime"), File(outside), Absent("none"), Listing("d"), Dir("d"), Glob("d/*"),
        Glob("d/**", hidden=True), Glob(f"{tmp_path}/out*"), Env("HOME"), Tool("sh"), Tool("./run.sh"),
    ]  # fmt: skip
    with Cache(tmp_path / "c", root=".") as cache:
        for spec in specs:
            deps = cache.observer.observe(spec)
            again = spec_of(deps[0].kind, deps[0].name, cache.root)
            assert again is not None
            monkeypatch.chdir(tmp_path)  # it means the same from anywhere
            assert cache.observer.observe(again) == deps, spec
            monkeypatch.chdir(tmp_path / root)
        for kind in ("value", "arg", "code", "step", "entry", "out"):
            assert spec_of(kind, "x", cache.root) is None


def test_a_set_survives_the_process(cache):
    """Sets are kept in the cache, not in the process."""
    Path("a").write_text("1")
    learned = learn(cache, File("a"))
    cache.close()
    with Cache("c", root=os.getcwd()) as other:
        assert candidates(other) == [learned.fingerprint()]


def test_what_a_run_said_it_read(cache, tmp_path):
    """Names are relative to where it ran; what it made is no input; one that links lead to keeps its name."""
    (tmp_path / "build").mkdir()
    (tmp_path / "inc").mkdir()
    for name in ("a.c", "inc/a.h", "build/gen.h"):
        Path(name).write_text(name)
    names = ["../a.c", str(tmp_path / "inc/a.h"), "gen.h", "../build/made.h", "../build/../inc/a.h"]
    began_ns = begin(waits=True)
    cwd = str(tmp_path / "build")
    found = found_files(cache, names, outs=["build/made.h"], began_ns=began_ns, cwd=cwd)
    assert isinstance(found, list)
    assert [dep.name for dep in found] == ["a.c", "inc/a.h", "build/gen.h", "inc/a.h"]
    assert found_files(cache, ["none.h"], outs=[], began_ns=began_ns, cwd=cwd) == (
        f"its depfile names none.h: [Errno 2] No such file or directory: '{cwd}/none.h'"
    )
    Path("a.c").write_text("changed")
    assert found_files(cache, names, outs=[], began_ns=began_ns, cwd=cwd) == "../a.c changed while it ran"


def test_a_depfile_of_another_directory(cache, tmp_path):
    """Its names count from there, not from this process's directory."""
    (tmp_path / "build").mkdir()
    Path("build/x.h").write_text("x")
    Path("build/o.d").write_text("o: x.h\n")
    began_ns = begin(waits=True)
    found = named_by_depfile(
        cache, "build/o.d", outs=["build/o"], began_ns=began_ns, cwd=str(tmp_path / "build")
    )
    assert isinstance(found, list)
    assert [dep.name for dep in found] == ["build/x.h"]


def test_a_set_that_is_the_latest_is_not_written_again(cache):
    """Sets are told apart by their names alone; the latest comes first."""
    key = seen_key(b"k" * 32)
    one, two = [Dep("file", "a", b"1")], [Dep("file", "b", b"1"), Dep("absent", "c", b"")]
    assert learn_names(cache, key, one)
    assert learn_names(cache, key, two)
    assert sets_of(cache, key) == [[["absent", "c"], ["file", "b"]], [["file", "a"]]]
    before = cache.entry_of(key)
    assert learn_names(cache, key, reversed(two))
    assert cache.entry_of(key) == before
    assert learn_names(cache, key, [Dep("file", "a", b"2")])
    assert sets_of(cache, key)[0] == [["file", "a"]]
