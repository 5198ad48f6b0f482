"""A store against a dict: a hypothesis state machine for any store."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vcache.entry import make_key
from vcache.store.base import Batches, Collectable, Files, Listing, Presence, Verifiable
from vcache.testing.expect import expect_entries, expect_keys
from vcache.testing.records import body_of, make_record

if TYPE_CHECKING:
    from vcache.entry import Key, Record
    from vcache.store.base import Store

__all__ = ["store_machine"]

# Few keys and contents, so that overwriting and sharing are common; the third key is a prefix of the first.
_KEYS = st.sampled_from(
    [make_key(name) for name in ("alpha", "beta", "al", "", b"alpha")]
    + [make_key("alpha", namespace="other")]
)
_RECORDS = st.tuples(
    st.sampled_from([0, 1, 100, 4096, 4097, 5000, 300_000]), st.integers(0, 2), st.booleans()
)


def store_machine(build: Callable[[Path], Store]) -> type[RuleBasedStateMachine]:
    """A state machine that does to a store and to a dict the same, and compares.

    Args:
        build: opens a store over a directory, which is empty at first. A store whose `info`
            says that it is persistent is closed and opened again over the same one.

    Returns:
        The class; its `TestCase` is what a test module exports.
    """

    class StoreMachine(_StoreMachine):
        def build(self, directory: Path) -> Store:
            return build(directory)

    return StoreMachine


class _StoreMachine(RuleBasedStateMachine):
    """The rules. Optional powers are used where the store has them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="vcache-machine-"))
        self.store: Store = self.build(self.directory / "store")
        self.model: dict[Key, Record] = {}

    def build(self, directory: Path) -> Store:
        raise AssertionError("use store_machine")

    def teardown(self) -> None:
        self.store.close()
        # What is sent behind the caller's back may be making or removing its last file at this moment.
        while self.directory.exists():
            try:
                shutil.rmtree(self.directory)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                    raise

    @initialize()
    def start_empty(self) -> None:
        expect_keys(self.store, [])

    @rule(key=_KEYS, what=_RECORDS)
    def put(self, key: Key, what: tuple[int, int, bool]) -> None:
        record = _record(key, what)
        self.store.put(key, record)
        self.model[key] = record

    @rule(key=_KEYS)
    def get(self, key: Key) -> None:
        self.compare(key, self.store.get(key))

    @rule(key=_KEYS)
    def delete(self, key: Key) -> None:
        assert self.store.delete(key) == (self.model.pop(key, None) is not None)

    @rule(prefix=st.sampled_from([b"", b"\0sal", b"other"]))
    def scan(self, prefix: bytes) -> None:
        expect_keys(self.store, (key for key in self.model if key.startswith(prefix)), prefix)

    @precondition(lambda self: isinstance(self.store, Batches))
    @rule(batch=st.dictionaries(_KEYS, _RECORDS))
    def put_many(self, batch: dict[Key, tuple[int, int, bool]]) -> None:
        assert isinstance(self.store, Batches)
        records = {key: _record(key, what) for key, what in batch.items()}
        self.store.put_many(records)
        self.model.update(records)

    @precondition(lambda self: isinstance(self.store, Batches))
    @rule(keys=st.lists(_KEYS))
    def get_many(self, keys: list[Key]) -> None:
        assert isinstance(self.store, Batches)
        found = self.store.get_many(keys)
        assert set(found) == {key for key in keys if key in self.model}
        for key, record in found.items():
            self.compare(key, record)

    @precondition(lambda self: isinstance(self.store, Presence))
    @rule(keys=st.lists(_KEYS))
    def missing(self, keys: list[Key]) -> None:
        assert isinstance(self.store, Presence)
        assert set(self.store.missing(keys)) == {key for key in keys if key not in self.model}

    @precondition(lambda self: isinstance(self.store, Listing))
    @rule()
    def entries(self) -> None:
        assert isinstance(self.store, Listing)
        listed = {entry.key: entry for entry in self.store.entries()}
        assert listed == {key: record.entry() for key, record in self.model.items()}

    @precondition(lambda self: isinstance(self.store, Files))
    @rule(key=_KEYS, what=_RECORDS, move=st.booleans())
    def put_file(self, key: Key, what: tuple[int, int, bool], move: bool) -> None:
        assert isinstance(self.store, Files)
        record = _record(key, what)
        source = self.directory / "source"
        source.write_bytes(bytes(record.body))
        assert self.store.put_file(record.entry(), source, move=move) == record.entry()
        source.unlink(missing_ok=True)
        self.model[key] = record

    @precondition(lambda self: isinstance(self.store, Collectable))
    @rule(everything=st.booleans())
    def collect(self, everything: bool) -> None:
        """Evict all rows, or every other one, and reclaim: what is left is as it was."""
        assert isinstance(self.store, Collectable)
        survey = self.store.survey()
        rows = [row for row, is_entry in enumerate(survey.is_entry) if is_entry]
        dropped = self.store.evict(survey, rows if everything else rows[::2])
        self.store.reclaim(target_bytes=0)
        left = set(self.store.scan())
        assert left <= set(self.model)
        assert len(left) + dropped == len(self.model)
        self.model = {key: record for key, record in self.model.items() if key in left}

    @precondition(lambda self: isinstance(self.store, Verifiable))
    @rule()
    def verify(self) -> None:
        assert isinstance(self.store, Verifiable)
        assert [complaint for _, complaint in self.store.verify() if complaint is not None] == []

    @precondition(lambda self: self.store.info.is_persistent)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.build(self.directory / "store")

    @invariant()
    def counts_agree(self) -> None:
        expect_entries(self.store, len(self.model))

    def compare(self, key: Key, record: Record | None) -> None:
        expected = self.model.get(key)
        assert (record is None) == (expected is None)
        if record is not None and expected is not None:
            assert record.head == expected.head
            assert record.body == expected.body


def _record(key: Key, what: tuple[int, int, bool]) -> Record:
    size_bytes, seed, is_tagged = what
    tags = frozenset({"tag"} if is_tagged else ())
    return make_record(key, body_of(size_bytes, seed=seed), tags=tags)
