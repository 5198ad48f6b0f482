"""A store that is made when it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.store.guard.remote import Remote, guard_of
from vcache.entry import make_key
from vcache.errors import StoreClosed
from vcache.kit.deadlines import left_s
from vcache.store.base import StoreInfo
from vcache.store.checking import Damaged
from vcache.store.guard.late import LateStore, loading_of
from vcache.testing import make_record

KEY = make_key("k")
RECORD = make_record(KEY)
INFO = StoreInfo("far", "far://host", is_shared=True, is_trusted=False, is_persistent=True, keeps_time=True)


class Slow(Remote):
    """Asks how much time an operation has."""

    left_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.damaged = Damaged()

    def get(self, key):
        self.left_s = left_s(60.0)
        return super().get(key)


def test_it_is_made_once_and_when_it_is_asked() -> None:
    """Telling what it is makes none, nor does closing; each operation goes to the one that was made."""
    made: list[Slow] = []

    def make() -> Slow:
        made.append(Slow())
        return made[-1]

    LateStore(INFO, make).close()
    store = LateStore(INFO, make)
    assert store.info.url == "far://host"
    assert not made
    store.put(KEY, RECORD)
    store.put_many({make_key("l"): make_record(make_key("l"))})
    assert store.get(KEY) == RECORD
    assert set(store.get_many([KEY])) == {KEY}
    assert store.missing([KEY, make_key("m")]) == {make_key("m")}
    assert set(store.scan()) == {KEY, make_key("l")}
    assert store.counters().entries == 2
    assert store.delete(KEY)
    assert len(made) == 1
    made[0].damaged.add()
    assert store.damaged.count == 1
    store.close()
    with pytest.raises(StoreClosed):
        store.get(KEY)
    with pytest.raises(StoreClosed):
        made[0].get(KEY)


def test_loading_is_on_nobodys_deadline(tmp_path: Path) -> None:
    """A library that loads slowly is no remote that answers slowly."""
    slow, was_loaded = Slow(), []

    def make() -> Slow:
        was_loaded.append(left_s(60.0))
        return slow

    late = LateStore(INFO, make)
    with guard_of(late, tmp_path, deadline_s=10.0) as store:
        assert store.get(KEY) is None
    assert was_loaded == [60.0], "no deadline holds while it is made"
    assert 0 < slow.left_s <= 10.0
    assert loading_of(object()) is None


@pytest.mark.parametrize(
    ("address", "module"), [("redis://h", "redis"), ("reapi://h", "grpc"), ("rediss://h", "redis")]
)
def test_what_is_not_asked_is_not_loaded(address: str, module: str) -> None:
    """Who opens a cache over such a remote, and finds all here, does not load its library."""
    code = f"import sys\nfrom vcache.store.url import open_store\nopen_store({address!r}).close()\nprint({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
