"""Records as action results of Bazel's HTTP cache: `<base>/ac/<hash>`, long bodies at `<base>/cas/<hash>`.

Such a cache deletes and lists nothing. What is where is normative in docs/design/network.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from vcache.entry import Key, Record
from vcache.errors import DecodeError, StoreClosed, StoreError
from vcache.kit.batches import batched
from vcache.store import actions
from vcache.store.actions import Blob, Pieces
from vcache.store.base import StoreCounters, StoreInfo
from vcache.store.checking import Damaged
from vcache.store.http.messages import Answer, Body, Request
from vcache.store.http.site import ABSENT, Site

__all__ = ["BazelStore"]

_AT_ONCE: Final = 256


class BazelStore:
    """A store on a server that speaks the HTTP protocol of Bazel's remote cache.

    Args:
        site: the directory above `ac` and `cas`.
        url: the address that opens it again, without secrets.

    Threads: all operations.

    Raises:
        ConfigError: protobuf is not installed.
    """

    def __init__(self, site: Site, *, url: str) -> None:
        actions.require()
        self._site = site
        self._is_closed = False
        self.damaged = Damaged()
        self.info = StoreInfo(
            name="http",
            url=url,
            is_shared=True,
            is_trusted=False,
            is_persistent=True,
            is_listed=False,
            keeps_time=True,
        )

    def get(self, key: Key) -> Record | None:
        return self.get_many([key]).get(key)

    def put(self, key: Key, record: Record) -> None:
        self.put_many({key: record})

    def delete(self, key: Key) -> bool:
        self._expect_open()
        if self._results([key])[0] is None:
            return False
        self._site.put(_result_name(key), actions.deleted())
        return True

    def scan(self, prefix: bytes = b"") -> Iterator[Key]:
        self._expect_open()
        raise StoreError(f"{self._site.where}: Bazel's HTTP cache lists nothing")

    def counters(self) -> StoreCounters:
        self._expect_open()
        return StoreCounters(0, 0, corrupt=self.damaged.count)

    def close(self) -> None:
        self._is_closed = True
        self._site.client.close()

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Record]:
        self._expect_open()
        found: dict[Key, Record] = {}
        for batch in batched(dict.fromkeys(keys), _AT_ONCE):
            found |= self._whole(zip(batch, self._results(batch), strict=True))
        return found

    def put_many(self, records: Mapping[Key, Record]) -> None:
        self._expect_open()
        bodies: dict[str, Body] = {}
        results: list[tuple[str, Body]] = []
        for key, record in records.items():
            result, blob = actions.result_of(record)
            if blob is not None:
                bodies[f"cas/{blob.hash}"] = record.body
            results.append((_result_name(key), result))
        # What a result refers to has to be there before it.
        if bodies:
            self._site.put_all(list(bodies.items()))
        if results:
            self._site.put_all(results)

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        self._expect_open()
        return {
            key
            for batch in batched(dict.fromkeys(keys), _AT_ONCE)
            for key, pieces in zip(batch, self._results(batch), strict=True)
            if pieces is None
        }

    def _results(self, keys: Sequence[Key]) -> list[Pieces | None]:
        """What the results of keys say; None of what is absent, deleted or damaged."""
        found: list[Pieces | None] = []
        for key, answer in zip(keys, self._got([_result_name(key) for key in keys]), strict=True):
            pieces = None
            if answer is not None:
                try:
                    pieces = actions.read(key, bytes(answer.body))
                except DecodeError:
                    self.damaged.add()
            found.append(pieces)
        return found

    def _whole(self, found: Iterable[tuple[Key, Pieces | None]]) -> dict[Key, Record]:
        """The records of results, with what they keep elsewhere."""
        pairs = [(key, pieces) for key, pieces in found if pieces is not None]
        blobs = {
            part: None for _, pieces in pairs for part in (pieces.head, pieces.body) if isinstance(part, Blob)
        }
        contents = dict(zip(blobs, self._got([f"cas/{blob.hash}" for blob in blobs]), strict=True))
        records = {}
        for key, pieces in pairs:
            head, body = (
                part if isinstance(part, bytes) else _content(part, contents[part])
                for part in (pieces.head, pieces.body)
            )
            if head is None or body is None:  # evicted before its result, or damaged
                continue
            try:
                actions.expect_key(key, bytes(head))
            except DecodeError:
                self.damaged.add()
                continue
            records[key] = Record(bytes(head), memoryview(body).toreadonly())
        return records

    def _got(self, names: Sequence[str]) -> list[Answer | None]:
        """The answers to GETs; None of what is absent."""
        answers = self._site.ask_all([Request("GET", name) for name in names])
        for answer in answers:
            if answer.status != 200 and answer.status not in ABSENT:
                raise self._site.refusal(answer, "GET")
        return [answer if answer.status == 200 else None for answer in answers]

    def _expect_open(self) -> None:
        if self._is_closed:
            raise StoreClosed(f"{self._site.where}: the store was closed")


def _result_name(key: Key) -> str:
    return f"ac/{actions.action_of(key).hash}"


def _content(blob: Blob, answer: Answer | None) -> bytes | bytearray | None:
    """A content that was received; None if it is absent or not as long as its name says."""
    return answer.body if answer is not None and len(answer.body) == blob.size_bytes else None
