"""A guard by its address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.store.guard.remote import Remote
from vcache.errors import ConfigError
from vcache.store.address import Options, parse_url
from vcache.store.base import Store
from vcache.store.guard import GuardedStore, guarded
from vcache.store.sealed.keys import secret_text, write_secret
from vcache.store.url import open_store
from vcache.testing.records import named


def opened(text: str, known: tuple[str, ...] = ()) -> GuardedStore:
    """A guard of a remote whose own options are these."""
    url = parse_url(text)
    options = Options(url)

    def open_inner() -> Store:
        for name in known:
            options.take(name, str)
        options.finish()
        return Remote()

    store = guarded(url, options, open_inner, lambda: 1)
    assert isinstance(store, GuardedStore)
    return store


def test_options_are_the_guards_or_the_stores(tmp_path: Path) -> None:
    """Each takes its own; what nobody knows is refused at once, with the names that are known."""
    opened(f"far://h/b?deadline=1s&state={tmp_path}&region=x", ("region",)).close()
    with pytest.raises(ConfigError, match="unknown option 'dedline': did you mean 'deadline'"):
        opened("far://h/b?dedline=1s")


def test_state_lies_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `state`, or else beside the cache; in a directory of the remote's own."""
    monkeypatch.setenv("VCACHE_DIR", str(tmp_path / "cache"))
    for text, where in (("far://h/b", "cache/remotes"), (f"far://h/b?state={tmp_path}/here", "here")):
        store = opened(f"{text}{'&' if '?' in text else '?'}flush=0s")
        store.put(*named("k"))
        store.close()
        (directory,) = (tmp_path / where).iterdir()
        assert (directory / "address").read_text() == "far://host/base\n"


def test_a_cache_can_be_made_beside_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who uses a remote first leaves a directory that a disk store still takes for empty."""
    monkeypatch.setenv("VCACHE_DIR", str(tmp_path))
    store = opened("far://h/b?flush=0s")
    store.put(*named("k"))
    store.close()
    disk = open_store(tmp_path)
    disk.put(*named("k"))
    disk.close()


def test_sealing_is_loaded_for_its_options_only(tmp_path: Path) -> None:
    """Keys and policies cost nothing where an address has none; a missing key is told at once."""
    code = (
        "import sys; from vcache.store.address import Options, parse_url; from vcache.store.guard import guarded;"
        "from vcache.store.memory import MemoryStore; url = parse_url('far://h/b');"
        "guarded(url, Options(url), MemoryStore, lambda: 1).close();"
        "heavy = {'logging', 'asyncio', 'json', 'cryptography', 'vcache.store.sealed', 'socket'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(ConfigError, match="no-key"):
        opened(f"far://h/b?sign={tmp_path}/no-key")


def test_records_are_sealed_below_the_guard(tmp_path: Path) -> None:
    """With `encrypt` the remote sees nothing of a record, and the guard gives it back as it was."""
    secret = tmp_path / "secret"
    write_secret(str(secret), secret_text(bytes(range(32))))
    store = opened(f"far://h/b?encrypt={secret}&state={tmp_path}/state&write=through")
    key, record = named("k")
    store.put(key, record)
    got = store.get(key)
    assert got is not None
    assert got.body == record.body
    below = store.inner._inner  # type: ignore[attr-defined]
    assert [kept for kept in below.scan() if kept == key] == []
    store.close()
