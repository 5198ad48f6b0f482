"""What an entry is: its key, its content's digest, what it depends on. Frozen data, no I/O.

The bytes of a head are normative in docs/design/format.md. A head is canonical: fields are
length-prefixed and sorted, so that equal entries have equal bytes and can be signed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError, UsageError
from vcache.kit.data import dataclass, field

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "FOREVER",
    "Dep",
    "Encoding",
    "Entry",
    "Flag",
    "Key",
    "Record",
    "cost_ns_in",
    "digest_in",
    "key_in",
    "make_key",
    "rekeyed",
    "split_key",
]

Key = bytes
"""A canonical key: namespace (UTF-8) + NUL + one kind byte + the name's bytes."""

FOREVER: Final = 0
"""The `expires_ns` of an entry without a time to live."""

HEAD_VERSION: Final = 1
# version, flags, codec length, encoding, key length, tail length,
# created, expires, stale-until, content size, cost, digest
FIXED: Final = struct.Struct("<BBBBIIQQQQQ32s")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_KEY_LENGTH_AT: Final = 4
_COST_AT: Final = 44
_DIGEST_AT: Final = FIXED.size - 32
MAX_KEY_BYTES: Final = 64 << 10

_STR: Final = b"s"
_BYTES: Final = b"b"


class Encoding(IntEnum):
    """How the body is packed; the digest is always that of the unpacked content."""

    IDENTITY = 0
    LZ4 = 1
    ZSTD = 2


class Flag(IntEnum):
    """Bits of a head's flags, so that a reader can pass over what an entry does not have."""

    TAGS = 1
    DEPS = 2
    META = 4
    ERROR = 8  # the content is an exception, to be raised
    PINNED = 16  # never collected for age or budget
    VERBATIM = 32  # the body is a bytes value as it is: no expiry, no conditions, no cost


def make_key(name: str | bytes, *, namespace: str = "") -> Key:
    """The canonical key of a name. `"a"` and `b"a"` are two keys.

    Raises:
        UsageError: the name is neither str nor bytes, is longer than 64 KiB, or the
            namespace holds a NUL.
    """
    if "\0" in namespace:
        raise UsageError(f"namespace {namespace!r} holds a NUL character: use printable text")
    if isinstance(name, str):
        key = namespace.encode() + b"\0s" + name.encode("utf-8", "surrogatepass")
    elif isinstance(name, bytes):
        key = namespace.encode() + b"\0b" + name
    else:
        raise UsageError(f"a key is str or bytes, not {type(name).__name__}: {name!r:.80}")
    if len(key) > MAX_KEY_BYTES:
        raise UsageError(f"a key of {len(key)} bytes is too long (at most {MAX_KEY_BYTES}): {name!r:.80}")
    return key


def split_key(key: Key) -> tuple[str, str | bytes]:
    """The namespace and the name that `make_key` joined.

    Raises:
        DecodeError: not a canonical key.
    """
    namespace, nul, rest = key.partition(b"\0")
    if not nul or rest[:1] not in (_STR, _BYTES):
        raise DecodeError(f"not a canonical key: {key!r:.80}")
    name: str | bytes = rest[1:]
    if rest[:1] == _STR:
        name = rest[1:].decode("utf-8", "surrogatepass")
    return namespace.decode(), name


def rekeyed(head: bytes, key: Key) -> bytes:
    """The head of the same entry under another key, without decoding it.

    Raises:
        DecodeError: truncated.
    """
    if len(head) < FIXED.size:
        raise DecodeError(f"a head of {len(head)} bytes is truncated")
    (old,) = _U32.unpack_from(head, _KEY_LENGTH_AT)
    if len(head) < FIXED.size + old:
        raise DecodeError(f"a head of {len(head)} bytes claims a key of {old}")
    return head[:4] + _U32.pack(len(key)) + head[8 : FIXED.size] + key + head[FIXED.size + old :]


def key_in(head: bytes) -> Key:
    """The key of an encoded head of `FIXED.size` bytes or more, without decoding the rest."""
    (length,) = _U32.unpack_from(head, _KEY_LENGTH_AT)
    return head[FIXED.size : FIXED.size + length]


def cost_ns_in(head: bytes) -> int:
    """What the content took to make, by an encoded head of `FIXED.size` bytes or more."""
    cost_ns: int = _U64.unpack_from(head, _COST_AT)[0]
    return cost_ns


def digest_in(head: bytes) -> bytes:
    """The digest of the content, by an encoded head of `FIXED.size` bytes or more."""
    return head[_DIGEST_AT : FIXED.size]


@dataclass(frozen=True, slots=True, order=True)
class Dep:
    """One observed input: what it was, and what identified it when it was looked at.

    Attributes:
        kind: the family, such as "file", "glob", "env", "tool", "value", "entry", "absent",
            "code", "arg". It decides who can look again.
        name: which one, such as a path relative to the project root.
        identity: what counts. Equal identities mean an unchanged input; empty means absent.
        hint: what allows to say "unchanged" without looking closely (a stat signature).
            Never part of a fingerprint.
        note: a word for people. Never part of a fingerprint.
    """

    kind: str
    name: str
    identity: bytes
    hint: bytes = field(default=b"", compare=False)
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """Everything known of one stored value but its bytes.

    Attributes:
        key: the canonical key.
        digest: BLAKE3 of the content, before packing.
        size_bytes: length of the content, before packing.
        codec: the name of what turns content into a value.
        encoding: how the body is packed.
        created_ns, expires_ns: UTC epoch nanoseconds; `FOREVER` for no expiry.
        stale_until_ns: until when an expired value may still be served while a new one is
            computed; 0 for never.
        cost_ns: how long the value took to make: what a hit saves.
    """

    key: Key
    digest: bytes
    size_bytes: int
    codec: str = "bytes"
    encoding: Encoding = Encoding.IDENTITY
    created_ns: int = 0
    expires_ns: int = FOREVER
    stale_until_ns: int = 0
    cost_ns: int = 0
    tags: frozenset[str] = frozenset()
    deps: tuple[Dep, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    is_error: bool = False
    is_pinned: bool = False

    @property
    def namespace(self) -> str:
        """The namespace part of the key."""
        return split_key(self.key)[0]

    @property
    def name(self) -> str | bytes:
        """The name part of the key, as the caller gave it."""
        return split_key(self.key)[1]

    def encode(self) -> bytes:
        """The canonical head bytes of this entry."""
        tail = b""
        flags = 0
        if self.tags:
            flags |= Flag.TAGS
            tail += _pack(sorted(tag.encode() for tag in self.tags))
        if self.deps:
            flags |= Flag.DEPS
            tail += _pack(part for dep in self.deps for part in _dep_parts(dep))
        if self.meta:
            flags |= Flag.META
            tail += _pack(part.encode() for item in sorted(self.meta.items()) for part in item)
        flags |= Flag.ERROR * self.is_error | Flag.PINNED * self.is_pinned
        if self.codec == "bytes" and not (flags or self.encoding or self.expires_ns or self.cost_ns):
            flags = Flag.VERBATIM
        codec = self.codec.encode()
        return (
            FIXED.pack(
                HEAD_VERSION, flags, len(codec), self.encoding, len(self.key), len(tail),
                self.created_ns, self.expires_ns, self.stale_until_ns, self.size_bytes, self.cost_ns,
                self.digest,
            )
            + self.key
            + codec
            + tail
        )  # fmt: skip

    @classmethod
    def decode(cls, head: Buffer) -> Entry:
        """The entry that these head bytes describe.

        Raises:
            DecodeError: truncated, of an unknown version, or with bytes left over.
        """
        data = bytes(head)
        try:
            (version, flags, codec_len, encoding, key_len, tail_len,
             created, expires, stale, size, cost, content_digest) = FIXED.unpack_from(data)  # fmt: skip
        except struct.error:
            raise DecodeError(f"a head of {len(data)} bytes is truncated") from None
        if version != HEAD_VERSION:
            raise DecodeError(f"head version {version} is not {HEAD_VERSION}")
        codec_at = FIXED.size + key_len
        tail_at = codec_at + codec_len
        if tail_at + tail_len != len(data):
            raise DecodeError(f"a head of {len(data)} bytes claims {tail_at + tail_len}")
        tags: tuple[bytes, ...] = ()
        parts: tuple[bytes, ...] = ()
        meta: tuple[bytes, ...] = ()
        at = tail_at
        if flags & Flag.TAGS:
            tags, at = _unpack(data, at)
        if flags & Flag.DEPS:
            parts, at = _unpack(data, at)
        if flags & Flag.META:
            meta, at = _unpack(data, at)
        if at != len(data) or len(parts) % 5 or len(meta) % 2:
            raise DecodeError("a head's tail is not what its flags say")
        try:
            return cls(
                key=data[FIXED.size : codec_at],
                digest=content_digest,
                size_bytes=size,
                codec=data[codec_at:tail_at].decode(),
                encoding=Encoding(encoding),
                created_ns=created,
                expires_ns=expires,
                stale_until_ns=stale,
                cost_ns=cost,
                tags=frozenset(tag.decode() for tag in tags),
                deps=tuple(_dep(parts[i : i + 5]) for i in range(0, len(parts), 5)),
                meta={meta[i].decode(): meta[i + 1].decode() for i in range(0, len(meta), 2)},
                is_error=bool(flags & Flag.ERROR),
                is_pinned=bool(flags & Flag.PINNED),
            )
        except ValueError as error:
            raise DecodeError(f"a head holds what no head may: {error}") from None


class Record:
    """What a store moves: a head and a body, both bytes.

    Attributes:
        head: `Entry.encode()` of its entry.
        body: the content, packed as the head's encoding says. A store may hand out a
            read-only view; whoever keeps it beyond the call copies it.
        token: the store's own mark of this version, or None. A `Watched` store can say
            whether it is still current.
        memo: a place for what the value cost to make and the decoded value, used by the cache
            for immutable values only.
    """

    __slots__ = ("body", "head", "memo", "token")

    def __init__(self, head: bytes, body: Buffer, token: object = None) -> None:
        self.head = head
        self.body = body
        self.token = token
        self.memo: tuple[int, object] | None = None

    def entry(self) -> Entry:
        """The decoded head."""
        return Entry.decode(self.head)

    def __repr__(self) -> str:
        return f"Record({self.entry()!r}, {memoryview(self.body).nbytes} bytes)"


def _pack(parts: Iterable[bytes]) -> bytes:
    """A count, then each part behind its length."""
    items = list(parts)
    return _U32.pack(len(items)) + b"".join(_U32.pack(len(item)) + item for item in items)


def _unpack(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """The parts that `_pack` wrote at an offset, and the offset behind them."""
    try:
        (count,) = _U32.unpack_from(data, at)
        at += 4
        parts = []
        for _ in range(count):
            (size,) = _U32.unpack_from(data, at)
            at += 4 + size
            if at > len(data):
                raise DecodeError("a head's tail is truncated")
            parts.append(data[at - size : at])
    except struct.error:
        raise DecodeError("a head's tail is truncated") from None
    return tuple(parts), at


def _dep_parts(dep: Dep) -> tuple[bytes, ...]:
    return (
        dep.kind.encode(),
        dep.name.encode("utf-8", "surrogateescape"),
        dep.identity,
        dep.hint,
        dep.note.encode(),
    )


def _dep(parts: tuple[bytes, ...]) -> Dep:
    kind, name, identity, hint, note = parts
    return Dep(kind.decode(), name.decode("utf-8", "surrogateescape"), identity, hint, note.decode())
