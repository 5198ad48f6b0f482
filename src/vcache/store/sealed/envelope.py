"""A sealed record's bytes: what is around a statement, a signature, a head and a body. No I/O.

The bytes are normative in docs/design/network.md. It must not know what a signature or a cipher is.
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, Final

from vcache.errors import DecodeError
from vcache.kit.data import NamedTuple
from vcache.store.objects import MAX_HEAD_BYTES
from vcache.store.sealed.parts import Reader, part
from vcache.store.sealed.statement import MAX_STATEMENT_BYTES

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["CODEC", "NONCE_BYTES", "SIGNATURE_BYTES", "Contents", "Mark", "Outside"]

CODEC: Final = "sealed"
"""The codec of the records that a tier with sealed records keeps."""
NONCE_BYTES: Final = 48
SIGNATURE_BYTES: Final = 64
_MAGIC: Final = b"vcseal\x01"


class Mark(IntFlag):
    """Bits of an envelope's flags."""

    SIGNED = 1
    ENCRYPTED = 2
    AES = 4  # AES-256-GCM, not ChaCha20-Poly1305


class Outside(NamedTuple):
    """What anyone sees of an envelope."""

    marks: Mark
    nonce: bytes

    def encode(self) -> bytes:
        """The bytes before the contents: what is encrypted is bound to them."""
        return _MAGIC + bytes((self.marks,)) + part(self.nonce)

    @classmethod
    def read(cls, data: Buffer) -> tuple[Outside, memoryview]:
        """The outside of an envelope, and its contents as they are kept.

        Raises:
            DecodeError: not an envelope, or not one that `encode` began.
        """
        reader = Reader(data)
        if bytes(reader.take(len(_MAGIC))) != _MAGIC:
            raise DecodeError("not an envelope")
        flags = reader.take(1)[0]
        nonce = reader.part(NONCE_BYTES)
        if flags > 7 or (flags & Mark.AES and not flags & Mark.ENCRYPTED):
            raise DecodeError(f"an envelope with the flags {flags:#x}")
        if len(nonce) != (NONCE_BYTES if flags & Mark.ENCRYPTED else 0):
            raise DecodeError(f"an envelope with a nonce of {len(nonce)} bytes")
        return cls(Mark(flags), nonce), reader.rest()


class Contents(NamedTuple):
    """What an envelope holds. Without a signature, statement and signature are empty."""

    statement: bytes
    signature: bytes
    head: bytes
    body: Buffer

    def start(self) -> bytes:
        """The bytes before the body."""
        return part(self.statement) + part(self.signature) + part(self.head)

    @classmethod
    def read(cls, data: Buffer, *, is_signed: bool) -> Contents:
        """The contents; the body is a view of the data.

        Raises:
            DecodeError: truncated, or with parts that cannot be.
        """
        reader = Reader(data)
        statement = reader.part(MAX_STATEMENT_BYTES)
        signature = reader.part(SIGNATURE_BYTES)
        head = reader.part(MAX_HEAD_BYTES)
        if len(signature) != (SIGNATURE_BYTES if is_signed else 0) or bool(statement) != is_signed:
            raise DecodeError("an envelope whose flags do not say whether it is signed")
        return cls(statement, signature, head, reader.rest())
