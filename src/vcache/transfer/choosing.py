"""Which records of a store are to be moved, and in which order: referents before what refers.

It knows how a result tells its outputs, and nothing of where records go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from vcache import serialize
from vcache.entry import Entry, Key, Record, make_key, split_key
from vcache.errors import DecodeError
from vcache.kit.batches import batched
from vcache.recipes import NAMESPACE as RECIPES
from vcache.recipes import leading_key
from vcache.store.base import Batches, Listing, Store, satisfies
from vcache.store.checking import verified
from vcache.store.tiers import entries_of, get_each, is_far

__all__ = [
    "BATCH_BYTES",
    "BATCH_KEYS",
    "OUTPUTS",
    "PRIVATE",
    "Pace",
    "batches",
    "entries",
    "everything",
    "got",
    "in_turns",
    "outputs_of",
    "tagged",
    "with_referents",
]

OUTPUTS: Final = make_key(b"", namespace=".outputs")
PRIVATE: Final = b".digests\0"
"""What a stat signature tells of a file of this machine: true nowhere else, and not to be believed."""
_BEGINS: Final = b"\xa5value"  # a mapping of few, the first of which is that
BATCH_KEYS: Final = 1000
BATCH_BYTES: Final = 16 << 20
"""What is held at once."""
_FIRST_KEYS: Final = 16  # of a store that does not say how large things are
_DIGEST_BYTES: Final = 32
_NO_FILE: Final = 0o1000  # from here on a mode says that it is a link or a directory


def everything(source: Store) -> Iterator[Key]:
    """All keys of a store, outputs and notes before the results that refer to them.

    Raises:
        StoreError: it cannot be listed.
    """
    yield from source.scan(OUTPUTS)
    yield from (key for key in source.scan(b".") if not key.startswith((OUTPUTS, PRIVATE)))
    yield from (key for key in source.scan() if key[:1] != b".")


def tagged(source: Store, *, namespace: str | None, tags: Collection[str] = ()) -> Iterator[Key]:
    """The keys of results of a namespace, None for any, that have one of some tags, or of all.

    Raises:
        StoreError: the store cannot be listed.
    """
    wanted = frozenset(tags)
    prefix = b"" if namespace is None else make_key("", namespace=namespace)[:-1]
    if not wanted:
        return (key for key in source.scan(prefix) if key[:1] != b".")
    keys = (key for key in source.scan(prefix) if key[:1] != b".")
    found = _entries_in_turns(source, keys) if is_far(source) else entries_of(source, prefix)
    return (entry.key for entry in found if entry.key[:1] != b"." and entry.tags & wanted)


def with_referents(source: Store, results: Iterable[Key]) -> list[Key]:
    """Results behind all that they need to be found and used elsewhere.

    That is: their outputs, the lists of names that lead to them, and what `why` compares.
    """
    chosen = list(dict.fromkeys(results))
    outputs: dict[Key, None] = {}
    notes: dict[Key, None] = {}
    for batch in batches(chosen):
        for key, record in got(source, batch).items():
            outputs.update(dict.fromkeys(outputs_of(key, record)))
        recipes = {recipe: None for key in batch if (recipe := _recipe_key(key)) is not None}
        for recipe, entry in entries(source, list(recipes)).items():
            notes[recipe] = None
            if (leading := leading_key(entry)) is not None:
                notes[leading] = None
    return [*outputs, *notes, *chosen]


def outputs_of(key: Key, record: Record) -> list[Key]:
    """The keys of the output files that a result refers to; none of anything else."""
    if key[:1] == b".":
        return []
    try:
        entry = record.entry()
        if entry.codec != "msgpack":
            return []
        content = serialize.unpack(entry.encoding, record.body, size_bytes=entry.size_bytes)
        if bytes(memoryview(content)[1:7]) != _BEGINS:
            return []  # not to decode what may be large
        value = serialize.load(entry.codec, content, allow_pickle=False, allow_imports=False)
    except DecodeError:
        return []
    files = value.get("files") if isinstance(value, dict) else None
    if not isinstance(files, list):
        return []
    return [
        OUTPUTS + file[2]
        for file in files
        if isinstance(file, list)
        and list(map(type, file)) == [str, int, bytes]
        and len(file[2]) == _DIGEST_BYTES
        and file[1] < _NO_FILE
    ]


def _recipe_key(key: Key) -> Key | None:
    name = split_key(key)[1]
    return make_key(name, namespace=RECIPES) if isinstance(name, str) else None


def entries(source: Store, keys: Sequence[Key]) -> dict[Key, Entry]:
    """The entries of those keys that are there."""
    if not is_far(source) and satisfies(source, Listing):
        found = ((key, source.entry(key)) for key in keys)
        return {key: entry for key, entry in found if entry is not None}
    return {key: record.entry() for key, record in got(source, keys).items()}


def got(source: Store, keys: Sequence[Key]) -> dict[Key, Record]:
    """The sound records of those keys that are there."""
    found = source.get_many(keys) if satisfies(source, Batches) else get_each(source, keys)
    if source.info.is_trusted or source.info.is_verified:
        return dict(found)
    return {key: record for key, record in found.items() if verified(key, record) is not None}


def batches(keys: Iterable[Key]) -> Iterator[list[Key]]:
    """Keys in batches that may be asked about at once, without what is private to a machine."""
    return batched((key for key in keys if not key.startswith(PRIVATE)), BATCH_KEYS)


class Pace:
    """How many records to ask for at once of who does not say how large they are.

    Args:
        most_bytes: what a batch is to hold at most, if the next records are as large as the last.

    Attributes:
        size: that number.
    """

    def __init__(self, most_bytes: int = BATCH_BYTES, *, first: int = _FIRST_KEYS) -> None:
        self._most_bytes, self.size = most_bytes, first

    def saw(self, records: Mapping[Key, Record]) -> int:
        """Learn from a batch; the bytes of its bodies."""
        n_bytes = sum(memoryview(record.body).nbytes for record in records.values())
        fitting = self._most_bytes * max(len(records), 1) // (n_bytes + 1)
        self.size = max(min(fitting, BATCH_KEYS, self.size * 8), 1)
        return n_bytes


def in_turns(source: Store, keys: Sequence[Key]) -> Iterator[dict[Key, Record]]:
    """The records of keys, as many at once as the last ones let expect to fit."""
    at, pace = 0, Pace()
    while at < len(keys):
        asked = keys[at : at + pace.size]
        group = got(source, asked)
        yield group
        at += len(asked)
        pace.saw(group)


def _entries_in_turns(source: Store, keys: Iterable[Key]) -> Iterator[Entry]:
    for batch in batches(keys):
        for records in in_turns(source, batch):
            yield from (record.entry() for record in records.values())
