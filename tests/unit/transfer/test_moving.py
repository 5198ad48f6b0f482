"""Moving records between stores: what is missing, in which order, what may fail."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from vcache import Cache
from vcache.entry import Key, Record, make_key
from vcache.errors import StoreUnavailable
from vcache.store.base import Store
from vcache.store.disk import DiskStore
from vcache.store.memory import MemoryStore
from vcache.testing import FaultyStore, make_record
from vcache.transfer import StoreSink, everything, outputs_of, send, tagged, with_referents
from vcache.transfer.choosing import BATCH_KEYS

DOWN = StoreUnavailable("down")


def far(**claims: bool) -> FaultyStore:
    return FaultyStore(MemoryStore(), **{"is_trusted": False, "is_shared": True, **claims})  # type: ignore[arg-type]


class Batching(FaultyStore):
    """A far store that gives many records for the price of one."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(), is_trusted=False)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        self._enter("get_many")
        return {key: record for key in keys if (record := self.inner.get(key)) is not None}

    def put_many(self, records: Mapping[Key, Record]) -> None:
        raise AssertionError


def content(store: Store) -> dict[Key, bytes]:
    return {key: bytes(record.body) for key in store.scan() if (record := store.get(key)) is not None}


def make(name: str) -> None:
    Path(name).write_text(name * 10)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    """A cache with two results that stand for files, one of them labelled, and a plain value."""
    (tmp_path / "p").mkdir()
    monkeypatch.chdir(tmp_path / "p")
    with Cache(DiskStore(tmp_path / "cache"), root=tmp_path / "p") as cache:
        cache.step(outs=["a"], tags=["red"])(make)("a")
        cache.step(outs=["b"])(make)("b")
        cache.put("plain", {"value": 1})
        yield cache


def test_what_is_missing_moves_and_nothing_else(tmp_path: Path) -> None:
    """A second time nothing moves; what came since does."""
    source, target = DiskStore(tmp_path / "a"), far()
    for number in range(2500):
        key = make_key(str(number))
        source.put(key, make_record(key, b"%d" % number))
    seen: list[tuple[int, int]] = []
    report = send(
        source, everything(source), StoreSink(target), total=2500, progress=lambda *p: seen.append(p)
    )
    assert report
    assert (report.moved, report.skipped) == (2500, 0)
    assert seen == [(1000, 2500), (2000, 2500), (2500, 2500)]
    assert content(target.inner) == content(source)
    source.put(make_key("new"), make_record(make_key("new")))
    again = send(source, everything(source), StoreSink(target))
    assert (again.moved, again.skipped) == (1, 2500)
    source.close()


def test_a_dry_run_counts_and_moves_nothing(tmp_path: Path) -> None:
    """It says how many and how much."""
    source, target = DiskStore(tmp_path / "a"), far()
    source.put(make_key("a"), make_record(make_key("a"), bytes(100)))
    report = send(source, everything(source), StoreSink(target), is_dry_run=True)
    assert (report.moved, report.moved_bytes) == (1, 100)
    assert content(target.inner) == {}
    source.close()


def test_notes_of_this_machine_stay_here(tmp_path: Path) -> None:
    """What a signature tells of a file is nobody else's, whoever names its key."""
    source, target = MemoryStore(), far()
    key = make_key(b"signature", namespace=".digests")
    source.put(key, make_record(key))
    assert list(everything(source)) == []
    send(source, [key], StoreSink(target))
    assert content(target.inner) == {}


def test_files_come_before_the_results_that_stand_for_them(project: Cache) -> None:
    """Nobody sees a result whose files are missing, however far the transfer came."""
    order = [bool(key.startswith(b".outputs")) for key in everything(project.store)]
    assert order.count(True) == 2
    assert order == sorted(order, reverse=True)


def test_a_label_takes_its_results_with_all_they_need(
    project: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another checkout answers the step from what came; what has no label stayed."""
    keys = with_referents(project.store, tagged(project.store, namespace=None, tags=["red"]))
    target = DiskStore(tmp_path / "target")
    assert send(project.store, keys, StoreSink(target))
    (tmp_path / "q").mkdir()
    monkeypatch.chdir(tmp_path / "q")
    with Cache(target, root=tmp_path / "q") as other:
        assert [sorted(entry.tags) for entry in other.entries()] == [["red"]]
        other.step(outs=["a"], tags=["red"])(make)("a")
        assert (other.stats().hits, Path("a").read_text()) == (1, "a" * 10)
    assert [sum(key.startswith(start) for key in keys) for start in (b".outputs", b".recipes")] == [1, 1]


def test_what_leads_to_a_result_travels_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose inputs show only while it runs is found elsewhere by what its runs were seen to read."""

    def read(name: str) -> None:
        Path(name).write_text("out")
        Path("deps").write_text(f"{name}: header\n")

    for root in ("p", "q"):
        (tmp_path / root).mkdir()
        (tmp_path / root / "header").write_text("same")
    monkeypatch.chdir(tmp_path / "p")
    options = {"outs": ["o"], "depfile": "deps", "tags": ["red"]}
    with Cache(DiskStore(tmp_path / "cache"), root=tmp_path / "p") as cache:
        cache.step(**options)(read)("o")  # type: ignore[call-overload]
        keys = with_referents(cache.store, tagged(cache.store, namespace=None, tags=["red"]))
        assert sum(key.startswith(b".seen") for key in keys) == 1
        target = DiskStore(tmp_path / "target")
        assert send(cache.store, keys, StoreSink(target))
    monkeypatch.chdir(tmp_path / "q")
    with Cache(target, root=tmp_path / "q") as other:
        other.step(**options)(read)("o")  # type: ignore[call-overload]
        assert other.stats().hits == 1


def test_a_namespace_is_chosen_by_name() -> None:
    """Another namespace, and one whose name begins alike, stay."""
    source = MemoryStore()
    keys = [make_key("k", namespace=name) for name in ("", "a", "ab", ".notes")]
    for key in keys:
        source.put(key, make_record(key))
    assert list(tagged(source, namespace="a")) == [keys[1]]
    assert list(tagged(source, namespace="")) == [keys[0]]
    assert set(tagged(source, namespace=None)) == set(keys[:3])


def test_a_result_without_its_files_is_left_out(project: Cache, tmp_path: Path) -> None:
    """What was collected here cannot be had there: the result would be a promise nobody keeps."""
    for key in list(project.store.scan(b".outputs")):
        project.store.delete(key)
    target = far()
    report = send(project.store, everything(project.store), StoreSink(target))
    assert not report
    assert len(report.lost) == 2
    assert all("output" in why for _, why in report.lost)
    assert not any(b"make" in key and key[:1] != b"." for key in content(target.inner))
    assert make_key("plain") in content(target.inner)


def test_only_what_looks_like_a_result_has_files(project: Cache) -> None:
    """Values of users, notes, damaged bytes refer to nothing."""
    key = make_key("x")
    for body in (b"", b"\x82\xa5value", b"\x82\xa5value\xc0\xa5files\xc0", b"\xc1"):
        assert outputs_of(key, make_record(key, body, codec="msgpack")) == []
    record = project.store.get(make_key("plain"))
    assert record is not None
    assert outputs_of(make_key("plain"), record) == []


def test_a_store_that_takes_nothing_ends_it(tmp_path: Path) -> None:
    """Three refusals in a row are enough; what was not looked at is left for the next time."""
    source, target = MemoryStore(), far()
    for number in range(3000):
        source.put(make_key(str(number)), make_record(make_key(str(number))))
    target.fail("put", DOWN)
    report = send(source, everything(source), StoreSink(target))
    assert not report
    assert report.stopped == "down"
    assert report.moved == 0
    assert len(report.lost) == BATCH_KEYS
    assert target.calls["put"] == 4, "the batch, and three of it"


def test_one_refused_record_is_named_and_the_rest_moves() -> None:
    """A record that is too large there is no reason to stop."""

    class Picky(FaultyStore):
        def put(self, key: Key, record: Record) -> None:
            if key == make_key("3"):
                raise DOWN
            super().put(key, record)

    source, target = MemoryStore(), Picky(MemoryStore(), is_trusted=False)
    for number in range(10):
        source.put(make_key(str(number)), make_record(make_key(str(number))))
    report = send(source, everything(source), StoreSink(target))
    assert (report.moved, report.lost, report.stopped) == (9, [("3", "down")], "")


def test_what_a_guard_swallowed_is_noticed() -> None:
    """A tier that takes records and does not have them is not believed."""

    class Hole(FaultyStore):
        def put(self, key: Key, record: Record) -> None:
            pass

    source = MemoryStore()
    source.put(make_key("a"), make_record(make_key("a")))
    report = send(source, everything(source), StoreSink(Hole(MemoryStore(), is_trusted=False)))
    assert (report.moved, report.lost) == (0, [("a", "it did not arrive")])


def test_what_a_far_source_makes_up_is_not_taken() -> None:
    """Wrong bytes are lost, not kept."""
    source, target = far(), MemoryStore()
    key = make_key("a")
    lie = make_record(key, b"true")
    lie.body = b"lies"
    source.inner.put(key, lie)
    report = send(source, everything(source), StoreSink(target))
    assert [name for name, _ in report.lost] == ["a"]
    assert content(target) == {}


def test_large_bodies_are_mapped_and_small_ones_come_together(tmp_path: Path) -> None:
    """A file is never read into memory, and a batch is bounded by its bytes."""
    source = DiskStore(tmp_path / "a")
    big = make_key("big")
    source.put(big, make_record(big, bytes(3 << 20)))
    for number in range(40):
        key = make_key(f"small {number}")
        source.put(key, make_record(key, bytes([number]) * (1 << 19)))
    puts: list[list[type]] = []

    class Noting(StoreSink):
        def put(self, records: Mapping[Key, Record]) -> Mapping[Key, str]:
            puts.append([type(record.body) for record in records.values()])
            return super().put(records)

    target = MemoryStore(1 << 30)
    assert send(source, everything(source), Noting(target)).moved == 41
    assert [memoryview] in puts
    assert max(map(len, puts)) == 32
    assert content(target) == content(source)
    source.close()


def test_a_far_source_is_asked_for_more_while_what_comes_is_small() -> None:
    """Nobody says how large things are: the first batch is small."""
    asked: list[int] = []

    class Counting(FaultyStore):
        def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
            asked.append(len(keys))
            return {key: record for key in keys if (record := self.inner.get(key)) is not None}

        def put_many(self, records: Mapping[Key, Record]) -> None:
            raise AssertionError

    source = Counting(MemoryStore(), is_trusted=False)
    for number in range(1000):
        source.inner.put(make_key(str(number)), make_record(make_key(str(number))))
    assert send(source, everything(source), StoreSink(MemoryStore())).moved == 1000
    assert asked == [16, 128, 856]


def test_what_has_expired_stays(tmp_path: Path) -> None:
    """An entry that serves nobody is neither moved nor lost."""
    source, target = DiskStore(tmp_path / "a"), far()
    source.put(make_key("old"), make_record(make_key("old"), expires_ns=1))
    report = send(source, everything(source), StoreSink(target))
    assert report
    assert report.moved == 0
    source.close()


def test_a_sink_that_cannot_be_asked_ends_it() -> None:
    """The reason is said, and nothing was moved."""

    class Deaf(StoreSink):
        def missing(self, keys: Sequence[Key]) -> Collection[Key]:
            raise DOWN

    source = MemoryStore()
    source.put(make_key("a"), make_record(make_key("a")))
    report = send(source, everything(source), Deaf(MemoryStore()))
    assert (report.moved, report.stopped) == (0, "down")


def test_labels_of_a_far_store_are_read_in_batches() -> None:
    """Who looks for a label there pays a few round trips, not one for each entry."""
    source = Batching()
    for number in range(1000):
        tags = frozenset({"red"}) if number % 10 == 0 else frozenset()
        source.inner.put(make_key(str(number)), make_record(make_key(str(number)), tags=tags))
    assert len(list(tagged(source, namespace=None, tags=["red"]))) == 100
    assert (source.calls["get_many"], source.calls["get"]) == (3, 0)


def test_a_source_that_is_not_asked_any_more_ends_it() -> None:
    """What did not come through no fault of its own is not called gone."""

    class Troubled(Batching):
        def trouble(self) -> str | None:
            return "it does not answer"

        def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
            return {}

    source = Troubled()
    source.inner.put(make_key("a"), make_record(make_key("a")))
    report = send(source, everything(source), StoreSink(MemoryStore()))
    assert (report.lost, report.stopped) == ([], "it does not answer")
