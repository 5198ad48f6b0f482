"""Key sets: what a build asked for, and what the next one fetches ahead by it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from vcache.cache import Cache
from vcache.dag import events, prefetch
from vcache.dag.prefetch import Ahead, ahead_of, keys_of, packed, set_name
from vcache.dag.session import Build, Options
from vcache.entry import Key, Record, make_key
from vcache.errors import StoreUnavailable
from vcache.store.disk import DiskStore
from vcache.store.guard import GuardedStore
from vcache.store.guard.limits import Limits
from vcache.store.memory import MemoryStore
from vcache.testing import FaultyStore, make_record

_FILE_CLOCK = 5  # CLOCK_REALTIME_COARSE, which Python does not name
NINJA = """\
rule cc
  command = cat $in a.h > $out && echo $out: $in a.h > $out.d
  depfile = $out.d
  deps = gcc
build a.o: cc a.c
build b.o: cc b.c
"""


class Far(FaultyStore):
    """Another machine's store, which stays when a cache is closed."""

    def __init__(self, inner: MemoryStore | None = None) -> None:
        super().__init__(inner or MemoryStore(), is_trusted=False, is_shared=True, is_persistent=True)
        self.asked: list[Key] = []
        self.before: Callable[[], None] = lambda: None

    def get(self, key: Key) -> Record | None:
        self.asked.append(key)
        return super().get(key)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        self.before()
        self._enter("get_many")
        return {key: record for key in keys if (record := self.inner.get(key)) is not None}

    def put_many(self, records: Mapping[Key, Record]) -> None:
        for key, record in records.items():
            self.put(key, record)

    def close(self) -> None:
        pass


class Ear:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Noted):
            self.notes.append(event.text)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builds here are small: nothing is too little to be fetched ahead, or to be noted."""
    monkeypatch.setattr(prefetch, "_FEW", 0)
    monkeypatch.setattr(prefetch, "_FEW_NEW", 0)


@pytest.fixture
def far() -> Far:
    return Far()


def settle(place: Path) -> None:
    """Let a tick of the clock that stamps files pass: what is as young as a step may have changed meanwhile."""
    youngest = max(path.stat().st_ctime_ns for path in place.iterdir())
    while time.clock_gettime_ns(_FILE_CLOCK) <= youngest:
        time.sleep(0.001)


class Checkout:
    """A tree of its own with a cache of its own, over a store that others share."""

    def __init__(self, place: Path, far: Far) -> None:
        self.place, self.far, self.ear = place, far, Ear()
        place.mkdir()
        for name, text in {"build.ninja": NINJA, "a.c": "a", "b.c": "b", "a.h": "h"}.items():
            (place / name).write_text(text)
        settle(place)
        self.near = DiskStore(place.parent / f"{place.name}.cache")

    def build(self, **options: object) -> events.RunEnded:
        self.ear = Ear()
        self.far.calls.clear()
        self.far.asked.clear()
        near = DiskStore(self.near.directory)
        with Cache(near, self.far, root=self.place) as cache:
            chosen = Options(jobs=2, **options)  # type: ignore[arg-type]
            return Build(cache, base=str(self.place), listeners=[self.ear], options=chosen).ninja()

    def known(self) -> list[Key]:
        """The key set that is far."""
        name = make_key(set_name("build.ninja", ()), namespace=".keysets")
        with Cache(self.far) as cache:
            value = cache.get_key(name)
        return keys_of(value) if isinstance(value, bytes) else []


@pytest.fixture
def checkout(tmp_path: Path, far: Far) -> Iterator[Callable[[str], Checkout]]:
    made: list[Checkout] = []

    def make(name: str) -> Checkout:
        made.append(Checkout(tmp_path / name, far))
        return made[-1]

    yield make
    for each in made:
        each.near.close()


def kinds(keys: Sequence[Key]) -> list[str]:
    return sorted(key.partition(b"\0")[0].decode() for key in keys)


def test_keys_are_read_back() -> None:
    """What was packed, up to the first byte that is damaged."""
    keys = [b"a", b"bc" * 300, make_key("ü")]
    data = packed(keys)
    assert keys_of(data) == keys
    assert keys_of(b"") == []
    for size in range(len(data)):
        assert keys_of(data[:size]) == keys[: len(keys_of(data[:size]))]
    assert keys_of(b"\xff\xff\xff\xff") == keys_of(bytes(4)) == []


def test_a_set_is_of_a_file_goals_and_platform() -> None:
    """No two of them meet, however their words are cut."""
    sets = {
        set_name(*each) for each in (("a", ()), ("a", ("b",)), ("ab", ()), ("a", ("b", "c")), ("a", ("bc",)))
    }
    assert len(sets) == 5


def test_another_checkout_fetches_all_at_once(checkout: Callable[[str], Checkout]) -> None:
    """Results, the lists that lead to them and outputs come in one round trip, and nothing is asked for singly."""
    first, second = checkout("one"), checkout("two")
    assert first.build().n_run == 2
    assert kinds(first.known()) == ["", "", ".outputs", ".outputs", ".seen", ".seen"]
    ended = second.build()
    assert (ended.n_run, ended.n_hit) == (0, 2)
    assert second.far.calls["get_many"] == 1
    assert kinds(second.far.asked) == [".keysets"]
    assert (second.place / "a.o").read_text() == "ah"
    assert any("fetched 6 entries ahead" in note for note in second.ear.notes)


def test_what_nobody_has_made_is_asked_for_together(tmp_path: Path, far: Far) -> None:
    """A first build of many steps over a remote takes a few round trips, and not some for each step."""
    place = tmp_path / "tree"
    place.mkdir()
    names = [f"n{number}" for number in range(40)]
    for name in ("a.h", *(f"{name}.c" for name in names)):
        (place / name).write_text(name)
    rule = NINJA.partition("build ")[0]
    (place / "build.ninja").write_text(rule + "".join(f"build {name}.o: cc {name}.c\n" for name in names))
    settle(place)
    guard = GuardedStore(far, Limits(is_behind=False), tmp_path / "state")
    with Cache(DiskStore(tmp_path / "cache"), guard, root=place) as cache:
        ended = Build(cache, base=str(place), listeners=[], options=Options(jobs=2)).ninja()
    assert ended.n_run == 40
    assert far.calls["get_many"] <= 3
    assert len(far.asked) <= 3


def test_what_is_here_is_not_fetched(checkout: Callable[[str], Checkout]) -> None:
    """A warm cache asks for nothing, not even the set, and writes it no second time."""
    one = checkout("one")
    one.build()
    for path in one.place.glob("*.o"):
        path.unlink()
    one.build()
    assert one.far.calls["get_many"] == 0
    assert one.far.calls["put"] == 0
    assert one.far.asked == []


def test_a_few_edits_fetch_and_note_nothing(
    checkout: Callable[[str], Checkout], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a changed file asks for is asked for by itself: the rest of the build is up to date."""
    one = checkout("one")
    one.build()
    monkeypatch.setattr(prefetch, "_FEW", 6)
    monkeypatch.setattr(prefetch, "_FEW_NEW", 30)
    shutil.rmtree(one.near.directory)
    (one.place / "a.c").write_text("changed")
    settle(one.place)
    assert one.build().n_run == 1
    assert ".keysets" not in kinds(one.far.asked)
    assert one.far.calls["get_many"] == 0


def test_the_first_questions_are_asked_one_by_one(
    checkout: Callable[[str], Checkout], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the rest comes together."""
    checkout("one").build()
    monkeypatch.setattr(prefetch, "_FEW", 2)
    two = checkout("two")
    assert two.build().n_hit == 2
    assert kinds(two.far.asked) == ["", ".keysets", ".seen"]
    assert any("fetched 4 entries ahead" in note for note in two.ear.notes)


def test_a_changed_source_adds_to_the_set(checkout: Callable[[str], Checkout]) -> None:
    """What was not looked at, being up to date, stays in it."""
    one = checkout("one")
    one.build()
    before = set(one.known())
    (one.place / "a.c").write_text("changed")
    settle(one.place)
    assert one.build().n_run == 1
    after = one.known()
    assert before < set(after)
    assert kinds([key for key in after if key not in before]) == ["", ".outputs", ".seen"]


def test_a_whole_build_forgets_what_it_did_not_ask_for(checkout: Callable[[str], Checkout]) -> None:
    """A set does not grow for ever."""
    one, two = checkout("one"), checkout("two")
    one.build()
    before = set(one.known())
    for name in ("a.c", "b.c"):
        (two.place / name).write_text(f"other {name}")
    settle(two.place)
    assert two.build().n_run == 2
    assert not before & set(two.known())


@pytest.mark.parametrize("options", [{"is_dry_run": True}, {"is_forced": True}])
def test_who_does_not_look_up_fetches_nothing(
    checkout: Callable[[str], Checkout], options: dict[str, bool]
) -> None:
    """Neither a dry run nor a forced one asks for the set."""
    checkout("one").build()
    two = checkout("two")
    two.build(**options)
    assert two.far.calls["get_many"] == 0
    assert ".keysets" not in kinds(two.far.asked)


def test_without_a_far_tier_there_is_nothing(tmp_path: Path) -> None:
    """No thread, no set, no note."""
    with Cache(DiskStore(tmp_path / "c")) as cache, Cache("mem:1MB", f"disk:{tmp_path / 'd'}") as two:
        assert ahead_of(cache, "f", ()) is None
        assert ahead_of(two, "f", ()) is None
    with Cache("mem:1MB", Far()) as memory:
        assert ahead_of(memory, "f", ()) is None, "there is no place to keep what comes"


def test_a_far_tier_that_fails_costs_nothing_else(checkout: Callable[[str], Checkout]) -> None:
    """The build goes on as if nothing were kept there."""
    checkout("one").build()
    two = checkout("two")
    two.far.fail("get_many", StoreUnavailable("down"))
    ended = two.build()
    assert (ended.status, ended.n_hit) == (0, 2), "each key was asked for by itself"
    two.far.heal()
    three = checkout("three")
    three.far.fail("get", StoreUnavailable("down"))
    assert (three.build().status, three.far.calls["get_many"]) == (0, 0)


def test_large_outputs_are_left_to_who_needs_them(tmp_path: Path, far: Far) -> None:
    """A file above a megabyte is not fetched ahead; its result is."""
    place = tmp_path / "p"
    place.mkdir()
    (place / "build.ninja").write_text("rule r\n  command = head -c $n /dev/zero > $out\n"
                                       "build big: r\n  n = 2000000\nbuild small: r\n  n = 10\n")  # fmt: skip
    with Cache(DiskStore(tmp_path / "c"), far, root=place) as cache:
        assert Build(cache, base=str(place)).ninja().n_run == 2
    name = make_key(set_name("build.ninja", ()), namespace=".keysets")
    record = far.inner.get(name)
    assert record is not None
    with Cache(far) as cache:
        value = cache.get_key(name)
    assert isinstance(value, bytes)
    assert kinds(keys_of(value)).count(".outputs") == 1


# -- the one that fetches --------------------------------------------------------------------


@pytest.fixture
def ahead(tmp_path: Path, far: Far) -> Iterator[Ahead]:
    """Over a set of a thousand keys that are far."""
    keys = [make_key(str(number)) for number in range(1000)]
    for key in keys:
        far.inner.put(key, make_record(key))
    with Cache(DiskStore(tmp_path / "near"), far) as cache:
        name = make_key(set_name("f", ()), namespace=".keysets")
        cache.put_key(name, packed(keys))
        found = ahead_of(cache, "f", ())
        assert found is not None
        yield found
        found.close()


def begin(ahead: Ahead) -> None:
    """Ask for something that nobody has."""
    ahead.start()
    assert ahead._tiers.get(make_key("nobody's")) is None


def test_who_needs_a_key_on_its_way_waits(ahead: Ahead, far: Far) -> None:
    """A look-up of what is being fetched ends with the batch, and asks nobody."""
    has_begun, may_go_on = threading.Event(), threading.Event()

    def held() -> None:
        has_begun.set()
        assert may_go_on.wait(30)

    far.before = held
    begin(ahead)
    assert has_begun.wait(30)
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(ahead._tiers.get(make_key("5"))))
    asking.start()
    far.asked.clear()
    late = ahead._tiers.get(make_key("900"))  # far behind: asked for at once
    assert late is not None
    assert far.asked == [make_key("900")]
    assert not found
    may_go_on.set()
    asking.join(30)
    assert found[0] is not None
    assert far.asked == [make_key("900")]


def test_who_waits_is_let_go_when_it_is_stopped(ahead: Ahead, far: Far) -> None:
    """Ctrl-C does not wait for a far tier that hangs."""
    has_begun, may_go_on = threading.Event(), threading.Event()

    def held() -> None:
        has_begun.set()
        may_go_on.wait(30)

    far.before = held
    begin(ahead)
    assert has_begun.wait(30)
    asking = threading.Thread(target=lambda: ahead._is_arriving(make_key("5")))
    asking.start()
    ahead.close()
    asking.join(30)
    assert not asking.is_alive()
    may_go_on.set()
    ahead.finish(is_whole=True)


def test_batches_grow_while_what_comes_is_small(ahead: Ahead, far: Far) -> None:
    """A thousand small keys are two batches; all of them are near then."""
    begin(ahead)
    ahead._thread.join(30)
    assert (ahead.fetched, far.calls["get_many"]) == (1000, 2)
    assert ahead._near.get(make_key("999")) is not None


def test_private_notes_are_never_fetched(tmp_path: Path, far: Far) -> None:
    """A set that names digests of files by their signatures is not followed there."""
    key = make_key(b"sign", namespace=".digests")
    far.inner.put(key, make_record(key))
    with Cache(DiskStore(tmp_path / "near"), far) as cache:
        cache.put_key(make_key(set_name("f", ()), namespace=".keysets"), packed([key]))
        found = ahead_of(cache, "f", ())
        assert found is not None
        begin(found)
        found._thread.join(30)
        assert found.fetched == 0
        found.close()


def test_a_cache_fetches_names_that_it_is_told(
    tmp_path: Path, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, and the files that results stand for, are near afterwards."""
    for place in ("p", "q"):
        (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path / "p")

    def make() -> None:
        Path("out").write_text("made")

    with Cache(DiskStore(tmp_path / "one"), far, root=tmp_path / "p") as cache:
        cache.put("value", 1)
        step = cache.step(outs=["out"])(make)
        step()
        name = step.key()
    with Cache(DiskStore(tmp_path / "two"), far, root=tmp_path / "q") as cache:
        far.calls.clear()
        assert cache.prefetch(["value", "nobody", name]) == 3
        assert cache.prefetch(["value", name]) == 0
        assert far.calls["get_many"] == 2
        far.fail("get", AssertionError("asked"))
        assert cache.get("value") == 1
    with Cache("mem:1MB") as cache:
        assert cache.prefetch(["a"]) == 0
