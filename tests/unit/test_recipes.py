"""Recipes: kept, found by owner, compared, put in words."""

from __future__ import annotations

import pytest

from vcache import recipes
from vcache.cache import Cache
from vcache.entry import Dep
from vcache.fingerprint.manifest import Change, Manifest


def name(owner: str, number: int) -> str:
    return f"{owner}:{number:064x}"


def manifest(**identities: str) -> Manifest:
    return Manifest(Dep("file", key, value.encode()) for key, value in identities.items())


class Ticks:
    """A clock that goes on by itself."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def cache():
    with Cache("mem:1MB", clock=Ticks()) as opened:
        yield opened


def test_a_recipe_comes_back(cache):
    """What is kept is loaded, by the name of its result; nothing else is"""
    recipes.keep(cache, name("a", 1), manifest(x="1"))
    assert recipes.load(cache, name("a", 1)) == manifest(x="1")
    assert recipes.load(cache, name("a", 2)) is None


def test_owners():
    """An owner is what stands before a digest"""
    assert recipes.owner_of(name("run:gcc:a.o", 1)) == "run:gcc:a.o"
    assert recipes.owner_of("run:gcc") == ""
    assert recipes.owner_of("a:" + "g" * 64) == ""


def test_the_latest_first_and_no_neighbours(cache):
    """Only the owner's own, the latest first; with a colon those of all that begin so"""
    for number, owner in enumerate(["run:gcc:a.o", "run:gcc:b.o", "run:gcc:a.o", "run:gcc:a.os"]):
        recipes.keep(cache, name(owner, number), manifest(x=str(number)))
    found = [recipe.name for recipe in recipes.earlier(cache, "run:gcc:a.o")]
    assert found == [name("run:gcc:a.o", 2), name("run:gcc:a.o", 0)]
    assert len(list(recipes.earlier(cache, "run:gcc:"))) == 4
    first = next(iter(recipes.earlier(cache, "run:gcc:b.o")))
    before = [recipe.name for recipe in recipes.earlier(cache, "run:gcc:", before_ns=first.created_ns)]
    assert before == [name("run:gcc:a.o", 0)]


def test_the_nearest_is_the_one_with_fewest_differences(cache):
    """Of equals the latest is compared with"""
    recipes.keep(cache, name("a", 1), manifest(x="1", y="1"))
    recipes.keep(cache, name("a", 2), manifest(x="1", y="2"))
    recipes.keep(cache, name("a", 3), manifest(x="9", y="9"))
    found = recipes.compare(recipes.earlier(cache, "a"), lambda _: manifest(x="1", y="3"))
    assert found is not None
    recipe, changes = found
    assert recipe.name == name("a", 2)
    assert [change.name for change in changes] == ["y"]
    assert recipes.compare(iter(()), lambda _: manifest()) is None


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (("changed", "file", "src/a.h", "", ""), ["changed file src/a.h: 6f6f6f6f → 6e6e6e6e"]),
        (
            ("changed", "arg", "flags", "('-O2',)", "('-O3',)"),
            ["changed argument flags: ('-O2',) → ('-O3',)"],
        ),
        (("changed", "env", "CC", "set", "unset"), ["changed environment variable CC: set → unset"]),
        (("changed", "env", "CC", "set", "set"), ["changed environment variable CC: set"]),
        (
            ("changed", "glob", "*.c", "3 names", "4 names"),
            ["changed names that match *.c: 3 names → 4 names"],
        ),
        (("added", "file", "b.h", None, ""), ["added file b.h"]),
        (("removed", "tool", "ld", "/usr/bin/ld", None), ["removed tool ld: /usr/bin/ld"]),
        (
            ("changed", "argv", "argv", "gcc -O2 -c 'a b.c'", "gcc -O3 -g -c 'a b.c'"),
            ["changed argument: -O2 → -O3 -g"],
        ),
        (("changed", "argv", "argv", "gcc -c a.c", "gcc -g -c a.c"), ["added argument: -g"]),
        (("changed", "argv", "argv", "gcc -g a.c", "gcc a.c"), ["removed argument: -g"]),
    ],
)
def test_changes_in_words(change, lines):
    """A change reads as a person would say it; a variable's value is never shown"""
    what, kind, where, old, new = change

    def dep(note: str | None, identity: bytes) -> Dep | None:
        return None if note is None else Dep(kind, where, identity, note=note)

    change = Change(what, kind, where, dep(old, b"o" * 32), dep(new, b"n" * 32))
    assert recipes.in_words(change) == lines
