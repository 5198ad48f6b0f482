"""What a cache stands on: places, settings and VCACHE_DISABLE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vcache import Cache, Miss, Reason
from vcache.errors import ConfigError, StoreError, UsageError
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.store.tiered import TieredStore


def tiers_of(cache: Cache) -> tuple[Any, ...]:
    assert isinstance(cache.store, TieredStore)
    return tuple(cache.store.tiers)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A directory without settings, and a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home-config"))
    for name in ("VCACHE_DIR", "VCACHE_DISABLE", "VCACHE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def disk_of(cache: Cache) -> DiskStore:
    tiers = getattr(cache.store, "tiers", (cache.store,))
    return next(tier for tier in tiers if isinstance(tier, DiskStore))


def test_a_plain_path_is_memory_over_disk_within_a_budget(tmp_path):
    """`Cache("DIR")` is `Cache("mem:64MB", "disk:DIR?max=20GB")`, spelled out."""
    for place in ("c", Path("c"), tmp_path / "c"):
        with Cache(place) as short, Cache("mem:64MB", "disk:c?max=20GB") as long:
            assert short.store.info == long.store.info
            assert disk_of(short).max_bytes == disk_of(long).max_bytes == 20_000_000_000


@pytest.mark.parametrize(
    "name", ["with space", "mem:x disk:y", "50%", "a?b", "a&b", "new\nline", "ü"], ids=ascii
)
def test_a_path_may_have_any_character(tmp_path, name):
    """A path object is taken as it is, whatever would mean something in an address."""
    with Cache(tmp_path / name) as cache:
        cache.put("k", 1)
        assert cache.directory == tmp_path / name
    assert (tmp_path / name).is_dir()


def test_a_path_as_text_may_have_options():
    """Text may say a budget, which goes before the usual one."""
    with Cache("c?max=1GB&max_entries=10") as cache:
        assert (disk_of(cache).max_bytes, disk_of(cache).max_entries) == (1_000_000_000, 10)


def test_an_address_stands_for_itself():
    """A tier that is spelled out comes without others."""
    with Cache("disk:c") as disk, Cache("mem:1MB") as memory, Cache(MemoryStore()) as store:
        assert isinstance(disk.store, DiskStore)
        assert disk.store.max_bytes is None
        assert isinstance(memory.store, MemoryStore)
        assert isinstance(store.store, MemoryStore)
    with Cache("mem:1MB", "disk:c") as both:
        assert isinstance(both.store, TieredStore)


def test_a_tier_that_cannot_be_opened_closes_the_others(tmp_path):
    """Nothing stays open behind an error."""
    first = DiskStore(tmp_path / "c")
    (tmp_path / "file").write_text("x")
    with pytest.raises((ConfigError, StoreError)):
        Cache(first, f"disk:{tmp_path / 'file'}")
    with pytest.raises(StoreError):
        first.get(b"\0sk")
    with pytest.raises(ConfigError, match="nosuch"):
        Cache("nosuch:x")


def test_nothing_given_is_the_users_directory(tmp_path):
    """Without place and settings it is the platform's directory for caches."""
    with Cache() as cache:
        assert cache.directory == tmp_path / "home-cache" / "vcache"
        assert isinstance(cache.store, TieredStore)


def test_every_setting_is_heeded(tmp_path):
    """Directory, budgets, namespace, compression and memory come from the file."""
    Path("vcache.toml").write_text(
        'dir = "my cache"\nnamespace = "n"\nmemory_bytes = "1MB"\nmax_bytes = "5GB"\nmax_age = "3d"\n'
        'max_entries = 7\ncompress = "none"\n'
    )
    with Cache() as cache:
        disk = disk_of(cache)
        assert cache.directory == tmp_path / "my cache"
        assert (disk.max_bytes, disk.max_age_s, disk.max_entries) == (5_000_000_000, 3 * 86_400, 7)
        assert cache.namespace == "n"
        assert "mem:1000000" in cache.store.info.url
        cache.put("k", b"a" * 200_000)
        assert next(cache.entries()).encoding == 0
    with Cache(namespace="", compress="zstd") as cache:
        assert cache.namespace == ""
        cache.put("k", b"a" * 200_000)
        assert next(cache.entries()).encoding != 0


def test_settings_may_take_memory_away_and_name_tiers(tmp_path):
    """No memory at 0; tiers go before the directory."""
    Path("vcache.toml").write_text('dir = "c"\nmemory_bytes = 0\n')
    with Cache() as cache:
        assert isinstance(cache.store, DiskStore)
    Path("vcache.toml").write_text('dir = "c"\ntiers = ["mem:2MB", "disk:other"]\n')
    with Cache() as cache:
        assert cache.directory is not None and cache.directory.name == "other"


def test_remotes_come_below_all_others(monkeypatch):
    """They are behind memory and disk, or the tiers that are named, and are searched in their order."""
    Path("vcache.toml").write_text('dir = "c"\nremote = ["disk:far", "x=disk:farther"]\n')
    with Cache() as cache:
        names = [getattr(tier, "directory", None) for tier in tiers_of(cache)]
        assert [name and name.name for name in names] == [None, "c", "far", "farther"]
        cache.put("k", 1)
    for place in ("far", "farther"):
        with Cache(place) as cache:
            assert cache.get("k") == 1
    monkeypatch.setenv("VCACHE_REMOTE", "disk:other")
    monkeypatch.setenv("VCACHE_TIERS", "mem:1MB")
    with Cache() as cache:
        assert [tier.info.name for tier in tiers_of(cache)] == ["memory", "disk"]


def test_a_remote_may_be_behind_a_flag():
    """One that is off on this machine is not opened."""
    Path("vcache.toml").write_text(
        'dir = "c"\nmemory_bytes = 0\nremote = ["disk:far?flag=try", "disk:on?flag=yes"]\n'
        "[flags]\ntry = 0\nyes = 100\n"
    )
    with Cache() as cache:
        assert [tier.directory.name for tier in tiers_of(cache)] == ["c", "on"]


def test_settings_may_forbid_writing():
    """`read_only` opens the directory for reading."""
    with Cache("c") as cache:
        cache.put("k", 1)
    Path("vcache.toml").write_text('dir = "c"\nread_only = true\n')
    with Cache() as cache:
        assert cache.get("k") == 1
        assert not cache.put("k", 2)


def test_who_names_a_place_has_decided():
    """A file of settings does not change a cache that names its directory."""
    Path("vcache.toml").write_text('dir = "other"\nnamespace = "n"\ndisable = true\nmax_bytes = "1MB"\n')
    with Cache("c") as cache:
        assert cache.namespace == ""
        assert not cache.is_disabled
        assert disk_of(cache).max_bytes == 20_000_000_000


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_caching_can_be_switched_off(monkeypatch, word):
    """VCACHE_DISABLE makes every look-up a miss that says so, keeps nothing and makes no directory."""
    monkeypatch.setenv("VCACHE_DISABLE", word)
    for where in (("c",), ()):
        with Cache(*where) as cache:
            assert cache.is_disabled
            assert not cache.put("k", 1)
            assert not cache.put_many({"k": 1})
            assert cache.get("k", "default") == "default"
            found = cache.lookup("k")
            assert isinstance(found, Miss) and found.reason is Reason.DISABLED
            assert "k" not in cache
            assert [cache.get_or_compute("k", iter([n]).__next__) for n in range(2)] == [0, 1]
            double = cache.step(lambda n: [n, n])
            assert double(1) == [1, 1]
            assert double(1) is not double(1)
            assert not double.is_cached(1)
    assert not Path("c").exists()
    assert not Path("home-cache").exists()


def test_the_switch_can_be_overruled(monkeypatch):
    """`disabled=` goes before the variable, both ways."""
    with Cache("c", disabled=True) as cache:
        assert cache.is_disabled
    monkeypatch.setenv("VCACHE_DISABLE", "1")
    for where in (("c",), ()):
        with Cache(*where, disabled=False) as cache:
            cache.put("k", 1)
            assert cache.get("k") == 1
    monkeypatch.setenv("VCACHE_DISABLE", "0")
    with Cache("c") as cache:
        assert not cache.is_disabled


def test_a_tier_may_be_tried_on_some_machines(tmp_path, monkeypatch):
    """A configured tier with `?flag=NAME` is used where that flag is on, and only there."""
    monkeypatch.setenv("VCACHE_TIERS", "mem:1MB?flag=near disk:c?max=1GB")
    monkeypatch.setenv("VCACHE_FLAGS", "near=100")
    with Cache() as cache:
        assert isinstance(cache.store, TieredStore)
        assert [tier.info.name for tier in tiers_of(cache)] == ["memory", "disk"]
    monkeypatch.setenv("VCACHE_FLAGS", "near=0")
    with Cache() as cache:
        assert isinstance(cache.store, DiskStore)
        assert cache.store.max_bytes == 1_000_000_000
    monkeypatch.setenv("VCACHE_TIERS", "mem:1MB?flag=near")
    with pytest.raises(ConfigError, match="off here"):
        Cache()


@pytest.mark.parametrize("where", [(5,), ("mem:1MB", 5), (b"c",), (None,)])
def test_what_is_no_place_is_refused_with_what_is_one(where):
    """A place that is neither path, address nor store is a UsageError that shows it."""
    with pytest.raises(UsageError, match=r"is no place for a cache: give a directory") as error:
        Cache(*where)
    assert repr(where[-1]) in str(error.value)


def test_no_compression_has_two_spellings(monkeypatch):
    """The words "none" and "never" mean the same, in the call as in the settings."""
    body = b"a" * 100_000
    for word in ("none", "never"):
        with Cache("mem:1MB", compress=word) as cache:
            cache.put("k", body)
            entry = cache.entry_of(cache.key("k"))
            assert entry is not None
            assert entry.encoding == 0
        monkeypatch.setenv("VCACHE_COMPRESS", word)
        with Cache() as cache:
            cache.put("k", body)
            entry = cache.entry_of(cache.key("k"))
            assert entry is not None
            assert entry.encoding == 0
