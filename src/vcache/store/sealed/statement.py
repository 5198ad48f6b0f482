"""What a signature is put under: that a producer made this record, for this key, at this time. No I/O.

The bytes are normative in docs/design/network.md. They are canonical: a statement has one encoding.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from vcache.entry import MAX_KEY_BYTES, Entry, Key, Record
from vcache.errors import DecodeError, UsageError
from vcache.hash import DIGEST_BYTES, digest
from vcache.kit.data import NamedTuple
from vcache.store.sealed.parts import Reader, part

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["MAX_STATEMENT_BYTES", "Statement", "namespace_of", "producer_name", "statement_of"]

_MAGIC: Final = b"vcache-statement\x01"
_TIME: Final = struct.Struct("<q")
_PRODUCER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_MAX_PRODUCER_BYTES: Final = 64
MAX_STATEMENT_BYTES: Final = 2 * MAX_KEY_BYTES + 1024


class Statement(NamedTuple):
    """Who says what of which record.

    Attributes:
        namespace: the key's; it is what a policy judges.
        key: the key of the record.
        head: BLAKE3 of the record's head.
        content: BLAKE3 of the content, as the head says it.
        body: BLAKE3 of the body as it is stored: a packed one is not unpacked before it is known.
        producer: the name under which policies know the signing key.
        signed_ns: UTC epoch nanoseconds.
    """

    namespace: bytes
    key: Key
    head: bytes
    content: bytes
    body: bytes
    producer: str
    signed_ns: int

    def encode(self) -> bytes:
        """The one encoding of this statement."""
        return (
            _MAGIC
            + part(self.namespace)
            + part(self.key)
            + part(self.head)
            + part(self.content)
            + part(self.body)
            + part(self.producer.encode())
            + _TIME.pack(self.signed_ns)
        )

    @classmethod
    def decode(cls, data: Buffer) -> Statement:
        """The statement that these bytes are.

        Raises:
            DecodeError: truncated, with bytes left over, or not what `encode` would write.
        """
        reader = Reader(data)
        if bytes(reader.take(len(_MAGIC))) != _MAGIC:
            raise DecodeError("not a statement")
        namespace, key = reader.part(MAX_KEY_BYTES), reader.part(MAX_KEY_BYTES)
        head, content, body = (reader.part(DIGEST_BYTES) for _ in range(3))
        producer = reader.part(_MAX_PRODUCER_BYTES)
        (signed_ns,) = _TIME.unpack(reader.take(_TIME.size))
        if len(reader.rest()) or not len(head) == len(content) == len(body) == DIGEST_BYTES:
            raise DecodeError("a statement is longer or shorter than its parts")
        try:
            name = producer_name(producer.decode("ascii"))
        except ValueError:
            raise DecodeError(f"a statement by {producer!r:.80}, which is no producer's name") from None
        return cls(namespace, key, head, content, body, name, signed_ns)


def statement_of(record: Record, entry: Entry, producer: str, signed_ns: int) -> Statement:
    """What a producer says of a record. It describes the bytes that are there, not what they claim to be."""
    return Statement(
        namespace_of(entry.key),
        entry.key,
        digest(record.head),
        entry.digest,
        digest(record.body),
        producer,
        signed_ns,
    )


def namespace_of(key: Key) -> bytes:
    """The namespace of a key, as its bytes."""
    return key.partition(b"\0")[0]


def producer_name(text: str) -> str:
    """The text, if it can be the name of a producer.

    Raises:
        UsageError: it cannot.
    """
    if not _PRODUCER.fullmatch(text):
        raise UsageError(
            f"{text!r:.80} is not a producer's name: write up to 64 letters, digits and . _ @ + -, "
            "a letter or digit first"
        )
    return text
