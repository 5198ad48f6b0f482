"""`/api/v1/values/<name>`: values of the caller's own names, as `Cache.get` and `put` see them.

It knows Exchange and entries, and nothing of JSON resources.
"""

from __future__ import annotations

import threading
from typing import Final

from vcache.entry import Encoding, Entry, Key, Record, make_key
from vcache.errors import DecodeError, StoreError, UsageError
from vcache.hash import digest
from vcache.kit.units import nanoseconds
from vcache.serialize import unpack
from vcache.server.exchange import Desk, Exchange, Header
from vcache.server.ranges import send_part
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Found, Kept, own_prefix

__all__ = ["METHODS", "PATH", "Values", "key_of", "type_of"]

PATH: Final = "/api/v1/values/"
METHODS: Final = "GET, HEAD, PUT, DELETE"
_ANY: Final = "*"
_MOST_BYTES: Final = 256 << 20
"""Longer values come by the tiers' own dialect, which takes records as their clients packed them."""


# The type is what whoever put the value said: a page must not run with a reader's rights here.
_INERT: Final = (("x-content-type-options", "nosniff"), ("content-security-policy", "sandbox"))


class Values:
    """Answers requests for single values.

    Args:
        desk: what all requests share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()  # a condition holds until what it allows is done

    async def answer(self, exchange: Exchange) -> None:
        """Give, keep or forget one value.

        Raises:
            Refused: it is not done.
        """
        key = key_of(exchange.caller.namespace, exchange.path.removeprefix(PATH))
        method = exchange.method
        if method in ("GET", "HEAD"):
            await self._give(exchange, key)
        elif method == "PUT":
            await self._keep(exchange, key)
        elif method == "DELETE":
            await self._forget(exchange, key)
        else:
            raise Refused(Refusal.METHOD, f"{method} is none of {METHODS}")

    async def _give(self, exchange: Exchange, key: Key) -> None:
        found = await self._desk.run(self._found, key)
        if found is None:
            exchange.outcome = "miss"
            raise Refused(Refusal.ABSENT, f"there is no value {exchange.path.removeprefix(PATH)!r:.200}")
        entry: Entry = found.record.entry()
        headers: list[Header] = [("content-type", type_of(entry)), ("x-vcache-codec", entry.codec), *_INERT]
        await send_part(exchange, found, f'"{found.digest.hex()}"', headers)

    async def _keep(self, exchange: Exchange, key: Key) -> None:
        exchange.caller.require_write()
        ttl = exchange.query.get("ttl")
        try:
            ttl_ns = None if ttl is None else nanoseconds(ttl)
        except UsageError as error:
            raise Refused(Refusal.MALFORMED, f"ttl={ttl!r:.40}: {error}") from error
        self._desk.admit(exchange.caller, exchange.length_bytes)
        body = await exchange.read(min(_MOST_BYTES, self._desk.limit_bytes))
        self._desk.admit(exchange.caller, len(body))  # it may not have said how long it is
        tags = frozenset(filter(None, exchange.query.get("tags", "").split(",")))
        media = exchange.header("content-type") or ""
        kept: Kept = await self._desk.run(
            self._put,
            key,
            body,
            ttl_ns,
            tags,
            media,
            exchange.header("if-match"),
            exchange.header("if-none-match"),
        )
        exchange.outcome = "put"
        name = exchange.path.removeprefix(PATH)
        self._desk.note(exchange.caller, "put", "api", "values", name, kept)
        await exchange.answer(201 if kept.is_new else 204, headers=[("etag", f'"{kept.digest.hex()}"')])

    async def _forget(self, exchange: Exchange, key: Key) -> None:
        exchange.caller.require_write()
        is_gone: bool = await self._desk.run(self._delete, key, exchange.header("if-match"))
        name = exchange.path.removeprefix(PATH)
        if not is_gone:
            raise Refused(Refusal.ABSENT, f"there is no value {name!r:.200}")
        self._desk.note(exchange.caller, "delete", "api", "values", name, None)
        await exchange.answer(204)

    # -- on a thread -----------------------------------------------------------------------

    def _found(self, key: Key) -> Found | None:
        """The usable value of a key, its content unpacked."""
        try:
            record = self._desk.vault.store.get(key)
            if record is None:
                return None
            entry = record.entry()
            if entry.expires_ns and entry.expires_ns <= self._desk.vault.clock():
                return None
            if entry.encoding is not Encoding.IDENTITY:
                content = unpack(entry.encoding, record.body, size_bytes=entry.size_bytes)
                record = Record(record.head, content)
        except (StoreError, OSError, DecodeError):
            return None
        return Found(record)

    def _put(
        self,
        key: Key,
        body: bytes,
        ttl_ns: int | None,
        tags: frozenset[str],
        media: str,
        if_match: str | None,
        if_none_match: str | None,
    ) -> Kept:
        now_ns = self._desk.vault.clock()
        meta = {} if media in ("", "application/octet-stream") else {"type": media}
        entry = Entry(
            key, digest(body), len(body),
            created_ns=now_ns, expires_ns=now_ns + ttl_ns if ttl_ns else 0, tags=tags, meta=meta,
        )  # fmt: skip
        with self._lock:
            old = self._found(key)
            _require(old, if_match, if_none_match)
            self._desk.vault.put_record(key, Record(entry.encode(), body))
        return Kept.over(None if old is None else old.size_bytes, entry.digest, entry.size_bytes)

    def _delete(self, key: Key, if_match: str | None) -> bool:
        with self._lock:
            if if_match is not None:
                _require(self._found(key), if_match, None)
            return self._desk.vault.delete_key(key)


def key_of(namespace: str, name: str) -> Key:
    """The key of a name in the API, in the store.

    Raises:
        Refused: it is too long, or empty.
    """
    if not name:
        raise Refused(Refusal.MALFORMED, "a value's name is empty")
    try:
        return own_prefix(namespace) + make_key(name)
    except (UsageError, UnicodeEncodeError) as error:
        raise Refused(Refusal.MALFORMED, str(error)) from error


def type_of(entry: Entry) -> str:
    """The media type of an entry's content."""
    known = entry.meta.get("type", "")
    if known.isascii() and known.isprintable() and known:
        return known
    return "application/octet-stream" if entry.codec == "bytes" else f"application/vnd.vcache.{entry.codec}"


def _require(old: Found | None, if_match: str | None, if_none_match: str | None) -> None:
    """Refuse what a condition forbids (RFC 9110, 13)."""
    if if_match is not None and (old is None or not _names(if_match, old)):
        raise Refused(Refusal.PRECONDITION, "If-Match: the value is another one, or not there")
    if if_none_match is not None and old is not None and _names(if_none_match, old):
        raise Refused(Refusal.PRECONDITION, "If-None-Match: the value is there")


def _names(header: str, found: Found) -> bool:
    wanted = {item.strip().removeprefix("W/").strip('"') for item in header.split(",")}
    return _ANY in wanted or found.digest.hex() in wanted
