"""Records as action results of a REAPI server, large bodies as blobs beside them.

What is where is normative in docs/design/network.md. Such a cache has neither listings nor deletions.
Bodies go as they are: they are packed already where it pays. It must not know who verifies a content,
tries again or gives up: that is the guard around it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.entry import Key, Record
from vcache.errors import DecodeError, StoreClosed, StoreError, StoreFull, StoreUnavailable
from vcache.kit.batches import batched, batched_by_size
from vcache.kit.data import dataclass
from vcache.kit.deadlines import expect
from vcache.store.actions import (
    Blob,
    Pieces,
    action_of,
    blake3_hex,
    deleted,
    expect_key,
    pieces,
    result_of,
    sha256_hex,
)
from vcache.store.base import StoreCounters
from vcache.store.checking import Damaged
from vcache.store.reapi import client as calls
from vcache.store.reapi.client import MESSAGE_BYTES, Client
from vcache.store.reapi.telling import info_of
from vcache.wire import reapi_pb2 as wire

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ReapiStore"]

_PIECE_BYTES: Final = 1 << 20  # of an upload
_SMALL_BYTES: Final = 1 << 20  # blobs up to this share messages
_OVERHEAD_BYTES: Final = 256  # of a blob in a batch: its name, and the lengths around it
_ASKED_AT_ONCE: Final = 10_000
_HASHES: Final[Mapping[str, tuple[wire.DigestFunction, Callable[..., str]]]] = {
    "sha256": (wire.SHA256, sha256_hex),
    "blake3": (wire.BLAKE3, blake3_hex),
}
_RESOURCE_EXHAUSTED: Final = 8


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the server can do.

    Attributes:
        hashed: names contents.
        function: as requests say it; 0 for SHA-256, which older servers take for granted.
        marker: what the names of blobs have before the hash.
        batch_bytes: the most that one message brings.
    """

    hashed: Callable[..., str]
    function: wire.DigestFunction
    marker: str
    batch_bytes: int


class ReapiStore:
    """A store on a server of Bazel's Remote Execution API.

    Args:
        client: calls the server.
        url: the address that opens it again, without secrets.
        instance: of the server; empty for the only one.
        digest: "sha256" or "blake3"; None for the first of them that the server knows.

    Threads: all operations.
    """

    def __init__(self, client: Client, *, url: str, instance: str = "", digest: str | None = None) -> None:
        self._client = client
        self._instance = instance
        self._digest = digest
        self._known: _Terms | None = None
        self._is_closed = False
        self.damaged = Damaged()
        self.info = info_of(url)

    # -- one record ------------------------------------------------------------------------

    def get(self, key: Key) -> Record | None:
        """The record of a key, or None. Its content is not verified."""
        terms = self._terms()
        try:
            result = self._client.call(calls.GET_RESULT, self._asked(key, terms), wire.ActionResult)
            found = self._pieces(key, result)
            if found is None:
                return None
            head = found.head if isinstance(found.head, bytes) else self._head(key, found.head, terms)
            body = found.body if isinstance(found.body, bytes) else self._read(found.body, terms)
        except KeyError:
            return None
        except DecodeError:
            self.damaged.add()
            return None
        return Record(head, body)

    def put(self, key: Key, record: Record) -> None:
        """Keep a record: first its blob, then the result that names it."""
        terms = self._terms()
        data, blob = result_of(record, hashed=terms.hashed)
        result = wire.ActionResult.FromString(data)
        blobs: dict[Blob, Buffer] = {} if blob is None else {blob: record.body}
        if len(record.head) > _SMALL_BYTES:  # too long for a message; readers understand
            named = Blob(terms.hashed(record.head), len(record.head))
            blobs[named] = record.head
            result.stdout_raw = b""
            result.stdout_digest.CopyFrom(_digest(named))
        self._upload(blobs, terms)
        self._update([(key, result)], terms)

    def delete(self, key: Key) -> bool:
        """Say that a key has no record any more; whether it had one."""
        terms = self._terms()
        try:
            result = self._client.call(calls.GET_RESULT, self._asked(key, terms), wire.ActionResult)
        except KeyError:
            return False
        try:
            if pieces(key, result) is None:
                return False
        except DecodeError:
            pass  # whatever it is, it goes
        self._update([(key, wire.ActionResult.FromString(deleted()))], terms)
        return True

    # -- many ------------------------------------------------------------------------------

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        """The records of those keys that are there, asked for together. Contents are not verified."""
        terms = self._terms()
        found = dict(self._found(keys, terms))
        wanted = {part for each in found.values() for part in each if isinstance(part, Blob)}
        blobs = self._read_many(wanted, terms)
        records: dict[Key, Record] = {}
        for key, (head, body) in found.items():
            if isinstance(head, Blob):
                given = blobs.get(head)
                if given is None or not self._is_head(key, head, given, terms):
                    continue
                head = given
            if isinstance(body, Blob):
                given = blobs.get(body)
                if given is None:
                    continue
                body = given
            records[key] = Record(head, body)
        return records

    def put_many(self, records: Mapping[Key, Record]) -> None:
        """Keep all records; in a failure some may have been kept."""
        terms = self._terms()
        blobs: dict[Blob, Buffer] = {}
        results: list[tuple[Key, wire.ActionResult]] = []
        for key, record in records.items():
            if len(record.head) > _SMALL_BYTES:
                self.put(key, record)
                continue
            data, blob = result_of(record, hashed=terms.hashed)
            results.append((key, wire.ActionResult.FromString(data)))
            if blob is not None:
                blobs[blob] = record.body
        self._upload(blobs, terms)
        self._update(results, terms)

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys that have no record, or one whose blob is gone."""
        terms = self._terms()
        found = dict(self._found(keys, terms))
        wanted = {part for each in found.values() for part in each if isinstance(part, Blob)}
        gone = self._lacks(wanted, terms)
        there = {key for key, each in found.items() if not any(part in gone for part in each)}
        return {key for key in keys if key not in there}

    # -- the rest --------------------------------------------------------------------------

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        """Nothing: such a cache does not say what it holds.

        Raises:
            StoreError: always.
        """
        self._require_open()
        raise StoreError(f"{self.info.url}: a cache of Bazel's has no listing")

    def counters(self) -> StoreCounters:
        """What was damaged; the server does not say how much it holds."""
        self._require_open()
        return StoreCounters(0, 0, corrupt=self.damaged.count)

    def close(self) -> None:
        """Close the connection. May be called again."""
        self._is_closed = True
        self._client.close()

    # -- inside: results -------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"the store {self.info.url} was closed")

    def _terms(self) -> _Terms:
        """What the server can do, asked once."""
        self._require_open()
        if self._known is None:
            request = wire.GetCapabilitiesRequest(instance_name=self._instance)
            answer = self._client.call(calls.CAPABILITIES, request, wire.ServerCapabilities)
            self._known = self._agreed(answer.cache_capabilities)
        return self._known

    def _agreed(self, offer: wire.CacheCapabilities) -> _Terms:
        wanted = [self._digest] if self._digest else list(_HASHES)
        names = [name for name in wanted if _HASHES[name][0] in offer.digest_functions]
        if not names:
            known = ", ".join(map(wire.DigestFunction.Name, offer.digest_functions)) or "none"
            raise StoreError(
                f"{self.info.url}: the server names contents by {known}, not by {' or '.join(wanted)}"
            )
        function, hashed = _HASHES[names[0]]
        is_usual = names[0] == "sha256"
        limit = offer.max_batch_total_size_bytes
        return _Terms(
            hashed,
            wire.UNKNOWN if is_usual else function,
            "" if is_usual else names[0] + "/",
            min(limit, MESSAGE_BYTES) if limit > 0 else MESSAGE_BYTES,
        )

    def _asked(self, key: Key, terms: _Terms) -> wire.GetActionResultRequest:
        return wire.GetActionResultRequest(
            instance_name=self._instance,
            action_digest=_digest(action_of(key, hashed=terms.hashed)),
            inline_stdout=True,
            inline_stderr=True,
            digest_function=terms.function,
        )

    def _pieces(self, key: Key, result: wire.ActionResult) -> Pieces | None:
        found = pieces(key, result)
        if found is not None and isinstance(found.body, Blob):
            if found.body.size_bytes < 0:
                raise DecodeError(f"a body of {found.body.size_bytes} bytes")
            expect(found.body.size_bytes)
        return found

    def _found(self, keys: Sequence[Key], terms: _Terms) -> Iterator[tuple[Key, Pieces]]:
        """What results say of those keys that have one."""
        keys = list(dict.fromkeys(keys))
        requests = [self._asked(key, terms) for key in keys]
        answers = self._client.call_many(calls.GET_RESULT, requests, wire.ActionResult)
        for key, result in zip(keys, answers, strict=True):
            try:
                found = None if result is None else self._pieces(key, result)
            except DecodeError:
                self.damaged.add()
                continue
            if found is not None:
                yield key, found

    def _update(self, results: Sequence[tuple[Key, wire.ActionResult]], terms: _Terms) -> None:
        requests = [
            wire.UpdateActionResultRequest(
                instance_name=self._instance,
                action_digest=_digest(action_of(key, hashed=terms.hashed)),
                action_result=result,
                digest_function=terms.function,
            )
            for key, result in results
        ]
        if len(requests) == 1:
            self._client.call(calls.UPDATE_RESULT, requests[0], wire.ActionResult)
            return
        for _ in self._client.call_many(calls.UPDATE_RESULT, requests, wire.ActionResult):
            pass

    # -- inside: blobs ---------------------------------------------------------------------

    def _head(self, key: Key, blob: Blob, terms: _Terms) -> bytes:
        """A head that the server keeps apart.

        Raises:
            DecodeError: it is not what its name says, or another key's.
        """
        head = self._read(blob, terms)
        if terms.hashed(head) != blob.hash:
            raise DecodeError(f"a head is not {blob.hash}")
        expect_key(key, head)
        return head

    def _is_head(self, key: Key, blob: Blob, head: bytes, terms: _Terms) -> bool:
        try:
            expect_key(key, head)
        except DecodeError:
            self.damaged.add()
            return False
        return terms.hashed(head) == blob.hash

    def _read(self, blob: Blob, terms: _Terms) -> bytes:
        """A blob in one message, or as a stream.

        Raises:
            KeyError: it is not there.
        """
        if not blob.size_bytes:
            return b""
        if blob.size_bytes <= min(_SMALL_BYTES, terms.batch_bytes):
            return self._read_many([blob], terms)[blob]
        return self._client.read(
            f"{self._base()}blobs/{terms.marker}{blob.hash}/{blob.size_bytes}", blob.size_bytes
        )

    def _read_many(self, blobs: set[Blob] | Sequence[Blob], terms: _Terms) -> dict[Blob, bytes]:
        """Those of the blobs that are there: small ones many to a message."""
        found: dict[Blob, bytes] = {}
        limit = min(_SMALL_BYTES, terms.batch_bytes)
        small = {blob.hash: blob for blob in blobs if blob.size_bytes <= limit}
        requests = [
            wire.BatchReadBlobsRequest(
                instance_name=self._instance, digests=map(_digest, batch), digest_function=terms.function
            )
            for batch in _in_messages(small.values(), terms.batch_bytes)
        ]
        for answer in self._client.call_many(calls.BATCH_READ, requests, wire.BatchReadBlobsResponse):
            for each in answer.responses if answer is not None else ():
                blob = small.get(each.digest.hash)
                if blob is not None and not each.status.code and len(each.data) == blob.size_bytes:
                    found[blob] = each.data
        for blob in blobs:
            if blob.size_bytes > limit:
                try:
                    found[blob] = self._read(blob, terms)
                except KeyError:
                    continue
        return found

    def _lacks(self, blobs: set[Blob], terms: _Terms) -> set[Blob]:
        """Those of the blobs that the server does not have."""
        if not blobs:
            return set()
        named = {blob.hash: blob for blob in blobs}
        requests = [
            wire.FindMissingBlobsRequest(
                instance_name=self._instance,
                blob_digests=map(_digest, batch),
                digest_function=terms.function,
            )
            for batch in batched(named.values(), _ASKED_AT_ONCE)
        ]
        answers = self._client.call_many(calls.FIND_MISSING, requests, wire.FindMissingBlobsResponse)
        return {
            named[digest.hash]
            for answer in answers
            if answer is not None
            for digest in answer.missing_blob_digests
            if digest.hash in named
        }

    def _upload(self, blobs: Mapping[Blob, Buffer], terms: _Terms) -> None:
        """Have the server have blobs: what it lacks is sent."""
        lacking = self._lacks(set(blobs), terms)
        small = [blob for blob in lacking if blob.size_bytes <= min(_SMALL_BYTES, terms.batch_bytes)]
        requests = [
            wire.BatchUpdateBlobsRequest(
                instance_name=self._instance,
                requests=[
                    wire.BatchUpdateBlobsRequest.Request(digest=_digest(blob), data=bytes(blobs[blob]))
                    for blob in batch
                ],
                digest_function=terms.function,
            )
            for batch in _in_messages(small, terms.batch_bytes)
        ]
        for answer in self._client.call_many(calls.BATCH_UPDATE, requests, wire.BatchUpdateBlobsResponse):
            for each in answer.responses if answer is not None else ():
                if each.status.code:
                    said = (
                        f"{self.info.url}: {each.digest.hash}: {each.status.code} {each.status.message[:200]}"
                    )
                    raise StoreFull(said) if each.status.code == _RESOURCE_EXHAUSTED else StoreError(said)
        for blob in lacking.difference(small):
            self._write(blob, memoryview(blobs[blob]).cast("B"), terms)

    def _write(self, blob: Blob, content: memoryview, terms: _Terms) -> None:
        name = f"{self._base()}uploads/{uuid.uuid4()}/blobs/{terms.marker}{blob.hash}/{blob.size_bytes}"

        def requests() -> Iterator[wire.WriteRequest]:
            for at in range(0, blob.size_bytes, _PIECE_BYTES):
                piece = bytes(content[at : at + _PIECE_BYTES])
                yield wire.WriteRequest(
                    resource_name=name if not at else "",
                    write_offset=at,
                    finish_write=at + len(piece) == blob.size_bytes,
                    data=piece,
                )

        committed = self._client.write(requests())
        if committed != blob.size_bytes:
            raise StoreUnavailable(f"{self.info.url}: took {committed} of {blob.size_bytes} bytes")

    def _base(self) -> str:
        return f"{self._instance}/" if self._instance else ""


def _digest(blob: Blob) -> wire.Digest:
    return wire.Digest(hash=blob.hash, size_bytes=blob.size_bytes)


def _in_messages(blobs: Iterable[Blob], limit_bytes: int) -> Iterator[list[Blob]]:
    """Blobs in groups that fit into a message each."""
    return batched_by_size(blobs, lambda blob: blob.size_bytes + _OVERHEAD_BYTES, most_bytes=limit_bytes)
