"""Which messages come together."""

from __future__ import annotations

from vcache.logs.compare import Together, question, together
from vcache.logs.memory import MemoryLogs
from vcache.logs.record import Record
from vcache.query.syntax import Everything


def test_pairs_by_their_share():
    """What never comes alone is first; what came in one place says nothing"""
    rows = [("disk full", run) for run in "1234"] + [("write failed", run) for run in "1234"]
    rows += [("slow", run) for run in "34567"] + [("once", "1")]
    assert together(rows) == [
        Together("disk full", "write failed", 4, 1.0),
        Together("slow", "disk full", 2, 2 / 7),
        Together("slow", "write failed", 2, 2 / 7),
    ]


def test_what_a_store_answers_is_what_is_compared():
    """Records without the field are left out"""
    store = MemoryLogs()
    for run in ("1", "2"):
        store.append([Record(1, 17, "s", f"{word} {run}", {"run": run}) for word in ("no space", "failed")])
    store.append([Record(1, 17, "s", "alone")])
    rows = store.search(question(Everything(), "run")).rows
    assert together(rows) == [Together("failed <n>", "no space <n>", 2, 1.0)]  # type: ignore[arg-type]
