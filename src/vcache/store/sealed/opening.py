"""Sealed records by the options of a tier's address: `sign`, `producer`, `trust`, `encrypt`, `encrypt_old`, `cipher`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from vcache.errors import ConfigError, UsageError
from vcache.kit.clock import Clock, system_clock
from vcache.store.base import Store
from vcache.store.sealed.keys import PolicyFile, read_private, read_secret
from vcache.store.sealed.sealer import Identity, Sealer
from vcache.store.sealed.statement import producer_name
from vcache.store.sealed.store import SealedStore

if TYPE_CHECKING:
    from vcache.store.address import Options, StoreUrl

__all__ = ["sealing"]

_CIPHERS: Final = {"chacha20": False, "aes": True}


def sealing(
    url: StoreUrl, options: Options, *, clock: Clock = system_clock
) -> Callable[[Store], Store] | None:
    """What has a tier keep sealed records; None where its address has no option for it.

    Raises:
        ConfigError: a file of keys or a policy cannot be used, options do not go together, or the
            extra `crypto` is not installed.
    """
    sign = options.take("sign", _file)
    producer = options.take("producer", producer_name)
    trust = options.take("trust", _file)
    encrypt = options.take("encrypt", _file)
    encrypt_old = options.take("encrypt_old", _files)
    is_aes = options.take("cipher", _cipher)
    _require(sign is not None or producer is None, "producer", "sign")
    _require(encrypt is not None or encrypt_old is None, "encrypt_old", "encrypt")
    _require(encrypt is not None or is_aes is None, "cipher", "encrypt")
    if sign is None and trust is None and encrypt is None:
        return None
    from vcache.store.sealed.crypto import Cipher, Verifier  # loads OpenSSL when a key comes along

    identity = None if sign is None else _identity(sign, producer)
    policy = None if trust is None else PolicyFile(trust)
    if policy is not None and identity is not None:
        known = policy().producers.get(identity.name)
        if known is not None and known.public != identity.signer.public:
            raise ConfigError(f"sign={sign}: is not the key that {trust} has for {identity.name}")
    files = () if encrypt is None else (encrypt, *(encrypt_old or ()))
    ciphers = [Cipher(read_secret(file)) for file in files]
    sealer = Sealer(
        policy=policy, identity=identity, ciphers=ciphers, verifier=Verifier, is_aes=bool(is_aes), clock=clock
    )
    return partial(SealedStore, sealer=sealer)


def _identity(file: str, producer: str | None) -> Identity:
    from vcache.store.sealed.crypto import Signer

    name, private = read_private(file)
    return Identity(producer or name, Signer(private))


def _require(is_met: bool, option: str, other: str) -> None:
    if not is_met:
        raise ConfigError(f"option {option} does nothing without {other}")


def _file(text: str) -> str:
    if not text:
        raise UsageError("names no file")
    return os.path.expanduser(text)


def _files(text: str) -> Sequence[str]:
    return [_file(part) for part in text.split(",")]


def _cipher(text: str) -> bool:
    if text not in _CIPHERS:
        raise UsageError(f"unknown cipher: write one of {', '.join(_CIPHERS)}")
    return _CIPHERS[text]
