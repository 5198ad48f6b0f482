"""vcache's own dialect: records as objects under `…/vcache/<name>`, and batches below `…/vcache/-/`.

Normative: docs/design/network.md. A GET of what is small is answered without a task (`quick`). The
namespace of the caller is put before every key, in the head as well: an object that is given out says
the key that was asked for, and one that is taken in says the key that it is kept under.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.entry import Key, Record, cost_ns_in, key_in, rekeyed
from vcache.errors import DecodeError, StoreError
from vcache.server.arrivals import Mapped, checked, pieces
from vcache.server.callers import Caller
from vcache.server.dialect import Answer
from vcache.server.exchange import Desk, Exchange, Scope
from vcache.server.logs.shelf import RESERVED
from vcache.server.longkeys import LongKeys
from vcache.server.phrases import BEARER, READS, plain
from vcache.server.ranges import part_of
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Kept, own_prefix
from vcache.store.objects import frame, key_of, name_of, pack

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.server.gate import Reply

__all__ = ["Native"]

_MARK: Final = "/vcache/"
_MOST_NAMES: Final = 10_000
_NAME_BYTES: Final = 202  # a name and the end of its line
_PUT_BYTES: Final = 64 << 20
_PIECE_BYTES: Final = 1 << 20
_SLICE: Final = 64
_TEXT: Final = (("content-type", "text/plain; charset=us-ascii"),)
_BINARY: Final = (("content-type", "application/octet-stream"),)
_MISS: Final = ("miss", 0, (404, b"content-length: 0\r\n", b"", b""))
Quickly = tuple[str, int, "Reply"]
"""Outcome, saved nanoseconds, answer."""


class Native:
    """What vcache's own HTTP tier says and expects.

    Args:
        desk: what all exchanges share.
    """

    name = "native"

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._long = LongKeys(desk)

    def claims(self, path: str) -> bool:
        """Whether a path is below `…/vcache/`."""
        return _MARK in path

    def needs_token(self, method: str, path: str) -> bool:
        """Always."""
        return True

    # -- one object ------------------------------------------------------------------------

    def quick(self, scope: Scope, caller: Caller) -> Quickly | None:
        """The answer to a GET or HEAD of what is small and near; None for all else."""
        name = scope["path"].rpartition(_MARK)[2]
        if not caller.may_read or name[:1] in "-~":
            return None
        if any(header == b"range" for header, _ in scope["headers"]):
            return None
        try:
            key = key_of(name)
        except DecodeError:
            return None
        assert key is not None
        prefix = own_prefix(caller.namespace)
        record = self._desk.vault.near(prefix + key)
        if record is False:
            return _MISS
        if record is True:
            return None
        head = rekeyed(record.head, key) if prefix else record.head
        start, body = pack(Record(head, record.body))
        lines = b"content-type: application/octet-stream\r\ncontent-length: %d\r\n" % (
            len(start) + len(body)  # type: ignore[arg-type]  # near bodies are bytes
        )
        saved_ns = cost_ns_in(head)
        return "hit", saved_ns, (200, lines, start, body)

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request."""
        name = exchange.path.rpartition(_MARK)[2]
        if name.startswith("-/") or exchange.path.rpartition(_MARK)[0].endswith("/vcache/-"):
            await self._answer_batch(exchange, name.removeprefix("-/"))
        elif exchange.method in READS:
            await self._get(exchange, name)
        elif exchange.method == "PUT":
            await self._put(exchange, name)
        elif exchange.method == "DELETE":
            await self._delete(exchange, name)
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} is not part of this protocol")

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """Plain statuses with a line of words."""
        return plain(refused, challenge=BEARER)

    async def _get(self, exchange: Exchange, name: str) -> None:
        key = await self._key(exchange, name)
        record = None if key is None else await self._record(exchange.caller, key)
        if key is None or record is None:
            await exchange.absent()
            return
        exchange.outcome = "hit"
        exchange.saved_ns = cost_ns_in(record.head)
        start, body = pack(_outside(record, key))
        asked = exchange.header("range")
        part = None if asked is None else part_of(asked, len(start) + memoryview(body).nbytes)
        if part is None:
            await exchange.answer_in_parts(200, (start, body), _BINARY)
            return
        cut = len(start)
        parts = (
            start[part.start : part.stop],
            memoryview(body)[max(0, part.start - cut) : max(0, part.stop - cut)],
        )
        size = cut + memoryview(body).nbytes
        words = ("content-range", f"bytes {part.start}-{part.stop - 1}/{size}")
        await exchange.answer_in_parts(206, parts, (*_BINARY, words))

    async def _record(self, caller: Caller, key: Key) -> Record | None:
        vault = self._desk.vault
        record: Record | None = await self._desk.run(vault.record, own_prefix(caller.namespace) + key)
        return record

    async def _put(self, exchange: Exchange, name: str) -> None:
        content = await exchange.body(self._desk.limit_bytes)

        def publish() -> bool:
            with Mapped(content) as data:
                record = checked(_named(name), data, name, limit_bytes=self._desk.limit_bytes)
                is_new, kept = self._publish(exchange, record, name)
            self._desk.note(exchange.caller, "put", self.name, "", name, kept)
            return is_new

        try:
            is_new: bool = await self._desk.run(publish)
        finally:
            if isinstance(content, Path):
                content.unlink(missing_ok=True)
        exchange.outcome = "put"
        await exchange.answer(201 if is_new else 204)

    def _publish(self, exchange: Exchange, record: Record, name: str) -> tuple[bool, Kept]:
        """Keep a record that was checked; on a thread."""
        prefix = own_prefix(exchange.caller.namespace)
        entry = record.entry()
        key, head = prefix + entry.key, record.head
        if key.startswith(RESERVED):
            raise Refused(Refusal.FORBIDDEN, f"{name} is the server's own")
        if prefix:
            head = rekeyed(head, key)
        vault = self._desk.vault
        old = vault.record(key)
        if old is not None and exchange.header("if-none-match") == "*":
            raise Refused(Refusal.PRECONDITION, f"{name} is there")
        old_bytes = None if old is None else old.entry().size_bytes
        kept = Kept.over(old_bytes, entry.digest, entry.size_bytes)
        if kept.grown_bytes > 0:
            self._desk.admit(exchange.caller, kept.grown_bytes)
        self._long.add(prefix, entry.key)
        if old is None or old.head != head:
            vault.put_record(key, Record(head, record.body))
        return old is None, kept

    async def _delete(self, exchange: Exchange, name: str) -> None:
        exchange.caller.require_write()
        key = await self._key(exchange, name)

        def forget() -> bool:
            is_gone = self._desk.vault.delete_key(own_prefix(exchange.caller.namespace) + (key or b""))
            if is_gone:
                self._desk.note(exchange.caller, "delete", self.name, "", name, None)
            return is_gone

        is_gone = key is not None and await self._desk.run(forget)
        await exchange.answer(204 if is_gone else 404)

    async def _key(self, exchange: Exchange, name: str) -> Key | None:
        """The key of a name, without the namespace; None for the name of a long one that is not there."""
        key = _named(name)
        if key is not None:
            return key
        prefix = own_prefix(exchange.caller.namespace)
        found: Key | None = await self._desk.run(self._long.find, prefix, name)
        return found

    # -- many ------------------------------------------------------------------------------

    async def _answer_batch(self, exchange: Exchange, call: str) -> None:
        calls = {
            ("POST", "get"): self._get_many,
            ("POST", "missing"): self._missing,
            ("POST", "put"): self._put_many,
            ("GET", "list"): self._list,
        }
        handler = calls.get((exchange.method, call))
        if handler is None:
            is_known = any(name == call for _, name in calls)
            raise Refused(
                Refusal.METHOD if is_known else Refusal.ABSENT, f"{exchange.method} -/{call} is no call"
            )
        await handler(exchange)

    async def _names(self, exchange: Exchange) -> list[str]:
        data = await exchange.read(_MOST_NAMES * _NAME_BYTES)
        try:
            names = data.decode("ascii").split()
        except UnicodeDecodeError:
            raise Refused(Refusal.MALFORMED, "names are hexadecimal, one a line") from None
        if len(names) > _MOST_NAMES:
            raise Refused(Refusal.TOO_LARGE, f"{len(names)} names; at most {_MOST_NAMES} are taken")
        return names

    async def _keys(self, exchange: Exchange) -> list[tuple[str, Key | None]]:
        names = await self._names(exchange)
        keys: list[tuple[str, Key | None]] = []
        for name in names:
            key = _named(name)
            keys.append((name, key if key is not None else await self._key(exchange, name)))
        return keys

    async def _get_many(self, exchange: Exchange) -> None:
        keys = [key for _, key in await self._keys(exchange) if key is not None]
        await exchange.stream(self._frames(exchange, keys), _BINARY)

    async def _frames(self, exchange: Exchange, keys: Sequence[Key]) -> AsyncIterator[Buffer]:
        prefix = own_prefix(exchange.caller.namespace)
        vault = self._desk.vault
        parts: list[Buffer] = []
        size = 0
        for start in range(0, len(keys), _SLICE):
            part = keys[start : start + _SLICE]
            records = await self._desk.run(vault.records, [prefix + key for key in part])
            for key in part:
                record = records.get(prefix + key)
                if record is None:
                    continue
                exchange.outcome = "hit"
                exchange.saved_ns += cost_ns_in(record.head)
                front, body = frame(_outside(record, key))
                parts += (front, body)
                size += len(front) + memoryview(body).nbytes
                if size >= _PIECE_BYTES:
                    yield b"".join(parts)
                    parts, size = [], 0
        if parts:
            yield b"".join(parts)
        exchange.outcome = exchange.outcome or "miss"

    async def _missing(self, exchange: Exchange) -> None:
        named = await self._keys(exchange)
        prefix = own_prefix(exchange.caller.namespace)
        asked = [prefix + key for _, key in named if key is not None]
        missing = await self._desk.run(self._desk.vault.lacks, asked)
        lines = [name for name, key in named if key is None or prefix + key in missing]
        await exchange.answer(200, "".join(f"{name}\n" for name in lines).encode(), _TEXT)

    async def _put_many(self, exchange: Exchange) -> None:
        content = await exchange.body(_PUT_BYTES)
        refused: list[str] = await self._desk.run(self._publish_all, exchange, content)
        exchange.outcome = "put"
        await exchange.answer(200, "".join(refused).encode(), _TEXT)

    def _publish_all(self, exchange: Exchange, content: bytes | Path) -> list[str]:
        """Keep all objects of a body; a line for each that is refused. On a thread."""
        refused: list[str] = []
        try:
            with Mapped(content) as data:
                for piece in pieces(data):
                    name = "?"
                    try:
                        record = checked(None, piece, "?", limit_bytes=self._desk.limit_bytes)
                        name = name_of(record.entry().key)
                        _, kept = self._publish(exchange, record, name)
                        self._desk.note(exchange.caller, "put", self.name, "", name, kept)
                    except Refused as why:
                        refused.append(f"{name} {why.kind.value}\n")
        finally:
            if isinstance(content, Path):
                content.unlink(missing_ok=True)
        return refused

    async def _list(self, exchange: Exchange) -> None:
        try:
            prefix = bytes.fromhex(exchange.query.get("prefix", ""))
            after = bytes.fromhex(exchange.query.get("after", ""))
        except ValueError:
            raise Refused(Refusal.MALFORMED, "prefix and after are hexadecimal") from None
        keys: list[Key] = await self._desk.run(
            self._listed, own_prefix(exchange.caller.namespace), prefix, after
        )
        headers = list(_TEXT)
        if len(keys) > _MOST_NAMES:
            keys.pop()
            headers.append(("x-next", keys[-1].hex()))
        await exchange.answer(200, "".join(f"{key.hex()}\n" for key in keys).encode(), headers)

    def _listed(self, own: bytes, prefix: bytes, after: bytes) -> list[Key]:
        cut = len(own)
        try:
            keys = (key[cut:] for key in self._desk.vault.store.scan(own + prefix))
            return nsmallest(_MOST_NAMES + 1, (key for key in keys if not after or key > after))
        except (StoreError, OSError) as error:
            raise Refused(Refusal.BROKEN, f"the store cannot be listed: {error}") from error


def _named(name: str) -> Key | None:
    try:
        return key_of(name)
    except DecodeError as error:
        raise Refused(Refusal.MALFORMED, str(error)) from None


def _outside(record: Record, key: Key) -> Record:
    """A record as its client sees it."""
    head = record.head
    return record if key_in(head) == key else Record(rekeyed(head, key), record.body)
