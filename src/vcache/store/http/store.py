"""Records as objects of an HTTP server, each at `<base>/vcache/<name>`.

Where the server is vcache's own, batches and listings are its calls; elsewhere they are many requests
at once, and WebDAV. What is where is normative in docs/design/network.md. It must not know who
verifies a content, tries again or gives up: that is the guard around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from vcache.entry import FIXED, Encoding, Entry, Key, Record, key_in
from vcache.errors import DecodeError, StoreClosed
from vcache.kit.batches import batched, batched_by_size
from vcache.store.base import StoreCounters, StoreInfo
from vcache.store.checking import Damaged
from vcache.store.http.listing import Listing
from vcache.store.http.messages import Answer, Request, ServerBusy, TooLong
from vcache.store.http.site import ABSENT, DONE, Site
from vcache.store.objects import PREFIX_BYTES, frame, frames, head_of, name_of, pack, unpack

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["HttpStore"]

_KEYS_PER_CALL: Final = 1000
_BYTES_PER_CALL: Final = 16 << 20
# Enough for nearly every head; a longer one is read with its object.
_HEAD_RANGE: Final = ("Range", f"bytes=0-{(64 << 10) - 1}")
_HEADS_AT_ONCE: Final = 128

_IS_LISTED: Final = StoreInfo._fields.index("is_listed")


class _Info(StoreInfo):
    """`is_listed` asks the server, once, when somebody asks for it; so do copies."""

    _ask: Callable[[], bool] | None = None

    @classmethod
    def of(cls, info: StoreInfo, is_listed: Callable[[], bool]) -> _Info:
        made = cls(*info)
        made._ask = is_listed
        return made

    @property
    def is_listed(self) -> bool:
        return bool(self[_IS_LISTED]) if self._ask is None else self._ask()

    def _replace(self, **changes: Any) -> _Info:
        made: _Info = super()._replace(**changes)
        made._ask = None if "is_listed" in changes else self._ask
        return made


class HttpStore:
    """A store on an HTTP server.

    Args:
        site: the directory of the objects.
        url: the address that opens it again, without secrets.

    Threads: all operations.
    """

    def __init__(self, site: Site, *, url: str) -> None:
        self.site: Final = site
        self._listing = Listing(site, self._keys_of_long)
        self._is_closed = False
        self.damaged = Damaged()
        self.info: StoreInfo = _Info.of(
            StoreInfo(
                name="http", url=url, is_shared=True, is_trusted=False, is_persistent=True, keeps_time=True
            ),
            self._listing.is_there,
        )

    def get(self, key: Key) -> Record | None:
        answer = self.site.ask("GET", name_of(key))
        if answer.status == 200:
            return self._record(key, answer.body)
        if answer.status in ABSENT:
            return None
        raise self.site.refusal(answer, "GET")

    def put(self, key: Key, record: Record) -> None:
        self.site.put(name_of(key), pack(record))

    def delete(self, key: Key) -> bool:
        answer = self.site.ask("DELETE", name_of(key))
        if answer.status in DONE:
            return True
        if answer.status in ABSENT:
            return False
        raise self.site.refusal(answer, "DELETE")

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        self._expect_open()
        yield from self._listing.keys(prefix)

    def counters(self) -> StoreCounters:
        self._expect_open()
        return StoreCounters(0, 0, corrupt=self.damaged.count)

    def close(self) -> None:
        self._is_closed = True
        self.site.client.close()

    # -- Batches ---------------------------------------------------------------------------

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        self._expect_open()
        wanted = list(dict.fromkeys(keys))
        found: dict[Key, Record] = {}
        for batch in batched(wanted, _KEYS_PER_CALL):
            found |= self._get_batch(batch)
        return found

    def _get_batch(self, keys: Sequence[Key]) -> dict[Key, Record]:
        if len(keys) > 1 and self.site.learn():
            try:
                answer = self.site.call("POST", "get", _names(keys))
            except TooLong:
                middle = len(keys) // 2
                return self._get_batch(keys[:middle]) | self._get_batch(keys[middle:])
            if answer is not None:
                return self._framed(frozenset(keys), answer.body)
        answers = self.site.ask_all([Request("GET", name_of(key)) for key in keys])
        found = {}
        for key, answer in zip(keys, answers, strict=True):
            if answer.status == 200:
                record = self._record(key, answer.body)
                if record is not None:
                    found[key] = record
            elif answer.status not in ABSENT:
                raise self.site.refusal(answer, "GET")
        return found

    def _framed(self, keys: frozenset[Key], body: Buffer) -> dict[Key, Record]:
        """The records of a batch's answer that were asked for."""
        found = {}
        try:
            for data in frames(body):
                try:
                    key = key_in(head_of(None, data))
                except DecodeError:
                    self.damaged.add()
                    continue
                record = self._record(key, data)
                if record is not None and key in keys:
                    found[key] = record
        except DecodeError:  # truncated: what came whole was sound
            self.damaged.add()
        return found

    def put_many(self, records: Mapping[Key, Record]) -> None:
        self._expect_open()
        for batch in batched_by_size(
            records.items(), _size_bytes, most_bytes=_BYTES_PER_CALL, most=_KEYS_PER_CALL
        ):
            answer = None
            if len(batch) > 1 and self.site.learn():
                pieces = tuple(piece for _, record in batch for piece in frame(record))
                answer = self.site.call("POST", "put", pieces)
            if answer is None:
                self.site.put_all([(name_of(key), pack(record)) for key, record in batch])
            else:
                self._expect_taken(answer)

    def _expect_taken(self, answer: Answer) -> None:
        """Raise what the server says of the first record that it refused."""
        for line in bytes(answer.body).decode("ascii", "replace").splitlines():
            _, _, status = line.partition(" ")
            if status.isascii() and status.isdigit():
                raise self.site.refusal(Answer(int(status[:3]), (), b""), "PUT in a batch")
            raise ServerBusy(f"{self.site.where}: no answer to a batch of records: {line!r:.80}")

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        self._expect_open()
        missing: set[Key] = set()
        for batch in batched(list(dict.fromkeys(keys)), _KEYS_PER_CALL):
            missing |= self._missing_of(batch)
        return missing

    def _missing_of(self, keys: Sequence[Key]) -> set[Key]:
        if self.site.learn():
            answer = self.site.call("POST", "missing", _names(keys))
            if answer is not None:
                by_name = {name_of(key): key for key in keys}
                names = bytes(answer.body).decode("ascii", "replace").split()
                if not by_name.keys() >= set(names):  # else all would be there
                    raise ServerBusy(
                        f"{self.site.where}: it says that more is missing than it was asked about"
                    )
                return {by_name[name] for name in names}
        answers = self.site.ask_all([Request("HEAD", name_of(key)) for key in keys])
        missing = set()
        for key, answer in zip(keys, answers, strict=True):
            if answer.status in ABSENT:
                missing.add(key)
            elif answer.status not in DONE:
                raise self.site.refusal(answer, "HEAD")
        return missing

    # -- Listing ---------------------------------------------------------------------------

    def entry(self, key: Key) -> Entry | None:
        self._expect_open()
        return next(self._entries_of([key]), None)

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        self._expect_open()
        for batch in batched(self._listing.keys(prefix), _HEADS_AT_ONCE):
            yield from self._entries_of(batch)

    def _entries_of(self, keys: Sequence[Key]) -> Iterator[Entry]:
        for key, head in zip(keys, self._heads([name_of(key) for key in keys]), strict=True):
            if head is None:
                continue
            try:
                entry = Entry.decode(head)
            except DecodeError:
                self.damaged.add()
                continue
            if entry.key == key:
                yield entry

    def _keys_of_long(self, names: Sequence[str]) -> Iterator[Key]:
        for name, head in zip(names, self._heads(names), strict=True):
            key = None if head is None else key_in(head)
            if key is not None and name_of(key) == name:
                yield key

    def _heads(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """The verified heads of objects; None of what is gone or damaged."""
        answers = self.site.ask_all([Request("GET", name, (_HEAD_RANGE,)) for name in names])
        for name, answer in zip(names, answers, strict=True):
            if answer.status in ABSENT:
                yield None
                continue
            if answer.status not in {200, 206}:
                raise self.site.refusal(answer, "GET")
            if answer.status == 206 and _is_cut(answer.body):
                answer = self.site.ask("GET", name)
            try:
                yield head_of(None, answer.body)
            except DecodeError:
                self.damaged.add()
                yield None

    # -- what came -------------------------------------------------------------------------

    def _record(self, key: Key, data: Buffer) -> Record | None:
        """The record of an object that was received; None if it is none, or its body not whole."""
        try:
            record = unpack(key, data)
        except DecodeError:
            self.damaged.add()
            return None
        fields = FIXED.unpack_from(record.head)
        if fields[3] == Encoding.IDENTITY and fields[9] != len(record.body):  # type: ignore[arg-type]
            self.damaged.add()
            return None
        return record

    def _expect_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"{self.site.where}: the store was closed")


def _names(keys: Sequence[Key]) -> bytes:
    return "".join(f"{name_of(key)}\n" for key in keys).encode()


def _is_cut(data: Buffer) -> bool:
    """Whether the beginning of an object ends before its head does."""
    view = memoryview(data)
    return len(view) >= PREFIX_BYTES and PREFIX_BYTES + int.from_bytes(view[4:8], "little") > len(view)


def _size_bytes(item: tuple[Key, Record]) -> int:
    return len(item[1].head) + memoryview(item[1].body).nbytes
