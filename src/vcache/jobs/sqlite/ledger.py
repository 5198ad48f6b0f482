"""What one call does to a queue's file, within a transaction: its statements, its counts, whom it wakes.

Counts are summed up here and written at the end of the call. It must not know when a transaction is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vcache.jobs.sqlite.schema import LAST_TURN, NOTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Kinds", "Ledger"]

_MORE: Final = "INSERT INTO counts VALUES(?,?,?) ON CONFLICT DO UPDATE SET n=n+excluded.n"
_NUMBER: Final = "SELECT n FROM counts WHERE what=? AND kind=0"
_KIND: Final = "SELECT no FROM kinds WHERE name=?"
_KIND_NAME: Final = "SELECT name FROM kinds WHERE no=?"
_NEW_KIND: Final = "INSERT INTO kinds(name) VALUES(?) RETURNING no"
_NOTE: Final = "INSERT OR REPLACE INTO notes VALUES(?,?)"
_NOTED: Final = "SELECT data FROM notes WHERE place=?"
_UNNOTE: Final = "DELETE FROM notes WHERE place=?"


class Kinds:
    """The numbers of kinds that were committed: they never change, so that a process keeps them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.names: dict[int, str] = {}

    def keep(self, fresh: dict[str, int]) -> None:
        """Remember those of a transaction that was committed."""
        self.numbers.update(fresh)
        self.names.update({no: name for name, no in fresh.items()})

    def number(self, db: Any, name: str) -> int | None:
        """The number of a kind; None for one that is not known to the file."""
        found = self.numbers.get(name)
        if found is None:
            found = db.execute(_KIND, (name,)).get
            if found is not None:
                self.keep({name: found})
        return found

    def name(self, db: Any, number: int) -> str:
        """The name of a kind."""
        found = self.names.get(number)
        if found is None:
            found = str(db.execute(_KIND_NAME, (number,)).get)
            self.keep({found: number})
        return found


class Ledger:
    """One call's part of a transaction.

    Attributes:
        now_ns: the queue's time.
        wakes: kinds of which there may be more to claim, by number.
    """

    __slots__ = ("_counts", "_drawn", "_kinds", "db", "fresh", "now_ns", "run", "wakes")

    def __init__(self, db: Any, kinds: Kinds, now_ns: int) -> None:
        self.db = db
        self.run = db.execute
        self.now_ns = now_ns
        self.wakes: set[int] = set()
        self.fresh: dict[str, int] = {}
        self._kinds = kinds
        self._counts: dict[tuple[int, int], int] = {}
        self._drawn: dict[int, int] = {}

    def many(self, sql: str, rows: Iterable[Sequence[object]]) -> list[Any]:
        """What a statement gives for each of several rows."""
        found: list[Any] = self.db.executemany(sql, rows).fetchall()
        return found

    # --- kinds and counts -------------------------------------------------------------------

    def known_kind(self, name: str) -> int | None:
        """The number of a kind; None where it has none."""
        # Not kept where it was made in this transaction, which may yet be undone.
        return self.fresh.get(name) or self._kinds.numbers.get(name) or self.run(_KIND, (name,)).get

    def kind(self, name: str) -> int:
        """The number of a kind, a new one where it has none."""
        found = self.known_kind(name)
        if found is None:
            found = self.run(_NEW_KIND, (name,)).get
        if name not in self._kinds.numbers:
            self.fresh[name] = found
        return found

    def kind_name(self, number: int) -> str:
        """The name of a kind."""
        return self._kinds.names.get(number) or str(self.run(_KIND_NAME, (number,)).get)

    def count(self, what: int, kind: int, more: int = 1) -> None:
        """Add to a count."""
        key = (what, kind)
        self._counts[key] = self._counts.get(key, 0) + more

    def counted(self, what: int, kind: int = 0) -> int:
        """A count as it is, with what this call has added."""
        found = self.run("SELECT n FROM counts WHERE what=? AND kind=?", (what, kind)).get or 0
        return int(found) + self._counts.get((what, kind), 0)

    def draw(self, what: int, count: int = 1) -> int:
        """The first of so many numbers that nobody had before."""
        last = self._drawn.get(what)
        if last is None:
            last = self.run(_NUMBER, (what,)).get or 0
        self._drawn[what] = last + count
        self.count(what, 0, count)
        return last + 1

    def turn(self) -> int:
        """A turn behind all others."""
        return self.draw(LAST_TURN)

    def flush(self) -> None:
        """Write the counts."""
        rows = [(what, kind, more) for (what, kind), more in self._counts.items() if more]
        self._counts.clear()
        if rows:
            self.db.executemany(_MORE, rows)

    # --- notes ------------------------------------------------------------------------------

    def note(self, no: int, what: int, data: bytes) -> None:
        """Keep a note of a job, whose flag the caller sets."""
        self.run(_NOTE, (no << NOTE | what, data))

    def noted(self, no: int, what: int) -> bytes:
        """A note of a job; empty where there is none."""
        return self.run(_NOTED, (no << NOTE | what,)).get or b""

    def unnote(self, no: int, what: int) -> None:
        """Forget a note."""
        self.run(_UNNOTE, (no << NOTE | what,))
