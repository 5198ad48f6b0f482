"""Sealed records against the suite that is shipped, over a store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.store.address import Options, parse_url
from vcache.store.base import Store
from vcache.store.memory import MemoryStore
from vcache.store.sealed import sealing
from vcache.store.sealed.keys import private_text, secret_text, write_secret
from vcache.testing import BatchesTests, FaultyStore, PresenceTests, StoreTests


class OfSealed(StoreTests, BatchesTests, PresenceTests):
    """What all kinds of sealed stores have in common."""

    options = ""

    @pytest.fixture
    def inner(self) -> Store:
        return MemoryStore(256 << 20)

    @pytest.fixture
    def store(self, inner: Store, tmp_path: Path) -> Iterator[Store]:
        for name, text in {
            "ci.key": private_text("ci", b"1" * 32),
            "new.key": secret_text(b"2" * 32),
            "old.key": secret_text(b"3" * 32),
        }.items():
            write_secret(str(tmp_path / name), text)
        url = parse_url(f"mem:?{self.options}".replace("HERE", str(tmp_path)))
        options = Options(url)
        seal = sealing(url, options)
        options.finish()
        assert seal is not None
        store = seal(inner)
        yield store
        store.close()

    def test_the_inner_store_is_described(self, store: Store, inner: Store) -> None:
        """A sealed store is what its inner store is, but never trusted."""
        assert store.info == inner.info._replace(is_trusted=False, is_verified=False)


class TestSigned(OfSealed):
    options = "sign=HERE/ci.key"


class TestEncrypted(OfSealed):
    options = "encrypt=HERE/new.key"


class TestEncryptedWithAes(OfSealed):
    options = "encrypt=HERE/new.key&cipher=aes"


class TestSignedAndEncryptedWhileKeysChange(OfSealed):
    options = "sign=HERE/ci.key&encrypt=HERE/new.key&encrypt_old=HERE/old.key"


class TestOverSingleCalls(OfSealed):
    """The inner store has no batches."""

    options = "sign=HERE/ci.key"

    @pytest.fixture
    def inner(self) -> Store:
        return FaultyStore(MemoryStore(256 << 20))
