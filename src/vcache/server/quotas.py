"""How much each namespace may hold.

What one holds is counted at start and every few minutes, since a collection frees some, and added
up in between. It knows the vault, and no tokens.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from vcache.errors import VcacheError
from vcache.server.refused import Refusal, Refused
from vcache.store.tiers import entries_of

if TYPE_CHECKING:
    from vcache.store.base import Store

__all__ = ["Quotas"]

_log: Final = logging.getLogger(__name__)

_RECOUNT_S: Final = 300.0
_RECOUNT_FULL_S: Final = 10.0  # while somebody is refused


class Quotas:
    """Counts and limits by namespace.

    Args:
        store: what is counted.
        limits: bytes by namespace; "*" for all others. Empty: nothing is counted.
        monotonic: seconds that never go back.
        start: runs a recount beside everything else.
    """

    def __init__(
        self,
        store: Store,
        limits: Mapping[str, int],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._start = start or _on_thread
        self._lock = threading.Lock()  # guards the three below
        self._used: dict[str, int] = {}
        self._counted_s: dict[str, float] = {}
        self._counting: set[str] = set()
        self._others: list[Callable[[str], int]] = []
        self.limits: Mapping[str, int] = {}
        self.reload(limits)

    def reload(self, limits: Mapping[str, int]) -> None:
        """Let other limits hold from the next PUT on."""
        self.limits = dict(limits)

    def also(self, size_bytes: Callable[[str], int]) -> None:
        """Count what else a namespace holds, beside entries of the store."""
        self._others.append(size_bytes)

    def limit_of(self, namespace: str) -> int | None:
        """What a namespace may hold in bytes; None for no limit."""
        return self.limits.get(namespace, self.limits.get("*"))

    def used_bytes(self, namespace: str) -> int:
        """What a namespace holds, as far as is known."""
        return self._used.get(namespace, 0)

    def admit(self, namespace: str, length_bytes: int | None) -> None:
        """Let a PUT begin, or not.

        Raises:
            Refused: the namespace has no room for it.
        """
        limit = self.limit_of(namespace)
        if limit is None:
            return
        used = self._used.get(namespace)
        if used is None:
            self.recount(namespace)  # once, before anything is promised
            used = self._used[namespace]
        is_full = used + (length_bytes or 0) > limit
        age_s = self._monotonic() - self._counted_s[namespace]
        if age_s > (_RECOUNT_FULL_S if is_full else _RECOUNT_S) and namespace not in self._counting:
            self._counting.add(namespace)
            self._start(lambda: self._recount_beside(namespace))
        if is_full:
            raise Refused(
                Refusal.FULL, f"namespace {namespace!r} holds {used} bytes of the {limit} that it may hold"
            )

    def add(self, namespace: str, size_bytes: int) -> None:
        """Count what was kept, or with a negative number what went."""
        if namespace in self._used:
            with self._lock:
                self._used[namespace] = max(0, self._used[namespace] + size_bytes)

    def recount(self, namespace: str) -> None:
        """Count what a namespace holds now."""
        used = sum(size_bytes(namespace) for size_bytes in self._others)
        for mark in (":", "/"):
            for entry in entries_of(self._store, f"@{namespace}{mark}".encode()):
                used += entry.size_bytes
        with self._lock:
            self._used[namespace] = used
            self._counted_s[namespace] = self._monotonic()

    def _recount_beside(self, namespace: str) -> None:
        try:
            self.recount(namespace)
        except (VcacheError, OSError) as error:  # what was counted before holds until the next time
            _log.warning("namespace %r cannot be counted: %s", namespace, error)
        finally:
            with self._lock:
                self._counted_s[namespace] = self._monotonic()
                self._counting.discard(namespace)


def _on_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="vcache-quota", daemon=True).start()
