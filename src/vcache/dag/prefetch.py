"""What a build asks of the cache, remembered, and fetched ahead by the next one from far tiers.

One round trip for a thousand keys instead of one for each. It knows keys and tiers, and nothing of
nodes. Key sets are normative in docs/design/network.md.
"""

from __future__ import annotations

import platform
import struct
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, cast

from vcache.entry import Key, Record, make_key
from vcache.errors import DecodeError, StoreError
from vcache.hash import digest
from vcache.kit.logs import logger
from vcache.store.tiers import entry_of, is_far
from vcache.transfer import Pace, outputs_of
from vcache.valuables import Valuables

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.store.base import Store
    from vcache.store.tiered import TieredStore

__all__ = ["Ahead", "ahead_of", "keys_of", "packed", "set_name"]

_NAMESPACE: Final = ".keysets"
# What is looked up by name, by who wants to know: not by every build.
_NOT_FETCHED: Final = (b".digests\0", b".recipes\0", b".logs\0", b".keysets\0")
_NOT_NOTED: Final = (*_NOT_FETCHED, b".outputs\0")  # of outputs, the results tell
_LENGTH: Final = struct.Struct("<I")
_MOST_KEYS: Final = 100_000
_MOST_BYTES: Final = 256 << 20
_LARGE_BYTES: Final = 1 << 20  # a larger output is worth a round trip of its own, when it is needed
_BATCH_BYTES: Final = 4 << 20
_FIRST_KEYS: Final = 128
_LAST_WAIT_S: Final = 1.0
# So many questions are asked one by one: after a few edits there is nothing to fetch that anybody needs.
_FEW = 6
# A run that looked at a part of the nodes, and asked for so few new keys, or such a part of those known, does
# not write all of them again. Whoever misses them asks for all, and writes the set anew.
_FEW_NEW = 30
_FEW_SHARE: Final = 20


def set_name(file: str, goals: Sequence[str]) -> str:
    """What the key set of a build is called: for equal goals of one file, on one kind of machine.

    Args:
        file: the build file's portable name.
    """
    parts = [file, *goals, f"{sys.platform}-{platform.machine()}"]
    return digest(packed(part.encode("utf-8", "surrogateescape") for part in parts)).hex()


def packed(keys: Iterable[Key]) -> bytes:
    """Keys as one value."""
    return b"".join(_LENGTH.pack(len(key)) + key for key in keys)


def keys_of(data: bytes) -> list[Key]:
    """The keys of a value; those before the first that is damaged."""
    keys: list[Key] = []
    at = 0
    while at + _LENGTH.size <= len(data) and len(keys) < _MOST_KEYS:
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + size
        if not size or at > len(data):
            break
        keys.append(data[at - size : at])
    return keys


def ahead_of(cache: Cache, file: str, goals: Sequence[str]) -> Ahead | None:
    """What fetches ahead of a build; None where nothing is far, or there is no place near to keep it."""
    store = cache.store
    if cache.is_disabled or not getattr(store, "is_far", False):
        return None
    tiered = cast("TieredStore", store)
    near = [tier for tier in tiered.tiers if not is_far(tier) and tier.info.is_persistent]
    if not near or near[0].info.is_read_only:
        return None
    return Ahead(cache, tiered, near[0], make_key(set_name(file, goals), namespace=_NAMESPACE))


class Ahead:
    """Fetches the key set of one build in a thread of its own, and notes the set for the next one.

    Args:
        near: the tier that keeps what was fetched.
        key: of the set.

    Attributes:
        fetched, fetched_bytes: how much came.

    It begins with the first question to a far tier but a few: a build that finds all near, or makes
    what nobody has made, fetches nothing.

    Threads: `start`, `finish` and `close` in one. A look-up in any thread that needs what is being
    fetched waits for it instead of asking too.
    """

    def __init__(self, cache: Cache, tiers: TieredStore, near: Store, key: Key) -> None:
        self._cache, self._tiers, self._near, self._key = cache, tiers, near, key
        self._asked: dict[Key, None] = {}
        self._known: list[Key] = []
        self._places: dict[Key, int] = {}
        self._changed = threading.Condition()
        # What lies before `_done` was fetched, what lies before `_next` is on its way.
        self._is_planned = self._is_stopped = self._has_known = False
        self._n_questions = 0
        self._done = self._next = 0
        self._thread = threading.Thread(target=self._run, name="vcache-prefetch", daemon=True)
        self.fetched = self.fetched_bytes = 0

    def start(self) -> None:
        """Listen to what is asked for."""
        self._cache.asked = self._note
        self._tiers.arriving = self._is_arriving

    def ask(self, keys: Sequence[Key]) -> None:
        """Ask for keys that are about to be looked up, in one round trip.

        What comes is near afterwards, and what does not is known to be absent for a while.
        """
        lacking = [key for key in keys if entry_of(self._near, key) is None]
        if len(lacking) <= _FEW:
            return
        with self._changed:
            if self._thread.ident is None and not self._is_stopped:
                self._thread.start()
            self._changed.wait_for(lambda: self._is_planned or self._is_stopped)
            rest = [key for key in lacking if key not in self._places]
        if rest:
            self._tiers.bring(rest)

    def close(self) -> None:
        """Fetch no more. May be called again, and from signal handlers."""
        self._cache.asked = self._tiers.arriving = None
        with self._changed:  # reentrant: a signal may come within
            self._is_stopped = True
            self._changed.notify_all()

    def finish(self, *, is_whole: bool) -> None:
        """Remember what this build asked for.

        Args:
            is_whole: all nodes were asked for, so that what is not among it serves nobody any more.
        """
        self.close()
        if self._thread.ident is not None:
            self._thread.join(_LAST_WAIT_S)
        if not is_whole and len(self._asked) <= _FEW_NEW:
            return
        if not self._has_known:
            # The one here tells whether there is anything to note; what is far, to what to add it.
            self._known = self._read(self._near.get(self._key))
            if self._asked.keys() <= frozenset(self._known):
                return
            self._learn()
        known = frozenset(self._known)
        if known.issuperset(self._asked):
            return
        keys = self._with_outputs()
        n_new = sum(key not in known for key in keys)
        if not n_new or (not is_whole and n_new <= max(_FEW_NEW, len(known) // _FEW_SHARE)):
            return
        if not is_whole:
            keys = list(dict.fromkeys((*self._known, *keys)))
        self._cache.put_key(self._key, packed(keys[-_MOST_KEYS:]))

    # -- what is asked ---------------------------------------------------------------------------

    def _note(self, key: Key) -> None:
        if not key.startswith(_NOT_NOTED):
            self._asked[key] = None

    def _with_outputs(self) -> list[Key]:
        """What was asked for and is here, each result followed by its outputs."""
        keys: dict[Key, None] = {}
        left_bytes = _MOST_BYTES
        for key in list(self._asked):
            try:
                record = self._near.get(key)
            except (StoreError, OSError):
                continue
            if record is None:
                continue
            keys[key] = None
            for output in outputs_of(key, record):
                entry = entry_of(self._near, output) if output not in keys else None
                if entry is not None and entry.size_bytes <= min(_LARGE_BYTES, left_bytes):
                    keys[output] = None
                    left_bytes -= entry.size_bytes
        return list(keys)

    # -- what is fetched -------------------------------------------------------------------------

    def _is_arriving(self, key: Key) -> bool:
        """Whether a key has been fetched, or is about to be: then this waits for it."""
        if threading.current_thread() is self._thread:
            return False
        with self._changed:
            self._n_questions += 1
            if self._n_questions <= _FEW or self._is_stopped:
                return key in self._places and self._places[key] < self._done
            if self._thread.ident is None:
                self._thread.start()
            self._changed.wait_for(lambda: self._is_planned or self._is_stopped)
            place = self._places.get(key)
            if place is None or place >= self._next:
                return False
            self._changed.wait_for(lambda: place < self._done or self._is_stopped)
        return True

    def _run(self) -> None:
        try:
            self._plan()
            self._fetch()
        except (StoreError, OSError) as error:  # closed meanwhile, or the near tier is full
            logger("vcache.prefetch").info("fetching ahead ended: %s", error)
        finally:
            with self._changed:
                self._is_planned = self._is_stopped = True
                self._changed.notify_all()

    def _plan(self) -> None:
        """Learn what the last build asked for, and what of it is not here."""
        self._learn()
        wanted = [key for key in self._known if not key.startswith(_NOT_FETCHED)]
        lacking = [key for key in dict.fromkeys(wanted) if entry_of(self._near, key) is None]
        with self._changed:
            self._places = {key: place for place, key in enumerate(lacking)}
            self._next = min(_FIRST_KEYS, len(lacking))
            self._is_planned = True
            self._changed.notify_all()

    def _learn(self) -> None:
        """The set of the last build. Another machine's may be newer than the one here."""
        self._known = self._read(self._tiers.fetch(self._key) or self._near.get(self._key))
        self._has_known = True

    @staticmethod
    def _read(record: Record | None) -> list[Key]:
        try:
            return [] if record is None else keys_of(bytes(Valuables.content(record, record.entry())))
        except DecodeError:
            return []  # another program's

    def _fetch(self) -> None:
        keys, pace = list(self._places), Pace(_BATCH_BYTES, first=_FIRST_KEYS)
        while self._done < len(keys) and not self._is_stopped and self.fetched_bytes < _MOST_BYTES:
            came = self._tiers.bring(keys[self._done : self._next])
            self.fetched += len(came)
            self.fetched_bytes += pace.saw(came)
            with self._changed:
                self._done = self._next
                self._next = min(self._done + pace.size, len(keys))
                self._changed.notify_all()
            self._cache.keep_budget()
