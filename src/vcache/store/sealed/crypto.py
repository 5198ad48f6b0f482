"""Signatures and ciphers: the only importer of `cryptography`. It must not know what they are of.

Each record is encrypted under a key of its own, drawn from the tier's key and 256 random bits. So
no two records share a key and a nonce, in however many processes, without anyone counting:
random nonces of 96 bits under one key must not be used for more than 2^32 messages (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError
from vcache.hash import Hasher
from vcache.store.sealed.envelope import NONCE_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

__all__ = ["Cipher", "Signer", "Verifier", "new_private_key"]

_RANDOM_BYTES: Final = 32
_CHECK_BYTES: Final = NONCE_BYTES - _RANDOM_BYTES
_NAMES: Final = "vcache 2026-01-01 names of sealed records"
_RECORDS: Final = "vcache 2026-01-01 keys of sealed records"
_MISSING: Final = "signed or encrypted records need the extra: python -m pip install 'vcache[crypto]'"


class Signer:
    """Signs with an Ed25519 key.

    Args:
        private: its 32 bytes.

    Raises:
        ConfigError: the extra is not installed.
    """

    __slots__ = ("_key", "public")

    def __init__(self, private: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        except ImportError:
            raise ConfigError(_MISSING) from None
        self._key: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._key.sign(message)


class Verifier:
    """Verifies what an Ed25519 key signed.

    Raises:
        ConfigError: the extra is not installed, or these bytes are no key.
    """

    __slots__ = ("_invalid", "_key")

    def __init__(self, public: bytes) -> None:
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError:
            raise ConfigError(_MISSING) from None
        self._invalid = InvalidSignature
        self._key: Ed25519PublicKey = Ed25519PublicKey.from_public_bytes(public)

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether the key signed this message so."""
        try:
            self._key.verify(signature, message)
        except self._invalid:
            return False
        return True


class Cipher:
    """Encrypts, decrypts and hides names under one 32-byte key.

    Raises:
        ConfigError: the extra is not installed.
    """

    __slots__ = ("_aes", "_chacha", "_invalid", "_names", "_records")

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
        except ImportError:
            raise ConfigError(_MISSING) from None
        self._aes, self._chacha, self._invalid = AESGCM, ChaCha20Poly1305, InvalidTag
        self._names = Hasher(key, derive_key_context=_NAMES).digest()
        self._records = Hasher(key, derive_key_context=_RECORDS).digest()

    def hidden(self, name: bytes) -> bytes:
        """What stands for a name: 32 bytes that tell nothing of it to who has not the key."""
        return Hasher(name, key=self._names).digest()

    def new_nonce(self) -> bytes:
        """A nonce that is never given again."""
        random = os.urandom(_RANDOM_BYTES)
        return random + self._drawn(random, is_aes=False)[:_CHECK_BYTES]

    def is_of(self, nonce: bytes) -> bool:
        """Whether a nonce was made with this key: what tells keys apart without decrypting anything."""
        random = nonce[:_RANDOM_BYTES]
        return self._drawn(random, is_aes=False)[:_CHECK_BYTES] == nonce[_RANDOM_BYTES:]

    def encrypt(self, nonce: bytes, data: bytes | memoryview, bound: bytes, *, is_aes: bool) -> bytes:
        """The data, encrypted; readable only beside the bytes it is bound to.

        Args:
            nonce: of `new_nonce`, for this call alone.
        """
        cipher, start = self._cipher(nonce, is_aes=is_aes)
        return cipher.encrypt(start, data, bound)

    def decrypt(self, nonce: bytes, data: bytes | memoryview, bound: bytes, *, is_aes: bool) -> bytes | None:
        """What was encrypted; None if it was with another key, or anything of it changed."""
        cipher, start = self._cipher(nonce, is_aes=is_aes)
        try:
            return cipher.decrypt(start, data, bound)
        except self._invalid:
            return None

    def _cipher(self, nonce: bytes, *, is_aes: bool) -> tuple[AESGCM | ChaCha20Poly1305, bytes]:
        drawn = self._drawn(nonce[:_RANDOM_BYTES], is_aes=is_aes)
        key, start = drawn[_CHECK_BYTES : _CHECK_BYTES + 32], drawn[_CHECK_BYTES + 32 :]
        return (self._aes(key) if is_aes else self._chacha(key)), start

    def _drawn(self, random: bytes, *, is_aes: bool) -> bytes:
        """A check, a key and a nonce for one record. The ciphers' keys differ."""
        return Hasher(random + (b"\x01" if is_aes else b"\0"), key=self._records).digest(
            _CHECK_BYTES + 32 + 12
        )


def new_private_key() -> bytes:
    """The 32 bytes of a new Ed25519 private key: as RFC 8032 says, any random ones."""
    return os.urandom(32)
