"""The cache by name, over real tiers: every verb, every reason, every way to be wrong."""

from __future__ import annotations

import os
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from vcache import Cache, Entry, Hit, Miss, Reason, Ref, UsageError
from vcache.errors import EncodeError, StoreClosed, StoreFull, StoreReadOnly
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.testing import FakeClock, FaultyStore, flip_stored

HOUR = 3600


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["memory", "disk", "tiers"])
def cache(request, tmp_path, clock):
    where = {
        "memory": ("mem:64MB",),
        "disk": (f"disk:{tmp_path / 'c'}",),
        "tiers": ("mem:64MB", f"disk:{tmp_path / 'c'}"),
    }
    with Cache(*where[request.param], clock=clock, root=tmp_path) as cache:
        yield cache


@pytest.fixture
def tiers(tmp_path, clock):
    with Cache(tmp_path / "c", clock=clock, root=tmp_path) as cache:
        yield cache


VALUES = [None, True, 0, 1.5, "text", b"bytes", [1, [2]], (1, "a"), {"k": {1, 2}}, Path("a/b"), timedelta(1)]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_was_put_is_what_is_got(cache, value):
    """A value comes back equal and of its type, each time it is asked for."""
    assert cache.put("k", value)
    for _ in range(3):
        got = cache.get("k", "default")
        assert got == value
        assert type(got) is type(value)


def test_absence_gives_the_default_and_none_is_a_value(cache):
    """A missing name gives the default; a kept None is None whatever the default."""
    assert cache.get("k") is None
    assert cache.get("k", 7) == 7
    cache.put("k", None)
    assert cache.get("k", 7) is None
    assert "k" in cache


def test_text_and_bytes_are_two_names(cache):
    """`"a"` and `b"a"` do not meet, and `iter` gives back what was given."""
    cache.put("a", 1)
    cache.put(b"a", 2)
    assert (cache.get("a"), cache.get(b"a")) == (1, 2)
    assert sorted(cache, key=repr) == sorted(["a", b"a"], key=repr)
    assert cache.delete("a")
    assert cache.get(b"a") == 2


@pytest.mark.parametrize(
    "name", ["", "\0", "a\0b", "ü" * 10, "x" * 2000, b"", b"\0\xff", "\udc80"], ids=ascii
)
def test_any_text_or_bytes_is_a_name(cache, name):
    """Empty, long, binary and undecodable names work and are listed."""
    cache.put(name, 1)
    assert cache.get(name) == 1
    assert list(cache) == [name]


@pytest.mark.parametrize("name", [1, None, ("a",), bytearray(b"a")])
def test_another_name_is_refused(cache, name):
    """A name that is neither text nor bytes is a mistake, shown with its type."""
    with pytest.raises(UsageError, match=f"not {type(name).__name__}"):
        cache.get(name)
    with pytest.raises(UsageError, match="str or bytes"):
        assert name in cache


def test_namespaces_do_not_meet(tmp_path):
    """Names of one namespace are neither seen, counted, listed nor cleared from another."""
    with Cache(tmp_path / "c", namespace="a") as a, Cache(tmp_path / "c", namespace="ab") as ab:
        plain = Cache(tmp_path / "c")
        a.put("k", 1, tags=["t"])
        ab.put("k", 2, tags=["t"])
        plain.put("k", 3, tags=["t"])
        assert (a.get("k"), ab.get("k"), plain.get("k")) == (1, 2, 3)
        assert (len(a), len(ab), len(plain)) == (1, 1, 1)
        assert a.invalidate(tags={"t"}) == 1
        assert plain.clear() == 1
        assert list(ab) == ["k"]
        plain.close()


@pytest.mark.parametrize("namespace", [".seen", "a\0b", "\ud800", b"bytes"], ids=ascii)
def test_a_namespace_of_the_caches_own_is_refused(tmp_path, namespace):
    """A dot at the start is for the cache itself, and a NUL ends a namespace."""
    with pytest.raises(UsageError, match="namespace"):
        Cache(tmp_path / "c", namespace=namespace)


# -- time to live --------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [HOUR, float(HOUR), "1h", "60m", "3600", timedelta(hours=1)], ids=repr)
def test_a_time_to_live_takes_every_form(cache, clock, ttl):
    """Seconds, text and timedelta mean the same, to the nanosecond."""
    cache.put("k", [1], ttl=ttl)
    clock.advance(HOUR - 1e-6)
    assert cache.get("k") == [1]
    clock.advance(1e-6)
    assert cache.get("k") is None
    assert "k" not in cache


@pytest.mark.parametrize("ttl", [-1, "soon", float("nan"), "200y", True, b"1h"])
def test_a_time_to_live_that_is_none_is_refused(cache, ttl):
    """What is no duration raises with the value, and keeps nothing."""
    with pytest.raises(UsageError, match="duration"):
        cache.put("k", 1, ttl=ttl)
    assert "k" not in cache


@pytest.mark.parametrize("value", [1, [1]])
def test_an_expired_value_serves_nobody(cache, clock, value):
    """Immutable or not, read before or not: after its time a value is gone from every verb."""
    cache.put("k", value, ttl="10s")
    assert cache.get("k") == value
    clock.advance(10)
    found = cache.lookup("k")
    assert isinstance(found, Miss)
    assert found.reason is Reason.EXPIRED
    assert found.entry is not None and found.entry.name == "k"
    assert cache.get_many(["k"]) == {}
    assert not cache.touch("k", ttl="1h")
    with pytest.raises(KeyError):
        cache.open("k")


def test_a_touch_renews_from_now(cache, clock):
    """`touch` sets the time to live anew, keeps everything else, and takes it away without one."""
    cache.put("k", b"v", ttl="10s", tags=["t"], stale="5s", meta={"a": "b"})
    clock.advance(8)
    assert cache.touch("k", ttl="10s")
    clock.advance(9)
    assert cache.get("k") == b"v"
    clock.advance(2)
    late = cache.lookup("k")
    assert isinstance(late, Hit) and late.is_expired  # the time to be served stale moved along
    assert not cache.touch("k")
    cache.put("k", b"v", ttl="10s", tags=["t"], meta={"a": "b"})
    assert cache.touch("k")
    clock.advance("50w")
    found = cache.lookup("k")
    assert isinstance(found, Hit)
    assert (found.value, found.entry.tags, dict(found.entry.meta)) == (b"v", frozenset({"t"}), {"a": "b"})
    assert not cache.touch("absent")


def test_get_gives_no_stale_value_and_lookup_says_what_it_has(cache, clock):
    """Within `stale`, `get` misses; `lookup` hits and says that the time is over."""
    cache.put("k", 1, ttl="1m", stale="1h")
    clock.advance("2m")
    assert cache.get("k", "default") == "default"
    assert "k" not in cache
    found = cache.lookup("k")
    assert isinstance(found, Hit) and found.is_expired and found.value == 1
    clock.advance("1h")
    assert not cache.lookup("k")


# -- looking up ----------------------------------------------------------------------------


def test_a_lookup_names_the_tier_and_the_entry(tmp_path):
    """A hit says which tier answered and what is known of the value; None is a hit too."""
    with Cache(tmp_path / "c") as cache:
        cache.put("k", None, tags=["t"], cost_s=1.5, meta={"by": "me"}, pin=True)
        first, second = cache.lookup("k"), cache.lookup("k")
    assert isinstance(first, Hit) and isinstance(second, Hit)
    assert bool(first)
    assert (first.tier, second.tier) == ("disk", "memory")
    assert first.use() is None
    entry = first.entry
    assert isinstance(entry, Entry)
    assert (entry.name, entry.tags, entry.cost_ns, dict(entry.meta), entry.is_pinned) == (
        "k", frozenset({"t"}), 1_500_000_000, {"by": "me"}, True,
    )  # fmt: skip


def test_an_absent_name_says_so(cache):
    """A name that was never put is absent, and false in a condition."""
    found = cache.lookup("k")
    assert isinstance(found, Miss)
    assert not found
    assert found.reason is Reason.ABSENT
    assert found.entry is None


def test_damage_is_a_miss_that_says_so_once(tmp_path):
    """A flipped bit is never served: the look-up says corrupt, then absent, and is counted."""
    with Cache(f"disk:{tmp_path / 'c'}") as cache:
        content = os.urandom(3000)
        cache.put("k", content)
        assert flip_stored(tmp_path / "c", content, bit=77)
        found = cache.lookup("k")
        assert isinstance(found, Miss) and found.reason is Reason.CORRUPT
        again = cache.lookup("k")
        assert isinstance(again, Miss) and again.reason is Reason.ABSENT
        assert cache.get("k", "default") == "default"
        assert cache.stats().corrupt == 1
        cache.put("k", content)
        assert cache.get("k") == content


def test_a_value_that_cannot_be_read_back_is_corrupt(tmp_path):
    """A codec that is not allowed here is a miss with its reason, for every verb, and stays."""
    with Cache(tmp_path / "c", allow_pickle=True) as trusting:
        trusting.put("k", 1 + 2j, codec="pickle")
    with Cache(tmp_path / "c") as cache:
        found = cache.lookup("k")
        assert (
            isinstance(found, Miss) and found.reason is Reason.REFUSED and "allow_pickle=True" in found.detail
        )
        assert cache.get("k", "default") == "default"
        assert cache.get_many(["k"]) == {}
    with Cache(tmp_path / "c", allow_pickle=True) as trusting:
        assert trusting.get("k") == 1 + 2j


def test_a_store_that_fails_is_a_miss_and_a_count(tmp_path):
    """A fault of a tier never reaches the caller: reads miss, writes say False, stats count."""
    store = FaultyStore(MemoryStore())
    with Cache(store) as cache:
        cache.put("k", 1)
        for operation in ("get", "put", "delete"):
            store.fail(operation, OSError("no"))
        assert cache.get("k", "default") == "default"
        assert "k" not in cache
        found = cache.lookup("k")
        assert isinstance(found, Miss) and found.reason is Reason.UNREACHABLE
        assert cache.get_many(["k"]) == {}
        assert not cache.put("k", 2)
        assert not cache.put_many({"k": 2})
        assert not cache.delete("k")
        assert not cache.touch("k")
        assert cache.get_or_compute("k", lambda: 3) == 3
        assert cache.stats().faults >= 8


def test_a_value_that_was_not_taken_leaves_no_older_one(tmp_path):
    """After a put that failed the older value is gone: the name does not stand for it any more."""
    store = FaultyStore(MemoryStore())
    with Cache(store) as cache:
        cache.put("k", "old")
        store.fail("put", StoreFull("no space"))
        assert not cache.put("k", "new")
        store.heal()
        assert cache.get("k") is None


def test_a_closed_cache_says_so(cache):
    """Use after `close` is a mistake and raises; `close` may be called again."""
    cache.put("k", 1)
    cache.close()
    cache.close()
    for use in (
        lambda: cache.get("k"),
        lambda: cache.get("absent"),
        lambda: cache.put("k", 2),
        lambda: cache.lookup("k"),
        lambda: "k" in cache,
        lambda: cache.delete("k"),
        lambda: cache.get_many(["k"]),
        lambda: cache.put_many({"k": 1}),
        lambda: cache.get_or_compute("k", int),
        lambda: len(cache),
    ):
        with pytest.raises(StoreClosed):
            use()


# -- many, deleting, listing -----------------------------------------------------------------


def test_many_at_once(cache, clock):
    """`get_many` gives those that are usable, `put_many` keeps all under equal conditions."""
    assert cache.put_many({"a": 1, b"b": [2], "c": None}, ttl="1m", tags="t")
    assert cache.get_many(["a", b"b", "c", "absent", "a"]) == {"a": 1, b"b": [2], "c": None}
    assert cache.get_many([]) == {}
    assert cache.put_many({})
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.puts) == (3, 1, 3)
    assert cache.invalidate(tags=["t"]) == 3
    cache.put_many({"a": 1}, ttl="1m")
    clock.advance("1m")
    assert cache.get_many(["a"]) == {}


def test_many_that_cannot_all_be_kept_keep_none(cache):
    """One value without a codec raises before anything is kept."""
    with pytest.raises(EncodeError):
        cache.put_many({"a": 1, "b": object()})
    assert len(cache) == 0


def test_deleting_says_whether_there_was_one(cache):
    """`delete` is true once."""
    cache.put("k", 1)
    assert cache.delete("k")
    assert not cache.delete("k")
    assert cache.get("k") is None


def test_len_and_iter_and_a_change_meanwhile(cache):
    """`len` and `iter` tell every name once, also of expired ones; names may go during a walk."""
    names = {f"k{n}" for n in range(50)}
    cache.put_many(dict.fromkeys(names, 1))
    assert len(cache) == 50
    seen = []
    for name in cache:
        seen.append(name)
        cache.delete(name)
    assert set(seen) == names and len(seen) == 50
    assert len(cache) == 0
    assert {entry.name for entry in cache.entries()} == set()


def test_tags_forget_what_carries_one_of_them(cache):
    """`invalidate` forgets entries with any of the tags, and says how many."""
    cache.put("a", 1, tags={"x", "y"})
    cache.put("b", 2, tags="y")  # one tag, not its letters
    cache.put("c", 3)
    assert cache.invalidate(tags=[]) == 0
    assert cache.invalidate(tags="y") == 2
    assert sorted(cache) == ["c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tags": [1]}, "tag 1"),
        ({"tags": ["\udc80"]}, "surrogate"),
        ({"meta": {"a": 1}}, "meta 'a': 1 is a int"),
        ({"meta": {1: "a"}}, "meta 1 is a int"),
        ({"meta": {"a": "\ud800"}}, "surrogate"),
        ({"cost_s": -1}, "duration"),
        ({"cost_s": float("nan")}, "duration"),
        ({"stale": "x"}, "duration"),
    ],
)
def test_conditions_that_mean_nothing_are_refused(cache, options, message):
    """What an entry cannot hold raises with the value, before anything is kept."""
    with pytest.raises(UsageError, match=message):
        cache.put("k", 1, **options)
    assert "k" not in cache


def test_clear_gives_the_space_back(tmp_path):
    """`clear` forgets everything, tells how many names, and the directory shrinks."""
    with Cache(tmp_path / "c") as cache:
        cache.put_many({str(n): os.urandom(300_000) for n in range(10)})
        full = cache.stats().disk_bytes
        assert cache.clear() == 10
        assert len(cache) == 0
        assert cache.stats().disk_bytes < full - 2_900_000


def test_clear_takes_what_the_cache_kept_for_itself_with_the_last_namespace(tmp_path):
    """Output files of steps go with the last name, and not before."""
    with Cache(tmp_path / "c", root=tmp_path) as cache, Cache(tmp_path / "c", namespace="n") as other:
        other.put("k", 1)
        out = tmp_path / "o"

        @cache.step(outs=["o"])
        def make():
            out.write_bytes(os.urandom(400_000))

        make()
        full = cache.stats().disk_bytes
        cache.clear()
        assert other.get("k") == 1
        other.clear()
        assert cache.stats().entries == 0
        assert cache.stats().disk_bytes < full - 390_000


# -- one copy, own copies ----------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [100_000, 1_000_000])
def test_equal_artifacts_are_stored_once(tmp_path, size_bytes):
    """A second name for equal content costs no second copy on the disk; deleting one keeps the other."""
    content = os.urandom(size_bytes)
    with Cache(tmp_path / "c") as cache:
        cache.put("a", content)
        before = cache.stats().disk_bytes
        cache.put("b", content)
        assert cache.stats().disk_bytes - before < 2000
        cache.delete("a")
        cache.gc()
        assert cache.get("b") == content


def test_callers_share_nothing(cache):
    """Neither what was put nor what was got is the kept value: changing either changes nothing."""
    given = {"list": [1], "bytes": bytearray(b"ab")}
    cache.put("k", given)
    given["list"].append(2)
    given["bytes"][0] = 0
    for _ in range(3):
        got = cache.get("k")
        assert got == {"list": [1], "bytes": bytearray(b"ab")}
        got["list"].append(3)
        got["bytes"][0] = 1
    got = cache.get_many(["k"])["k"]
    got["list"].clear()
    assert cache.get("k")["list"] == [1]


@pytest.mark.parametrize("rows", [4, 200_000])
def test_arrays_are_nobodys_to_change(cache, rows):
    """A kept array is not that of the caller, and one that was got cannot be written through."""
    import numpy as np

    given = np.arange(rows)
    cache.put("k", given)
    given[0] = 99
    got = cache.get("k")
    assert got[0] == 0
    if got.flags.writeable:
        got[0] = 98
    assert cache.get("k")[0] == 0


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"small", b"text " * 100_000, os.urandom(400_000)], ids=len)
def test_bytes_are_streams_and_files(tiers, content):
    """`open` streams and `path` names a read-only file with exactly the content, packed or not."""
    tiers.put("k", content)
    with tiers.open("k") as stream:
        assert stream.read(3) == content[:3]
        assert stream.read() == content[3:]
    path = tiers.path("k")
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o222 == 0
    assert tiers.path("k") == path
    assert tiers.get("k") == content


def test_asking_for_a_path_again_holds_no_more(tiers):
    """A path that is held already costs no further descriptor."""
    tiers.put("k", os.urandom(400_000))
    tiers.path("k")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        tiers.path("k")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_held_path_outlives_collection(tiers):
    """A file that was handed out is there until the cache is closed, whatever is deleted and collected."""
    content = os.urandom(400_000)
    tiers.put("k", content)
    path = tiers.path("k")
    tiers.delete("k")
    tiers.gc(max_bytes=0)
    assert path.read_bytes() == content


def test_streams_and_paths_need_bytes_and_a_disk(cache, tmp_path):
    """An absent name is a KeyError; another value, or no tier with files, is said."""
    with pytest.raises(KeyError):
        cache.open("absent")
    cache.put("k", [1])
    with pytest.raises(UsageError, match="not bytes"):
        cache.open("k")
    with Cache("mem:1MB") as memory:
        memory.put("k", b"v")
        with memory.open("k") as stream:
            assert stream.read() == b"v"
        with pytest.raises(UsageError, match="disk tier"):
            memory.path("k")


def test_a_file_is_put_without_being_read_whole(cache, tmp_path):
    """`put_file` keeps a file's content as bytes, under a time to live and tags."""
    source = tmp_path / "big"
    for content in (b"", b"small", os.urandom(1_000_000)):
        source.write_bytes(content)
        assert cache.put_file("k", source, ttl="1h", tags=["t"])
        source.write_bytes(b"changed")
        assert cache.get("k") == content
    assert cache.invalidate(tags=["t"]) == 1
    with pytest.raises(FileNotFoundError):
        cache.put_file("k", tmp_path / "absent")


# -- computing ---------------------------------------------------------------------------------


def test_get_or_compute_computes_once(cache, clock):
    """The first caller computes, the next get its value until it expires; None counts."""
    calls = []

    def compute():
        calls.append(1)

    for _ in range(3):
        assert cache.get_or_compute("k", compute, ttl=60) is None
    assert len(calls) == 1
    clock.advance(60)
    cache.get_or_compute("k", compute, ttl=60)
    assert len(calls) == 2


def test_what_cannot_be_kept_is_refused_by_put_with_its_place(cache):
    """`put` of a value without a codec names the path to it and the remedy."""
    with pytest.raises(EncodeError, match=r"value\['a'\]\[1\].*codec"):
        cache.put("k", {"a": [1, object()]})
    assert "k" not in cache


# -- keeping house -----------------------------------------------------------------------------


def test_a_collection_keeps_what_it_was_told(tmp_path, clock):
    """`gc` drops the least recently used first, says what it would do, then does it."""
    with Cache(f"disk:{tmp_path / 'c'}", clock=clock) as cache:
        for n in range(10):
            cache.put(f"k{n}", os.urandom(400_000))
            clock.advance(1)
        cache.get("k0")
        clock.advance(1)
        would = cache.gc(max_entries=3, dry_run=True)
        assert would.is_dry_run and would.dropped_entries == 7
        assert len(cache) == 10
        did = cache.gc(max_entries=3)
        assert did.dropped_entries == 7 and did.freed_bytes > 2_700_000
        assert sorted(cache) == ["k0", "k8", "k9"]
        assert cache.gc(max_bytes="900kB").dropped_entries >= 1
        assert cache.stats().disk_bytes <= 900_000
        clock.advance("40d")
        assert cache.gc(max_age="30d").kept_entries == 0


def test_a_collection_drops_what_expired_and_spares_pins(tmp_path, clock):
    """Expired entries go without any limit; a pinned one stays at any limit."""
    with Cache(f"disk:{tmp_path / 'c'}", clock=clock) as cache:
        cache.put("old", 1, ttl="1m")
        cache.put("new", 1, ttl="1d")
        cache.put("pinned", 1, pin=True)
        clock.advance("1h")
        report = cache.gc()
        assert (report.expired, report.dropped_entries) == (1, 1)
        cache.gc(max_entries=0)
        assert list(cache) == ["pinned"]


def test_a_collection_needs_a_disk():
    """Memory keeps its own budget: `gc` says so."""
    with Cache("mem:1MB") as cache, pytest.raises(UsageError, match="disk"):
        cache.gc()


@pytest.mark.parametrize("limit", [{"max_bytes": "much"}, {"max_age": -1}, {"max_entries": -1}])
def test_a_limit_that_is_none_is_refused(tiers, limit):
    """A wrong limit raises and drops nothing."""
    tiers.put("k", 1)
    with pytest.raises(UsageError):
        tiers.gc(**limit)
    assert "k" in tiers


def test_a_budget_is_kept_without_being_asked(tmp_path):
    """A tier given a budget stays near it however much is put, and is within it once closed."""
    where = tmp_path / "c"
    with Cache(f"disk:{where}?max=4MB") as cache:
        for n in range(60):
            cache.put(str(n), os.urandom(300_000))
            assert cache.stats().disk_bytes < 4_000_000 * 1.1 + 2 * 300_000 + 300_000
        assert cache.get("59") is not None
    with Cache(f"disk:{where}") as cache:
        assert cache.stats().disk_bytes <= 4_000_000


def test_each_tier_keeps_its_own_budget(tmp_path):
    """The second disk tier's budget is kept as well as the first one's."""
    near, far = tmp_path / "near", tmp_path / "far"
    with Cache(f"disk:{near}?max=8MB", f"disk:{far}?max=3MB") as cache:
        for n in range(40):
            cache.put(str(n), os.urandom(300_000))
        tiers = cache.stats().tiers
        assert len(tiers) == 2
    for directory, most_bytes in ((near, 8_000_000), (far, 3_000_000)):
        with closing(DiskStore(directory)) as store:
            assert store.disk_bytes() <= most_bytes


def test_counts_add_up(tiers, clock):
    """Every look-up is one hit or one miss, whatever verb made it; values say what they saved."""
    tiers.put("k", [1], cost_s=2)
    tiers.get("k")
    tiers.get("absent")
    tiers.lookup("k")
    tiers.lookup("absent")
    tiers.get_many(["k", "absent"])
    tiers.get_or_compute("k", int)
    tiers.get_or_compute("new", int)
    assert "k" in tiers  # counts as neither
    tiers.put("t", 1, ttl=1)
    clock.advance(2)
    tiers.get("t")
    stats = tiers.stats()
    assert (stats.hits, stats.misses, stats.puts, stats.expired) == (4, 5, 3, 1)
    assert stats.ratio == 4 / 9
    assert stats.saved_s == 8
    assert stats.entries == 3
    assert set(stats.tiers) == {"memory", "disk"}


def test_counts_outlive_the_process(tmp_path):
    """What a closed cache counted, the next one of that directory tells."""
    for _ in range(3):
        with Cache(tmp_path / "c") as cache:
            cache.put("k", 1)
            cache.get("k")
    with Cache(tmp_path / "c") as cache:
        assert (cache.stats().hits, cache.stats().puts) == (3, 3)


def test_an_examination_finds_what_is_damaged(tmp_path):
    """`verify` reads every byte: it names the damaged entry, and `repair` takes it away."""
    with Cache(tmp_path / "c") as cache:
        contents = {
            name: os.urandom(size) for name, size in (("small", 3000), ("mid", 50_000), ("big", 10**6))
        }
        cache.put_many(contents)
        report = cache.verify()
        assert report and report.examined >= 3 and report.faults == ()
        for name, content in contents.items():
            assert flip_stored(tmp_path / "c", content, bit=999), name
        seen = []
        report = cache.verify(progress=lambda *step: seen.append(step))
        assert not report
        assert len(report.faults) >= 3
        assert not report.is_repaired
        cache.verify(repair=True)
        assert cache.verify()
    with Cache(tmp_path / "c") as cache:
        assert cache.get_many(contents) == {}
        cache.put_many(contents)
        assert cache.get_many(contents) == contents


def test_a_read_only_directory_is_read_and_never_written(tmp_path):
    """Read-only hits are hits; a put is refused in silence, an unusual path with a reason."""
    with Cache(tmp_path / "c") as cache:
        cache.put("k", b"v" * 100)
    with Cache(f"disk:{tmp_path / 'c'}?read_only=1") as cache:
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*")}
        assert cache.get("k") == b"v" * 100
        assert not cache.put("k", 2)
        assert not cache.delete("k")
        assert cache.get_or_compute("new", lambda: 5) == 5
        assert cache.get("k") == b"v" * 100
        with pytest.raises(StoreReadOnly):
            cache.path("k")
        stats = cache.stats()
        assert (stats.hits, stats.faults) == (2, 0)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*")}


def test_a_reference_follows_its_entry(tiers):
    """An entry that depends on another one is stale as soon as that one is another, gone or stale itself."""
    tiers.put("a", 1)
    tiers.put("b", 2, deps=[Ref("a")])
    tiers.put("c", 3, deps=[Ref("b")])
    assert tiers.get("c") == 3
    tiers.put("a", 1)  # the same content
    assert tiers.get("c") == 3
    tiers.put("a", 5)
    found = tiers.lookup("c")
    assert isinstance(found, Miss) and found.reason is Reason.STALE
    assert found.dep is not None and found.dep.kind == "entry"
    tiers.put("a", 1)
    assert tiers.get("c") == 3
    tiers.delete("b")
    assert tiers.get("c") is None


def test_references_in_a_circle_end(tiers):
    """Entries that depend on each other are usable, and stale together."""
    tiers.put("a", 1)
    tiers.put("b", 2, deps=[Ref("a")])
    tiers.put("a", 1, deps=[Ref("b"), Ref("a")])
    assert (tiers.get("a"), tiers.get("b")) == (1, 2)
    tiers.put("b", 3)
    assert tiers.get("a") is None


def test_a_ladder_of_references_is_climbed_once(tiers):
    """Each entry is judged once a look-up, though 2^30 ways lead to the last."""
    tiers.put("a0", 0)
    tiers.put("b0", 0)
    for n in range(1, 30):
        for letter in "ab":
            tiers.put(f"{letter}{n}", n, deps=[Ref(f"a{n - 1}"), Ref(f"b{n - 1}")])
    started = time.perf_counter()
    assert tiers.get("a29") == 29
    assert time.perf_counter() - started < 5
    tiers.put("b0", 1)
    assert tiers.get("a29") is None


class Opaque:
    """What no codec but pickle takes."""

    def __init__(self):
        self.lock_free = open  # a built-in function: pickled by name


def test_pickle_is_refused_where_it_could_not_be_read_again(tmp_path):
    """`codec="pickle"` without allow_pickle is a UsageError that names the remedy, and nothing is kept."""
    remedy = r"Cache\(\.\.\., allow_pickle=True\)"
    with pytest.raises(UsageError, match=remedy):
        Cache(tmp_path / "p", codec="pickle")
    assert not (tmp_path / "p").exists()
    with Cache(tmp_path / "c") as cache:
        with pytest.raises(UsageError, match=remedy):
            cache.put("k", Opaque(), codec="pickle")
        with pytest.raises(EncodeError, match=remedy):
            cache.put("k", Opaque())
        assert "k" not in cache
    with Cache(tmp_path / "c", allow_pickle=True) as cache:
        assert cache.put("k", 1 + 2j, codec="pickle") and cache.get("k") == 1 + 2j


def test_a_pickle_that_is_not_allowed_is_no_damage(tmp_path):
    """A pickle of another cache is a miss with its own reason, and not counted as corrupt."""
    with Cache(tmp_path / "c", allow_pickle=True) as trusting:
        trusting.put("k", 1 + 2j, codec="pickle")
    with Cache(tmp_path / "c") as cache:
        found = cache.lookup("k")
        assert isinstance(found, Miss)
        assert found.reason is Reason.REFUSED and "allow_pickle=True" in found.detail
        assert found.entry is not None and found.entry.codec == "pickle"
        assert cache.get("k") is None and cache.get_many(["k"]) == {}
        assert cache.stats().corrupt == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compress": "zip"}, "compress='zip'.*lz4"),
        ({"codec": "msgpck"}, "codec='msgpck'.*'msgpack'"),
        ({"codec": 5}, "codec=5"),
    ],
)
def test_a_way_to_keep_values_that_there_is_not_is_refused_at_once(tmp_path, options, words):
    """An unknown codec or compression is refused before anything is opened, with the nearest names."""
    with pytest.raises(UsageError, match=words):
        Cache(tmp_path / "c", **options)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("limit", ["5", -1, 1.5, True])
def test_a_limit_that_is_no_number_is_refused(cache, limit):
    """`gc(max_entries=…)` of anything but a whole number is a UsageError that shows it."""
    with pytest.raises(UsageError, match=f"max_entries={limit!r}"):
        cache.gc(max_entries=limit)


def test_a_changed_entry_is_named_as_its_owner_named_it(tmp_path):
    """What is said of a `Ref` shows its name, never the canonical key."""
    with Cache(f"disk:{tmp_path / 'c'}", namespace="ns") as cache:
        cache.put("a", 1)
        cache.put("b", 2, deps=[Ref("a")])
        cache.put("a", 3)
        found = cache.lookup("b")
    assert isinstance(found, Miss)
    assert found.detail == "entry a (namespace ns) changed"


def test_nothing_is_repaired_in_a_read_only_cache(tmp_path):
    """`verify(repair=True)` of a read-only cache tells of damage and does not say that it was removed."""
    with Cache(f"disk:{tmp_path / 'c'}") as cache:
        cache.put("k", content := os.urandom(5000))
    assert flip_stored(tmp_path / "c", content)
    for where in ((f"disk:{tmp_path / 'c'}?read_only=1",), ("mem:1MB", f"disk:{tmp_path / 'c'}?read_only=1")):
        with Cache(*where) as cache:
            assert cache.is_read_only
            found = cache.verify(repair=True)
            assert found.faults and not found.is_repaired
    with Cache(f"disk:{tmp_path / 'c'}") as cache:
        assert not cache.is_read_only
        assert cache.verify(repair=True).is_repaired
