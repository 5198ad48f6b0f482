"""What the log stores of a server keep in the store that it serves."""

from __future__ import annotations

from typing import Any

import pytest

from vcache.entry import make_key
from vcache.errors import StoreError
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.query.parser import parse
from vcache.server.logs.shelf import RESERVED, Shelf
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import own_prefix, realm_prefix
from vcache.store.disk import DiskStore


def admit(_namespace, _size_bytes):
    """There is room."""


@pytest.fixture
def store(tmp_path):
    made = DiskStore(tmp_path / "store")
    yield made
    made.close()


def shelf(store, namespace="a", admit=admit):
    return Shelf(namespace, near=store, store=store, admit=admit)


def test_answers_about_the_past_are_kept(tmp_path, store):
    """Asking again reads no block; another namespace with the same segment has its own answer."""
    with DiskLogs(tmp_path / "logs", cache=shelf(store), seals=False) as logs:
        logs.append([Record(n, 9, "app", f"{n} {'even' if n % 2 == 0 else 'odd'}") for n in range(9)])
        logs.seal()
        query = parse('message ~ "even$" | count', now_ns=0)
        for kept in (0, 1):
            found = logs.search(query)
            assert list(found.rows) == [(5,)]
            assert found.seen.segments_kept == kept
    with DiskLogs(tmp_path / "logs", cache=shelf(store, "b"), seals=False) as logs:
        found = logs.search(query)
        assert list(found.rows) == [(5,)]
        assert found.seen.segments_kept == 0


def test_no_client_names_its_keys(store):
    """What clients with tokens write begins otherwise, whatever their names are."""
    made = shelf(store, "ci")
    assert made.put_key(make_key("x", namespace=".log-answers"), [1])
    (key,) = store.scan(b"")
    assert key.startswith(RESERVED)
    for namespace in ("ci", "served-logs", ""):
        assert not RESERVED.startswith(realm_prefix(namespace))
        assert not namespace or not RESERVED.startswith(own_prefix(namespace))
    assert made.get_key(make_key("x", namespace=".log-answers")) == [1]
    assert shelf(store, "other").get_key(make_key("x", namespace=".log-answers")) is None
    assert made.size_bytes() > 0


def test_what_does_not_fit_is_not_kept(store):
    """A long answer, and one in a namespace without room: who may only read fills no cache."""

    def refuse(_namespace, _size_bytes):
        raise Refused(Refusal.FULL, "no room")

    key = make_key("x", namespace=".log-answers")
    assert not shelf(store).put_key(key, ["x" * (1 << 20)])
    assert not shelf(store, admit=refuse).put_key(key, [1])
    assert list(store.scan(b"")) == []


class Far:
    """A tier on another machine."""

    class info:  # noqa: N801
        """What it says of itself."""

        is_trusted = False

    def __init__(self, fails=False):
        self.records, self.fails = {}, fails

    def get(self, key):
        return self.records.get(key)

    def put(self, key, record):
        if self.fails:
            raise StoreError("gone")
        self.records[key] = record


class Both:
    """A near tier and a far one."""

    def __init__(self, *tiers):
        self.tiers = tiers


def both(*tiers) -> Any:
    return Both(*tiers)


def test_segments_go_to_other_machines_and_come_back(tmp_path, store):
    """A segment that another process sealed is shipped once, and replaces a damaged one; answers stay here."""
    from vcache.logs.sealed import digest_of
    from vcache.logs.shipping import Shipping

    far = Far()
    made = Shelf("a", near=store, store=both(store, far), admit=admit)
    with DiskLogs(tmp_path / "logs") as logs:
        logs.append([Record(n, 9, "app", f"line {n}") for n in range(100)])
        logs.seal()
    (path,) = (tmp_path / "logs/segments").iterdir()
    for _ in range(2):
        digest = digest_of(path.name)
        assert digest is not None
        made.ship(Shipping(made), [(digest, path)])
    assert len(far.records) == 1
    path.chmod(0o644)
    path.write_bytes(bytes(100))
    with DiskLogs(tmp_path / "logs", cache=made, seals=False) as logs:
        assert logs.stats().records == 100
        assert logs.search(parse('message ~ "7$" | count', now_ns=0)).gaps == []
    assert len(far.records) == 1


def test_a_tier_that_fails_is_asked_again(tmp_path, store):
    """It is not taken for one that has the segment."""
    far = Far(fails=True)
    made = Shelf("a", near=store, store=both(store, far), admit=admit)
    path = tmp_path / "segment"
    path.write_bytes(b"x")
    key = make_key(b"x", namespace=".log-segments")
    assert not made.put_file_key(key, path)
    far.fails = False
    assert made.put_file_key(key, path)
