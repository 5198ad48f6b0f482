"""Quotas: what a namespace may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from vcache.entry import Entry
from vcache.errors import StoreUnavailable
from vcache.server.quotas import Quotas
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Vault
from vcache.store.memory import MemoryStore


class Later:
    """Keeps what is to be run beside everything else until it is asked to."""

    def __init__(self) -> None:
        self.works: list[Callable[[], None]] = []

    def __call__(self, work: Callable[[], None]) -> None:
        self.works.append(work)


def filled() -> Vault:
    vault = Vault(MemoryStore(1 << 20))
    vault.put("a", "cas", "one", bytes(100))
    vault.put("a", "turbo", "two", bytes(50))
    vault.put("ab", "cas", "other", bytes(1000))
    return vault


def test_a_namespace_without_limit_is_not_counted() -> None:
    """Nothing is asked of the store where nobody set a limit."""
    quotas = Quotas(filled().store, {"b": 5})
    quotas.admit("a", 1 << 40)
    assert quotas.used_bytes("a") == 0


def test_a_count_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be counted once leaves what was known, and is counted when it is time again."""
    later, seconds = Later(), [0.0]
    vault = filled()
    quotas = Quotas(vault.store, {"a": 1 << 20}, monotonic=lambda: seconds[0], start=later)
    quotas.admit("a", 1)
    known = quotas.used_bytes("a")
    vault.put("a", "cas", "three", bytes(1000))
    with monkeypatch.context() as broken:
        broken.setattr("vcache.server.quotas.entries_of", _failing)
        for _ in range(2):
            seconds[0] += 1000
            quotas.admit("a", 1)
        (failing,) = later.works
        failing()
    assert quotas.used_bytes("a") == known
    quotas.admit("a", 1)
    assert len(later.works) == 1
    seconds[0] += 1000
    quotas.admit("a", 1)
    later.works[1]()
    assert quotas.used_bytes("a") == known + 1000


def _failing(*_: object) -> Iterator[Entry]:
    raise StoreUnavailable("not just now")


def test_a_full_namespace_takes_nothing() -> None:
    """All realms count, another namespace with a like name does not."""
    quotas = Quotas(filled().store, {"a": 200}, start=Later())
    quotas.admit("a", 50)
    assert quotas.used_bytes("a") == 150
    with pytest.raises(Refused, match="holds 150 bytes of the 200") as refused:
        quotas.admit("a", 51)
    assert refused.value.kind is Refusal.FULL


def test_what_is_kept_counts_at_once() -> None:
    """Between two counts each PUT is added up."""
    quotas = Quotas(filled().store, {"*": 200}, start=Later())
    quotas.admit("a", None)
    quotas.add("a", 50)
    with pytest.raises(Refused):
        quotas.admit("a", 1)
    quotas.add("a", -20)
    quotas.admit("a", 20)


def test_room_that_a_collection_made_is_found() -> None:
    """A refused PUT has the namespace counted again, not more often than every few seconds."""
    vault, later, now = filled(), Later(), 0.0
    quotas = Quotas(vault.store, {"a": 150}, monotonic=lambda: now, start=later)
    with pytest.raises(Refused):
        quotas.admit("a", 1)
    assert later.works == []
    vault.delete("a", "turbo", "two")
    now = 11.0
    for _ in range(3):
        with pytest.raises(Refused):
            quotas.admit("a", 1)
    (work,) = later.works
    work()
    quotas.admit("a", 50)


def test_other_limits_hold_at_once() -> None:
    """A reload changes what the next PUT meets."""
    quotas = Quotas(filled().store, {"a": 10})
    quotas.reload({"a": 10_000})
    quotas.admit("a", 100)
