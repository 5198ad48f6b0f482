"""Records into envelopes and back: signs, encrypts, and decides what is believed. It must not know any store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from vcache.entry import Encoding, Entry, Key, Record, make_key
from vcache.errors import DecodeError, StoreError, StoreReadOnly, UsageError
from vcache.hash import digest
from vcache.kit.clock import Clock, system_clock
from vcache.kit.data import NamedTuple
from vcache.store.sealed.envelope import CODEC, Contents, Mark, Outside
from vcache.store.sealed.statement import Statement, namespace_of, statement_of
from vcache.store.sealed.trust import Policy, Producer, Reason

if TYPE_CHECKING:
    from vcache.store.sealed.crypto import Cipher, Signer, Verifier

__all__ = ["HIDDEN", "Identity", "Refused", "Sealer"]

HIDDEN: Final = make_key(b"", namespace=".sealed")
"""What the keys of encrypted records begin with."""
_MAX_ENCRYPTED_BYTES: Final = (1 << 31) - (1 << 10)  # OpenSSL counts in ints


class Refused(Exception):
    """A record that is not used: the reason, and what there is to say about it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Identity(NamedTuple):
    """As whom records are signed."""

    name: str
    signer: Signer


class Sealer:
    """Seals records, and opens envelopes that are to be believed.

    Args:
        policy: gives whom to believe; None: with an identity its own records only, otherwise
            whoever has the key to encrypt with.
        identity: signs what is sealed.
        ciphers: the first encrypts, all decrypt. None: nothing is encrypted.
        verifier: makes a verifier of a public key.
        is_aes: AES-256-GCM and not ChaCha20-Poly1305.
    """

    def __init__(
        self,
        *,
        policy: Callable[[], Policy] | None,
        identity: Identity | None,
        ciphers: Sequence[Cipher],
        verifier: Callable[[bytes], Verifier],
        is_aes: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        self._identity = identity
        self._ciphers = tuple(ciphers)
        self._is_aes = is_aes
        self._clock = clock
        self._verifier = verifier
        self._verifiers: dict[bytes, Verifier] = {}
        self.is_read_only = policy is not None and identity is None
        if policy is None and identity is not None:
            own = Policy.of([Producer(identity.name, identity.signer.public, ("*",))])
            policy = lambda: own  # noqa: E731 - it is an argument's default
        self._policy = policy

    @property
    def hides_keys(self) -> bool:
        """Whether records are kept under keys that tell nothing."""
        return bool(self._ciphers)

    def names(self, key: Key) -> tuple[Key, ...]:
        """The keys under which a record may be kept; it is put under the first."""
        if not self._ciphers:
            return (key,)
        return tuple(HIDDEN + cipher.hidden(key) for cipher in self._ciphers)

    def seal(self, key: Key, record: Record) -> tuple[Key, Record]:
        """The envelope of a record, and the key to keep it under.

        Raises:
            StoreReadOnly: nobody would believe it.
            StoreError: it is too large to be encrypted.
            UsageError: it is another key's record, or an envelope.
        """
        entry = record.entry()
        if entry.key != key or entry.codec == CODEC:
            raise UsageError(f"only a record of {key!r:.80} itself can be sealed under it")
        now_ns = self._clock()
        self._require_belief(key, now_ns)
        signed = b"", b""
        marks = Mark(0)
        if self._identity is not None:
            statement = statement_of(record, entry, self._identity.name, now_ns).encode()
            signed = statement, self._identity.signer.sign(statement)
            marks |= Mark.SIGNED
        body = self._enclosed(Contents(*signed, record.head, record.body), marks)
        name = self.names(key)[0]
        # Nothing of the entry but its size can be read off an encrypted one.
        head = Entry(key=name, digest=digest(body), size_bytes=len(body), codec=CODEC, created_ns=now_ns)
        return name, Record(head.encode(), body)

    def open(self, key: Key | None, name: Key, record: Record) -> Record:
        """The record in an envelope. Its body may be a view of the envelope's.

        Args:
            key: whose record it has to be; None: that of the key that is hidden by the name.

        Raises:
            Refused: it is not to be believed.
        """
        try:
            marks, contents = self._opened(record)
            entry = Entry.decode(contents.head)
        except DecodeError as error:
            raise Refused(Reason.DAMAGED, str(error)) from None
        if (entry.key != key) if key is not None else (name not in self.names(entry.key)):
            raise Refused(Reason.KEY, f"it is of {entry.key!r:.80}")
        if entry.codec == CODEC:
            raise Refused(Reason.DAMAGED, "an envelope in an envelope")
        if self._policy is not None:
            self._judge(self._policy(), entry, contents, is_signed=Mark.SIGNED in marks)
        if entry.encoding is Encoding.IDENTITY and entry.size_bytes != memoryview(contents.body).nbytes:
            raise Refused(Reason.CONTENT, "the body is not as long as the head says")
        return Record(contents.head, contents.body)

    def _require_belief(self, key: Key, now_ns: int) -> None:
        """Refuse to replace what may be believed by what our own policy says is not."""
        if self._policy is None:
            return
        if self._identity is None:
            raise StoreReadOnly(
                "records are trusted by their signatures, and there is no key to sign with: sign=FILE"
            )
        name = self._identity.name
        own = self._policy().producers.get(name)
        if own is None:
            return  # others may trust it
        said = Statement(namespace_of(key), key, b"", b"", b"", name, now_ns)
        why = "another key" if own.public != self._identity.signer.public else own.objection(said, now_ns)
        if why is not None:
            raise StoreReadOnly(f"the policy does not believe what {name} signs for {key!r:.80}: {why}")

    def _enclosed(self, contents: Contents, marks: Mark) -> bytes:
        if not self._ciphers:
            return b"".join((Outside(marks, b"").encode(), contents.start(), contents.body))
        cipher = self._ciphers[0]
        data = b"".join((contents.start(), contents.body))
        if len(data) > _MAX_ENCRYPTED_BYTES:
            raise StoreError(f"a record of {len(data)} bytes is too large to be encrypted: 2 GB is the most")
        marks |= Mark.ENCRYPTED | (Mark.AES if self._is_aes else Mark(0))
        outside = Outside(marks, cipher.new_nonce())
        bound = outside.encode()
        return bound + cipher.encrypt(outside.nonce, data, bound, is_aes=self._is_aes)

    def _opened(self, record: Record) -> tuple[Mark, Contents]:
        outer = record.entry()
        if outer.codec != CODEC or outer.encoding is not Encoding.IDENTITY:
            raise Refused(Reason.PLAIN if self._ciphers else Reason.UNSIGNED)
        outside, data = Outside.read(record.body)
        marks = outside.marks
        is_encrypted = Mark.ENCRYPTED in marks
        if is_encrypted:
            data = memoryview(self._decrypted(outside, data))
        elif self._ciphers:
            raise Refused(Reason.PLAIN)
        return marks, Contents.read(data, is_signed=Mark.SIGNED in marks)

    def _decrypted(self, outside: Outside, data: memoryview) -> bytes:
        cipher = next((cipher for cipher in self._ciphers if cipher.is_of(outside.nonce)), None)
        if cipher is None:
            raise Refused(Reason.CLOSED, "encrypted with a key that is not given here")
        if len(data) > _MAX_ENCRYPTED_BYTES + 16:
            raise Refused(Reason.CLOSED, "larger than anything that is encrypted")
        plain = cipher.decrypt(outside.nonce, data, outside.encode(), is_aes=Mark.AES in outside.marks)
        if plain is None:
            raise Refused(Reason.CLOSED, "its bytes were changed")
        return plain

    def _judge(self, policy: Policy, entry: Entry, contents: Contents, *, is_signed: bool) -> None:
        """Whether a producer that may vouches for exactly this record."""
        if not is_signed:
            raise Refused(Reason.UNSIGNED)
        said = _statement(contents.statement)
        producer = policy.producers.get(said.producer)
        if producer is None:
            raise Refused(Reason.UNKNOWN, said.producer)
        if producer.is_revoked:
            raise Refused(Reason.REVOKED, said.producer)
        if said.key != entry.key or said.namespace != namespace_of(entry.key):
            raise Refused(Reason.KEY, f"signed for {said.key!r:.80}")
        if not self._verifier_of(producer.public).holds(contents.signature, contents.statement):
            raise Refused(Reason.SIGNATURE, f"not by {said.producer}")
        objection = producer.objection(said, self._clock())
        if objection is not None:
            raise Refused(objection, said.producer)
        actual = statement_of(Record(contents.head, contents.body), entry, said.producer, said.signed_ns)
        if actual != said:
            raise Refused(Reason.CONTENT, f"not what {said.producer} signed")

    def _verifier_of(self, public: bytes) -> Verifier:
        found = self._verifiers.get(public)
        if found is None:
            found = self._verifiers[public] = self._verifier(public)
        return found


def _statement(data: bytes) -> Statement:
    try:
        return Statement.decode(data)
    except DecodeError as error:
        raise Refused(Reason.DAMAGED, str(error)) from None
