"""Results of commands: found by what went into them, put back, kept; in one checkout and in several."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache import recipes
from vcache.action import Actions, Chunk, Published, Result, _fingerprint
from vcache.cache import Cache
from vcache.discovery import seen_key
from vcache.entry import Dep
from vcache.errors import StoreFull
from vcache.fingerprint.inputs import File
from vcache.fingerprint.manifest import Manifest, row
from vcache.hash import digest
from vcache.portable import PLACE, RECIPE, argv_dep, out_dep, place_dep
from vcache.store.memory import MemoryStore
from vcache.testing import flip_stored


class Place:
    """A checkout, and the cache as it is used there."""

    def __init__(self, root: Path, store: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.cache = Cache(store, root=root)
        self.actions = Actions(self.cache)

    def write(self, name: str, content: str = "") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def look(self, *names: str) -> tuple[Dep, ...]:
        return self.cache.observer.observe_all(File(self.root / name) for name in names)

    def publish(
        self,
        *found: str,
        outs: tuple[str, ...] = ("out",),
        chunks: Sequence[Chunk] = ((1, 5, b"words"),),
        names_root: bool = False,
        has_discovery: bool = True,
    ) -> Published:
        """Keep what is there as a result that saw these files."""
        kept = self.actions.publish(
            "dag:out",
            a_base(*outs),
            self.look(*found),
            outs,
            chunks,
            cost_ns=7,
            names_root=names_root,
            has_discovery=has_discovery,
        )
        assert isinstance(kept, Published), kept
        return kept

    def find(self, *outs: str) -> Result | None:
        return self.actions.find("dag:out", a_base(*(outs or ("out",))))


def a_base(*outs: str, argv: tuple[str, ...] = ("cc",)) -> Manifest:
    return Manifest([RECIPE, argv_dep(argv, "/nowhere"), *map(out_dep, outs)])


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "here", f"{tmp_path}/cache")
    with place.cache:
        yield place


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "there/deeper", f"{tmp_path}/cache")
    with place.cache:
        yield place


# -- finding ---------------------------------------------------------------------------------------


def test_a_result_comes_back_whole(here):
    """Words with their times, outputs, what was discovered, and what it cost."""
    here.write("a.h", "a")
    here.write("out", "made")
    kept = here.publish("a.h")
    found = here.find()
    assert found is not None
    assert (found.name, found.files, found.found) == (kept.name, kept.files, kept.found)
    assert found.name.startswith("dag:out:")
    assert found.chunks == ((1, 5, b"words"),)
    assert found.cost_ns == 7
    assert found.size_bytes == 4
    assert [dep.name for dep in found.found] == ["a.h"]
    (here.root / "out").unlink()
    assert here.actions.has(found)
    assert here.actions.put_back(found) == ("out",)
    assert here.read("out") == "made"
    assert here.actions.put_back(found) == ()


def test_nothing_is_found_where_nothing_was_kept(here):
    """Another base, another owner, other outputs: each is a miss."""
    here.write("out")
    here.publish()
    assert here.find() is not None
    assert here.find("out", "more") is None
    assert here.actions.find("dag:other", a_base("out")) is None
    assert here.actions.find("dag:out", a_base("out", argv=("cc", "-g"))) is None


def test_several_traces_are_kept_at_once(here):
    """Each state of what was discovered finds its own result, in whatever order they return."""
    for content, header in (("1", "a.h"), ("2", "a.h"), ("3", "b.h")):
        here.write(header, content)
        here.write("out", f"made of {content}")
        if header == "b.h":
            (here.root / "a.h").unlink()
        here.publish(header)
    names = set()
    for content, header in (("2", "a.h"), ("1", "a.h"), ("3", "b.h")):
        for each in ("a.h", "b.h"):
            (here.root / each).unlink(missing_ok=True)
        here.write(header, content)
        found = here.find()
        assert found is not None
        names.add(found.name)
        assert here.actions.put_back(found) == ("out",)
        assert here.read("out") == f"made of {content}"
    assert len(names) == 3
    here.write("b.h", "never seen")
    assert here.find() is None


def test_without_discovery_the_base_is_all(here):
    """A result that discovered nothing is found under the base, whether or not it could have."""
    here.write("out", "1")
    for has_discovery in (False, True):
        kept = here.publish(has_discovery=has_discovery)
        assert kept.found == ()
        assert kept.name == f"dag:out:{a_base('out').fingerprint().hex()}"
        found = here.find()
        assert found is not None
        assert found.name == kept.name == here.actions.name("dag:out", a_base("out"))


def test_looks_are_the_caller_s(here):
    """What the caller remembers of a file is believed; what it cannot see is no candidate."""
    here.write("a.h", "a")
    here.write("out", "made")
    here.publish("a.h")
    asked = []
    known: dict[tuple[str, str], tuple[Dep, ...] | None] = {("file", "a.h"): here.look("a.h")}

    def look(kind: str, name: str) -> tuple[Dep, ...] | None:
        asked.append((kind, name))
        return known[kind, name]

    actions = Actions(here.cache, look=look)
    here.write("a.h", "changed behind its back")
    for _ in range(3):
        assert actions.find("dag:out", a_base("out")) is not None
    assert asked == [("file", "a.h")] * 3
    known["file", "a.h"] = here.look("a.h")
    assert actions.find("dag:out", a_base("out")) is None
    known["file", "a.h"] = None
    assert actions.find("dag:out", a_base("out")) is None


TEXTS = st.text("ab\udcff", max_size=2)
DEPS = st.builds(Dep, st.sampled_from(["file", "env", "tool"]), TEXTS, st.binary(max_size=2), note=TEXTS)


@given(st.lists(DEPS, max_size=6), st.lists(DEPS, max_size=6))
def test_the_fingerprint_is_the_manifest_s(base, found):
    """However a base and what was discovered come together, equal inputs counting once."""
    rows = [row(dep) for dep in Manifest(base)]
    assert _fingerprint(rows) == Manifest(base).fingerprint()
    both = _fingerprint(sorted(rows + [row(dep) for dep in found]))
    assert both == Manifest((*base, *found)).fingerprint()


def test_a_fingerprint_of_another_base_is_not_mixed_up(here):
    """Also where one is asked for again and again."""
    bases = [a_base("out", argv=(str(n),)) for n in range(3)]
    for base in (*bases, *bases, bases[0], bases[0]):
        assert here.actions.fingerprint(base) == base.fingerprint()


def test_a_disabled_cache_finds_and_keeps_nothing(here):
    """And says so."""
    here.write("out")
    here.publish()
    with Cache(f"{here.root.parent}/cache", root=here.root, disabled=True) as cache:
        actions = Actions(cache)
        assert actions.find("dag:out", a_base("out")) is None
        kept = actions.publish("dag:out", a_base("out"), [], ["out"], [], cost_ns=1, names_root=False)
        assert kept == "the cache is disabled"


def test_a_result_out_of_time_is_none(tmp_path):
    """Within its time to live it is found, after it is not; tags remove it before."""
    now = [10**18]
    (tmp_path / "out").touch()
    with Cache(f"{tmp_path}/c", root=tmp_path, clock=lambda: now[0]) as cache:
        actions, base = Actions(cache), a_base("out")

        def publish() -> None:
            assert isinstance(
                actions.publish(
                    "o", base, [], ["out"], [], cost_ns=1, names_root=False, ttl_ns=10, tags=frozenset({"t"})
                ),
                Published,
            )

        publish()
        assert actions.find("o", base) is not None
        now[0] += 10
        assert actions.find("o", base) is None
        publish()
        assert actions.find("o", base) is not None
        cache.invalidate(tags=["t"])
        assert actions.find("o", base) is None


def test_look_ups_are_counted_only_when_told(here):
    """One look-up is one hit or miss, with what it saved."""
    here.write("a.h")
    here.write("out")
    here.publish("a.h")
    before = here.cache.stats()
    found = here.find()
    here.actions.put_back(found)
    assert (here.cache.stats().hits, here.cache.stats().misses) == (before.hits, before.misses)
    here.actions.count(found)
    here.actions.count(None)
    after = here.cache.stats()
    assert (after.hits - before.hits, after.misses - before.misses) == (1, 1)
    assert after.saved_s - before.saved_s == pytest.approx(7e-9)


# -- places ----------------------------------------------------------------------------------------


def test_a_portable_result_is_true_in_every_checkout(here, there):
    """Names are relative to the root, and nothing in it names the place."""
    for place in (here, there):
        place.write("inc/a.h", "a")
    here.write("obj/out", "made")
    kept = here.publish("inc/a.h", outs=("obj/out",))
    found = there.find("obj/out")
    assert found is not None
    assert found.name == kept.name
    assert there.actions.put_back(found) == ("obj/out",)
    assert there.read("obj/out") == "made"
    there.write("inc/a.h", "another")
    assert there.find("obj/out") is None


def _in_file(place: Place) -> Published:
    place.write("out", f"made in {place.root}/src")
    return place.publish("a.h")


def _in_words(place: Place) -> Published:
    place.write("out", "same everywhere")
    path = os.fsencode(place.root)
    chunks = [(2, 0, b"warning: " + path[:9]), (1, 1, b"x"), (2, 2, path[9:] + b"/a.c")]
    return place.publish("a.h", chunks=chunks)


def _in_link(place: Place) -> Published:
    (place.root / "out").symlink_to(place.root / "src")
    return place.publish("a.h")


def _packed(place: Place) -> Published:
    (place.root / "out").write_bytes(b"\x1f\x8b not really")
    return place.publish("a.h", names_root=True)


@pytest.mark.parametrize("make", [_in_file, _in_words, _in_link, _packed])
def test_a_result_that_names_the_place_is_true_there_only(here, there, make):
    """Each checkout makes its own, and both live side by side under one key."""
    names = []
    for place in (here, there):
        place.write("a.h", "a")
        assert place.find() is None
        kept = make(place)
        assert kept.found[-1] == place_dep(place.root)
        names.append(kept.name)
    assert names[0] != names[1]
    for place, name in zip((here, there), names, strict=True):
        before = said(place.root / "out")
        (place.root / "out").unlink()
        found = place.find()
        assert found is not None
        assert found.name == name
        assert place.actions.put_back(found) == ("out",)
        assert said(place.root / "out") == before


def said(path: Path) -> bytes:
    """What a file holds, or where a link leads."""
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


def test_a_moved_checkout_loses_only_what_names_it(here, tmp_path):
    """What is bound to a place is not true where the same files went."""
    here.write("bound", str(here.root))
    here.publish(outs=("bound",))
    here.write("free", "x")
    here.publish(outs=("free",))
    os.rename(here.root, tmp_path / "moved")
    moved = Place(tmp_path / "moved", f"{tmp_path}/cache")
    with moved.cache:
        assert moved.find("free") is not None
        assert moved.find("bound") is None
    os.rename(tmp_path / "moved", here.root)
    assert here.find("bound") is not None


def test_what_names_nothing_may_be_packed(here, there):
    """A packed output whose command named no place is taken to hold none."""
    (here.root / "out").write_bytes(b"\x1f\x8b not really")
    here.publish(names_root=False)
    assert there.find() is not None


# -- outputs ---------------------------------------------------------------------------------------


def test_directories_and_links_are_outputs(here, there):
    """All of them come back in another checkout, and the tree equals the original."""
    here.write("gen/a/x", "x")
    (here.root / "gen/empty").mkdir()
    (here.root / "gen/link").symlink_to("a/x")
    (here.root / "lib.so").symlink_to("lib.so.1")
    here.write("lib.so.1", "elf")
    outs = ("gen/", "lib.so", "lib.so.1")
    here.publish(outs=outs)
    there.write("gen/stale/file")
    found = there.find(*outs)
    assert found is not None
    written = there.actions.put_back(found)
    assert written is not None
    assert set(written) >= {"gen", "gen/a/x", "gen/link", "lib.so", "lib.so.1"}
    assert sorted(str(path.relative_to(there.root)) for path in there.root.rglob("*")) == [
        "gen", "gen/a", "gen/a/x", "gen/empty", "gen/link", "lib.so", "lib.so.1",
    ]  # fmt: skip
    assert there.read("lib.so") == "elf"
    assert there.actions.put_back(found) == ()


def test_a_large_output_is_put_back(here, there):
    """One that is kept as a file, beside small ones."""
    content = os.urandom(400_000)
    (here.root / "out").write_bytes(content)
    here.write("small", "s")
    here.publish(outs=("out", "small"))
    found = there.find("out", "small")
    assert found is not None
    assert found.size_bytes == 400_001
    assert there.actions.put_back(found) == ("out", "small")
    assert (there.root / "out").read_bytes() == content
    (there.root / "out").unlink()
    assert there.actions.put_back(replace(found, size_bytes=-1)) == ("out",)
    assert (there.root / "out").read_bytes() == content


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda root: None, "was promised and not made"),
        (lambda root: os.mkfifo(root / "out"), "not a file, link or directory"),
        (lambda root: ((root / "d").symlink_to(root.parent), (root.parent / "out").touch()), ""),
    ],
)
def test_what_cannot_be_kept_is_said(here, spoil, reason):
    """An output that is missing or is none: nothing is kept, and nothing is raised."""
    spoil(here.root)
    kept = here.actions.publish("o", a_base("out"), [], ["out"], [], cost_ns=1, names_root=False)
    assert isinstance(kept, str)
    assert reason in kept
    assert here.find() is None


@pytest.mark.parametrize("name", ["../out", "/out", "link/out"])
def test_an_output_elsewhere_is_not_kept(here, name):
    """What lies outside of the root could not be put back in another checkout."""
    (here.root / "link").symlink_to(here.root.parent)
    (here.root.parent / "out").touch()
    kept = here.actions.publish("o", a_base(name), [], [name], [], cost_ns=1, names_root=False)
    assert isinstance(kept, str)
    assert name in kept


@pytest.mark.parametrize("refused", [b".outputs", b".seen", b"\0so:"], ids=["file", "names", "result"])
def test_a_store_that_does_not_take_it_keeps_nothing(tmp_path, refused):
    """Whichever of its parts is refused, the next look-up is a miss, and publishing said so."""

    class Choosy(MemoryStore):
        def put(self, key, record):
            if key.startswith(refused):
                raise StoreFull("no space")
            super().put(key, record)

    (tmp_path / "out").touch()
    (tmp_path / "a.h").touch()
    with Cache(Choosy(), root=tmp_path) as cache:
        actions = Actions(cache)
        found = cache.observer.observe(File(tmp_path / "a.h"))
        kept = actions.publish("o", a_base("out"), found, ["out"], [], cost_ns=1, names_root=False)
        assert isinstance(kept, str)
        assert "could not take" in kept
        assert actions.find("o", a_base("out")) is None


def test_an_output_whose_content_is_gone_or_damaged_is_a_miss(here, there):
    """Found, but not to be had: nothing is written."""
    content = b"some content that is kept as it is" * 9
    (here.root / "out").write_bytes(content)
    here.publish()
    found = there.find()
    assert found is not None
    assert flip_stored(here.root.parent / "cache", content, bit=11)
    assert there.actions.put_back(found) is None
    assert not there.actions.has(found)
    assert os.listdir(there.root) == []
    here.cache.delete_key(b".outputs\0b" + digest(content))
    assert here.actions.has(found)  # in place
    assert here.actions.put_back(found) == ()


def test_an_obstacle_is_a_miss(here, there):
    """A directory in a file's place, a file in a directory's, a link out: a run will say it."""
    here.write("d/out", "made")
    here.publish(outs=("d/out",))
    found = there.find("d/out")
    assert found is not None
    obstacles = {
        "directory": lambda root: (root / "d/out").mkdir(parents=True),
        "file": lambda root: (root / "d").touch(),
        "link": lambda root: (root / "d").symlink_to(root.parent),
    }
    for make in obstacles.values():
        make(there.root)
        assert there.actions.put_back(found) is None
        shutil.rmtree(there.root)
        there.root.mkdir()
    assert not (there.root.parent / "out").exists()


# -- what others left ------------------------------------------------------------------------------

DIGEST = bytes(32)
STRANGE: list[object] = [
    5, "text", b"bytes", None, [], {}, {"value": []}, {"files": []}, {"value": [], "files": None},
    {"value": [], "files": []},
    {"value": [], "files": [["../../evil", 0o644, DIGEST]]},
    {"value": [], "files": [["src/a.c", 0o644, DIGEST]]},
    {"value": [], "files": [["out", 0o644, DIGEST], ["src/a.c", 0o644, DIGEST]]},
    {"value": [], "files": [["out", 0o120000, b"src"], ["out/a.c", 0o644, DIGEST]]},
    {"value": [], "files": [["out", 0o644, b"short"]]},
    {"value": [], "files": [["out", 0o644]]},
    {"value": [], "files": ["out"]},
    {"value": [[1, b"two fields"]], "files": [["out", 0o644, DIGEST]]},
    {"value": [[1, 2, "text"]], "files": [["out", 0o644, DIGEST]]},
    {"value": ["x"], "files": [["out", 0o644, DIGEST]]},
    {"value": [], "files": [["out", 0o644, DIGEST]], "bytes": "many"},
]  # fmt: skip


@pytest.mark.parametrize("content", STRANGE, ids=range(len(STRANGE)))
def test_a_strange_result_is_a_miss(here, content):
    """What is no result of these outputs is none, and names nothing that would be written."""
    here.cache.put(here.actions.name("dag:out", a_base("out")), content)
    assert here.find() is None


def test_a_result_of_an_earlier_version_serves(here):
    """One without the size of its files is put back like any other."""
    here.write("out", "made")
    here.publish()
    content = here.cache.get(here.actions.name("dag:out", a_base("out")))
    assert isinstance(content, dict)
    del content["bytes"]
    here.cache.put(here.actions.name("dag:out", a_base("out")), content)
    (here.root / "out").unlink()
    found = here.find()
    assert found is not None
    assert found.size_bytes == -1
    assert here.actions.put_back(found) == ("out",)


@pytest.mark.parametrize(
    "sets",
    [
        5,
        "text",
        [5],
        ["text"],
        [[5]],
        [[["file"]]],
        [[["file", 5]]],
        [[["nosuch", "a"]]],
        [[[5, "a"]]],
        [None],
    ],
)
def test_strange_sets_of_names_are_passed_over(here, sets):
    """What another program left in the place of the sets leads nowhere, and raises nothing."""
    here.write("out", "made")
    here.publish()
    here.cache.put_key(seen_key(a_base("out").fingerprint()), sets)
    assert here.find() is not None  # under the base itself


# -- why -------------------------------------------------------------------------------------------


def words(place: Place, base: Manifest, **options: str) -> list[str]:
    why = place.actions.explain("dag:out", base, **options)
    return [line for change in why.changes for line in recipes.in_words(change)]


def test_a_miss_is_explained(here):
    """What was declared and what was discovered, against the nearest earlier run."""
    here.write("a.h", "a")
    here.write("out")
    base = a_base("out")
    why = here.actions.explain("dag:out", base)
    assert (why.is_hit, why.nearest) == (False, None)
    kept = here.publish("a.h")
    assert here.actions.explain("dag:out", base) == recipes.Why(kept.name, is_hit=True)
    here.write("a.h", "b")
    (changed,) = words(here, base)
    assert changed.startswith("changed file a.h: ")
    (here.root / "a.h").unlink()
    assert words(here, base) == ["removed file a.h"]
    here.write("a.h", "a")
    assert words(here, a_base("out", argv=("cc", "-g"))) == ["added argument: -g"]
    assert here.actions.explain("dag:other", base).nearest is None
    assert here.actions.explain("dag:other", base, like="dag:").nearest == kept.name


def test_another_place_is_a_reason(here, there):
    """A result that is true elsewhere only says where."""
    here.write("out", str(here.root))
    here.publish()
    assert words(there, a_base("out")) == [f"changed root: {here.root} → {there.root}"]
    assert here.actions.explain("dag:out", a_base("out")).is_hit
    assert PLACE == ("place", "root")
