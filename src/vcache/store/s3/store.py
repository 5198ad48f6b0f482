"""The S3 tier: one object a record, named by its key. See docs/design/network.md.

Requests are signed and sent over `vcache.store.http.client`; boto3's core gives credentials, regions and
host names (`account`). It tries nothing twice, but for a request that was signed with an old secret or by a
wrong clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vcache.entry import Entry, Key, Record
from vcache.errors import DecodeError, StoreClosed, StoreError
from vcache.hash import md5
from vcache.kit.batches import batched
from vcache.kit.clock import Clock, system_clock
from vcache.kit.data import replace
from vcache.store.address import Options, StoreUrl
from vcache.store.base import StoreCounters, StoreInfo
from vcache.store.checking import Damaged
from vcache.store.objects import PREFIX_BYTES, head_of, key_of, name_of, name_prefix, pack, unpack
from vcache.store.s3.account import Account
from vcache.store.s3.address import Place, place_of
from vcache.store.s3.bodies import (
    PART_BYTES,
    Object,
    Piece,
    beginnings,
    downloaded,
    parts_of,
    pieces,
    send_in_parts,
    upload,
)
from vcache.store.s3.listing import names_from, which_are_listed
from vcache.store.s3.wire import Call, Wire

__all__ = ["S3Store", "open_url"]


# From this size on it is looked whether an equal object is there before it is sent, not only when the server
# has refused it for that.
_LARGE_BYTES: Final = 4 << 20
_BATCH_BYTES: Final = 64 << 20
_BATCH: Final = 2000
_HEAD_BYTES: Final = 16 << 10
# Below this a listing is not faster than a question for each name.
_LISTED: Final = 200
_TAKEN: Final = (200, 201, 204)
_THERE: Final = (409, 412)
_UNKNOWN_HEADER: Final = (400, 501)


def open_url(url: StoreUrl, options: Options) -> S3Store:
    """The store at `s3://bucket/prefix?endpoint=…&region=…`. Nothing is sent yet.

    Raises:
        ConfigError: an address that cannot be meant, or the extra `s3` is not installed.
    """
    place = place_of(url, options)
    options.finish()
    return S3Store(place)


class S3Store:
    """Records as objects of one bucket.

    Threads: all operations.

    Attributes:
        takes_conditions: whether the server keeps what is there when asked to (`If-None-Match`), as
            its answers have shown; None as long as none did. A server that ignores the question is
            no worse than one that does not know it.
    """

    def __init__(self, place: Place, *, clock: Clock = system_clock) -> None:
        self.info: Final = StoreInfo(
            name="s3",
            url=place.text,
            is_shared=True,
            is_trusted=False,
            is_persistent=True,
            keeps_time=True,
        )
        self.takes_conditions: bool | None = None
        self._place: Final = place
        self._wire_: Wire | None = Wire(place, Account(place), clock)
        self.damaged = Damaged()
        self._has_bucket = False

    # -- reading ----------------------------------------------------------------------------------

    def get(self, key: Key) -> Record | None:
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """The records of those keys that are there, fetched together. Contents are not verified."""
        wire = self._wire
        found = {}
        for some in batched(dict.fromkeys(keys), _BATCH):
            names = [name_of(key) for key in some]
            for key, name, piece in zip(some, names, pieces(wire, names), strict=True):
                if isinstance(piece, StoreError):
                    raise piece
                record = None if piece is None else self._record(wire, key, name, piece)
                if record is not None:
                    found[key] = record
        return found

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those keys that are not there: from a listing as far as that is faster than to ask for each."""
        wire = self._wire
        asked = {name_of(key): key for key in keys}
        names = sorted(asked)
        found: set[str] = set()
        if len(names) >= _LISTED:
            found, names = which_are_listed(wire, self._place.prefix, names)
        for some in batched(names, _BATCH):
            found.update(self._there(wire, some))
        return {key for name, key in asked.items() if name not in found}

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Walk the keys; objects that are no records are passed over."""
        wire = self._wire
        long_names = []
        for start in {name_prefix(prefix), "~"}:
            for name in names_from(wire, self._place.prefix, start):
                try:
                    key = key_of(name)
                except DecodeError:
                    continue
                if key is None:
                    long_names.append(name)
                elif key.startswith(prefix):
                    yield key
        for some in batched(dict.fromkeys(long_names), _BATCH):
            yield from (key for key in self._keys_within(wire, some) if key.startswith(prefix))

    def counters(self) -> StoreCounters:
        """What happened here. A bucket is not counted: that takes a walk."""
        self._wire  # noqa: B018 - raises if closed
        return StoreCounters(entries=0, size_bytes=0, corrupt=self.damaged.count)

    # -- writing ----------------------------------------------------------------------------------

    def put(self, key: Key, record: Record) -> None:
        self.put_many({key: record})

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep all records; one whose equal is there is not sent again, or not kept again."""
        wire = self._wire
        batch: list[Object] = []
        size_bytes = 0
        for key, record in records.items():
            start, body = pack(record)
            batch.append(Object(name_of(key), start, memoryview(body).cast("B")))
            size_bytes += batch[-1].size_bytes
            if size_bytes >= _BATCH_BYTES or len(batch) >= _BATCH:
                self._keep(wire, batch)
                batch, size_bytes = [], 0
        if batch:
            self._keep(wire, batch)

    def delete(self, key: Key) -> bool:
        wire = self._wire
        name = name_of(key)
        if not self._there(wire, [name]):
            return False
        answer = wire.one(Call("DELETE", name))
        if answer.status not in (*_TAKEN, 404):
            raise wire.fault(answer)
        return True

    def close(self) -> None:
        wire, self._wire_ = self._wire_, None
        if wire is not None:
            wire.close()

    # -- parts of these ---------------------------------------------------------------------------

    @property
    def _wire(self) -> Wire:
        wire = self._wire_
        if wire is None:
            raise StoreClosed(f"store {self.info.url!r} was closed")
        return wire

    def _record(self, wire: Wire, key: Key, name: str, piece: Piece) -> Record | None:
        try:
            head_of(key, piece.data)  # what is no object need not be fetched
            data = downloaded(wire, name, piece)
            return None if data is None else unpack(key, data)
        except DecodeError:
            self.damaged.add()
            return None

    def _there(self, wire: Wire, names: Sequence[str]) -> list[str]:
        """Those of some names of which there are objects."""
        found = []
        for name, answer in zip(names, wire.many([Call("HEAD", name) for name in names]), strict=True):
            if isinstance(answer, StoreError):
                raise answer
            if answer.status == 200:
                found.append(name)
            elif answer.status != 404:
                raise wire.fault(answer)
        if not found and not self._has_bucket:
            # Without words a 404 does not say whether it is the object or the bucket that is absent.
            piece = beginnings(wire, names[:1], [1])[0]
            if isinstance(piece, StoreError):
                raise piece
        self._has_bucket = True
        return found

    def _keys_within(self, wire: Wire, names: Sequence[str]) -> Iterator[Key]:
        """The keys in the heads of objects, of which the names do not tell them."""
        sizes = [_HEAD_BYTES] * len(names)
        for name, piece in zip(names, beginnings(wire, names, sizes), strict=True):
            if isinstance(piece, StoreError):
                raise piece
            try:
                head = b"" if piece is None else _head(wire, name, piece)
                key = Entry.decode(head).key if head else None
            except DecodeError:
                self.damaged.add()
                continue
            if key is not None and name_of(key) == name:
                yield key

    def _keep(self, wire: Wire, objects: Sequence[Object]) -> None:
        large = [what for what in objects if what.size_bytes >= _LARGE_BYTES]
        known = self._compared(wire, large)
        sent = [what for what in objects if not known.get(what.name)]
        refused = self._send(wire, sent, new={what.name for what in sent if what.name not in known})
        known = self._compared(wire, refused)
        again = [what for what in refused if not known.get(what.name)]
        if again:
            self._send(wire, again, new=set())

    def _compared(self, wire: Wire, objects: Sequence[Object]) -> dict[str, bool]:
        """Of each name that there is an object of, whether that is equal to the one to be sent."""
        if not objects:
            return {}
        there = beginnings(wire, [what.name for what in objects], [len(what.start) for what in objects])
        found = {}
        for what, piece in zip(objects, there, strict=True):
            if isinstance(piece, StoreError):
                # Ceph 16 answers a range of an object that is replaced meanwhile with 500: such a one is
                # not equal. Of whatever else is wrong the sending will tell.
                found[what.name] = False
            elif piece is not None:
                found[what.name] = _is_equal(what, piece)
        return found

    def _send(self, wire: Wire, objects: Sequence[Object], *, new: set[str]) -> list[Object]:
        """Send objects; those that were refused because there are such already.

        Args:
            new: the names of those that need not be kept if there are such.
        """
        asks = self.takes_conditions is not False
        small = [what for what in objects if what.size_bytes < PART_BYTES]
        headers = self._place.headers
        calls = [upload(what, headers, is_new=asks and what.name in new) for what in small]
        answers = list(zip(small, wire.many(calls) if calls else [], strict=True))
        for what in objects:
            if what.size_bytes >= PART_BYTES:
                is_new = asks and what.name in new
                answers.append((what, send_in_parts(wire, what, headers, is_new=is_new)))
        there, unknown = [], []
        for what, answer in answers:
            if isinstance(answer, StoreError):
                raise answer
            if answer.status in _TAKEN:
                continue
            is_asked = asks and what.name in new
            if is_asked and answer.status in _THERE:
                self.takes_conditions = True
                there.append(what)
            elif is_asked and answer.status in _UNKNOWN_HEADER and self.takes_conditions is not True:
                unknown.append(what)
            else:
                raise wire.fault(answer)
        if unknown:
            self._send(wire, unknown, new=set())  # raises if it was not the condition that it refused
            self.takes_conditions = False
        return there


def _head(wire: Wire, name: str, piece: Piece) -> bytes | None:
    """The head of an object whose beginning is there; of a long one the whole is fetched."""
    try:
        return head_of(None, piece.data)
    except DecodeError:
        data = downloaded(wire, name, piece)
        return None if data is None else head_of(None, data)


def _is_equal(what: Object, piece: Piece) -> bool:
    """Whether the object that is there does as well as one to be sent: equal but for when and how it was made.

    The server's ETag is the MD5 of what it keeps, or of the MD5s of its parts: so a damaged object is equal
    to none. Where the ETag is something else, as with keys of KMS, nothing is equal.
    """
    start = bytes(piece.data)
    if piece.size_bytes != what.size_bytes or len(start) != len(what.start):
        return False
    try:
        there = Entry.decode(head_of(None, start))
        ours = Entry.decode(what.start[PREFIX_BYTES:])
    except DecodeError:
        return False
    if replace(there, created_ns=0, cost_ns=0) != replace(ours, created_ns=0, cost_ns=0):
        return False
    return piece.etag.strip('"') == _etag(what._replace(start=start))


def _etag(what: Object) -> str:
    if what.size_bytes < PART_BYTES:
        return md5(what.start, what.body).hex()
    sums = [md5(*part) for part in parts_of(what)]
    return f"{md5(*sums).hex()}-{len(sums)}"
