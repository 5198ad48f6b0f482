"""Records as values of a Redis server.

The names of values are normative in docs/design/network.md. It must not know how bytes get to the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from vcache.entry import Key, Record
from vcache.errors import DecodeError, StoreClosed, StoreError
from vcache.kit.batches import batched
from vcache.store.base import StoreCounters, StoreInfo
from vcache.store.checking import Damaged
from vcache.store.objects import pack, unpack

if TYPE_CHECKING:
    from vcache.store.redis.wire import Client

__all__ = ["MAX_VALUE_BYTES", "RedisStore", "info_of"]

MAX_VALUE_BYTES: Final = 512 << 20
"""The most that Redis keeps in one value (its proto-max-bulk-len)."""
_MOST_KEYS: Final = 1000  # in one command
_BATCH_BYTES: Final = 16 << 20  # of one command or answer, where their sizes are known or can be guessed
_SCANNED: Final = 1000
_COUNTED: Final = 10_000
_GLOB: Final = str.maketrans({char: "\\" + char for char in "*?[\\"})


def info_of(url: str) -> StoreInfo:
    """What a store at an address without secrets says of itself."""
    return StoreInfo("redis", url, is_shared=True, is_trusted=False, is_persistent=True, keeps_time=True)


class RedisStore:
    """Keeps each record as one value. Values may go away at any time: that is a miss.

    Args:
        prefix: what keeps this cache's keys apart from those of others in one database.
        ttl_s: after how long the server forgets a record; None for never.
        url: the address without secrets.
    """

    def __init__(self, client: Client, *, prefix: str, ttl_s: float | None, url: str) -> None:
        self._client = client
        self._start = f"vcache:{prefix}:".encode()
        self._expiry: tuple[Any, ...] = () if ttl_s is None else ("PX", max(1, round(ttl_s * 1000)))
        self._is_closed = False
        self.damaged = Damaged()
        self._mean_bytes = 0.0  # of the records of the last batch: how many to ask for next
        self.info = info_of(url)

    def get(self, key: Key) -> Record | None:
        found = self._ask("MGET", self._start + key)  # unlike GET, it passes over other types
        return self._record(key, self._values(found, 1)[0])

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        self._require_open()
        found: dict[Key, Record] = {}
        wanted = list(dict.fromkeys(keys))
        at = 0
        while at < len(wanted):
            count = max(
                1, min(_MOST_KEYS, int(_BATCH_BYTES / self._mean_bytes) if self._mean_bytes else _MOST_KEYS)
            )
            chunk = wanted[at : at + count]
            at += count
            self._take_in(chunk, found)
        return found

    def put(self, key: Key, record: Record) -> None:
        self._ask(*self._set(key, record))

    def put_many(self, records: Mapping[Key, Record]) -> None:
        self._require_open()
        commands: list[tuple[Any, ...]] = []
        size_bytes = 0
        for key, record in records.items():
            command = self._set(key, record)
            commands.append(command)
            size_bytes += memoryview(record.body).nbytes
            if size_bytes > _BATCH_BYTES or len(commands) == _MOST_KEYS:
                self._ask_all(commands)
                commands, size_bytes = [], 0
        if commands:
            self._ask_all(commands)

    def delete(self, key: Key) -> bool:
        return bool(self._ask("DEL", self._start + key))

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that it does not have.

        TOUCH and not EXISTS, which leaves the age alone by which the server evicts.
        """
        self._require_open()
        absent: set[Key] = set()
        for chunk in batched(dict.fromkeys(keys), _MOST_KEYS):
            # One command tells the usual cases: nothing is missing, or everything.
            there = self._ask("TOUCH", *(self._start + key for key in chunk))
            if there == 0:
                absent.update(chunk)
            elif there != len(chunk):
                answers = self._ask_all([("TOUCH", self._start + key) for key in chunk])
                absent.update(key for key, answer in zip(chunk, answers, strict=True) if answer == 0)
        return absent

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        self._require_open()
        seen: set[Key] = set()  # Redis may give a key more than once while it grows or shrinks
        for keys in self._walk(prefix):
            fresh = [key for key in keys if key not in seen]
            seen.update(fresh)
            yield from dict.fromkeys(fresh)

    def counters(self) -> StoreCounters:
        """What the store holds: exactly in a database of up to 10,000 keys, estimated from as many in a larger one."""
        entries = size_bytes = walked = 0
        cursor: Any = 0
        while True:
            cursor, keys = self._scanned(cursor, b"*")
            walked += len(keys)
            ours = [key for key in keys if key.startswith(self._start)]
            entries += len(ours)
            size_bytes += self._sizes(ours)
            if cursor == 0 or walked >= _COUNTED:
                break
        if cursor != 0:
            share = self._ask("DBSIZE") / walked
            entries, size_bytes = round(entries * share), round(size_bytes * share)
        return StoreCounters(entries, size_bytes, corrupt=self.damaged.count)

    def close(self) -> None:
        self._is_closed = True
        self._client.close()

    # -- asking ----------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"{self.info.url} was closed")

    def _ask(self, *command: Any) -> Any:
        self._require_open()
        return self._client.ask(*command)

    def _ask_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        answers = self._client.ask_all(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise self._client.error_of(answer) from answer
        return answers

    def _set(self, key: Key, record: Record) -> tuple[Any, ...]:
        start, body = pack(record)
        size_bytes = len(start) + memoryview(body).nbytes
        if size_bytes > MAX_VALUE_BYTES:
            raise StoreError(
                f"{self.info.url}: a record of {size_bytes} bytes is too large: Redis keeps 512 MB in one value "
                "(set limit=500MB to leave such records to other tiers)"
            )
        return ("SET", self._start + key, (start, body), *self._expiry)

    # -- answers ---------------------------------------------------------------------------

    def _values(self, answer: Any, count: int) -> list[Any]:
        if not isinstance(answer, list) or len(answer) != count:
            raise self._client.nonsense(f"{answer!r:.80}")
        return answer

    def _take_in(self, keys: Sequence[Key], found: dict[Key, Record]) -> None:
        start = self._start
        values = self._values(self._ask("MGET", *[start + key for key in keys]), len(keys))
        size_bytes = count = 0
        for key, value in zip(keys, values, strict=True):
            if value is not None:
                record = self._record(key, value)
                if record is not None:
                    found[key] = record
                    size_bytes += len(value)
                    count += 1
        if count:
            self._mean_bytes = size_bytes / count

    def _record(self, key: Key, value: Any) -> Record | None:
        if value is None:
            return None
        try:
            return unpack(key, value)
        except (DecodeError, TypeError):  # a number instead of bytes is no object either
            self.damaged.add()
            return None

    def _walk(self, prefix: bytes) -> Iterator[list[Key]]:
        pattern = (self._start + prefix).decode("latin-1").translate(_GLOB).encode("latin-1") + b"*"
        cut = len(self._start)
        cursor: Any = 0
        while True:
            cursor, names = self._scanned(cursor, pattern)
            yield [name[cut:] for name in names if name.startswith(self._start + prefix)]
            if cursor == 0:
                return

    def _scanned(self, cursor: Any, pattern: bytes) -> tuple[Any, list[bytes]]:
        answer = self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED)
        try:
            cursor, names = answer
            cursor = int(cursor)
        except (TypeError, ValueError):
            raise self._client.nonsense(f"{answer!r:.80}") from None
        if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
            raise self._client.nonsense(f"{answer!r:.80}")
        return cursor, names

    def _sizes(self, names: Sequence[bytes]) -> int:
        """The bytes of some values. Of another type's there is an error instead."""
        answers = self._client.ask_all([("STRLEN", name) for name in names]) if names else []
        return sum(answer for answer in answers if isinstance(answer, int))
