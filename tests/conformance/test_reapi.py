"""Records in Bazel caches over gRPC, against the suite that is shipped: buildbox-casd."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.at_address import AtAddress
from tests.desks import on_thread
from tests.servers import buildbox_casd
from vcache.entry import make_key
from vcache.server.callers import OPEN
from vcache.server.dialects.reapi import start
from vcache.server.exchange import Desk
from vcache.server.vault import Vault
from vcache.store.base import Store
from vcache.store.disk import DiskStore
from vcache.testing import BatchesTests, PersistentTests, PresenceTests, StoreTests
from vcache.testing.records import body_of, make_record

_numbers = itertools.count(1)


class OnReapi(AtAddress, StoreTests, BatchesTests, PresenceTests, PersistentTests):
    """What is the same for every server. A class provides `server`: its address."""

    @pytest.fixture
    def address(self, server: str, monkeypatch: pytest.MonkeyPatch) -> str:
        """The server, empty to this test: names of its own for what the same keys are kept under."""
        from vcache.store import actions

        number = next(_numbers)
        monkeypatch.setattr(actions, "PREFIX", b"test %d\0" % number)
        return server


@pytest.fixture(scope="module")
def casd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with buildbox_casd(tmp_path_factory.mktemp("casd")) as port:
        yield f"reapi://127.0.0.1:{port}"


class TestBuildbox(OnReapi):
    @pytest.fixture
    def server(self, casd: str) -> str:
        return casd

    @pytest.mark.parametrize("size_bytes", [100, 5000, 300_000])
    def test_no_thread_sees_half_a_record(self, store: Store, size_bytes: int) -> None:
        """What is read while it is replaced is one of the records, whole, or for a moment nothing.

        buildbox-casd removes a result before it writes the next one, as a client of its own sees.
        """
        key = make_key("contended")
        versions = [make_record(key, body_of(size_bytes, seed=seed)) for seed in range(4)]
        contents = {version.body for version in versions}
        store.put(key, versions[0])
        done = threading.Event()

        def write(seed: int) -> None:
            for _ in range(8):
                store.put(key, versions[seed])

        def read() -> int:
            count = 0
            while not done.is_set():
                record = store.get(key)
                if record is not None:
                    assert record.body in contents
                    count += 1
            return count

        with ThreadPoolExecutor(6) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                list(pool.map(write, range(4)))
            finally:
                done.set()
            assert all(reader.result() >= 0 for reader in readers)
        store.put(key, versions[0])  # two who replace one result at once may have left none
        assert store.get(key) is not None
        assert store.counters().corrupt == 0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("own")
    disk = DiskStore(directory / "store")
    (directory / "uploads").mkdir()
    desk = Desk(Vault(disk), 1 << 30, directory / "uploads", on_thread, lambda *_: None, lambda *_: None)
    listener = start("127.0.0.1:0", desk, lambda _: OPEN)
    yield f"reapi://127.0.0.1:{listener.port}"
    listener.stop(5)
    disk.close()


class TestOwn(OnReapi):
    """Our own server, names of contents by SHA-256."""

    @pytest.fixture
    def server(self, own: str) -> str:
        return f"{own}/inst"


class TestOwnByBlake3(OnReapi):
    """The same by BLAKE3."""

    @pytest.fixture
    def server(self, own: str) -> str:
        return f"{own}/other/inst?digest=blake3"
