"""The policy of a tier with signed records: which keys may write what, and when. Pure: no I/O, no cryptography."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final

from vcache.errors import ConfigError, UsageError
from vcache.kit.data import dataclass
from vcache.kit.names import did_you_mean
from vcache.store.sealed.statement import Statement, producer_name

__all__ = ["Policy", "Producer", "Reason", "public_key", "public_text"]

_SCHEME: Final = "ed25519:"
_FIELDS: Final = ("public", "namespaces", "not_before", "not_after", "revoked")
_SKEW_NS: Final = 600 * 10**9
"""How far the clock of a producer may be ahead of ours."""
_FIELD: Final = 2**255 - 19
# Points of small order: under such a "key" the same signature fits many statements. Those of other
# encodings are no numbers of the field. Source: libsodium, ed25519_ref10.c, has_small_order.
_WEAK: Final = frozenset(
    int.from_bytes(bytes.fromhex(text), "little")
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class Reason:
    """Why a record is not used: the words that reports begin with."""

    UNSIGNED = "unsigned"
    UNKNOWN = "unknown producer"
    NAMESPACE = "wrong namespace"
    KEY = "wrong key"
    CONTENT = "wrong content"
    SIGNATURE = "bad signature"
    EARLY = "key not yet valid"
    EXPIRED = "expired key"
    REVOKED = "revoked key"
    FUTURE = "signed in the future"
    PLAIN = "not encrypted"
    CLOSED = "not decryptable"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Producer:
    """A key that is trusted with something.

    Attributes:
        name: who signs with it.
        public: the 32 bytes of the Ed25519 public key.
        namespaces: shell patterns of the namespaces that it may write.
        not_before_ns, not_after_ns: UTC epoch nanoseconds between which it may sign; None for no bound.
        is_revoked: nothing that it signed is used, whenever it did.
    """

    name: str
    public: bytes
    namespaces: tuple[str, ...]
    not_before_ns: int | None = None
    not_after_ns: int | None = None
    is_revoked: bool = False

    def may_write(self, namespace: bytes) -> bool:
        """Whether it may write a namespace."""
        text = namespace.decode("utf-8", "surrogateescape")
        return any(fnmatchcase(text, pattern) for pattern in self.namespaces)

    def objection(self, statement: Statement, now_ns: int) -> str | None:
        """Why a statement is not believed although this producer signed it; None if it is."""
        signed_ns = statement.signed_ns
        if self.is_revoked:
            return Reason.REVOKED
        if not self.may_write(statement.namespace):
            return Reason.NAMESPACE
        if self.not_before_ns is not None and signed_ns < self.not_before_ns:
            return Reason.EARLY
        if self.not_after_ns is not None and signed_ns >= self.not_after_ns:
            return Reason.EXPIRED
        return Reason.FUTURE if signed_ns > now_ns + _SKEW_NS else None


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom a tier's reader believes.

    Attributes:
        producers: by name.
    """

    producers: Mapping[str, Producer]

    def __iter__(self) -> Iterator[Producer]:
        return iter(self.producers.values())

    @classmethod
    def of(cls, producers: Sequence[Producer]) -> Policy:
        """The policy that trusts these."""
        return cls(MappingProxyType({producer.name: producer for producer in producers}))

    @classmethod
    def parse(cls, table: Mapping[str, object], where: str) -> Policy:
        """The policy that a table says.

        Args:
            where: the file, for messages.

        Raises:
            ConfigError: an unknown word, a value that does not fit, no key at all, or one under two names.
        """
        for word in table:
            if word != "keys":
                raise ConfigError(f"{where}: unknown word {word!r}{did_you_mean(word, ['keys'])}")
        keys = table.get("keys")
        if not isinstance(keys, Mapping) or not keys:
            raise ConfigError(f"{where}: trusts nobody: write a table [keys.NAME] for each producer")
        producers = [_producer(name, fields, f"{where}: [keys.{name}]") for name, fields in keys.items()]
        owners: dict[bytes, str] = {}
        for producer in producers:
            other = owners.setdefault(producer.public, producer.name)
            if other != producer.name:
                raise ConfigError(
                    f"{where}: {other} and {producer.name} have one key: who signs as one could sign as the other"
                )
        return cls.of(producers)


def _producer(name: str, fields: object, where: str) -> Producer:
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{where} is {fields!r:.80}, not a table")
    for word in fields:
        if word not in _FIELDS:
            raise ConfigError(f"{where}: unknown word {word!r}{did_you_mean(word, _FIELDS)}")
    try:
        producer_name(name)
        public = public_key(_text(fields, "public"))
        producer = Producer(
            name,
            public,
            _patterns(fields),
            _moment(fields, "not_before"),
            _moment(fields, "not_after"),
            is_revoked=_claim(fields, "revoked"),
        )
    except UsageError as error:
        raise ConfigError(f"{where}: {error}") from None
    before, after = producer.not_before_ns, producer.not_after_ns
    if before is not None and after is not None and after <= before:
        raise ConfigError(f"{where}: not_after is not behind not_before: the key is never valid")
    return producer


def public_key(text: str) -> bytes:
    """The 32 bytes of a public key, written as `ed25519:BASE64`.

    Raises:
        UsageError: something else, or a key that anyone can sign for.
    """
    try:
        data = base64.b64decode(text.removeprefix(_SCHEME), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != 32 or public_text(data) != text:
        raise UsageError(
            f"public = {text!r:.80} is no public key: write what `vcache trust new` printed, ed25519:BASE64"
        )
    number = int.from_bytes(data, "little") & (2**255 - 1)
    if number >= _FIELD or number in _WEAK:
        raise UsageError(f"public = {text!r:.80} is a key under which anyone can sign: make a real one")
    return data


def public_text(data: bytes) -> str:
    """A public key as a policy has it."""
    return _SCHEME + base64.b64encode(data).decode()


def _text(fields: Mapping[str, object], word: str) -> str:
    value = fields.get(word)
    if not isinstance(value, str):
        raise UsageError(f"{word} = {value!r:.80}: write text" if word in fields else f"{word} is missing")
    return value


def _patterns(fields: Mapping[str, object]) -> tuple[str, ...]:
    value = fields.get("namespaces")
    if "namespaces" not in fields:
        raise UsageError(
            'namespaces is missing: write which it may write, such as ["", ".*"], or ["*"] for all'
        )
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"namespaces = {value!r:.80}: write a list of shell patterns")
    return tuple(value)


def _moment(fields: Mapping[str, object], word: str) -> int | None:
    value = fields.get(word)
    if value is None:
        return None
    zone = getattr(value, "tzinfo", None)  # spares the import of datetime
    if zone is None:
        raise UsageError(
            f"{word} = {value!s:.80}: write a moment with its zone, such as 2026-01-01T00:00:00Z"
        )
    seconds = int(value.replace(microsecond=0).timestamp())  # type: ignore[attr-defined]  # a datetime
    return seconds * 10**9 + value.microsecond * 1000  # type: ignore[attr-defined, no-any-return]


def _claim(fields: Mapping[str, object], word: str) -> bool:
    value = fields.get(word, False)
    if not isinstance(value, bool):
        raise UsageError(f"{word} = {value!r:.80}: write true or false")
    return value
