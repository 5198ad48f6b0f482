"""Stores by address: what an address means, and what a wrong one is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.errors import ConfigError, StoreClosed, UsageError
from vcache.kit import plugin
from vcache.store.address import Options, StoreUrl, flag, parse_url
from vcache.store.base import Store
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.store.tiered import TieredStore
from vcache.store.url import open_store, schemes
from vcache.testing import FakeClock, make_record


@pytest.mark.parametrize(
    ("text", "scheme", "path", "options"),
    [
        ("mem:", "mem", "", {}),
        ("mem:64MB", "mem", "64MB", {}),
        ("MEM:1", "mem", "1", {}),
        ("disk:target/.vcache", "disk", "target/.vcache", {}),
        (
            "disk:target/.vcache?max=20GB&max_age=30d",
            "disk",
            "target/.vcache",
            {"max": "20GB", "max_age": "30d"},
        ),
        ("disk:/a%20b%3fc?max=1%20GB", "disk", "/a b?c", {"max": "1 GB"}),
        ("s3://bucket/prefix?region=eu", "s3", "//bucket/prefix", {"region": "eu"}),
        ("target/.vcache", "disk", "target/.vcache", {}),
        ("a%20b?max=1", "disk", "a%20b", {"max": "1"}),
        ("./with:colon", "disk", "./with:colon", {}),
        (Path("what?max=1"), "disk", "what?max=1", {}),
    ],
)
def test_an_address_has_parts(text: str | Path, scheme: str, path: str, options: dict[str, str]) -> None:
    """Scheme, path and options; a bare path is a disk store's, a Path is nothing but a path."""
    url = parse_url(text)
    assert (url.scheme, url.path, url.options) == (scheme, path, options)
    assert str(url) == str(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("disk:a?max", "option 'max' has no value"),
        ("disk:a?max=1&&max_age=1", "option '' has no value"),
        ("disk:a?max=1&max=2", "option 'max' comes twice"),
        ("disk:a?maximum=1GB", "unknown option 'maximum'.*know: max, max_age, max_entries, read_only"),
        ("disk:a?max_entrys=1", "did you mean 'max_entries'"),
        ("disk:a?max=many", "option max='many'.*not a size"),
        ("disk:a?max_age=old", "option max_age='old'.*not a duration"),
        ("disk:a?max_entries=x", "option max_entries='x'"),
        ("disk:a?read_only=maybe", "option read_only='maybe'.*neither yes nor no"),
        ("disk:", "names no directory"),
        ("mem:lots", "mem:lots.*not a size"),
        ("mem:0", "mem:0.*keeps nothing"),
        ("mem:?max=1", "unknown option 'max'.*know: max_entries"),
        (
            "dsik:a",
            "unknown scheme 'dsik': did you mean 'disk'.*known: disk, fs.…, http, https, mem.*'disk:dsik:a'",
        ),
        ("ftp://a", "unknown scheme 'ftp'.*known: disk, fs.…, http, https, mem"),
    ],
)
def test_a_wrong_address_is_explained(text: str, said: str) -> None:
    """The message shows the address, the part that is wrong, and what would be right."""
    with pytest.raises(ConfigError, match=said) as caught:
        open_store(text)
    assert repr(text)[1:-1] in str(caught.value)


def test_memory_stores_open() -> None:
    """The path is the budget; an address opened again is the same."""
    for text, url in (("mem:", "mem:64MiB"), ("mem:1MiB?max_entries=5", "mem:1MiB?max_entries=5")):
        store = open_store(text)
        assert isinstance(store, MemoryStore)
        assert store.info.url == url
        again = open_store(store.info.url)
        assert again.info == store.info


def test_disk_stores_open(tmp_path: Path) -> None:
    """Options become limits; a bare path and a Path open the same directory."""
    store = open_store(f"disk:{tmp_path}/a?max=20GB&max_age=30d&max_entries=1000")
    assert isinstance(store, DiskStore)
    assert (store.max_bytes, store.max_age_s, store.max_entries) == (20_000_000_000, 30 * 86_400, 1000)
    record = make_record(b"\0sk")
    store.put(b"\0sk", record)
    store.close()
    for where in (f"{tmp_path}/a", tmp_path / "a", f"{tmp_path}/a?max=1GB"):
        again = open_store(where)
        assert again.get(b"\0sk") is not None
        again.close()


def test_a_disk_store_can_be_opened_read_only(tmp_path: Path) -> None:
    """`read_only=1` is seen in the store's info; `0` is what it is without."""
    open_store(tmp_path).close()
    for text, is_read_only in (("1", True), ("no", False)):
        store = open_store(f"disk:{tmp_path}?read_only={text}")
        assert store.info.is_read_only is is_read_only
        store.close()


def test_a_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands a tilde behind a scheme: the address does."""
    monkeypatch.setenv("HOME", str(tmp_path))
    open_store("disk:~/cache").close()
    assert (tmp_path / "cache").is_dir()


def test_stores_of_this_package_take_a_clock(tmp_path: Path) -> None:
    """What needs the time asks the clock that was given."""
    clock = FakeClock()
    store = open_store(tmp_path, clock=clock)
    assert isinstance(store, DiskStore)
    store.put(b"\0sk", make_record(b"\0sk"))
    assert list(store.survey().used_ns) == [clock()]
    store.close()


def test_several_addresses_make_tiers(tmp_path: Path) -> None:
    """Separated by spaces, the first is asked first; the tiered store's own address opens it again."""
    store = open_store(f"mem:1MB disk:{tmp_path}/a")
    assert isinstance(store, TieredStore)
    assert [tier.info.name for tier in store.tiers] == ["memory", "disk"]
    store.close()
    again = open_store(store.info.url)
    assert again.info == store.info
    again.close()


def test_a_path_may_have_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A space separates addresses only where each has a scheme."""
    monkeypatch.chdir(tmp_path)
    for text in ("disk:my cache", "my other cache"):
        open_store(text).close()
    assert sorted(os.listdir()) == ["my cache", "my other cache"]


def test_tiers_that_were_opened_are_closed_if_the_next_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a tiered store is not left open."""
    opened: list[MemoryStore] = []

    class Noted(MemoryStore):
        __slots__ = ()

        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__()
            opened.append(self)

    monkeypatch.setattr("vcache.store.memory.MemoryStore", Noted)
    with pytest.raises(ConfigError):
        open_store("mem: nowhere:")
    with pytest.raises(StoreClosed):
        opened[0].get(b"k")


def test_options_are_taken_once_and_all() -> None:
    """An option that is not there is None; what nobody took is a mistake."""
    url = StoreUrl("x", "", {"a": "1", "b": "2"}, "x:?a=1&b=2")
    options = Options(url)
    assert options.take("a", int) == 1
    assert options.take("c", int) is None
    with pytest.raises(ConfigError, match=r"unknown option 'b'.*x stores know: a, c"):
        options.finish()
    options.take("b", int)
    options.finish()


@pytest.mark.parametrize(("text", "is_set"), [("1", True), ("YES", True), ("off", False), ("false", False)])
def test_flags(text: str, is_set: bool) -> None:
    """The usual words for yes and no."""
    assert flag(text) is is_set
    with pytest.raises(UsageError):
        flag(f"not {text}")


# -- plug-ins --------------------------------------------------------------------------------

_MODULE = """
from vcache.store.memory import MemoryStore
from vcache.store.address import Options

def open_shelf(url):
    options = Options(url)
    shelves = options.take("shelves", int)
    options.finish()
    return MemoryStore(max_entries=shelves)

def open_nonsense(url):
    return object()

not_callable = 5
"""
_ENTRY_POINTS = """
[vcache.stores]
shelf = vcache_shelf:open_shelf
nonsense = vcache_shelf:open_nonsense
number = vcache_shelf:not_callable
missing = vcache_shelf:no_such_name
"""


@pytest.fixture
def _shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution `vcache-shelf`, as pip leaves it."""
    (tmp_path / "vcache_shelf.py").write_text(_MODULE)
    info = tmp_path / "vcache_shelf-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vcache-shelf\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin.forget()
    yield
    sys.modules.pop("vcache_shelf", None)
    monkeypatch.undo()
    plugin.forget()


@pytest.mark.usefixtures("_shelf")
def test_a_distribution_adds_a_scheme() -> None:
    """An entry point of the group `vcache.stores` opens addresses of its name, and takes their options."""
    store = open_store("shelf:?shelves=3")
    assert isinstance(store, Store)
    assert store.info.url == "mem:64MiB?max_entries=3"
    assert set(schemes()) > {"disk", "mem", "missing", "nonsense", "number", "shelf", "s3"}
    with pytest.raises(ConfigError, match="unknown option 'shelfs': did you mean 'shelves'"):
        open_store("shelf:?shelfs=3")
    tiered = open_store("mem:1MB shelf:")
    assert isinstance(tiered, TieredStore)


@pytest.mark.usefixtures("_shelf")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense:", "'nonsense' opened <object.*lacks operations"),
        ("number:", "'number' is 5, not a callable"),
        ("missing:", "'missing' of distribution 'vcache-shelf'.*failed to load.*no_such_name"),
        ("shef:", "unknown scheme 'shef': did you mean 'shelf'"),
    ],
)
def test_a_broken_plug_in_is_named(text: str, said: str) -> None:
    """The message names the plug-in and what is wrong with it."""
    with pytest.raises(ConfigError, match=said):
        open_store(text)
