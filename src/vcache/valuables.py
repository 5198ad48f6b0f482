"""Values ⇄ records: what a store keeps of a value, and the value that a record stands for.

It knows heads and codecs, and nothing of stores, time to live or dependencies' meaning.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from vcache import serialize
from vcache.entry import FIXED, FOREVER, HEAD_VERSION, Dep, Encoding, Entry, Flag, Key, Record
from vcache.errors import DecodeError, UsageError
from vcache.hash import Hasher, digest
from vcache.kit.data import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from vcache.serialize import Compression

__all__ = ["ABSENT", "PLAIN", "VERBATIM", "Conditions", "Refused", "Valuables", "require_ways"]

ABSENT: Final = object()
"""What stands for "no value", since None is one."""

# The fields of a head that decide whether its value may be used, read without building an Entry:
# version, flags, codec length, encoding, key length; expiry, stale-until, size, cost.
_HOT: Final = struct.Struct("<BBBBI12xQQQQ")
_unpack_hot = _HOT.unpack_from
_HEAD_BYTES: Final = FIXED.size
_STAGED_BYTES: Final = 1 << 20  # a thread takes 0.1 ms to start, hashing 1 MiB 0.15
_COMPRESSIONS: Final = ("auto", "never", "none", "lz4", "zstd")
_SMALL_BYTES: Final = 1 << 10  # what `serialize.pack` leaves as it is
# With none of these, and without expiry, a record can be served as it is.
_CONDITIONAL: Final = int(Flag.DEPS | Flag.ERROR)
VERBATIM: Final = int(Flag.VERBATIM)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a value's entry says beside the value.

    Attributes:
        ttl_ns: how long it may be used; None for ever.
        stale_ns: how much longer it may be served while a new one is made.
        cost_ns: what it took to make.
        codec: the serialiser to use; None chooses by type.
    """

    ttl_ns: int | None = None
    stale_ns: int = 0
    cost_ns: int = 0
    codec: str | None = None
    tags: frozenset[str] = frozenset()
    deps: tuple[Dep, ...] = ()
    meta: Mapping[str, str] | None = None
    is_error: bool = False
    is_pinned: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether an entry needs no more than the fixed part of its head."""
        return not (self.tags or self.deps or self.meta or self.is_error or self.is_pinned)


PLAIN: Final = Conditions()
"""No conditions."""


class Refused(DecodeError):
    """A sound record of a kind that this cache was not opened to read."""


def require_ways(*, codec: str | None, allow_pickle: bool, compress: str | None) -> None:
    """Refuse ways to keep values that could not keep any.

    Raises:
        UsageError: a codec or a way to compress that there is not, or pickle where it is not allowed.
    """
    if compress is not None and compress not in _COMPRESSIONS:
        from vcache.kit.names import did_you_mean  # with the tables of Unicode, for who made a slip

        raise UsageError(
            f"compress={compress!r:.80}: no such way{did_you_mean(str(compress), _COMPRESSIONS)}"
        )
    if codec is None:
        return
    _require_pickle(codec, is_allowed=allow_pickle)
    if not isinstance(codec, str) or not serialize.is_codec(codec):
        from vcache.kit.names import did_you_mean

        raise UsageError(
            f"codec={codec!r:.80}: no such codec{did_you_mean(str(codec), serialize.codec_names())}"
        )


def _require_pickle(codec: str | None, *, is_allowed: bool) -> None:
    if codec == "pickle" and not is_allowed:
        raise UsageError(
            'codec="pickle": what is pickled here could not be read again; open the cache with '
            "Cache(..., allow_pickle=True), if nobody else can write to its directory"
        )


class Valuables:
    """Packs and unpacks the values of one cache.

    Args:
        codec: a serialiser for all values, instead of choosing by type.
        allow_pickle: pickle what no other codec takes, and load it again.
        allow_imports: import the modules of the classes that values are of. Not for bytes from
            others: an import runs code, if only code that is installed here. Without it nothing is
            unpickled either.
        compress: as in `serialize.pack`.
    """

    def __init__(
        self, *, codec: str | None, allow_pickle: bool, allow_imports: bool, compress: Compression
    ) -> None:
        self._codec = codec
        self._allow_pickle, self._allow_imports = allow_pickle, allow_imports
        self._compress: Compression = compress
        self._is_simple = codec is None and compress in ("auto", "never")

    def record(
        self,
        key: Key,
        value: object,
        conditions: Conditions,
        *,
        now_ns: int,
        stage: Callable[[Buffer], object] | None = None,
    ) -> Record:
        """What a store keeps of a value.

        Args:
            stage: takes a large body in while its digest is computed; gives the record's token.

        Raises:
            EncodeError: no codec takes it.
            UsageError: it is to be pickled, which is not allowed here.
        """
        if conditions is PLAIN and type(value) is bytes and len(value) <= _SMALL_BYTES and self._is_simple:
            # The common small value, without asking codecs and packers: 1 of 3 µs.
            fixed = FIXED.pack(
                HEAD_VERSION, VERBATIM, 5, 0, len(key), 0, now_ns, FOREVER, 0, len(value), 0, digest(value)
            )
            return Record(fixed + key + b"bytes", value)
        _require_pickle(conditions.codec, is_allowed=self._allow_pickle)
        packed = serialize.dump(value, codec=conditions.codec or self._codec, allow_pickle=self._allow_pickle)
        parts, size = packed.parts, packed.size_bytes
        token = None
        if size < _STAGED_BYTES or stage is None:
            content_digest = _digest_of(parts)
            encoding, body = serialize.pack(parts, size, compress=self._compress)
        else:
            digesting = _Digesting(parts)
            encoding, body = serialize.pack(parts, size, compress=self._compress)
            token = stage(body)
            content_digest = digesting.result()
        expires = FOREVER if conditions.ttl_ns is None else now_ns + conditions.ttl_ns
        stale_until = expires + conditions.stale_ns if conditions.stale_ns and expires else 0
        if conditions.is_plain:
            # `Entry.encode`, spelled out: 0.6 instead of 5 µs.
            name = packed.codec.encode()
            is_verbatim = name == b"bytes" and not (encoding or expires or conditions.cost_ns)
            fixed = FIXED.pack(
                HEAD_VERSION, VERBATIM * is_verbatim, len(name), encoding, len(key), 0,
                now_ns, expires, stale_until, size, conditions.cost_ns, content_digest,
            )  # fmt: skip
            return Record(fixed + key + name, body, token)
        entry = Entry(
            key=key,
            digest=content_digest,
            size_bytes=size,
            codec=packed.codec,
            encoding=encoding,
            created_ns=now_ns,
            expires_ns=expires,
            stale_until_ns=stale_until,
            cost_ns=conditions.cost_ns,
            tags=conditions.tags,
            deps=conditions.deps,
            meta=dict(conditions.meta or {}),
            is_error=conditions.is_error,
            is_pinned=conditions.is_pinned,
        )
        return Record(entry.encode(), body, token)

    def plain_value(self, record: Record, clock: Callable[[], int]) -> tuple[int, object]:
        """(what it took to make, value) of a record that needs no judging, else (0, ABSENT).

        An immutable value without expiry is kept on the record, so that a copy in memory need not
        be decoded again.

        Raises:
            DecodeError: the bytes cannot be read back.
        """
        head = record.head
        try:
            version, flags, codec_len, encoding, key_len, expires_ns, _, size, cost_ns = _unpack_hot(head)
        except struct.error:
            raise DecodeError(f"a head of {len(head)} bytes is truncated") from None
        if version != HEAD_VERSION:
            raise DecodeError(f"head version {version} is not {HEAD_VERSION}")
        if flags & _CONDITIONAL or (expires_ns and expires_ns <= clock()):
            return 0, ABSENT
        codec = head[_HEAD_BYTES + key_len : _HEAD_BYTES + key_len + codec_len]
        value = self._load(codec.decode(), encoding, record.body, size)
        if not expires_ns and serialize.is_immutable(value):
            record.memo = (cost_ns, value)
        return cost_ns, value

    def value(self, record: Record, entry: Entry) -> object:
        """The value of a record.

        Raises:
            DecodeError: the bytes cannot be read back.
        """
        return self._load(entry.codec, entry.encoding, record.body, entry.size_bytes)

    def _load(self, codec: str, encoding: int, body: Buffer, size: int) -> object:
        if codec == "pickle" and not self._allow_pickle:
            raise Refused("it is pickled, and this cache was opened without allow_pickle=True")
        if codec == "pickle" and not self._allow_imports:
            raise Refused("it is pickled, and others can put, or have put, entries where this cache reads")
        # Also of a body that is not packed: its length must be what the head claims.
        content = serialize.unpack(Encoding(encoding), body, size_bytes=size)
        return serialize.load(
            codec, content, allow_pickle=self._allow_pickle, allow_imports=self._allow_imports
        )

    @staticmethod
    def content(record: Record, entry: Entry) -> Buffer:
        """The unpacked content of a record."""
        return serialize.unpack(entry.encoding, record.body, size_bytes=entry.size_bytes)

    @staticmethod
    def unpacked(record: Record) -> Record:
        """The same content, kept without compression."""
        entry = record.entry()
        plain = replace(entry, encoding=Encoding.IDENTITY)
        return Record(plain.encode(), Valuables.content(record, entry))


class _Digesting(threading.Thread):
    """Computes a digest beside what else is to be done: hashing and writing need no interpreter."""

    def __init__(self, parts: Sequence[Buffer]) -> None:
        super().__init__(name="vcache-digest", daemon=True)
        self._parts = parts
        self._digest = b""
        self.start()

    def run(self) -> None:
        self._digest = _digest_of(self._parts)

    def result(self) -> bytes:
        """The digest, when it is there."""
        self.join()
        return self._digest


def _digest_of(parts: Sequence[Buffer]) -> bytes:
    if len(parts) == 1:
        return digest(parts[0])
    hasher = Hasher()
    for part in parts:
        hasher.update(part)
    return hasher.digest()
