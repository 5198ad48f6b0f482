from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vcache.errors import ConfigError, StoreError, StoreReadOnly
from vcache.store.address import Options, parse_url
from vcache.store.memory import MemoryStore
from vcache.store.sealed import SealedStore, sealing
from vcache.store.sealed.crypto import Signer
from vcache.store.sealed.keys import private_text, secret_text, write_secret
from vcache.store.sealed.trust import public_text
from vcache.testing.records import named

KEY, RECORD = named("k")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("ci", "dev"), 1):
        write_secret(f"{name}.key", private_text(name, bytes([number]) * 32))
    for name in ("new", "old"):
        write_secret(name, secret_text(name.encode().ljust(32)))
    public = public_text(Signer(bytes([1]) * 32).public)
    Path("policy.toml").write_text(f'[keys.ci]\npublic = "{public}"\nnamespaces = ["", "x"]\n')


def sealed(query: str, inner: MemoryStore | None = None) -> SealedStore:
    url = parse_url(f"mem:?{query}")
    options = Options(url)
    seal = sealing(url, options)
    options.finish()
    assert seal is not None
    store = seal(inner or MemoryStore())
    assert isinstance(store, SealedStore)
    return store


def test_without_an_option_nothing_is_sealed() -> None:
    """A tier that asks for nothing gets nothing, and OpenSSL is not loaded."""
    url = parse_url("mem:")
    assert sealing(url, Options(url)) is None
    code = (
        "import sys; from vcache.store.sealed import sealing; from vcache.store.address import *;"
        "u = parse_url('mem:'); sealing(u, Options(u)); sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_one_signs_another_reads() -> None:
    """A producer with its key, and a reader with the policy, over one tier."""
    inner = MemoryStore()
    sealed("sign=ci.key", inner).put(KEY, RECORD)
    reader = sealed("trust=policy.toml", inner)
    found = reader.get(KEY)
    assert found is not None
    assert found.head == RECORD.head
    assert sealed("sign=dev.key", inner).get(KEY) is None, "with no policy one believes oneself only"


def test_who_cannot_sign_does_not_replace_what_is_trusted() -> None:
    """`trust` alone is read-only: what it put would be worthless to everyone, and in the place of what is not."""
    inner = MemoryStore()
    sealed("sign=ci.key&trust=policy.toml", inner).put(KEY, RECORD)
    reader = sealed("trust=policy.toml", inner)
    assert reader.info.is_read_only
    for work in (
        lambda: reader.put(KEY, RECORD),
        lambda: reader.put_many({KEY: RECORD}),
        lambda: reader.delete(KEY),
    ):
        with pytest.raises(StoreReadOnly):
            work()
    assert reader.get(KEY) is not None


def test_who_may_not_write_a_namespace_does_not() -> None:
    """A key that the own policy would not believe puts nothing in the place of what it does."""
    store = sealed("sign=ci.key&trust=policy.toml")
    with pytest.raises(StoreReadOnly, match="wrong namespace"):
        store.put(*_in("secret"))
    store.put(*_in("x"))


def test_who_is_not_in_the_policy_signs_for_others() -> None:
    """A developer who trusts CI may sign for those who trust developers."""
    inner = MemoryStore()
    store = sealed("sign=dev.key&trust=policy.toml", inner)
    store.put(KEY, RECORD)
    assert store.get(KEY) is None
    assert store.take_refusals() == [(KEY, "unknown producer: dev")]
    assert sealed("sign=dev.key", inner).get(KEY) is not None


def test_a_producer_can_be_named_otherwise() -> None:
    """`producer` stands for the name in the file."""
    inner = MemoryStore()
    sealed("sign=dev.key&producer=else", inner).put(KEY, RECORD)
    reader = sealed("trust=policy.toml", inner)
    assert reader.get(KEY) is None
    assert reader.take_refusals() == [(KEY, "unknown producer: else")]


def test_keys_change_by_options() -> None:
    """`encrypt_old` reads what was there; without it, it is as if nothing were."""
    inner = MemoryStore()
    sealed("encrypt=old", inner).put(KEY, RECORD)
    assert sealed("encrypt=new&encrypt_old=old", inner).get(KEY) is not None
    assert sealed("encrypt=new&cipher=aes", inner).get(KEY) is None


def test_a_policy_that_breaks_is_a_fault_and_not_trust() -> None:
    """While the file is unreadable nothing is believed and nothing is written."""
    store = sealed("sign=ci.key&trust=policy.toml")
    store.put(KEY, RECORD)
    Path("policy.toml").write_text("keys = broken")
    for work in (lambda: store.get(KEY), lambda: store.get_many([KEY]), lambda: store.put(KEY, RECORD)):
        with pytest.raises(StoreError, match="not TOML"):
            work()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("producer=ci", "option producer does nothing without sign"),
        ("encrypt_old=old", "option encrypt_old does nothing without encrypt"),
        ("sign=ci.key&cipher=aes", "option cipher does nothing without encrypt"),
        ("encrypt=new&cipher=des", "unknown cipher: write one of chacha20, aes"),
        ("sign=absent", "absent: No such file"),
        ("sign=new", "new: holds no private key"),
        ("encrypt=ci.key", "ci.key: holds no key of 32 bytes"),
        ("trust=ci.key", "ci.key: not TOML"),
        ("sign=ci.key&producer=a b", "is not a producer's name"),
        ("sign=dev.key&producer=ci&trust=policy.toml", "is not the key that policy.toml has for ci"),
        ("sign=", "names no file|has no value"),
    ],
)
def test_mistakes_are_said_in_words(query: str, words: str) -> None:
    """When the tier is opened, not when a build is under way."""
    with pytest.raises(ConfigError, match=words):
        sealed(query)


def _in(namespace: str):
    from vcache.entry import make_key
    from vcache.testing.records import make_record

    key = make_key("k", namespace=namespace)
    return key, make_record(key)
