"""Laws of moving records: there and back again, interrupted anywhere, in any order."""

from __future__ import annotations

import io
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.entry import Key, Record, make_key
from vcache.hash import digest
from vcache.store.base import Store
from vcache.store.memory import MemoryStore
from vcache.testing import make_record
from vcache.transfer import StoreSink, Writer, everything, receive, send

names = st.lists(
    st.tuples(st.sampled_from(["", "a", ".notes"]), st.text(max_size=8)), unique=True, max_size=12
)
bodies = st.binary(max_size=40)


@st.composite
def stores(draw: st.DrawFn) -> MemoryStore:
    store = MemoryStore()
    for namespace, name in draw(names):
        key = make_key(name, namespace=namespace)
        store.put(
            key, make_record(key, draw(bodies), tags=draw(st.sampled_from([frozenset(), frozenset("t")])))
        )
    for body in draw(st.lists(bodies, max_size=4)):
        key = make_key(digest(body), namespace=".outputs")
        store.put(key, make_record(key, body))
    return store


def content(store: Store) -> dict[Key, tuple[bytes, bytes]]:
    found = {key: store.get(key) for key in store.scan()}
    return {key: (record.head, bytes(record.body)) for key, record in found.items() if record is not None}


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


class Stopping(StoreSink):
    """A sink that is interrupted before, or within, one of its batches."""

    def __init__(self, store: Store, *, at: int, within: int) -> None:
        super().__init__(store)
        self._store, self._left, self._within = store, at, within

    def put(self, records: Mapping[Key, Record]) -> Mapping[Key, str]:
        if self._left == 0:
            for key in list(records)[: self._within]:
                self._store.put(key, records[key])
            raise Stopped
        self._left -= 1
        return super().put(records)


@given(stores())
def test_push_then_pull_gives_equal_stores(source: MemoryStore) -> None:
    """What went to another cache and from there to a third is what was here."""
    far, back = MemoryStore(), MemoryStore()
    assert send(source, everything(source), StoreSink(far))
    assert send(far, everything(far), StoreSink(back))
    assert content(back) == content(far) == content(source)


@given(stores(), stores())
def test_what_is_there_is_never_lost(source: MemoryStore, target: MemoryStore) -> None:
    """The target holds all keys of both, with its own content where it had any."""
    before = content(target)
    assert send(source, everything(source), StoreSink(target))
    assert content(target) == content(source) | before


@settings(deadline=None)
@given(stores(), st.integers(0, 6), st.integers(0, 3), st.integers(1, 4))
def test_stopped_anywhere_and_started_again(source: MemoryStore, at: int, within: int, size: int) -> None:
    """A run that went on comes to what an undisturbed one does, and moves nothing twice."""
    target = MemoryStore()
    keys = list(everything(source))
    pieces = [keys[start : start + size] for start in range(0, len(keys), size)]
    sink = Stopping(target, at=at, within=within)
    try:
        for piece in pieces:
            send(source, piece, sink)
    except Stopped:
        held = len(content(target))
        report = send(source, keys, StoreSink(target))
        assert report
        assert (report.skipped, report.moved) == (held, len(keys) - held)
    assert content(target) == content(source)


@given(stores())
def test_export_then_import_gives_equal_stores(source: MemoryStore) -> None:
    """A transfer file holds what the store did, byte by byte."""
    stream, target = io.BytesIO(), MemoryStore()
    writer = Writer(stream)
    assert send(source, everything(source), writer)
    writer.end()
    assert receive(io.BytesIO(stream.getvalue()), target)
    assert content(target) == content(source)
    again = receive(io.BytesIO(stream.getvalue()), target)
    assert (again.moved, again.skipped) == (0, len(content(source)))
