"""A cache of memory over disk agrees with a dict, whatever is done to it, by two who share its directory."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vcache import Cache, File, Hit, Miss, Reason
from vcache.testing import FakeClock

SECOND_NS = 1_000_000_000
NAMES = st.sampled_from(["a", "b", b"a", "ü", "long" * 300, ""])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=5),
    st.binary(max_size=20),
    st.lists(st.integers(0, 9), max_size=3),
    st.sampled_from([4 << 10, 5 << 10, 300 << 10]).map(bytes),  # around the sizes where places change
)
TTLS = st.sampled_from([None, 1, 10, 100])
TAGS = st.frozensets(st.sampled_from("xyz"), max_size=2)
SPECS = st.lists(st.sampled_from(["one", "two"]), max_size=2, unique=True)
WHO = st.sampled_from([0, 1])


@dataclass
class Known:
    """What the dict remembers of a value."""

    value: object
    ends_ns: int | None = None
    tags: frozenset[str] = frozenset()
    files: tuple[tuple[str, str], ...] = ()


class CacheMachine(RuleBasedStateMachine):
    """Two caches on one directory against one dict."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="vcache-machine-"))
        self.clock = FakeClock()
        self.known: dict[str | bytes, Known] = {}
        self.files = {"one": "1", "two": "2"}
        for name, text in self.files.items():
            (self.directory / name).write_text(text)
        self.caches = [self.open(), self.open()]

    def open(self) -> Cache:
        return Cache(self.directory / "c", root=self.directory, namespace="n", clock=self.clock)

    def teardown(self) -> None:
        for cache in self.caches:
            cache.close()
        shutil.rmtree(self.directory)

    # -- what the dict says

    def has_ended(self, known: Known) -> bool:
        return known.ends_ns is not None and known.ends_ns <= self.clock()

    def is_usable(self, name: str | bytes) -> bool:
        known = self.known.get(name)
        return (
            known is not None
            and not self.has_ended(known)
            and all(self.files[file] == text for file, text in known.files)
        )

    def remember(self, name, value, ttl=None, tags=frozenset(), files=()) -> None:
        ends_ns = None if ttl is None else self.clock() + ttl * SECOND_NS
        self.known[name] = Known(value, ends_ns, tags, tuple((file, self.files[file]) for file in files))

    # -- what is done

    @rule(who=WHO, name=NAMES, value=VALUES, ttl=TTLS, tags=TAGS, files=SPECS)
    def put(self, who, name, value, ttl, tags, files):
        deps = [File(self.directory / file) for file in files]
        assert self.caches[who].put(name, value, ttl=ttl, tags=tags, deps=deps)
        self.remember(name, value, ttl, tags, files)

    @rule(who=WHO, items=st.dictionaries(NAMES, VALUES, max_size=3), ttl=TTLS, tags=TAGS)
    def put_many(self, who, items, ttl, tags):
        assert self.caches[who].put_many(items, ttl=ttl, tags=tags)
        for name, value in items.items():
            self.remember(name, value, ttl, tags)

    @rule(who=WHO, name=NAMES)
    def get(self, who, name):
        expected = self.known[name].value if self.is_usable(name) else "default"
        got = self.caches[who].get(name, "default")
        assert got == expected and type(got) is type(expected)
        if isinstance(got, list):
            got.append("changed by its caller")

    @rule(who=WHO, names=st.lists(NAMES, max_size=4))
    def get_many(self, who, names):
        expected = {name: self.known[name].value for name in names if self.is_usable(name)}
        assert self.caches[who].get_many(names) == expected

    @rule(who=WHO, name=NAMES)
    def lookup(self, who, name):
        found = self.caches[who].lookup(name)
        known = self.known.get(name)
        if self.is_usable(name):
            assert known is not None
            assert isinstance(found, Hit)
            assert (found.value, found.entry.tags, found.entry.name) == (known.value, known.tags, name)
            assert not found.is_expired
            return
        assert isinstance(found, Miss)
        if known is None:
            assert found.reason is Reason.ABSENT
        elif self.has_ended(known):
            assert found.reason in (Reason.EXPIRED, Reason.ABSENT)  # collected meanwhile
        else:
            assert found.reason is Reason.STALE
            assert found.dep is not None and found.dep.name in [file for file, _ in known.files]

    @rule(who=WHO, name=NAMES, value=VALUES, ttl=TTLS, tags=TAGS, files=SPECS)
    def get_or_compute(self, who, name, value, ttl, tags, files):
        deps = [File(self.directory / file) for file in files]
        is_usable = self.is_usable(name)
        got = self.caches[who].get_or_compute(name, lambda: value, ttl=ttl, tags=tags, deps=deps)
        if is_usable:
            assert got == self.known[name].value
        else:
            assert got == value
            self.remember(name, value, ttl, tags, files)

    @rule(who=WHO, name=NAMES, ttl=TTLS)
    def touch(self, who, name, ttl):
        is_usable = self.is_usable(name)
        assert self.caches[who].touch(name, ttl=ttl) == is_usable
        if is_usable:
            self.known[name].ends_ns = None if ttl is None else self.clock() + ttl * SECOND_NS

    @rule(who=WHO, name=NAMES)
    def delete(self, who, name):
        had = self.caches[who].delete(name)
        known = self.known.pop(name, None)
        assert had == (known is not None) or (known is not None and self.has_ended(known))

    @rule(who=WHO, tags=TAGS)
    def invalidate(self, who, tags):
        gone = self.caches[who].invalidate(tags=tags)
        wanted = [name for name, known in self.known.items() if known.tags & tags]
        ended = sum(self.has_ended(self.known[name]) for name in wanted)
        assert len(wanted) - ended <= gone <= len(wanted)
        for name in wanted:
            del self.known[name]

    @rule(who=WHO)
    def clear(self, who):
        self.caches[who].clear()
        self.known.clear()

    @rule(by=st.sampled_from([1, 9, 90]))
    def pass_time(self, by):
        self.clock.advance(by)

    @rule(name=st.sampled_from(["one", "two"]), text=st.sampled_from("123"))
    def write_file(self, name, text):
        (self.directory / name).write_text(text)
        self.files[name] = text

    @rule(who=WHO)
    def collect(self, who):
        self.caches[who].gc()

    @rule(who=WHO)
    def verify(self, who):
        assert self.caches[who].verify(repair=True)

    @rule(who=WHO)
    def reopen(self, who):
        self.caches[who].close()
        self.caches[who] = self.open()

    # -- what always holds

    @invariant()
    def names_agree(self):
        for cache in self.caches:
            names = list(cache)
            assert len(names) == len(set(names)) == len(cache)
            must = {name for name, known in self.known.items() if not self.has_ended(known)}
            assert must <= set(names) <= self.known.keys()
            assert {entry.name for entry in cache.entries()} == set(names)

    @invariant()
    def membership_agrees(self):
        for cache in self.caches:
            for name in ("a", b"a", "ü"):
                assert (name in cache) == self.is_usable(name)


TestCache = CacheMachine.TestCase
TestCache.settings = hypothesis.settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
